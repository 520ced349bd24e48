//! What senders are told of their commands and output is true of what the log has, also when it is stuck, and when a node goes away.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfold_fold::{Action, Command, Custom, Offset, Record, SessionKey, Settled, Verdict};
use fanfold_session::{HostError, Receipt, SessionConfig, Sessions, SubmitError};
use support::log::Faults;
use support::{World, ask, command, key, open, start, text};
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Answered = JoinHandle<Result<Receipt, SubmitError>>;

async fn opened(faults: Faults, config: SessionConfig) -> (World, Sessions, SessionKey) {
    let world = World::new(1, faults);
    let node = world.node(config).await;
    let key = key("s");
    node.submit(&key, open(), None, Offset::NONE).await.unwrap();
    (world, node, key)
}

fn fact(id: &str, bytes: usize) -> Command {
    let custom = Custom { kind: "fact".into(), content_type: "text/plain".into(), payload: vec![b'x'; bytes] };
    command(id, Action::Custom(custom))
}

/// Sends it, and goes on once its session has it.
async fn sent(node: &Sessions, key: &SessionKey, command: Command) -> Answered {
    let (node, key) = (node.clone(), key.clone());
    let answered = tokio::spawn(async move { node.submit(&key, command, None, Offset::NONE).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    answered
}

async fn answer_of(answered: Answered) -> Result<Receipt, SubmitError> {
    tokio::time::timeout(Duration::from_secs(120), answered).await.expect("everybody is answered").unwrap()
}

/// The commands that the log has.
fn logged(world: &World, key: &SessionKey) -> Vec<String> {
    let commands = world.log.records(key).into_iter().map(|stored| Record::decode(&stored.record).unwrap().command);
    commands.map(|command| command.map_or_else(String::new, |id| id.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_away_waits_for_the_verdict() {
    // Nothing comes by the tail: only the confirmation says that it was stored.
    let (world, node, key) = opened(Faults { lost: 100, ..Faults::default() }, SessionConfig::default()).await;
    world.log.confirm_ms.store(1000, Ordering::Relaxed);
    let answered = sent(&node, &key, ask(1)).await;
    assert!(node.drain(Instant::now() + Duration::from_secs(10)).await);
    assert_eq!(answer_of(answered).await.unwrap().verdict, Verdict::Applied);
    assert_eq!(world.store.rows.lock().unwrap()[&key].open_runs, 1, "what came last is kept as well");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_away_never_calls_a_stored_command_not_applied() {
    let (world, node, key) = opened(Faults { lost: 100, ..Faults::default() }, SessionConfig::default()).await;
    // Nor can the log be asked.
    world.log.confirm_ms.store(60_000, Ordering::Relaxed);
    world.log.away.store(true, Ordering::Relaxed);
    let stored = sent(&node, &key, ask(1)).await;
    let queued = sent(&node, &key, ask(2)).await;
    assert!(node.drain(Instant::now() + Duration::from_secs(10)).await, "it doesn't wait for longer than who waits");
    assert!(matches!(answer_of(stored).await, Err(SubmitError::Unknown)));
    assert!(matches!(answer_of(queued).await, Err(SubmitError::Host(HostError::Busy))));
    assert_eq!(logged(&world, &key), ["open", "ask1"]);
    let late = node.submit(&key, ask(3), None, Offset::NONE).await;
    assert!(matches!(late, Err(SubmitError::Host(HostError::Draining))));
}

#[tokio::test(start_paused = true)]
async fn another_try_that_fails_says_nothing_of_the_first() {
    let (world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    // The actor fails over what it has just appended, and the next one can't be loaded.
    world.observer.panics.store(true, Ordering::Relaxed);
    world.log.confirm_ms.store(1000, Ordering::Relaxed);
    world.store.away.store(true, Ordering::Relaxed);
    let answer = node.submit(&key, ask(1), None, Offset::NONE).await;
    assert!(matches!(answer, Err(SubmitError::Unknown)), "{answer:?}");
    assert_eq!(logged(&world, &key), ["open", "ask1"]);
    // Nobody had this one: not applied.
    let answer = node.submit(&key, ask(2), None, Offset::NONE).await;
    assert!(matches!(answer, Err(SubmitError::Host(HostError::Unavailable(_)))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_meets_a_command_that_its_sender_has_given_up() {
    let (world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    world.log.stuck.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let first = sent(&node, &key, fact("first", 10)).await;
    let mut behind = Vec::new();
    for n in 0..100 {
        behind.push(sent(&node, &key, fact(&format!("behind{n}"), 10)).await);
    }
    assert!(matches!(answer_of(first).await, Err(SubmitError::Unknown)), "it may yet be stored");
    for answered in behind {
        assert!(matches!(answer_of(answered).await, Err(SubmitError::Host(HostError::Busy))), "it won't be");
    }
    assert!(began.elapsed() < Duration::from_secs(6));
    // Its first try is still under way.
    let again = node.submit(&key, fact("first", 10), None, Offset::NONE).await;
    assert!(matches!(again, Err(SubmitError::Unknown)), "{again:?}");
    world.log.stuck.store(false, Ordering::Relaxed);
    let next = node.submit(&key, fact("next", 10), None, Offset::NONE).await.unwrap();
    assert_eq!(next.verdict, Verdict::Applied);
    assert_eq!(logged(&world, &key), ["open", "first", "next"]);
    let again = node.submit(&key, fact("first", 10), None, Offset::NONE).await.unwrap();
    assert_eq!(again.verdict, Verdict::Repeated(Settled::Applied));
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_id_under_way_one_has_acted() {
    let (world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    world.log.stuck.store(true, Ordering::Relaxed);
    let first = sent(&node, &key, fact("same", 10)).await;
    let second = sent(&node, &key, fact("same", 20)).await;
    world.log.stuck.store(false, Ordering::Relaxed);
    assert_eq!(answer_of(first).await.unwrap().verdict, Verdict::Applied);
    assert_eq!(answer_of(second).await.unwrap().verdict, Verdict::Repeated(Settled::Applied));
    assert_eq!(logged(&world, &key), ["open", "same"]);
}

/// Room may come between two pieces of one producer, who has both under way.
#[tokio::test(start_paused = true)]
async fn output_behind_what_found_no_room_waits_for_its_repetition() {
    let small = SessionConfig { waiting_max: 1, ..SessionConfig::default() };
    let (world, node, key) = opened(Faults::default(), small).await;
    for command in [ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    let say = |seq| node.produce(&key, text(1, seq, &format!("{seq} ")), 1, None);
    let busy = |answer: Result<_, _>| assert!(matches!(answer, Err(SubmitError::Host(HostError::Busy))), "{answer:?}");
    world.log.stuck.store(true, Ordering::Relaxed);
    let (node_again, key_again) = (node.clone(), key.clone());
    let first = tokio::spawn(async move { node_again.produce(&key_again, text(1, 1, "1 "), 1, None).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    busy(say(2).await);
    world.log.stuck.store(false, Ordering::Relaxed);
    answer_of(first).await.unwrap();
    busy(say(3).await);
    for seq in 2..=3 {
        say(seq).await.unwrap();
    }
    let view = world.truth(&key).0;
    let reply = view.view().messages.get(&"a1".parse().unwrap()).unwrap();
    assert_eq!(reply.parts[0].stream(), Some("1 2 3 "));
}

/// Nothing waited behind it when it was given up.
#[tokio::test(start_paused = true)]
async fn output_after_what_was_given_up_waits_for_its_repetition() {
    let (world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    for command in [ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    let say = |seq| node.produce(&key, text(1, seq, &format!("{seq} ")), 1, None);
    world.log.stuck.store(true, Ordering::Relaxed);
    assert!(matches!(say(1).await, Err(SubmitError::Unknown)));
    let behind = say(2).await;
    assert!(matches!(behind, Err(SubmitError::Host(HostError::Busy))), "{behind:?}");
    world.log.stuck.store(false, Ordering::Relaxed);
    for seq in 1..=2 {
        say(seq).await.unwrap();
    }
    let view = world.truth(&key).0;
    let reply = view.view().messages.get(&"a1".parse().unwrap()).unwrap();
    assert_eq!(reply.parts[0].stream(), Some("1 2 "));
}

#[tokio::test(start_paused = true)]
async fn output_behind_what_was_given_up_does_not_overtake_it() {
    let (world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    for command in [ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    world.log.stuck.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let said = (1..=3).map(|seq| {
        let (node, key) = (node.clone(), key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seq)).await;
            node.produce(&key, text(1, seq, &format!("{seq} ")), 1, None).await
        })
    });
    let said: Vec<_> = said.collect();
    let mut answers = Vec::new();
    for answered in said {
        answers.push(answer_of(answered).await);
    }
    assert!(matches!(answers[0], Err(SubmitError::Unknown)), "{answers:?}");
    let turned_away = |answer: &Result<_, _>| matches!(answer, Err(SubmitError::Host(HostError::Busy)));
    assert!(answers[1..].iter().all(turned_away), "{answers:?}");
    assert!(began.elapsed() < Duration::from_millis(6500), "with the first, which was given up after five seconds");
    world.log.stuck.store(false, Ordering::Relaxed);
    for seq in 1..=3 {
        node.produce(&key, text(1, seq, &format!("{seq} ")), 1, None).await.unwrap();
    }
    let view = world.truth(&key).0;
    let reply = view.view().messages.get(&"a1".parse().unwrap()).unwrap();
    assert_eq!(reply.parts[0].stream(), Some("1 2 3 "));
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_a_limit_in_bytes() {
    let config = SessionConfig { waiting_bytes_max: 100_000, ..SessionConfig::default() };
    let (world, node, key) = opened(Faults::default(), config).await;
    world.log.stuck.store(true, Ordering::Relaxed);
    // One always may wait, however large.
    let large = sent(&node, &key, fact("large", 200_000)).await;
    let began = Instant::now();
    let answer = node.submit(&key, fact("small", 10), None, Offset::NONE).await;
    assert!(matches!(answer, Err(SubmitError::Host(HostError::Busy))), "{answer:?}");
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing waits that has no room");
    world.log.stuck.store(false, Ordering::Relaxed);
    assert_eq!(answer_of(large).await.unwrap().verdict, Verdict::Applied);
    world.log.stuck.store(true, Ordering::Relaxed);
    let one = sent(&node, &key, fact("one", 60_000)).await;
    let two = sent(&node, &key, fact("two", 30_000)).await;
    let three = node.submit(&key, fact("three", 30_000), None, Offset::NONE).await;
    assert!(matches!(three, Err(SubmitError::Host(HostError::Busy))), "{three:?}");
    world.log.stuck.store(false, Ordering::Relaxed);
    for answered in [one, two] {
        assert_eq!(answer_of(answered).await.unwrap().verdict, Verdict::Applied);
    }
    node.submit(&key, fact("three", 30_000), None, Offset::NONE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_conditional_command_said_again_hears_of_the_first() {
    let (_world, node, key) = opened(Faults::default(), SessionConfig::default()).await;
    let last = node.look(&key, Offset::NONE, 0).await.unwrap().offset;
    let first = node.submit(&key, fact("f", 10), Some(last), Offset::NONE).await.unwrap();
    assert_eq!(first.verdict, Verdict::Applied);
    let again = node.submit(&key, fact("f", 10), Some(last), Offset::NONE).await.unwrap();
    assert_eq!(again.verdict, Verdict::Repeated(Settled::Applied));
    let other = node.submit(&key, fact("g", 10), Some(last), Offset::NONE).await;
    assert!(matches!(other, Err(SubmitError::Conflict { .. })), "{other:?}");
}

/// A session that takes `hydration` to come into memory.
async fn slow(hydration: Duration, config: SessionConfig) -> (World, Sessions, SessionKey) {
    let (world, _, key) = opened(Faults::default(), SessionConfig::default()).await;
    world.log.read_ms.store(hydration.as_millis() as u64, Ordering::Relaxed);
    let node = world.node(config).await;
    (world, node, key)
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_slow_session_longer_than_for_anything_else() {
    let (world, node, key) = slow(Duration::from_secs(60), SessionConfig::default()).await;
    let began = Instant::now();
    let written = sent(&node, &key, fact("f", 10)).await;
    let read = node.look(&key, Offset::NONE, 0).await;
    assert!(matches!(read, Err(HostError::Busy)), "{read:?}");
    assert!(matches!(answer_of(written).await, Err(SubmitError::Host(HostError::Busy))), "nothing was begun");
    assert!(began.elapsed() < Duration::from_secs(6));
    // Those who come back find the same hydration further on.
    while node.look(&key, Offset::NONE, 0).await.is_err() {}
    assert!(began.elapsed() < Duration::from_secs(61));
    assert_eq!(logged(&world, &key), ["open"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_tells_a_slow_session_takes_nobodys_place() {
    let config = SessionConfig { waiting_max: 2, idle_after: Duration::ZERO, ..SessionConfig::default() };
    let (_world, node, key) = slow(Duration::from_secs(3), config).await;
    let first = sent(&node, &key, fact("first", 10)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = sent(&node, &key, fact("second", 10)).await;
    let third = node.submit(&key, fact("third", 10), None, Offset::NONE).await;
    assert!(matches!(third, Err(SubmitError::Host(HostError::Busy))), "{third:?}");
    // Nor does it get lost where no place is left.
    assert!(node.drain(Instant::now() + Duration::from_secs(10)).await);
    for answered in [first, second] {
        assert_eq!(answer_of(answered).await.unwrap().verdict, Verdict::Applied);
    }
}
