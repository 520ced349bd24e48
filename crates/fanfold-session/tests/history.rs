//! What a node answers of the past, and how new its answers are.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Action, Event, Offset, Record, SessionKey};
use fanfold_session::{SessionConfig, Sessions};
use support::log::Faults;
use support::{World, ask, command, key, open, start, text};

/// A node with a session that has an answer under way.
async fn world() -> (World, Sessions, SessionKey) {
    let (world, key) = (World::new(1, Faults::default()), key("s"));
    let node = world.node(SessionConfig::default()).await;
    for command in [open(), ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    (world, node, key)
}

/// What the run says, as a record that another node has appended and no tail brings.
fn elsewhere(world: &World, key: &SessionKey, seq: u64, said: &str) -> Offset {
    let record = Record { command: None, at_ms: 1, by: None, events: vec![Event::Output(text(1, seq, said))] };
    world.log.append_elsewhere(key, record.encode().into())
}

async fn pages(node: &Sessions, key: &SessionKey, records_max: usize) -> Vec<Vec<(Offset, Offset, Bytes)>> {
    let (mut pages, mut after) = (Vec::new(), Offset::NONE);
    loop {
        let (records, end) = node.records(key, after, records_max).await.unwrap();
        after = records.last().map_or(after, |last| last.offset);
        pages.push(records.into_iter().map(|stored| (stored.previous, stored.offset, stored.record)).collect());
        if end {
            return pages;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_the_archive_are_as_small_as_those_of_the_log() {
    let (world, node, key) = world().await;
    for seq in 1..=40 {
        elsewhere(&world, &key, seq, "some words");
    }
    for seq in 41..=44 {
        elsewhere(&world, &key, seq, &"x".repeat(400_000));
    }
    let in_log = pages(&node, &key, 10).await.concat();
    world.archive(&key).await;
    let archived = pages(&node, &key, 10).await;
    assert_eq!(archived.concat(), in_log, "I2 contiguous");
    for page in &archived {
        let bytes = page.iter().map(|(.., record)| record.len()).sum::<usize>();
        assert!(page.len() <= 10 && (bytes <= 1 << 20 || page.len() == 1), "{} records of {bytes} bytes", page.len());
    }
    assert!(archived.len() > in_log.len() / 10, "large ones make more pages");
    let looked = world.node(SessionConfig::default()).await.look(&key, Offset::NONE, 9).await.unwrap();
    assert_eq!(looked.offset, in_log.last().unwrap().1, "all of it is folded");
}

/// The leader has answered before the record was stored, and its answer is still on the way.
#[tokio::test(start_paused = true)]
async fn a_request_is_not_answered_by_a_question_from_before_it() {
    let (world, node, key) = world().await;
    world.log.guarded.store(false, Relaxed);
    world.log.last_ms.store(1000, Relaxed);
    // What overdue requests have read comes later.
    world.log.read_ms.store(2000, Relaxed);
    let before = tokio::spawn({
        let (node, key) = (node.clone(), key.clone());
        async move { node.look(&key, Offset(u64::MAX), 1).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let last = elsewhere(&world, &key, 1, "news");
    let looked = node.look(&key, last, 1).await.unwrap();
    assert_eq!(looked.offset, last);
    assert!(before.await.unwrap().unwrap().offset <= last);
}

/// A session of a node that nobody reads there, whose last record its tail lost, as who polls it sees it.
async fn seen_within(world: &World, node: &Sessions, key: &SessionKey, last: Offset, within: Duration) {
    let deadline = tokio::time::Instant::now() + within;
    while node.look(key, Offset::NONE, 1).await.unwrap().offset < last {
        assert!(tokio::time::Instant::now() < deadline, "an old state is served for more than {within:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.truth(key).1, last);
}

/// Its run has ended: nothing of it is under way.
async fn idle() -> (World, Sessions, SessionKey) {
    let (world, node, key) = world().await;
    let cancel = Action::Cancel { run: None, reason: String::new() };
    node.submit(&key, command("cancel", cancel), None, Offset::NONE).await.unwrap();
    (world, node, key)
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_does_not_miss_its_last_record_for_long() {
    let (world, node, key) = idle().await;
    let last = world.log.append_elsewhere(&key, Record { command: None, at_ms: 1, by: None, events: vec![] }.encode().into());
    seen_within(&world, &node, &key, last, Duration::from_secs(34)).await;
}

#[tokio::test(start_paused = true)]
async fn all_sessions_are_looked_at_when_the_connection_was_lost() {
    let (world, node, key) = idle().await;
    let last = world.log.append_elsewhere(&key, Record { command: None, at_ms: 1, by: None, events: vec![] }.encode().into());
    world.log.tails.fetch_add(1, Relaxed);
    seen_within(&world, &node, &key, last, Duration::from_secs(4)).await;
}
