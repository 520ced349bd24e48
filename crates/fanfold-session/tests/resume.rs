//! Readers that come and go, on a log that loses, doubles and reorders, see exactly what the log says.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::Duration;

use fanfold_fold::{
    Action, Cursor, Epoch, FOLD_VERSION, FoldVersion, Offset, Output, SessionKey, SessionOpened, Settled, State, Verdict,
};
use fanfold_session::{
    Ended, Filled, FormatId, HostError, How, Mode, Reset, SessionConfig, Sessions, Start, SubmitError, Subscribe, SubscribeError,
    Subscribed,
};
use fanfold_store::{SegmentKey, Snapshot, SnapshotStore as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::log::Faults;
use support::{Reader, World, ask, key, open, start, text};

/// Says the same until it has a verdict, as a producer does.
async fn produce(node: &Sessions, key: &SessionKey, output: Output) {
    loop {
        match node.produce(key, output.clone(), 1, None).await {
            Ok(receipt) => {
                assert!(matches!(receipt.verdict, Verdict::Applied | Verdict::Repeated(Settled::Applied)), "{receipt:?}");
                return;
            }
            Err(SubmitError::Unknown | SubmitError::Overloaded | SubmitError::Host(HostError::Busy)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn submit(node: &Sessions, key: &SessionKey, command: fanfold_fold::Command) {
    loop {
        match node.submit(key, command.clone(), None, Offset::NONE).await {
            Ok(receipt) => {
                assert!(matches!(receipt.verdict, Verdict::Applied | Verdict::Repeated(Settled::Applied)), "{receipt:?}");
                return;
            }
            Err(SubmitError::Unknown | SubmitError::Overloaded | SubmitError::Host(HostError::Busy)) => {}
            // The first one was stored although its answer was lost.
            Err(SubmitError::Conflict { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn completed(node: &Sessions, key: &SessionKey, seq: u64) {
    let completed = fanfold_fold::Completed { reason: fanfold_fold::FinishReason::Stop, steered: None };
    produce(node, key, Output { said: vec![completed.into()], ..text(1, seq, "") }).await;
}

async fn writes(node: Sessions, key: SessionKey, texts: usize) {
    submit(&node, &key, open()).await;
    submit(&node, &key, ask(1)).await;
    submit(&node, &key, start(1)).await;
    for seq in 1..=texts as u64 {
        produce(&node, &key, text(1, seq, &format!("{seq}é "))).await;
    }
}

/// Two nodes, one log, readers that hop between them at random moments.
async fn hop(seed: u64, faults: Faults, ring_bytes_max: usize) {
    let world = World::new(seed, faults);
    let key = key("s");
    let config = SessionConfig { ring_bytes_max, merge_above_bytes: ring_bytes_max / 4, ..SessionConfig::default() };
    let nodes = [world.node(config.clone()).await, world.node(config).await];
    let mut rng = StdRng::seed_from_u64(seed);
    submit(&nodes[0], &key, open()).await;
    let writer = tokio::spawn(writes(nodes[0].clone(), key.clone(), 300));
    let mut readers: Vec<Reader> = (0..4).map(|_| Reader::new(&world)).collect();
    while !writer.is_finished() {
        for reader in &mut readers {
            let mode = if rng.random_bool(0.2) { Mode::Full } else { Mode::Deltas };
            reader.connect(&nodes[rng.random_range(0..2)], &key, mode).await;
            for _ in 0..rng.random_range(0..6) {
                reader.pump().await;
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..5))).await;
            }
            reader.disconnect();
        }
    }
    writer.await.unwrap();
    let (truth, last) = world.truth(&key);
    for (at, reader) in readers.iter_mut().enumerate() {
        reader.connect(&nodes[at % 2], &key, Mode::Deltas).await;
        reader.until(last).await;
        assert_eq!(&reader.view, truth.view(), "seed {seed}, reader {at}");
    }
    let text = truth.view().messages.get(&"a1".parse().unwrap()).unwrap().parts[0].stream().unwrap().to_owned();
    let expected: String = (1..=300).map(|seq| format!("{seq}é ")).collect();
    assert_eq!(text, expected, "each token once, in order");
}

fn seeds() -> Vec<u64> {
    match std::env::var("FANFOLD_SEED") {
        Ok(seed) => vec![seed.parse().expect("FANFOLD_SEED is a number")],
        Err(_) => (1..=12).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn readers_hop_between_nodes_without_faults() {
    for seed in seeds() {
        hop(seed, Faults::default(), 256 * 1024).await;
    }
}

#[tokio::test(start_paused = true)]
async fn readers_hop_while_the_log_misbehaves() {
    let faults = Faults { lost: 5, doubled: 10, late: 10, unconfirmed: 5, refused: 5, gap: 3 };
    for seed in seeds() {
        hop(seed, faults, 256 * 1024).await;
    }
}

#[tokio::test(start_paused = true)]
async fn readers_are_lapped_by_a_small_ring() {
    for seed in seeds() {
        hop(seed, Faults { lost: 3, ..Faults::default() }, 600).await;
    }
}

async fn subscribe(node: &Sessions, key: &SessionKey, start: Start) -> Result<Subscribed, SubscribeError> {
    let request = Subscribe { start, format: FormatId(0), mode: Mode::Deltas, window: 100 };
    node.subscribe(key, request, &Default::default(), 0).await
}

async fn written() -> (World, Sessions, SessionKey) {
    let world = World::new(1, Faults::default());
    let key = key("s");
    let node = world.node(SessionConfig::default()).await;
    writes(node.clone(), key.clone(), 20).await;
    (world, node, key)
}

#[tokio::test(start_paused = true)]
async fn each_cursor_has_its_answer() {
    let (world, node, key) = written().await;
    let (_, last) = world.truth(&key);
    let first = world.log.records(&key)[0].offset;
    let (epoch, other) = (world.log.epoch, Epoch(uuid::Uuid::from_u128(9)));
    let at = |epoch, fold, offset: Offset| Cursor::new(&key, epoch, fold, offset);
    let rows = [
        (at(epoch, FOLD_VERSION, last), How::Resumed),
        (at(epoch, FOLD_VERSION, world.log.records(&key)[5].offset), How::Resumed),
        (at(other, FOLD_VERSION, last), How::Snapshot(Reset::EpochChanged)),
        (at(epoch, FoldVersion(999), last), How::Snapshot(Reset::FoldChanged)),
        (at(epoch, FOLD_VERSION, Offset(last.0 + 1)), How::Snapshot(Reset::AheadOfHistory)),
        // Before the first record: made up, or older than what is kept.
        (at(epoch, FOLD_VERSION, Offset(first.0 - 1)), How::Snapshot(Reset::TooOld)),
    ];
    for (cursor, expected) in rows {
        let how = subscribe(&node, &key, Start::After(cursor)).await.unwrap().how;
        assert_eq!(how, expected, "{cursor}");
    }
    let foreign = Cursor::new(&support::key("t"), epoch, FOLD_VERSION, last);
    assert!(matches!(subscribe(&node, &key, Start::After(foreign)).await, Err(SubscribeError::OtherSession)));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_a_lagging_node_waits_for_it() {
    let (world, node, key) = written().await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    let rows = [(FOLD_VERSION, How::Resumed), (FoldVersion(999), How::Snapshot(Reset::FoldChanged))];
    for (at, (fold, how)) in rows.into_iter().enumerate() {
        // Another node appends, and this one's tail hears nothing of it.
        let record = fanfold_fold::Record {
            command: None,
            at_ms: 1,
            by: None,
            events: vec![fanfold_fold::Event::Output(text(1, 21 + at as u64, "elsewhere"))],
        };
        let ahead = world.log.append_elsewhere(&key, record.encode().into());
        let cursor = Cursor::new(&key, world.log.epoch, fold, ahead);
        let subscribed = subscribe(&node, &key, Start::After(cursor)).await.unwrap();
        assert_eq!((subscribed.how, subscribed.head), (how, ahead));
    }
    reader.until(world.truth(&key).1).await;
    assert_eq!(&reader.view, world.truth(&key).0.view());
}

#[tokio::test(start_paused = true)]
async fn a_node_restarted_resumes_from_snapshot_and_tail() {
    let (world, node, key) = written().await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    reader.until(world.truth(&key).1).await;
    assert!(node.drain(tokio::time::Instant::now() + Duration::from_secs(5)).await, "drained in time");
    assert_eq!(reader.pump().await, Filled::Ended(Ended::Gone));
    assert!(!world.store.snapshots.lock().unwrap().is_empty(), "the state was kept on the way out");
    let node = world.node(SessionConfig::default()).await;
    produce(&node, &key, text(1, 21, "after")).await;
    assert_eq!(reader.connect(&node, &key, Mode::Deltas).await, How::Resumed);
    let (truth, last) = world.truth(&key);
    reader.until(last).await;
    assert_eq!(&reader.view, truth.view());
}

/// An epoch may have ended because the log lost records: what its snapshots include counts only as far as its records are archived.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_an_earlier_epoch_counts_as_far_as_the_archive_has_its_records() {
    let (world, node, key) = written().await;
    let (truth, _) = world.truth(&key);
    let offsets: Vec<_> = world.log.records(&key).iter().map(|stored| stored.offset).collect();
    assert!(node.drain(tokio::time::Instant::now() + Duration::from_secs(5)).await, "drained in time");
    // Two states that no record leads to, so that it shows where a session was folded from.
    let (ended, lost) = (Epoch(uuid::Uuid::from_u128(9)), offsets[9]);
    let of = |text: &str| {
        let mut state = State::default();
        let action = Action::Open(SessionOpened { title: Some(text.to_owned()), user: None });
        let command = fanfold_fold::Command { id: "open".parse().unwrap(), at_ms: 1, by: None, action };
        state.apply(&state.decide(&command).unwrap());
        state
    };
    let put = async |text: &str, offset: Offset| {
        let snapshot = Snapshot { epoch: ended, offset, fold: FOLD_VERSION, state: of(text).encode().into() };
        world.store.put(&key, &snapshot).await.unwrap();
    };
    let title = async || {
        let node = world.node(SessionConfig::default()).await;
        node.look(&key, Offset::NONE, 100).await.unwrap().view.session.title
    };
    world.store.snapshots.lock().unwrap().clear();
    put("archived", offsets[4]).await;
    put("lost", lost).await;
    assert_eq!(title().await, truth.view().session.title, "nothing is archived: both may include what is lost");
    let segment = |last: Offset| SegmentKey { epoch: ended, first: offsets[0], last };
    world.store.segments.lock().unwrap().push(segment(Offset(lost.0 - 1)));
    assert_eq!(title().await.as_deref(), Some("archived"), "the archive has what this one includes, and not what the other does");
    world.store.segments.lock().unwrap().push(segment(lost));
    assert_eq!(title().await.as_deref(), Some("lost"));
}

/// A log that was given up and begun anew knows nothing of what a session had: what is appended follows on nothing.
#[tokio::test(start_paused = true)]
async fn a_session_whose_log_was_lost_goes_on_from_its_snapshot() {
    let (world, node, key) = written().await;
    let (before, last) = world.truth(&key);
    assert!(node.drain(tokio::time::Instant::now() + Duration::from_secs(5)).await, "drained in time");
    world.log.lose(&key);
    let node = world.node(SessionConfig::default()).await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    assert_eq!(&reader.view, before.view());
    let reads = world.log.reads.load(std::sync::atomic::Ordering::Relaxed);
    let asked = node.submit(&key, ask(2), None, Offset::NONE).await.unwrap();
    assert_eq!(asked.verdict, Verdict::Applied);
    assert!(asked.offset > last);
    reader.until(asked.offset).await;
    assert_eq!(reader.view.messages.len(), before.view().messages.len() + 2);
    let reads = world.log.reads.load(std::sync::atomic::Ordering::Relaxed) - reads;
    assert!(reads < 10, "{reads} reads for one gap");
}

#[tokio::test(start_paused = true)]
async fn a_replay_shows_the_past_step_by_step() {
    let (world, node, key) = written().await;
    let (truth, last) = world.truth(&key);
    for from in [Offset::NONE, world.log.records(&key)[2].offset] {
        let mut reader = Reader::new(&world);
        reader.connect_from(&node, &key, Mode::Deltas, Start::Replay(from)).await;
        assert_eq!(reader.cursor.unwrap().offset, from);
        reader.until(last).await;
        assert_eq!(&reader.view, truth.view());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_leave_memory_and_come_back() {
    let (world, node, key) = written().await;
    completed(&node, &key, 21).await;
    assert_eq!(node.stats().sessions, 1);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(node.stats().sessions, 0, "let go after idle time");
    let looked = node.look(&key, Offset::NONE, usize::MAX).await.unwrap();
    let (truth, last) = world.truth(&key);
    assert_eq!((&looked.view, looked.offset), (truth.view(), last));
}

/// Whoever sees to it that runs end is told of them only while the session is there.
#[tokio::test(start_paused = true)]
async fn an_open_run_keeps_its_session_in_memory_and_others_out_of_nobodys_way() {
    let (world, node, key) = written().await;
    let small = SessionConfig { bytes_max: 1, ..SessionConfig::default() };
    let crowded = world.node(small).await;
    for (node, others) in [(&node, 0), (&crowded, 3)] {
        node.look(&key, Offset::NONE, 0).await.unwrap();
        for n in 0..others {
            node.look(&support::key(&format!("other{n}")), Offset::NONE, 0).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(if others > 0 { 5 } else { 300 })).await;
        assert_eq!((node.hosts(&key), node.stats().sessions), (true, 1), "it alone, also where there is no room");
    }
    completed(&node, &key, 21).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!((node.stats().sessions, crowded.stats().sessions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_keeps_its_session_in_memory() {
    let (world, node, key) = written().await;
    completed(&node, &key, 21).await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(node.stats().sessions, 1);
    reader.disconnect();
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(node.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_answer_comes_keeps_nothing_in_memory() {
    let (world, elsewhere, key) = written().await;
    completed(&elsewhere, &key, 21).await;
    let node = world.node(SessionConfig::default()).await;
    world.log.read_ms.store(100, std::sync::atomic::Ordering::Relaxed);
    let left = tokio::time::timeout(Duration::from_millis(50), subscribe(&node, &key, Start::Now)).await;
    assert!(left.is_err(), "it left while the session was being read");
    // The other one's session is there when it comes, and this one asks for what is ahead of the node.
    let ahead = Cursor::new(&key, world.log.epoch, FOLD_VERSION, Offset(world.truth(&key).1.0 + 1));
    let waits = subscribe(&node, &key, Start::After(ahead));
    assert!(tokio::time::timeout(Duration::from_millis(50), waits).await.is_err());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((node.stats().sessions, node.stats().readers), (1, 0));
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(node.stats().sessions, 0, "I5 bounded");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_stops_nothing_that_is_in_memory() {
    let (world, node, key) = written().await;
    world.store.away.store(true, std::sync::atomic::Ordering::Relaxed);
    completed(&node, &key, 21).await;
    let error = node.look(&support::key("other"), Offset::NONE, 1).await.unwrap_err();
    assert!(matches!(error, HostError::Unavailable(_)), "never empty: {error:?}");
    // It leaves memory all the same: the log has everything.
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(node.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_marks_the_session_and_stops_nothing() {
    let (world, node, key) = written().await;
    let poison = world.log.append_elsewhere(&key, bytes::Bytes::from_static(b"\x01\x00not a record"));
    produce(&node, &key, text(1, 21, "on")).await;
    let looked = node.look(&key, poison, usize::MAX).await.unwrap();
    assert_eq!(looked.degraded, Some(poison));
    assert!(looked.offset > poison);
}

#[tokio::test(start_paused = true)]
async fn presence_is_shown_and_fades() {
    let (world, node, key) = written().await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    assert!(node.set_presence(&key, "ann", Some("typing")).await.unwrap());
    reader.pump().await;
    assert_eq!(reader.present.len(), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    reader.pump().await;
    assert!(reader.present.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_encoded_once_for_all_its_readers() {
    let (world, node, key) = written().await;
    let mut readers: Vec<Reader> = (0..50).map(|_| Reader::new(&world)).collect();
    for reader in &mut readers {
        reader.connect(&node, &key, Mode::Deltas).await;
    }
    let before = world.frames.encoded();
    produce(&node, &key, text(1, 21, "once")).await;
    let last = world.truth(&key).1;
    for reader in &mut readers {
        reader.until(last).await;
    }
    assert_eq!(world.frames.encoded() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn commands_that_follow_each_other_at_once_are_judged_in_order() {
    let (world, node, key) = written().await;
    let cancel = |run: &str| {
        let action = fanfold_fold::Action::Cancel { run: Some(run.parse().unwrap()), reason: String::new() };
        support::command(&format!("cancel-{run}"), action)
    };
    // The second asks for what the first one, still on its way to the log, brings about.
    let (asked, cancelled) =
        tokio::join!(node.submit(&key, ask(2), None, Offset::NONE), node.submit(&key, cancel("r2"), None, Offset::NONE));
    assert_eq!((asked.unwrap().verdict, cancelled.unwrap().verdict), (Verdict::Applied, Verdict::Applied));
    assert_eq!(world.truth(&key).0.view().run(&"r2".parse().unwrap()).unwrap().status, fanfold_fold::RunStatus::Cancelled);
    let unknown = node.submit(&key, cancel("r9"), None, Offset::NONE).await.unwrap();
    assert_eq!(unknown.verdict, Verdict::Refused(fanfold_fold::Refusal::RunNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_cannot_be_read_at_first_is_closed_when_the_log_is_back() {
    let world = World::new(1, Faults::default());
    world.log.guarded.store(false, std::sync::atomic::Ordering::Relaxed);
    let key = key("s");
    let node = world.node(SessionConfig::default()).await;
    writes(node.clone(), key.clone(), 20).await;
    let mut reader = Reader::new(&world);
    reader.connect(&node, &key, Mode::Deltas).await;
    // This node's tail misses one record, sees the next, and can't read what lies between.
    world.log.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let event = fanfold_fold::Event::Output(text(1, 21, "elsewhere"));
    let record = fanfold_fold::Record { command: None, at_ms: 1, by: None, events: vec![event] };
    world.log.append_elsewhere(&key, record.encode().into());
    let late = tokio::spawn({
        let (node, key) = (node.clone(), key.clone());
        async move { node.produce(&key, text(1, 22, "here"), 1, None).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!late.is_finished(), "no verdict before the gap is closed");
    world.log.away.store(false, std::sync::atomic::Ordering::Relaxed);
    let (truth, last) = world.truth(&key);
    reader.until(last).await;
    assert_eq!(&reader.view, truth.view());
    assert_eq!(late.await.unwrap().unwrap().verdict, Verdict::Applied);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_closed_also_when_nobody_asks_for_anything() {
    let world = World::new(1, Faults::default());
    world.log.guarded.store(false, std::sync::atomic::Ordering::Relaxed);
    let key = key("s");
    let nodes = [world.node(SessionConfig::default()).await, world.node(SessionConfig::default()).await];
    writes(nodes[0].clone(), key.clone(), 20).await;
    let mut reader = Reader::new(&world);
    reader.connect(&nodes[0], &key, Mode::Deltas).await;
    nodes[1].look(&key, Offset::NONE, 1).await.unwrap();
    world.log.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let event = fanfold_fold::Event::Output(text(1, 21, "elsewhere"));
    let record = fanfold_fold::Record { command: None, at_ms: 1, by: None, events: vec![event] };
    world.log.append_elsewhere(&key, record.encode().into());
    // The other node's producer: nothing waits on the reader's node.
    let other = tokio::spawn({
        let (node, key) = (nodes[1].clone(), key.clone());
        async move { node.produce(&key, text(1, 22, "there"), 1, None).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.log.away.store(false, std::sync::atomic::Ordering::Relaxed);
    let (truth, last) = world.truth(&key);
    reader.until(last).await;
    assert_eq!(&reader.view, truth.view());
    other.await.unwrap().unwrap();
}
