//! An erased session: its readers are told, nothing of it is kept, and neither an old cursor nor a late record brings it back.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::Duration;

use fanfold_fold::{Action, Offset, Record, Refusal, RunStatus, SessionErased, SessionStatus, Verdict};
use fanfold_log::{EventLog as _, Expect};
use fanfold_session::{Ended, Filled, HostError, How, Mode, SessionConfig, Sessions, SnapshotPolicy, Start};
use fanfold_store::{SessionIndex as _, SessionRow};
use support::log::Faults;
use support::{Reader, World, ask, command, key, open, start, text};

/// Keeps a state after each record.
fn eager() -> SessionConfig {
    let snapshot = SnapshotPolicy { records: 1, interval: Duration::ZERO, ..SessionConfig::default().snapshot };
    SessionConfig { snapshot, ..SessionConfig::default() }
}

async fn erase(node: &Sessions, session: &str) -> Offset {
    let receipt = node.submit(&key(session), command("erase", Action::Erase), None, Offset::NONE).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::Applied);
    receipt.offset
}

/// A session in the midst of a run.
async fn world(config: SessionConfig) -> (World, Sessions) {
    let world = World::new(1, Faults::default());
    let node = world.node(config).await;
    for command in [open(), ask(1), start(1)] {
        node.submit(&key("s"), command, None, Offset::NONE).await.unwrap();
    }
    node.produce(&key("s"), text(1, 1, "words"), 1, None).await.unwrap();
    (world, node)
}

/// What an erasure that has come to its end leaves: a row, and a log that says nothing any more.
async fn leave_the_row_alone(world: &World, at: Offset) {
    put_row(world, at).await;
    world.log.erase(&key("s"), Offset::NONE).await.unwrap();
}

async fn put_row(world: &World, at: Offset) {
    let row = SessionRow {
        key: key("s"),
        user: None,
        title: None,
        status: "erased".into(),
        opened_at_ms: 1,
        active_at_ms: 1,
        open_runs: 0,
        offset: at,
    };
    world.store.put_row(&row).await.unwrap();
    world.store.snapshots.lock().unwrap().clear();
}

/// Until it is told that nothing more comes.
async fn ended(reader: &mut Reader) -> Ended {
    loop {
        match reader.pump().await {
            Filled::Ended(ended) => return ended,
            Filled::More | Filled::Idle | Filled::At(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn readers_and_workers_are_told_at_once() {
    let (world, node) = world(SessionConfig::default()).await;
    let mut here = Reader::new(&world);
    here.connect(&node, &key("s"), Mode::Deltas).await;
    let mut full = Reader::new(&world);
    full.connect(&node, &key("s"), Mode::Full).await;
    let (run, attempt) = ("r1".parse().unwrap(), "t1".parse().unwrap());
    let session = key("s");
    let working = node.attempt_over(&session, &run, &attempt);
    let (over, _) = tokio::join!(working, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        erase(&node, "s").await
    });
    assert_eq!(over.unwrap().status, RunStatus::Cancelled);
    for reader in [&mut here, &mut full] {
        assert_eq!(ended(reader).await, Ended::Erased);
        assert_eq!((reader.view.session.status.clone(), reader.view.messages.len()), (SessionStatus::Erased, 0));
    }
    let late = node.produce(&key("s"), text(1, 2, "late"), 1, None).await.unwrap();
    assert!(matches!(late.verdict, Verdict::Refused(Refusal::Fenced | Refusal::SessionErased)), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_it_from_then_on() {
    let (world, node) = world(eager()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let at = erase(&node, "s").await;
    world.store.snapshots.lock().unwrap().clear();
    world.store.rows.lock().unwrap().clear();
    node.settle(&key("s"), at).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(node.drain(tokio::time::Instant::now() + Duration::from_secs(600)).await);
    assert!(world.store.snapshots.lock().unwrap().is_empty());
    assert!(world.store.rows.lock().unwrap().is_empty());
}

/// Neither by a cursor from before, nor by the command that opened it, wherever that comes late.
#[tokio::test(start_paused = true)]
async fn it_does_not_come_back() {
    let (world, node) = world(SessionConfig::default()).await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key("s"), Mode::Deltas).await;
    let before = reader.cursor;
    let first = world.log.records(&key("s"))[0].record.clone();
    let at = erase(&node, "s").await;
    leave_the_row_alone(&world, at).await;
    for late in [false, true] {
        if late {
            world.log.append(&key("s"), first.clone(), Expect::Empty, None).await.unwrap();
        }
        let other = world.node(SessionConfig::default()).await;
        let mut back = Reader::new(&world);
        back.cursor = before;
        let how = back.connect(&other, &key("s"), Mode::Deltas).await;
        assert!(matches!(how, How::Snapshot(_)), "{how:?}");
        assert_eq!(ended(&mut back).await, Ended::Erased);
        assert_eq!(back.view.messages.len(), 0);
        for again in [open(), command("anew", Action::Open(fanfold_fold::SessionOpened::default())), ask(2)] {
            let receipt = other.submit(&key("s"), again, None, Offset::NONE).await.unwrap();
            assert_eq!(receipt.verdict, Verdict::Refused(Refusal::SessionErased));
        }
        assert!(matches!(other.records(&key("s"), Offset::NONE, 10).await, Err(HostError::Erased { .. })));
        assert!(matches!(other.look_at(&key("s"), at, 10).await, Err(HostError::Erased { .. })));
        let replay = Reader::new(&world).connect_from_result(&other, &key("s"), Start::Replay(Offset::NONE)).await;
        assert!(replay.is_err());
    }
}

/// A node that heard of nothing, neither of the last records nor of the erasure, reads of it where the log has let go of the others.
#[tokio::test(start_paused = true)]
async fn who_missed_it_stands_where_it_was_erased() {
    let (world, node) = world(SessionConfig::default()).await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key("s"), Mode::Deltas).await;
    let erasure = Record { command: Some("erase".parse().unwrap()), at_ms: 1, by: None, events: vec![SessionErased {}.into()] };
    let at = world.log.append_elsewhere(&key("s"), erasure.encode().into());
    put_row(&world, at).await;
    world.log.erase(&key("s"), at).await.unwrap();
    world.log.trim(&key("s"), Offset(at.0 - 1)).await.unwrap();
    assert_eq!(ended(&mut reader).await, Ended::Erased);
    assert_eq!(reader.cursor.unwrap().offset, at);
    let asked = tokio::time::Instant::now();
    let looked = node.look(&key("s"), at, 10).await.unwrap();
    assert_eq!((looked.view.session.status, looked.offset), (SessionStatus::Erased, at));
    assert!(asked.elapsed() < Duration::from_secs(1), "nothing was waited for");
}

/// A store that can't say whether it was erased makes it unavailable, and never another session.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_makes_nothing_new() {
    let (world, node) = world(SessionConfig::default()).await;
    let at = erase(&node, "s").await;
    leave_the_row_alone(&world, at).await;
    world.store.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let other = world.node(SessionConfig::default()).await;
    let refused = other.submit(&key("s"), open(), None, Offset::NONE).await;
    assert!(matches!(refused, Err(fanfold_session::SubmitError::Host(HostError::Unavailable(_)))), "{refused:?}");
}
