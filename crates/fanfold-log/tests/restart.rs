//! What holds over a restart, and what stays small over a long life.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{AppendError, Consumer, EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, OpenError, ReadError};

const WINDOW: usize = 50;

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

fn open(dir: &Path) -> Result<EmbeddedLog, OpenError> {
    let config = EmbeddedLogConfig {
        dir: dir.into(),
        memtable_bytes_max: 32 << 10,
        duplicate_window_records: WINDOW,
        ..EmbeddedLogConfig::default()
    };
    EmbeddedLog::open(config, Arc::new(|| 1))
}

async fn append(log: &EmbeddedLog, number: usize, id: Option<&str>) -> Result<Offset, AppendError> {
    log.append(&session(number), Bytes::from(vec![7; 500]), Expect::Any, id).await
}

#[tokio::test]
async fn the_duplicate_window_and_the_epoch_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let epoch = log.epoch(&session(0));
    let old = append(&log, 0, Some("old")).await.unwrap();
    for n in 1..WINDOW {
        append(&log, n % 3, Some(&format!("id-{n}"))).await.unwrap();
    }
    log.close().await;
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!(log.epoch(&session(0)), epoch);
    assert_eq!(append(&log, 0, Some("old")).await.unwrap(), old, "the oldest of the window");
    assert_eq!(append(&log, 1, Some("id-1")).await.unwrap(), Offset(2));
    assert_eq!(append(&log, 1, None).await.unwrap(), Offset(WINDOW as u64 + 1));
    assert_eq!(append(&log, 0, Some("old")).await.unwrap(), Offset(WINDOW as u64 + 2), "I5 bounded: out of the window");
}

#[tokio::test]
async fn trims_and_expectations_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    for _ in 0..3 {
        append(&log, 0, None).await.unwrap();
        append(&log, 1, None).await.unwrap();
    }
    log.trim(&session(0), Offset(3)).await.unwrap();
    log.trim(&session(1), Offset(u64::MAX)).await.unwrap();
    drop(log);
    let log = open(dir.path()).unwrap();
    let trimmed = log.read(&session(0), Offset::NONE, 10, 10_000).await;
    assert!(matches!(trimmed, Err(ReadError::Trimmed { first: Offset(5), certain: true })), "{trimmed:?}");
    let trimmed = log.read(&session(1), Offset(2), 10, 10_000).await;
    assert!(matches!(trimmed, Err(ReadError::Trimmed { first: Offset(7), certain: true })), "{trimmed:?}");
    assert_eq!(log.last(&session(1)).await.unwrap(), Offset(6), "a session keeps its end");
    let empty = log.append(&session(1), Bytes::new(), Expect::Empty, None).await;
    assert!(matches!(empty, Err(AppendError::Conflict { last: Offset(6) })), "{empty:?}");
    let next = log.append(&session(1), Bytes::new(), Expect::Last(Offset(6)), None).await.unwrap();
    let page = log.read(&session(1), Offset(6), 10, 10_000).await.unwrap();
    assert_eq!((page.records[0].offset, page.records[0].previous), (next, Offset(6)));
}

#[tokio::test]
async fn one_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Busy)));
    drop(log);
    assert!(open(dir.path()).is_ok());
}

/// The evidence of commits goes when tables have them and their records have left the log, and no sooner.
#[tokio::test]
async fn settled_commits_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (deadline, mut commits) = (Instant::now() + Duration::from_secs(60), 0);
    loop {
        let log = Arc::new(open(dir.path()).unwrap());
        for _ in 0..1000 {
            append(&log, commits % 7, None).await.unwrap();
            commits += 1;
        }
        let before = (commits - 1000) as u64;
        let consumer = log.consumer(10_000).unwrap();
        let notices = consumer.take(10_000, Duration::ZERO).await.unwrap();
        assert!(notices.iter().all(|notice| notice.offset.0 > before), "each once");
        consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
        consumer.trim(u64::MAX).await.unwrap();
        drop(consumer);
        drop(log);
        let kept = entries(dir.path());
        assert!(kept >= WINDOW, "the window's commits stay: {kept}");
        if kept < commits / 3 {
            break;
        }
        assert!(Instant::now() < deadline, "I5 bounded: {kept} of {commits} kept");
    }
    let log = open(dir.path()).unwrap();
    for number in 0..7 {
        let last = log.last(&session(number)).await.unwrap();
        assert!(last.0 > (commits - 7) as u64, "a session keeps its end");
    }
}

fn entries(dir: &Path) -> usize {
    let db = fjall::Database::builder(dir.join("store")).open().unwrap();
    let log = db.keyspace("log", fjall::KeyspaceCreateOptions::default).unwrap();
    log.prefix(b"g").count()
}
