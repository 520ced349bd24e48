//! The streams beneath a log on JetStream: made once whoever makes them, never emptied, and told apart from copies of themselves.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, Info};
use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::jetstream::{IdentityError, MigrateError, OpenError, migrate, new_epoch};
use fanfold_log::{AppendError, EventLog, Expect, JetStreamLog, JetStreamLogConfig, ReadError, TailItem};
use fanfold_nats::Nats;
use fanfold_nats::testing::{LIMITS, Server};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

fn session(name: &str) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(name).unwrap())
}

/// One shard, so that a test knows its stream.
fn one_shard(what: &str) -> Option<(JetStreamLogConfig, Option<Server>)> {
    let (options, server) = support::server(what)?;
    Some((JetStreamLogConfig { shards: 1, ..support::config(options, 1) }, server))
}

async fn nats(config: &JetStreamLogConfig) -> Nats {
    Nats::connect(&config.nats, LIMITS).await.unwrap()
}

async fn stream_config(nats: &Nats, config: &JetStreamLogConfig) -> Config {
    nats.api::<Info>(&format!("STREAM.INFO.{}-log-0", config.prefix), &()).await.unwrap().config
}

async fn append(log: &dyn EventLog, session: &SessionKey, text: &'static str) -> Offset {
    log.append(session, Bytes::from_static(text.as_bytes()), Expect::Any, None).await.unwrap()
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_two_at_once_agree() {
    let Some((config, _server)) = one_shard("migrating twice") else { return };
    let config = JetStreamLogConfig { shards: 4, ..config };
    let (one, two) = tokio::join!(migrate(&config, Offset::NONE), migrate(&config, Offset::NONE));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.epochs, two.epochs);
    assert!(one.epochs.iter().all(|epoch| *epoch == one.epochs[0]) && one.epochs.len() == 4);
    let again = migrate(&config, Offset::NONE).await.unwrap();
    assert_eq!((again.created, again.updated, again.epochs), (0, 0, one.epochs.clone()));
    let changed = JetStreamLogConfig { duplicate_window_ms: 40_000, shard_bytes_max: 1 << 20, ..config.clone() };
    let again = migrate(&changed, Offset::NONE).await.unwrap();
    assert_eq!((again.created, again.updated, again.epochs), (0, 4, one.epochs));
    assert_eq!(stream_config(&nats(&config).await, &config).await.max_bytes, 1 << 20);
}

#[tokio::test]
async fn another_number_of_shards_is_refused() {
    let Some((config, _server)) = one_shard("a wrong number of shards") else { return };
    let unmade = JetStreamLog::open(&config).await;
    assert!(matches!(unmade, Err(OpenError::Missing { .. })), "{unmade:?}");
    migrate(&config, Offset::NONE).await.unwrap();
    let other = JetStreamLogConfig { shards: 3, ..config.clone() };
    let refused = migrate(&other, Offset::NONE).await;
    assert!(matches!(refused, Err(MigrateError::Identity(IdentityError::Shards { found: 1, configured: 3 }))), "{refused:?}");
    let refused = JetStreamLog::open(&other).await;
    assert!(matches!(refused, Err(OpenError::Identity(IdentityError::Shards { .. }))), "{refused:?}");
    // Nor is a stream taken over that somebody else made.
    let foreign = JetStreamLogConfig { prefix: format!("{}x", config.prefix), ..config.clone() };
    let name = format!("{}-log-0", foreign.prefix);
    let made = json!({ "name": name, "subjects": [format!("{}.log.0.>", foreign.prefix)], "retention": "limits", "storage": "file",
        "num_replicas": 1, "discard": "old" });
    nats(&config).await.api::<Value>(&format!("STREAM.CREATE.{name}"), &made).await.unwrap();
    let refused = migrate(&foreign, Offset::NONE).await;
    assert!(matches!(refused, Err(MigrateError::Identity(IdentityError::Foreign { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_full_stream_refuses_and_keeps() {
    let Some((config, _server)) = one_shard("a full stream") else { return };
    let config = JetStreamLogConfig { shard_bytes_max: 1 << 20, ..config };
    let log = support::log(&config).await;
    let record = Bytes::from(vec![b'x'; 100_000]);
    let mut stored = Vec::new();
    let refused = loop {
        match log.append(&session("s"), record.clone(), Expect::Any, Some(&format!("id-{}", stored.len()))).await {
            Ok(offset) => stored.push(offset),
            Err(error) => break error,
        }
        assert!(stored.len() < 20, "I5 bounded");
    };
    assert!(matches!(refused, AppendError::Overloaded), "{refused:?}");
    let page = log.read(&session("s"), Offset::NONE, 100, 10 << 20).await.unwrap();
    assert!(page.records.iter().map(|stored| stored.offset).eq(stored.iter().copied()), "nothing was dropped");
    log.trim(&session("s"), stored[4]).await.unwrap();
    let next = log.append(&session("s"), record, Expect::Any, None).await.unwrap();
    assert!(next > *stored.last().unwrap());
}

#[tokio::test]
async fn forged_positions_are_not_believed() {
    let Some((config, _server)) = one_shard("forged positions") else { return };
    let log = support::log(&config).await;
    let first = append(&*log, &session("s"), "first").await;
    let tail = log.tail(&session("s"), Arc::new(|| {})).await.unwrap();
    let subject = format!("{}.log.0.default.s", config.prefix);
    let forger = nats(&config).await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Nats-Sequence", "9999"),
        ("Nats-Last-Sequence", "9998"),
        ("Nats-Subject", "elsewhere"),
        ("Nats-Time-Stamp", "2000-01-01T00:00:00Z"),
        ("Nats-Num-Pending", "7"),
    ] {
        headers.insert(name, value);
    }
    let ack: Value = forger.ask(subject, "forged".into(), Some(headers), None).await.unwrap();
    let second = Offset(ack["seq"].as_u64().unwrap());
    let third = append(&*log, &session("s"), "third").await;
    let mut heard = Vec::new();
    let all = async {
        while heard.len() < 2 {
            heard.extend(tail.take());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all).await.unwrap();
    let positions = |item: &TailItem| match item {
        TailItem::Record(record) => (record.previous, record.offset, record.stored_at_ms > 1_000_000_000_000),
        TailItem::Lost => panic!("nothing is lost"),
    };
    assert_eq!(heard.iter().map(positions).collect::<Vec<_>>(), [(first, second, true), (second, third, true)]);
    let page = log.read(&session("s"), first, 10, 10_000).await.unwrap();
    assert_eq!(page.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [second, third]);
    assert!(page.end);
    assert_eq!(log.last_of(&[session("s")]).await, [Some(third)]);
}

#[tokio::test]
async fn a_lost_last_record_is_found_by_asking() {
    let Some((config, _server)) = one_shard("a lost last record") else { return };
    let log = support::log(&config).await;
    let first = append(&*log, &session("s"), "first").await;
    let tail = log.tail(&session("s"), Arc::new(|| {})).await.unwrap();
    // Without republishing the live message never comes, as when a leader falls at the wrong moment.
    let nats = nats(&config).await;
    let with = stream_config(&nats, &config).await;
    let call = format!("STREAM.UPDATE.{}", with.name);
    nats.api::<Info>(&call, &Config { republish: None, ..with.clone() }).await.unwrap();
    let second = append(&*log, &session("s"), "second").await;
    nats.api::<Info>(&call, &with).await.unwrap();
    assert!(log.tail_may_lose());
    assert_eq!(log.last_of(&[session("other"), session("s")]).await, [Some(Offset::NONE), Some(second)]);
    let page = log.read(&session("s"), first, 10, 1000).await.unwrap();
    assert_eq!((page.records[0].offset, page.records[0].previous, page.end), (second, first, true));
    // And what comes next shows the gap by its chain.
    let third = append(&*log, &session("s"), "third").await;
    let mut heard = Vec::new();
    let one = async {
        while heard.is_empty() {
            heard.extend(tail.take());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, one).await.unwrap();
    assert!(matches!(&heard[..], [TailItem::Record(record)] if record.offset == third && record.previous == second), "{heard:?}");
}

#[tokio::test]
async fn a_shard_that_is_gone_keeps_no_other_from_being_asked() {
    let Some((config, _server)) = one_shard("a shard that is gone") else { return };
    let config = JetStreamLogConfig { shards: 2, ..config };
    migrate(&config, Offset::NONE).await.unwrap();
    let log = JetStreamLog::open(&config).await.unwrap();
    let of_shard = |shard| (0..).map(|n| session(&format!("s{n}"))).find(|session| log.shard_of(session) == shard).unwrap();
    let (gone, stays) = (of_shard(0), of_shard(1));
    append(&log, &gone, "gone").await;
    let last = append(&log, &stays, "stays").await;
    let delete = format!("$JS.API.STREAM.DELETE.{}-log-0", config.prefix);
    nats(&config).await.ask::<Value>(delete, Bytes::new(), None, None).await.unwrap();
    assert_eq!(log.last_of(&[gone.clone(), stays, gone]).await, [None, Some(last), None]);
}

#[tokio::test]
async fn an_older_copy_of_the_stream_is_refused_until_a_new_epoch() {
    let Some((config, _server)) = one_shard("an older copy of the stream") else { return };
    let log = support::log(&config).await;
    let epoch = log.epoch(&session("s"));
    for _ in 0..5 {
        append(&*log, &session("s"), "before").await;
    }
    // As after a restore: the same name, configuration and epoch, and an earlier end.
    let nats = nats(&config).await;
    let copy = stream_config(&nats, &config).await;
    let _: Value = nats.ask(format!("$JS.API.STREAM.DELETE.{}", copy.name), Bytes::new(), None, None).await.unwrap();
    nats.api::<Info>(&format!("STREAM.CREATE.{}", copy.name), &copy).await.unwrap();
    let unsure = log.append(&session("s"), "after".into(), Expect::Any, None).await;
    assert!(matches!(unsure, Err(AppendError::Unknown(_))), "{unsure:?}");
    let refused = log.append(&session("other"), "after".into(), Expect::Any, None).await;
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    let refused = log.read(&session("s"), Offset::NONE, 1, 1).await;
    assert!(matches!(refused, Err(ReadError::Unavailable(_))), "{refused:?}");
    // A node that starts after the restore knows it from what is stored elsewhere.
    let late = JetStreamLog::open(&config).await.unwrap();
    late.must_have(&session("s"), Offset(1)).await.unwrap();
    late.must_have(&session("s"), Offset(5)).await.unwrap_err();
    late.append(&session("s"), "late".into(), Expect::Any, None).await.unwrap_err();

    let fresh = new_epoch(&config, Offset(5)).await.unwrap().epoch;
    assert_ne!(fresh, epoch);
    let log = JetStreamLog::open(&config).await.unwrap();
    assert_eq!(log.epoch(&session("s")), fresh);
    log.must_have(&session("s"), Offset(5)).await.unwrap();
    assert!(append(&log, &session("s"), "on").await > Offset(5), "offsets grow over epochs");
    let trimmed = log.read(&session("s"), Offset::NONE, 10, 1000).await;
    assert!(matches!(trimmed, Err(ReadError::Trimmed { first: Offset(6), certain: false })), "{trimmed:?}");
}

/// As after a restore of the store without the streams.
#[tokio::test]
async fn a_new_stream_begins_above_what_is_stored_elsewhere() {
    let Some((config, _server)) = one_shard("a first offset") else { return };
    migrate(&config, Offset(1_000_000)).await.unwrap();
    let log = JetStreamLog::open(&config).await.unwrap();
    assert_eq!(append(&log, &session("s"), "first").await, Offset(1_000_001));
    log.must_have(&session("s"), Offset(1_000_000)).await.unwrap();
}
