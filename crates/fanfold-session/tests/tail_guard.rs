//! A record that the tail lost at its end is found by asking, whatever becomes of other sessions.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use fanfold_fold::{Event, Offset, Record, SessionKey, SessionTitled};
use fanfold_session::{HostError, Mode, SessionConfig};
use support::log::Faults;
use support::{Reader, World, key, open};

/// Stored by another node, without a word to this one's tail.
fn title_elsewhere(world: &World, key: &SessionKey) -> Offset {
    let event = Event::SessionTitled(SessionTitled { title: "title".into(), automatic: false });
    let record = Record { command: None, at_ms: 1, by: None, events: vec![event] };
    world.log.append_elsewhere(key, record.encode().into())
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_answered_for_holds_up_no_other() {
    let world = World::new(1, Faults::default());
    let node = world.node(SessionConfig::default()).await;
    let mut readers = Vec::new();
    for name in ["silent", "s"] {
        node.submit(&key(name), open(), None, Offset::NONE).await.unwrap();
        let mut reader = Reader::new(&world);
        reader.connect(&node, &key(name), Mode::Deltas).await;
        readers.push(reader);
    }
    *world.log.silent.lock().unwrap() = Some(key("silent"));
    let last = title_elsewhere(&world, &key("s"));
    readers[1].until(last).await;
    let mut away = node.log_away();
    away.wait_for(|away| *away).await.unwrap();
    assert_eq!(*node.unheard(), HashSet::from([key("silent")]), "of the other one it is known that nothing was said");
    // Once it is answered for again, it has what it missed.
    let last = title_elsewhere(&world, &key("silent"));
    *world.log.silent.lock().unwrap() = None;
    readers[0].until(last).await;
    away.wait_for(|away| !*away).await.unwrap();
    assert_eq!(*node.unheard(), HashSet::new());
}

#[tokio::test(start_paused = true)]
async fn the_newest_state_has_what_the_tail_lost() {
    let world = World::new(1, Faults::default());
    world.log.guarded.store(false, Ordering::Relaxed);
    let node = world.node(SessionConfig::default()).await;
    let opened = node.submit(&key("s"), open(), None, Offset::NONE).await.unwrap();
    let last = title_elsewhere(&world, &key("s"));
    assert_eq!(node.look(&key("s"), Offset::NONE, 0).await.unwrap().offset, opened.offset, "in memory it is as it was");
    assert_eq!(node.look_newest(&key("s"), 0).await.unwrap().offset, last);
    // Where the leader doesn't say what there is, nothing is taken for the newest.
    *world.log.silent.lock().unwrap() = Some(key("s"));
    assert!(matches!(node.look_newest(&key("s"), 0).await, Err(HostError::Unavailable(_))));
}
