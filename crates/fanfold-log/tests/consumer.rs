//! The suite of every consumer, on the embedded log and on JetStream; and what each side promises beyond it.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

#[allow(unused_imports, reason = "each test binary uses its own part")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{AppendError, Consumer, EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, ReadError};

fn config(dir: &Path) -> EmbeddedLogConfig {
    EmbeddedLogConfig { dir: dir.into(), duplicate_window_records: 10, ..EmbeddedLogConfig::default() }
}

fn open(config: EmbeddedLogConfig) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::open(config, Arc::new(|| 1)).unwrap())
}

mod embedded {
    use super::*;

    async fn opened() -> (Arc<dyn EventLog>, Arc<dyn Consumer>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(config(dir.path()));
        let consumer = log.consumer(100).unwrap();
        (log, Arc::new(consumer), dir)
    }

    fanfold_log::consumer_conformance!(opened);
}

mod jetstream {
    use fanfold_log::jetstream::migrate;
    use fanfold_log::{JetStreamLog, JetStreamLogConfig};
    use fanfold_nats::testing::{Cluster, LIMITS, Server};
    use fanfold_nats::{Nats, NatsOptions};

    use super::*;

    async fn opened() -> Option<(Arc<dyn EventLog>, Arc<dyn Consumer>, Option<Server>)> {
        let (options, server) = support::server("the consumer's suite on a NATS server")?;
        let config = support::config(options, 1);
        migrate(&config, Offset::NONE).await.unwrap();
        let log = JetStreamLog::open(&config).await.unwrap();
        let consumer = log.consumer().await.unwrap();
        Some((Arc::new(log), Arc::new(consumer), server))
    }

    fanfold_log::consumer_conformance!(opened);

    /// All checks in one test, as a cluster takes its time to start.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn three_servers_pass_every_check_of_a_consumer() {
        let Some(cluster) = Cluster::start("the consumer's suite on three NATS servers").await else { return };
        let on_all = async || {
            // Three servers on one machine: what is slow is no outage here.
            let config = JetStreamLogConfig {
                read_ms_max: 30_000,
                append_ms_max: 60_000,
                duplicate_window_ms: 120_000,
                ..support::config(cluster.options(), 3)
            };
            migrate(&config, Offset::NONE).await.unwrap();
            let log = JetStreamLog::open(&config).await.unwrap();
            let consumer = log.consumer().await.unwrap();
            let opened: (Arc<dyn EventLog>, Arc<dyn Consumer>) = (Arc::new(log), Arc::new(consumer));
            opened
        };
        fanfold_log::consumer_conformance!(together on_all().await);
    }

    #[tokio::test]
    async fn a_shard_that_does_not_answer_holds_up_no_other() {
        let Some((options, _server)) = support::server("a shard that is gone") else { return };
        let config = support::config(options.clone(), 1);
        migrate(&config, Offset::NONE).await.unwrap();
        let log = JetStreamLog::open(&config).await.unwrap();
        let consumer = log.consumer().await.unwrap();
        let of_shard = |shard| (0..).map(super::session).find(|session| log.shard_of(session) == shard).unwrap();
        let (gone, stays) = (of_shard(0), of_shard(1));
        for session in [&gone, &stays] {
            log.append(session, Bytes::from_static(b"record"), Expect::Any, None).await.unwrap();
        }
        for _ in 0..2 {
            let notices = consumer.take(1, Duration::from_secs(30)).await.unwrap();
            consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
        }
        let nats = Nats::connect(&options, LIMITS).await.unwrap();
        let delete = format!("$JS.API.STREAM.DELETE.{}-log-0", config.prefix);
        nats.ask::<serde_json::Value>(delete, Bytes::new(), None, None).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            assert!(consumer.trim(u64::MAX >> 20).await.is_err(), "it is told");
            let page = log.read(&stays, Offset::NONE, 1, 1000).await;
            if matches!(&page, Err(ReadError::Trimmed { .. })) || page.is_ok_and(|page| page.records.is_empty()) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "the other one is trimmed");
        }
        assert_eq!(consumer.lag().await.unwrap().records, 0, "of the one that answers");
    }

    /// By an operator, or with its server.
    #[tokio::test]
    async fn a_deleted_consumer_is_made_again() {
        let Some((options, _server)) = support::server("a consumer that is deleted") else { return };
        let config = JetStreamLogConfig { shards: 1, ..support::config(options.clone(), 1) };
        migrate(&config, Offset::NONE).await.unwrap();
        let log = JetStreamLog::open(&config).await.unwrap();
        let consumer = log.consumer().await.unwrap();
        let nats = Nats::connect(&options, LIMITS).await.unwrap();
        // Once while it is waited for, once while nobody asks.
        for (number, wait) in [(0, Duration::from_millis(100)), (1, Duration::ZERO)] {
            assert_eq!(consumer.take(1, wait).await.unwrap(), []);
            let delete = format!("$JS.API.CONSUMER.DELETE.{0}-log-0.{0}-archive", config.prefix);
            nats.ask::<serde_json::Value>(delete, Bytes::new(), None, None).await.unwrap();
            let at = log.append(&super::session(number), Bytes::from_static(b"record"), Expect::Any, None).await.unwrap();
            // What was noticed before comes again.
            let noticed = async {
                while !consumer.take(1, Duration::from_secs(60)).await.unwrap().iter().any(|notice| notice.offset == at) {}
            };
            tokio::time::timeout(Duration::from_secs(60), noticed).await.expect("it is noticed");
        }
    }

    #[tokio::test]
    async fn a_shard_that_is_gone_is_asked_now_and_then() {
        const ACCOUNTS: &str = "accounts { SYS { users: [{ user: system, password: x }] }\n\
            FANFOLD { jetstream: enabled, users: [{ user: node, password: x }] } }\nsystem_account: SYS\n";
        let Some(server) = Server::start("a shard that is asked in vain", ACCOUNTS) else { return };
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "x").unwrap();
        let be = |user: &str| NatsOptions { user: Some(user.into()), password_file: Some(password.clone()), ..server.options() };
        let config = support::config(be("node"), 1);
        migrate(&config, Offset::NONE).await.unwrap();
        let log = JetStreamLog::open(&config).await.unwrap();
        let consumer = log.consumer().await.unwrap();
        let node = Nats::connect(&be("node"), LIMITS).await.unwrap();
        let delete = format!("$JS.API.STREAM.DELETE.{}-log-0", config.prefix);
        node.ask::<serde_json::Value>(delete, Bytes::new(), None, None).await.unwrap();
        let system = Nats::connect(&be("system"), LIMITS).await.unwrap();
        let received = async || {
            let told = system.ask::<serde_json::Value>("$SYS.REQ.SERVER.PING.STATSZ".into(), Bytes::new(), None, None).await;
            told.unwrap()["statsz"]["received"]["msgs"].as_u64().unwrap()
        };
        let before = received().await;
        for _ in 0..8 {
            assert_eq!(consumer.take(1, Duration::from_millis(500)).await.unwrap(), []);
        }
        let asked = received().await - before;
        assert!(asked < 100, "I5 bounded: {asked} questions in four seconds");
    }
}

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

async fn append(log: &EmbeddedLog, number: usize, bytes: usize) -> Result<Offset, AppendError> {
    log.append(&session(number), Bytes::from(vec![7; bytes]), Expect::Any, None).await
}

async fn done(consumer: &dyn Consumer, count: usize) {
    let notices = consumer.take(count, Duration::ZERO).await.unwrap();
    assert_eq!(notices.len(), count);
    consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
}

/// Whoever had it may have died over it.
#[tokio::test]
async fn what_was_there_before_is_noticed_again() {
    let dir = tempfile::tempdir().unwrap();
    for old in 0..2 {
        let log = open(config(dir.path()));
        let consumer = log.consumer(100).unwrap();
        append(&log, 0, 10).await.unwrap();
        let notices = consumer.take(10, Duration::ZERO).await.unwrap();
        let again = notices.iter().map(|notice| notice.again).collect::<Vec<_>>();
        assert_eq!(again, [&vec![true; old][..], &[false]].concat());
        log.close().await;
    }
}

/// Word of commits outlasts journals and tables until it is consumed, and the trim goes on where it was.
#[tokio::test]
async fn a_restart_goes_on_from_the_floor() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let log = open(EmbeddedLogConfig { memtable_bytes_max: 64 << 10, ..config(dir.path()) });
        for number in 0..300 {
            append(&log, number % 3, 1000).await.unwrap();
        }
        let consumer = log.consumer(10_000).unwrap();
        // Each round leaves 100 more than the one before.
        let first = consumer.take(1, Duration::ZERO).await.unwrap();
        assert_eq!(first[0].offset, Offset(200 * round + 1), "round {round}");
        consumer.done(first.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
        done(&consumer, 199).await;
        consumer.trim(2).await.unwrap();
        for number in 0..3 {
            let trimmed = log.read(&session(number), Offset::NONE, 10, 10_000).await;
            assert!(matches!(trimmed, Err(ReadError::Trimmed { .. })), "{trimmed:?}");
        }
        let lag = consumer.lag().await.unwrap();
        assert_eq!(lag.records, 100 * (round + 1));
        drop(consumer);
        log.close().await;
    }
}

/// I5: a log that nobody archives is full at some time, says so, and loses nothing.
#[tokio::test]
async fn a_full_log_refuses_until_it_is_archived() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { bytes_max: 10_000, ..config(dir.path()) };
    let log = open(config.clone());
    for number in 0..10 {
        append(&log, number, 1000).await.unwrap();
    }
    assert!(matches!(append(&log, 0, 1).await, Err(AppendError::Overloaded)));
    log.close().await;
    drop(log);
    let log = open(config);
    assert!(matches!(append(&log, 0, 1).await, Err(AppendError::Overloaded)), "after a restart, too");
    let consumer = log.consumer(100).unwrap();
    assert!(consumer.lag().await.unwrap().fullness >= 1.0);
    done(&consumer, 4).await;
    consumer.trim(1).await.unwrap();
    assert!(matches!(append(&log, 0, 1).await, Err(AppendError::Overloaded)), "stored at 1, so not before");
    consumer.trim(2).await.unwrap();
    for _ in 0..4 {
        append(&log, 0, 1000).await.unwrap();
    }
    assert!(matches!(append(&log, 0, 1).await, Err(AppendError::Overloaded)));
}

/// I5: no more under way than may be.
#[tokio::test]
async fn notices_under_way_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(config(dir.path()));
    for number in 0..10 {
        append(&log, number, 10).await.unwrap();
    }
    let consumer = log.consumer(4).unwrap();
    let taken = consumer.take(10, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 4);
    assert_eq!(consumer.take(10, Duration::ZERO).await.unwrap(), []);
    consumer.done(vec![taken[2].ticket.clone()]).await.unwrap();
    assert_eq!(consumer.take(10, Duration::ZERO).await.unwrap().len(), 1);
}

/// A new epoch begins above what is there: nothing is told of what lies between.
#[tokio::test]
async fn a_new_epoch_leaves_no_lag() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedLog::new_epoch(&config(dir.path()), Offset(5000)).unwrap();
    let log = open(config(dir.path()));
    let consumer = log.consumer(100).unwrap();
    assert_eq!(consumer.take(10, Duration::from_millis(1)).await.unwrap(), []);
    assert_eq!(consumer.lag().await.unwrap().records, 0);
    assert!(append(&log, 0, 10).await.unwrap() > Offset(5000));
    assert_eq!(consumer.lag().await.unwrap().records, 1);
    done(&consumer, 1).await;
    assert_eq!(consumer.lag().await.unwrap().records, 0);
}
