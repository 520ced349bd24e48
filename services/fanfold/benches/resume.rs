//! How long a reader waits for its first frame, by what the node must read for it; beside a page of the same node.
//!
//! - *memory*: the cursor is the newest, the session in memory.
//! - *ring*: the cursor is `FANFOLD_BENCH_BEHIND` records old (default 50), the session in memory.
//! - *snapshot*: the session is in no node's memory; its newest state and what follows are read.
//! - *archive*: the same, and all of it has left the log; asked for is the state of the past in its middle, so the archive is read and folded.
//!
//! The reader's connection is open already. `FANFOLD_BENCH_SESSIONS` (default 40), `FANFOLD_BENCH_RECORDS` of each (500).

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a program for people at a terminal")]

mod deployment;

use std::time::{Duration, Instant};

use deployment::{Deployment, Kind, Node, PATIENCE, Reader, message, open, pages, percentile, setting};
use fanfold_wire::v1;
use fanfold_wire::v1::client_frame::Frame as In;
use futures::StreamExt as _;

const MESSAGE_BYTES: usize = 100;

/// Everything stays in memory and in the log.
const KEEP: [(&str, &str); 2] = [("SESSION__IDLE_MS", "3600000"), ("ARCHIVE__KEEP_MS", "3600000")];

/// Everything leaves the log, and memory, as soon as it may.
const LET_GO: [(&str, &str); 4] =
    [("ARCHIVE__QUIET_MS", "200"), ("ARCHIVE__WAIT_MS_MAX", "1000"), ("ARCHIVE__KEEP_MS", "0"), ("SESSION__IDLE_MS", "1000")];

/// A session, with cursors of its past.
struct Filled {
    session: String,
    head: String,
    behind: String,
    middle: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (sessions, records) = (setting("FANFOLD_BENCH_SESSIONS", 40), setting("FANFOLD_BENCH_RECORDS", 500));
    println!("{sessions} sessions of {records} records of {MESSAGE_BYTES} B; milliseconds to the first frame, median and p99");
    for kind in [Kind::Embedded, Kind::Three] {
        let Some(deployment) = Deployment::make(kind).await else { continue };
        let node = deployment.node(&KEEP);
        let filled = fill(&node, sessions, records).await;
        println!("{}", kind.name());
        print("control: a page over HTTP", &mut pages(&node, sessions).await);
        let with = |cursor: Option<&String>, filled: &Filled| v1::Subscribe {
            session: filled.session.clone(),
            cursor: cursor.cloned(),
            ..v1::Subscribe::default()
        };
        print("memory", &mut read(&node, &filled, |filled| with(Some(&filled.head), filled)).await);
        print("ring", &mut read(&node, &filled, |filled| with(Some(&filled.behind), filled)).await);
        node.drain();
        let node = deployment.node(&KEEP);
        print("snapshot", &mut read(&node, &filled, |filled| with(None, filled)).await);
        node.drain();
        let node = deployment.node(&LET_GO);
        archived(&node).await;
        let past = |filled: &Filled| v1::Subscribe { replay: Some(filled.middle), ..with(None, filled) };
        print("archive", &mut read(&node, &filled, past).await);
    }
}

fn print(what: &str, figures: &mut [f64]) {
    println!("  {what:<26} {:>8.2} {:>8.2}", percentile(figures, 50), percentile(figures, 99));
}

async fn fill(node: &Node, sessions: usize, records: usize) -> Vec<Filled> {
    let behind = records.saturating_sub(setting("FANFOLD_BENCH_BEHIND", 50));
    let client = &node.client();
    let fill = |number: usize| async move {
        let session = format!("resume-{number}");
        open(client, &session).await;
        let mut receipts = Vec::with_capacity(records);
        for number in 0..records {
            receipts.push(message(client, &format!("m{number}"), &session, MESSAGE_BYTES).await);
        }
        let cursor = |number: usize| receipts[number].cursor.clone();
        Filled { head: cursor(records - 1), behind: cursor(behind), middle: receipts[records / 2].offset, session }
    };
    futures::stream::iter(0..sessions).map(fill).buffer_unordered(16).collect().await
}

/// Each session once, one after another.
async fn read(node: &Node, filled: &[Filled], ask: impl Fn(&Filled) -> v1::Subscribe) -> Vec<f64> {
    let mut reader = Reader::connect(node).await;
    let mut figures = Vec::with_capacity(filled.len());
    for filled in filled {
        figures.push(reader.first_frame(ask(filled)).await.as_secs_f64() * 1e3);
        reader.say(In::Unsubscribe(v1::Unsubscribe { session: filled.session.clone() })).await;
    }
    figures
}

/// Until nothing is left in the log or in memory.
async fn archived(node: &Node) {
    let deadline = Instant::now() + 5 * PATIENCE;
    let left = ["fanfold_archive_lag_records", "fanfold_archive_log_fullness", "fanfold_session_hosted"];
    loop {
        let mut figures = Vec::new();
        for name in left {
            figures.push(node.figure(name).await);
        }
        if figures.iter().all(|figure| *figure == Some(0.0)) {
            return;
        }
        assert!(Instant::now() < deadline, "everything leaves log and memory: {figures:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
