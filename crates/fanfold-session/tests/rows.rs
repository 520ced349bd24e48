//! The row of a session in the list of sessions: as new as the session is, within a time.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfold_fold::{Action, Custom, Offset, Parent, Part, Role, Send};
use fanfold_session::{SessionConfig, Sessions};
use fanfold_store::SessionRow;

use support::log::Faults;
use support::{World, command, key, open};

/// A row that isn't urgent is put after so long.
const INTERVAL: Duration = Duration::from_secs(5);

fn message(n: usize) -> Action {
    let (message, parts) = (format!("m{n}").parse().unwrap(), vec![Part::text("hi")]);
    Action::Send(Send { message, parent: Parent::Newest, role: Role::User, parts, answer: None })
}

fn fact() -> Action {
    Action::Custom(Custom { kind: "k".into(), content_type: "a/b".into(), payload: b"x".to_vec() })
}

async fn submit(node: &Sessions, id: &str, action: Action) -> Offset {
    node.submit(&key("s"), command(id, action), None, Offset::NONE).await.unwrap().offset
}

fn row(world: &World) -> SessionRow {
    world.store.rows.lock().unwrap()[&key("s")].clone()
}

async fn world() -> (World, Sessions) {
    let world = World::new(1, Faults::default());
    let node = world.node(SessionConfig::default()).await;
    node.submit(&key("s"), open(), None, Offset::NONE).await.unwrap();
    (world, node)
}

#[tokio::test(start_paused = true)]
async fn a_message_shows_at_once_and_anything_soon() {
    let (world, node) = world().await;
    for number in 0..3 {
        let at = submit(&node, &format!("m{number}"), message(number)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The simulated log's clock tells the offset.
        assert_eq!((row(&world).offset, row(&world).active_at_ms), (at, at.0));
    }
    let before = row(&world).offset;
    let at = submit(&node, "fact", fact()).await;
    tokio::time::sleep(INTERVAL / 2).await;
    assert_eq!(row(&world).offset, before, "not each of them costs a write");
    tokio::time::sleep(INTERVAL).await;
    assert_eq!((row(&world).offset, row(&world).active_at_ms), (at, at.0));
}

#[tokio::test(start_paused = true)]
async fn what_a_store_that_is_away_missed_is_put_later() {
    let (world, node) = world().await;
    world.store.away.store(true, Ordering::Relaxed);
    let at = submit(&node, "m", message(1)).await;
    tokio::time::sleep(3 * INTERVAL).await;
    world.store.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(2 * INTERVAL).await;
    assert_eq!(row(&world).offset, at);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_killed_before_it_put_the_row_leaves_that_to_the_next() {
    let (world, node) = world().await;
    tokio::time::sleep(INTERVAL).await;
    world.store.away.store(true, Ordering::Relaxed);
    let at = submit(&node, "m", message(1)).await;
    drop(node);
    world.store.away.store(false, Ordering::Relaxed);
    let next = world.node(SessionConfig::default()).await;
    next.look(&key("s"), Offset::NONE, 0).await.unwrap();
    // Sooner than the other one, if anything is left of it.
    tokio::time::sleep(INTERVAL / 10).await;
    assert_eq!((row(&world).offset, row(&world).active_at_ms), (at, at.0));
}
