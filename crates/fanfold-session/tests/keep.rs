//! States and rows are kept, soon or late, and without more at one time than the store can take.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfold_fold::{Completed, FinishReason, Offset, Output};
use fanfold_session::SessionConfig;
use support::log::Faults;
use support::{World, ask, key, open, start, text};
use tokio::time::Instant;

/// States that are kept at one time.
const KEEPS_MAX: usize = 32;

#[tokio::test(start_paused = true)]
async fn a_row_that_was_not_kept_is_kept_by_the_next_node() {
    let world = World::new(1, Faults::default());
    let key = key("s");
    let node = world.node(SessionConfig::default()).await;
    for command in [open(), ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let row = || world.store.rows.lock().unwrap()[&key].clone();
    assert_eq!(row().open_runs, 1);
    // The run ends, and nothing of that reaches the store before the node is gone.
    world.store.away.store(true, Ordering::Relaxed);
    let completed = Completed { reason: FinishReason::Stop, steered: None };
    let last = node.produce(&key, Output { said: vec![completed.into()], ..text(1, 1, "") }, 1, None).await.unwrap().offset;
    assert!(node.drain(Instant::now() + Duration::from_secs(30)).await);
    world.store.away.store(false, Ordering::Relaxed);
    assert_eq!(row().open_runs, 1);
    // Somebody only reads it there.
    let node = world.node(SessionConfig { idle_after: Duration::from_secs(1), ..SessionConfig::default() }).await;
    node.look(&key, Offset::NONE, 0).await.unwrap();
    let gone = async {
        while node.hosts(&key) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it is idle");
    assert_eq!((row().open_runs, row().offset), (0, last));
    assert_eq!(row().active_at_ms, world.log.records(&key).last().unwrap().stored_at_ms, "reading is no activity");
    // Nor is keeping a row once more.
    node.settle(&key, last).await.unwrap();
    assert_eq!(row().active_at_ms, world.log.records(&key).last().unwrap().stored_at_ms);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_leave_together_are_kept_a_few_at_a_time() {
    let world = World::new(1, Faults::default());
    let node = world.node(SessionConfig::default()).await;
    for n in 0..500 {
        node.submit(&key(&format!("s{n}")), open(), None, Offset::NONE).await.unwrap();
    }
    world.store.put_ms.store(100, Ordering::Relaxed);
    assert!(node.drain(Instant::now() + Duration::from_secs(10)).await);
    assert_eq!(world.store.snapshots.lock().unwrap().len(), 500);
    let most = world.store.putting_most.load(Ordering::Relaxed);
    assert!((2..=KEEPS_MAX).contains(&most), "{most} at one time");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_keeps_no_session_in_memory() {
    let world = World::new(1, Faults::default());
    let node = world.node(SessionConfig { idle_after: Duration::from_secs(1), ..SessionConfig::default() }).await;
    world.store.put_ms.store(3_600_000, Ordering::Relaxed);
    for n in 0..100 {
        node.submit(&key(&format!("s{n}")), open(), None, Offset::NONE).await.unwrap();
    }
    let let_go = async {
        while node.stats().sessions > KEEPS_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), let_go).await.expect("those without a place leave without");
}
