//! Logs that tell what they hold, and take in sessions that began elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::jetstream::migrate;
use fanfold_log::{
    AppendError, EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, Inventory, JetStreamLog, JetStreamLogConfig, ReadError,
};
use tokio::sync::Notify;

fn session(tenant: &str, name: &str) -> SessionKey {
    SessionKey::new(TenantId::new(tenant).unwrap(), SessionId::new(name).unwrap())
}

async fn append(log: &dyn EventLog, session: &SessionKey) -> Result<Offset, AppendError> {
    log.append(session, Bytes::from_static(b"record"), Expect::Any, None).await
}

fn config(dir: &Path) -> EmbeddedLogConfig {
    EmbeddedLogConfig { dir: dir.into(), ..EmbeddedLogConfig::default() }
}

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(config(dir), Arc::new(|| 1)).unwrap()
}

/// Each once, whatever their names have in common.
async fn sessions_are_named<L: EventLog + Inventory>(log: &L) {
    let names = [("a", "a"), ("a", "a-"), ("a", "aa"), ("a-", "a"), ("b", "0")];
    let mut sessions = names.map(|(tenant, name)| session(tenant, name)).to_vec();
    for session in sessions.iter().chain(&sessions) {
        append(log, session).await.unwrap();
    }
    sessions.sort();
    let mut found = log.sessions().await.unwrap();
    found.sort();
    assert_eq!(found, sessions);
}

/// It goes on above, and what is below is in the archive.
async fn a_session_is_taken_in<L: EventLog + Inventory>(log: &L, upto: Offset) {
    let session = session("a", "elsewhere");
    assert!(log.room(&session).await.unwrap() >= upto);
    log.adopt(&session, upto).await.unwrap();
    log.adopt(&session, upto).await.unwrap();
    assert!(matches!(log.read(&session, Offset::NONE, 10, 1000).await, Err(ReadError::Trimmed { first, .. }) if first > upto));
    assert!(!log.sessions().await.unwrap().contains(&session), "its history is elsewhere");
    let next = append(log, &session).await.unwrap();
    assert!(next > upto, "offsets grow: {next} after {upto}");
    let page = log.read(&session, upto, 10, 1000).await.unwrap();
    assert_eq!(page.records.iter().map(|stored| (stored.offset, stored.previous)).collect::<Vec<_>>(), [(next, upto)]);
}

#[tokio::test]
async fn an_embedded_log_tells_its_sessions_and_takes_others_in() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    sessions_are_named(&log).await;
    let (own, before) = (session("a", "aa"), log.epoch(&session("a", "aa")));
    let last = log.last(&own).await.unwrap();
    log.close().await;
    drop(log);
    let begun = EmbeddedLog::new_epoch(&config(dir.path()), Offset(5000)).unwrap();
    let log = open(dir.path());
    assert_eq!((begun.first, log.epoch(&own)), (Offset(5001), begun.epoch));
    assert_ne!(begun.epoch, before);
    assert_eq!(log.last(&own).await.unwrap(), last, "what it has stays");
    a_session_is_taken_in(&log, Offset(5000)).await;
    let next = append(&log, &own).await.unwrap();
    let page = log.read(&own, last, 10, 1000).await.unwrap();
    assert_eq!((page.records[0].offset, page.records[0].previous), (next, last), "I2 contiguous, over epochs");
    log.close().await;
    drop(log);
    assert_eq!(open(dir.path()).last(&session("a", "elsewhere")).await.unwrap(), Offset(5001), "all of it survives a restart");
    // One that is made for what comes in.
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(EmbeddedLog::new_epoch(&config(fresh.path()), Offset(7)).unwrap().first, Offset(8));
    a_session_is_taken_in(&open(fresh.path()), Offset(7)).await;
}

#[tokio::test]
async fn a_log_on_servers_tells_its_sessions_and_takes_others_in() {
    let Some((options, _server)) = support::server("sessions of a log on servers") else { return };
    let config = JetStreamLogConfig { append_ms_max: 300, ..support::config(options, 1) };
    migrate(&config, Offset::NONE).await.unwrap();
    let log = JetStreamLog::open(&config).await.unwrap();
    sessions_are_named(&log).await;
    assert!(!log.is_served().await.unwrap(), "no node runs");
    let node = log.consumer().await.unwrap();
    assert!(log.is_served().await.unwrap(), "one runs, though it asks for nothing");
    drop(node);
    assert!(!log.is_served().await.unwrap());
    let (own, other) = (session("a", "elsewhere"), session("a", "aa"));
    let shard = log.shard_of(&own);
    let heard = Arc::new(Notify::new());
    let wake = Arc::clone(&heard);
    let tail = log.tail(&own, Arc::new(move || wake.notify_one())).await.unwrap();
    let closed = log.close_shard(shard).await.unwrap();
    assert!(matches!(append(&log, &own).await, Err(AppendError::Overloaded)), "a closed shard takes nothing, and says so");
    log.raise(&closed, Offset(5000)).await.unwrap();
    log.open_shard(closed).await.unwrap();
    a_session_is_taken_in(&log, Offset(5000)).await;
    tokio::time::timeout(support::follow::DEADLINE, heard.notified()).await.expect("what it stores is live again");
    assert_eq!(tail.take().len(), 1);
    assert_eq!(migrate(&config, Offset::NONE).await.unwrap().updated, 0, "a shard that was opened again is as it was");
    // What a tool leaves that dies in between.
    let _closed = log.close_shard(shard).await.unwrap();
    assert_eq!(migrate(&config, Offset::NONE).await.unwrap().updated, 1);
    append(&log, &own).await.unwrap();
    append(&log, &other).await.unwrap();
}
