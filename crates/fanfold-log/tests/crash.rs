//! Kills a process that appends, at random moments, and looks whether everything it was told is stored is there.
//!
//! The child is this test binary itself. It prints an offset only after `append` has returned it; the parent knows what the
//! record at that offset must be, reads what the child managed to print, and kills it with SIGKILL. A directory goes through
//! many rounds, so that each start-up also checks what every round before it has left.
//!
//! **What this does not test is the sync itself**: after `kill -9` the kernel still has every page that was written. It tests the
//! order of store, mark and answer, the replay, and that a kill at any moment leaves something that opens without a false
//! alarm. For the loss of power there is the code's order of syncs, and no test here.
//!
//! `FANFOLD_CRASH_ROUNDS` sets the rounds, `FANFOLD_SEED` replays one run's moments as far as a scheduler allows.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
#![allow(clippy::print_stdout, reason = "the child's way of telling what it was told")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Expect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CHILD_DIR: &str = "FANFOLD_CRASH_CHILD_DIR";
const CHILD_ROUND: &str = "FANFOLD_CRASH_CHILD_ROUND";
const SESSIONS: usize = 12;
const ROUNDS: usize = 300;

/// Rounds in one directory: a long journal takes its time to replay.
const ROUNDS_PER_DIR: usize = 20;

/// Acknowledged: offset → session, and the record's bytes.
type Acknowledged = BTreeMap<u64, (usize, Bytes)>;

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

/// What the `count`th append of a session in a round stores; some are large enough to cross pages.
fn record(round: usize, session: usize, count: usize) -> Bytes {
    let bytes = if count % 37 == 36 { 20_000 } else { 30 + (count * 7) % 300 };
    let mut text = format!("{round}/{session}/{count}:").into_bytes();
    while text.len() < bytes {
        text.push((round + session + count + text.len()) as u8);
    }
    Bytes::from(text)
}

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    // A small memtable, so that kills also hit the writing of tables and the letting go of journals.
    let config = EmbeddedLogConfig {
        dir: dir.into(),
        memtable_bytes_max: 256 << 10,
        duplicate_window_records: 500,
        ..EmbeddedLogConfig::default()
    };
    Arc::new(EmbeddedLog::open(config, Arc::new(|| 1)).unwrap_or_else(|error| panic!("the log opens after a kill: {error:?}")))
}

#[test]
fn every_acknowledged_record_survives_a_kill() {
    let rounds = std::env::var("FANFOLD_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("FANFOLD_SEED={seed} rounds={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (mut acknowledged, mut midway, mut total) = (Acknowledged::new(), 0, 0);
    for round in 0..rounds {
        if round % ROUNDS_PER_DIR == 0 {
            total += std::mem::take(&mut acknowledged).len();
            dir = tempfile::tempdir().unwrap();
        }
        let before = acknowledged.len();
        round_of_kill(dir.path(), round, &mut random, &mut acknowledged);
        midway += usize::from(acknowledged.len() > before);
        // All of it at the end of a directory; what is new always.
        let from = if round % ROUNDS_PER_DIR == ROUNDS_PER_DIR - 1 || round + 1 == rounds { 0 } else { before };
        let log = open(dir.path());
        runtime.block_on(check(&*log, &acknowledged, from));
        runtime.block_on(log.close());
    }
    total += acknowledged.len();
    println!("{total} acknowledged records, {midway} of {rounds} kills while appends went on");
    assert!(midway * 2 > rounds, "a test that kills before anything is appended tests nothing");
}

/// Starts a child, lets it go on for a while, kills it, and notes what it was told.
fn round_of_kill(dir: &Path, round: usize, random: &mut StdRng, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The moments: some during the start-up, most after a random number of acknowledgements and a little more.
    let lines_max = if random.random_ratio(1, 10) { 0 } else { random.random_range(1..400) };
    let pause = Duration::from_micros(random.random_range(0..5000));
    for line in lines.by_ref().take(lines_max) {
        note(&line.unwrap(), round, acknowledged);
    }
    std::thread::sleep(pause); // Not a wait for a condition: it is the random moment.
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        note(&line.unwrap(), round, acknowledged);
    }
}

/// Takes in a line `ack <session> <count> <offset>.`; the test harness prints others, and the last one may be cut.
fn note(line: &str, round: usize, acknowledged: &mut Acknowledged) {
    let Some(fields) = line.strip_prefix("ack ").and_then(|line| line.strip_suffix('.')) else { return };
    let fields = fields.split(' ').map(|field| field.parse::<u64>().unwrap()).collect::<Vec<_>>();
    let (session, count, offset) = (fields[0] as usize, fields[1] as usize, fields[2]);
    let old = acknowledged.insert(offset, (session, record(round, session, count)));
    assert!(old.is_none(), "offset {offset} was issued twice");
}

/// Every acknowledged record after the first `from` ones is at its offset, whole, and in an unbroken chain.
async fn check(log: &dyn EventLog, acknowledged: &Acknowledged, from: usize) {
    let after = acknowledged.keys().nth(from).map_or(0, |offset| offset - 1);
    let mut stored = BTreeMap::new();
    for number in 0..SESSIONS {
        let mut upto = Offset(after);
        loop {
            let page = log.read(&session(number), upto, 1000, 4 << 20).await.unwrap();
            for record in page.records {
                assert!(record.previous == upto || upto == Offset(after), "I2 contiguous: {} after {upto}", record.offset);
                upto = record.offset;
                stored.insert(record.offset.0, (number, record.record));
            }
            if page.end {
                break;
            }
        }
    }
    for (offset, expected) in acknowledged.range(after + 1..) {
        assert_eq!(stored.get(offset), Some(expected), "I9 durable before acked: offset {offset}");
    }
}

/// The process that is killed. Not a test: run by the test above.
#[test]
#[ignore = "the child of every_acknowledged_record_survives_a_kill"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let round = std::env::var(CHILD_ROUND).unwrap().parse().unwrap();
    let log = open(Path::new(&dir));
    println!();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let appenders = (0..SESSIONS).map(|session| tokio::spawn(append_for_ever(log.clone(), round, session)));
        futures::future::join_all(appenders).await;
    });
}

async fn append_for_ever(log: Arc<EmbeddedLog>, round: usize, number: usize) {
    for count in 0.. {
        let Ok(offset) = log.append(&session(number), record(round, number, count), Expect::Any, None).await else { return };
        let line = format!("ack {number} {count} {offset}.\n");
        if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}
