//! Which sessions are parked: those that end their nodes or have lost their history, and no others.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};
use fanfold_log::EventLog as _;
use fanfold_session::{HostError, Looked, SessionConfig, Sessions};
use fanfold_store::Parking as _;
use futures::future::join_all;
use support::log::Faults;
use support::{World, ask, key, open};
use tokio::time::Instant;

const LATER: Duration = Duration::from_secs(120);

/// A session that was written and is in nobody's memory.
async fn world() -> (World, SessionKey) {
    let (world, key) = (World::new(1, Faults::default()), key("s"));
    let node = world.node(SessionConfig::default()).await;
    for command in [open(), ask(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    assert!(node.drain(Instant::now() + Duration::from_secs(5)).await, "drained in time");
    world.parking.tries.lock().unwrap().clear();
    // Times before the world began are times, too.
    tokio::time::sleep(LATER).await;
    (world, key)
}

fn parks_after(hydration_attempts_max: u32) -> SessionConfig {
    // Nobody is told that the node is busy before it is told more.
    SessionConfig { hydration_attempts_max, wait_max: Duration::from_secs(3600), ..SessionConfig::default() }
}

async fn look(node: &Sessions, key: &SessionKey) -> Result<Looked, HostError> {
    node.look(key, Offset::NONE, 1).await
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_its_nodes_is_parked_for_every_node() {
    let (world, key) = world().await;
    world.parking.broke_off(&key, 1);
    look(&world.node(parks_after(2)).await, &key).await.unwrap();
    assert!(world.parking.tries.lock().unwrap().is_empty(), "success forgets the tries");
    world.parking.broke_off(&key, 2);
    for _ in 0..2 {
        let refused = look(&world.node(parks_after(2)).await, &key).await;
        assert!(matches!(refused, Err(HostError::Parked)), "{refused:?}");
    }
    assert_eq!(world.parking.parked.lock().unwrap()[&key].attempts, 2);
    assert!(world.parking.process().unpark(&key).await.unwrap());
    look(&world.node(parks_after(2)).await, &key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_nodes_at_once_park_nothing() {
    let (world, key) = world().await;
    // The store is slow: all of them are at it for long.
    world.log.read_ms.store(200_000, Relaxed);
    let nodes = join_all((0..8).map(|_| world.node(parks_after(3)))).await;
    let hydrations = nodes.iter().enumerate().map(async |(at, node)| {
        tokio::time::sleep(Duration::from_secs(20 * at as u64)).await;
        look(node, &key).await
    });
    for looked in join_all(hydrations).await {
        looked.unwrap();
    }
    assert!(world.parking.tries.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_for_a_while_parks_nothing() {
    let (world, key) = world().await;
    let nodes = join_all((0..4).map(|_| world.node(parks_after(3)))).await;
    world.parking.unconfirmed.store(true, Relaxed);
    world.parking.no_clears.store(true, Relaxed);
    for node in nodes.iter().cycle().take(24) {
        let refused = look(node, &key).await;
        assert!(matches!(refused, Err(HostError::Unavailable(_))), "{refused:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(world.parking.tries.lock().unwrap()[&key].len(), 24, "each of them is noted");
    // Between two times at which the nodes try to forget.
    tokio::time::sleep(LATER + Duration::from_millis(500)).await;
    world.parking.unconfirmed.store(false, Relaxed);
    world.parking.no_clears.store(false, Relaxed);
    // At once, when nobody has had time to say that it lives.
    look(&world.node(parks_after(3)).await, &key).await.unwrap();
}

/// The node that began it lives, and nobody asks it for the session again.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_forgotten_is_forgotten_later() {
    let (world, key) = world().await;
    let node = world.node(parks_after(1)).await;
    world.parking.no_clears.store(true, Relaxed);
    look(&node, &key).await.unwrap();
    tokio::time::sleep(LATER).await;
    assert!(world.parking.tries.lock().unwrap().contains_key(&key));
    world.parking.no_clears.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.parking.tries.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_parks_nothing() {
    let (world, key) = world().await;
    let node = world.node(parks_after(1)).await;
    world.log.away.store(true, Relaxed);
    for _ in 0..3 {
        let refused = look(&node, &key).await;
        assert!(matches!(refused, Err(HostError::Unavailable(_))), "{refused:?}");
    }
    world.log.away.store(false, Relaxed);
    look(&node, &key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_counts_once_however_many_wait() {
    let (world, key) = world().await;
    lose(&world, &key).await;
    let node = world.node(parks_after(3)).await;
    for failures in 1..3 {
        let asked = join_all((0..64).map(|_| look(&node, &key))).await;
        assert!(asked.iter().all(|looked| matches!(looked, Err(HostError::Missing { .. }))), "{asked:?}");
        assert_eq!(world.parking.failed(&key), failures);
    }
    let refused = look(&node, &key).await;
    assert!(matches!(refused, Err(HostError::Parked)), "{refused:?}");
}

/// It has failed and is not gone yet: its mailbox has one more request.
#[tokio::test(start_paused = true)]
async fn who_comes_while_it_leaves_begins_no_other_try() {
    let (world, key) = world().await;
    lose(&world, &key).await;
    let node = world.node(parks_after(3)).await;
    // The failure is noted, then the actor's answer is put before this request, then the actor looks.
    let late = tokio::spawn({
        let (board, node, key) = (world.parking.clone(), node.clone(), key.clone());
        async move {
            board.failing.notified().await;
            tokio::spawn(async move { look(&node, &key).await }).await.unwrap()
        }
    });
    let (first, late) = (look(&node, &key).await, late.await.unwrap());
    assert!(matches!((&first, &late), (Err(HostError::Missing { .. }), Err(HostError::Missing { .. }))), "{first:?}, {late:?}");
    assert_eq!(world.parking.failed(&key), 1);
}

/// It ends the hydration and not the node, so that it is for the same node to count.
#[tokio::test(start_paused = true)]
async fn a_session_that_meets_a_bug_again_and_again_is_parked() {
    let (world, key) = world().await;
    let node = world.node(parks_after(3)).await;
    world.log.panics.store(true, Relaxed);
    for failures in 1..3 {
        let refused = look(&node, &key).await;
        assert!(matches!(refused, Err(HostError::Unavailable(_))), "{refused:?}");
        assert_eq!(world.parking.failed(&key), failures);
    }
    world.log.panics.store(false, Relaxed);
    look(&node, &key).await.unwrap();
    assert!(node.drain(Instant::now() + Duration::from_secs(5)).await, "drained in time");
    let node = world.node(parks_after(1)).await;
    world.log.panics.store(true, Relaxed);
    let refused = look(&node, &key).await;
    assert!(matches!(refused, Err(HostError::Parked)), "{refused:?}");
    assert_eq!(world.parking.parked.lock().unwrap()[&key].reason, "its hydration has failed with a bug");
}

/// Its records are in no log and no archive.
async fn lose(world: &World, key: &SessionKey) {
    world.store.snapshots.lock().unwrap().clear();
    world.log.trim(key, world.truth(key).1).await.unwrap();
    world.log.certain.store(true, Relaxed);
}
