//! What holds over restarts: everything acknowledged before a kill, one process at a time, and no store that lost a part.
//!
//! The child is this test binary itself. It says what it was told is stored; the parent kills it with SIGKILL at a random moment,
//! and looks. After `kill -9` the kernel still has every page that was written: this tests the order of write, sync and answer, not
//! the sync itself. `FANFOLD_CRASH_ROUNDS` sets the rounds, `FANFOLD_SEED` replays a run's moments as far as a scheduler allows.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
#![allow(clippy::print_stdout, reason = "the child's way of telling what it was told")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{
    Archive, Begun, EmbeddedStore, EmbeddedStoreConfig, NoteKind, Notes, OpenError, Parking, Segment, SessionIndex, SessionRow,
    Snapshot, SnapshotStore, Tries,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CHILD_DIR: &str = "FANFOLD_CRASH_CHILD_DIR";
const CHILD_FROM: &str = "FANFOLD_CRASH_CHILD_FROM";
const SESSIONS: usize = 6;
const ROUNDS: usize = 30;
const EPOCH: Epoch = Epoch(uuid::Uuid::from_u128(9));
const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

/// Some are large, so that kills hit the writing of blobs, too.
fn state(number: usize, offset: u64) -> Bytes {
    Bytes::from(format!("{number}/{offset} ").repeat(if offset.is_multiple_of(11) { 4000 } else { 20 }))
}

fn record(offset: u64) -> (Offset, u64, Bytes) {
    (Offset(offset), offset, Bytes::from(format!("record {offset}")))
}

fn open(dir: &Path) -> EmbeddedStore {
    let config = EmbeddedStoreConfig { dir: dir.into(), memtable_bytes_max: 64 << 10, ..EmbeddedStoreConfig::default() };
    EmbeddedStore::open_with(&config).unwrap_or_else(|error| panic!("the store opens after a kill: {error}"))
}

#[test]
fn everything_acknowledged_survives_a_kill() {
    let rounds = std::env::var("FANFOLD_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("FANFOLD_SEED={seed} rounds={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut acknowledged, mut came, mut midway) = ([0; SESSIONS], [0; SESSIONS], 0);
    for _ in 0..rounds {
        let before = acknowledged;
        round_of_kill(dir.path(), &mut random, came, &mut acknowledged);
        midway += usize::from(acknowledged != before);
        let store = open(dir.path());
        for (number, came) in came.iter_mut().enumerate() {
            *came = runtime.block_on(check(&store, number, acknowledged[number]));
        }
    }
    println!("{acknowledged:?} acknowledged, {midway} of {rounds} kills while puts went on");
    assert!(midway * 2 > rounds, "a test that kills before anything is put tests nothing");
}

/// Starts a child, lets it go on for a while, kills it, and notes what it was told.
fn round_of_kill(dir: &Path, random: &mut StdRng, came: [u64; SESSIONS], acknowledged: &mut [u64; SESSIONS]) {
    let from = came.map(|offset| offset.to_string()).join(",");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_FROM, from)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines_max = if random.random_ratio(1, 10) { 0 } else { random.random_range(1..120) };
    let pause = Duration::from_micros(random.random_range(0..5000));
    let mut note = |line: &str| {
        let Some((number, offset)) = line.strip_prefix("ack ").and_then(|line| line.strip_suffix('.')?.split_once(' ')) else {
            return;
        };
        acknowledged[number.parse::<usize>().unwrap()] = offset.parse().unwrap();
    };
    lines.by_ref().take(lines_max).for_each(|line| note(&line.unwrap()));
    std::thread::sleep(pause); // Not a wait for a condition: it is the random moment.
    child.kill().unwrap();
    child.wait().unwrap();
    lines.for_each(|line| note(&line.unwrap()));
}

/// Everything up to `acknowledged` is there. Returns how far the session's archive really came: the kill may have hit between its
/// last segment and the row and snapshot that were put beside it.
async fn check(store: &EmbeddedStore, number: usize, acknowledged: u64) -> u64 {
    let key = session(number);
    let row = store.row(&key).await.unwrap().map_or(0, |row| row.offset.0);
    assert!(row >= acknowledged, "I9 durable before acked: row of {key} at {row}, not {acknowledged}");
    let snapshot = store.newest(&key, EPOCH, FOLD, LAST).await.unwrap();
    let kept = snapshot.as_ref().map_or(0, |snapshot| snapshot.offset.0);
    assert!(kept >= acknowledged, "I9 durable before acked: snapshot of {key} at {kept}, not {acknowledged}");
    assert_eq!(snapshot.map_or_else(|| state(number, 0), |snapshot| snapshot.state), state(number, kept));
    let mut upto = 0;
    loop {
        let records = store.records(&key, Offset(upto), LAST, 1000).await.unwrap();
        let Some((last, ..)) = records.last() else { break };
        let last = last.0;
        assert_eq!(records, (upto + 1..=last).map(record).collect::<Vec<_>>());
        upto = last;
    }
    assert!(upto >= acknowledged, "I9 durable before acked: archive of {key} up to {upto}, not {acknowledged}");
    upto
}

/// The process that is killed. Not a test: run by the test above.
#[test]
#[ignore = "the child of everything_acknowledged_survives_a_kill"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let from = std::env::var(CHILD_FROM).unwrap();
    let store = open(Path::new(&dir));
    println!();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let from = from.split(',').map(|offset| offset.parse::<u64>().unwrap());
        let puts = from.enumerate().map(|(number, from)| tokio::spawn(put_for_ever(store.clone(), number, from)));
        futures::future::join_all(puts).await;
    });
}

async fn put_for_ever(store: EmbeddedStore, number: usize, from: u64) {
    let key = session(number);
    for offset in from + 1.. {
        let segment = Segment::new(EPOCH, Offset(offset - 1), vec![record(offset)]).unwrap();
        let snapshot = Snapshot { epoch: EPOCH, fold: FOLD, offset: Offset(offset), state: state(number, offset) };
        let row = SessionRow {
            key: key.clone(),
            user: None,
            title: None,
            status: "open".into(),
            opened_at_ms: 1,
            active_at_ms: offset,
            open_runs: 0,
            offset: Offset(offset),
        };
        let (segment, snapshot, row) =
            tokio::join!(store.put_segment(&key, &segment), store.put(&key, &snapshot), store.put_row(&row));
        segment.and(snapshot).and(row).unwrap();
        store.prune(&key, 2).await.unwrap();
        if std::io::stdout().lock().write_all(format!("ack {number} {offset}.\n").as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = EmbeddedStore::open(dir.path()).unwrap();
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(OpenError::Busy)));
    drop(first);
    EmbeddedStore::open(dir.path()).unwrap();
}

#[tokio::test]
async fn what_is_kept_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot { epoch: EPOCH, fold: FOLD, offset: Offset(4), state: state(0, 4) };
    {
        let store = EmbeddedStore::open(dir.path()).unwrap();
        store.put(&session(0), &snapshot).await.unwrap();
        assert_eq!(store.begin(&session(0), 1).await.unwrap(), Begun::Attempt(Tries::default()));
        store.put_note(NoteKind::Hook, "t/s/r", "still to be told".into()).await.unwrap();
    }
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.notes(NoteKind::Hook, None, 9).await.unwrap(), [("t/s/r".to_owned(), "still to be told".into())]);
    assert_eq!(store.newest(&session(0), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot));
    // Who began it had the folder alone, so it can't be under way any more.
    assert_eq!(store.begin(&session(0), 1).await.unwrap(), Begun::Attempt(Tries { broken_off: 1, failed: 0 }));
}

#[test]
fn a_store_without_a_part_does_not_open() {
    let check = |what: &str, damage: fn(&Path), is_right: fn(&OpenError) -> bool| {
        let dir = tempfile::tempdir().unwrap();
        drop(EmbeddedStore::open(dir.path()).unwrap());
        damage(dir.path());
        match EmbeddedStore::open(dir.path()) {
            Ok(_) => panic!("{what}: it opened"),
            Err(error) => assert!(is_right(&error), "{what}: {error:?}"),
        }
    };
    check("no database", |dir| std::fs::remove_dir_all(dir.join("db")).unwrap(), |error| matches!(error, OpenError::Missing(_)));
    check(
        "no keyspace",
        |dir| std::fs::remove_file(dir.join("db/keyspaces/2/current")).unwrap(),
        |error| matches!(error, OpenError::Missing(_)),
    );
    check(
        "no keyspace's folder",
        |dir| std::fs::remove_dir_all(dir.join("db/keyspaces/2")).unwrap(),
        |error| matches!(error, OpenError::Missing(_) | OpenError::Store(_)),
    );
    check(
        "a later format",
        |dir| std::fs::write(dir.join("format"), "fanfold store 2\n").unwrap(),
        |error| matches!(error, OpenError::Format),
    );
}
