//! How long a session of 10,000 events takes to come into the memory of a node that knows nothing of it: from its newest snapshot and
//! the records that follow. Measured by a reader, up to its first frame, beside a page of the same node and a session that is in memory.
//!
//! The events are words that a worker appends as fast as it can, so a record holds several; the records that follow are single ones.
//! Each round begins with a node that is killed and another that is started.
//!
//! `FANFOLD_BENCH_SESSIONS` (default 40), `FANFOLD_BENCH_ROUNDS` (5), `FANFOLD_BENCH_TAIL` records behind the snapshot (200).

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a program for people at a terminal")]

mod deployment;

use std::io::Write as _;
use std::time::{Duration, Instant};

use deployment::{Deployment, Kind, Node, PATIENCE, Reader, fact, open, pages, percentile, setting};
use fanfold_wire::v1;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use futures::StreamExt as _;

const ANSWERS: usize = 20;
const WORDS: usize = 500;

/// The node that is measured keeps what it has.
const KEEP: [(&str, &str); 2] = [("SESSION__IDLE_MS", "3600000"), ("ARCHIVE__KEEP_MS", "3600000")];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (sessions, rounds) = (setting("FANFOLD_BENCH_SESSIONS", 40), setting("FANFOLD_BENCH_ROUNDS", 5));
    let tail = setting("FANFOLD_BENCH_TAIL", 200);
    println!("{sessions} sessions of {} events, {tail} records behind the snapshot, {rounds} rounds", ANSWERS * WORDS + tail);
    println!("milliseconds to the first frame, median and p99");
    for kind in [Kind::Embedded, Kind::One, Kind::Three] {
        let Some(deployment) = Deployment::make(kind).await else { continue };
        println!("{}", kind.name());
        fill(&deployment, sessions, tail).await;
        let (mut page, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            // A node that is dropped is killed: it writes no snapshots on its way out.
            let node = deployment.node(&KEEP);
            page.extend(pages(&node, sessions).await);
            cold.extend(read(&node, sessions).await);
            warm.extend(read(&node, sessions).await);
        }
        for (what, figures) in [("control: a page over HTTP", &mut page), ("hydrated", &mut cold), ("in memory", &mut warm)] {
            println!("  {what:<26} {:>8.2} {:>8.2}", percentile(figures, 50), percentile(figures, 99));
        }
    }
}

/// Answers of many words in each session, and what follows the snapshot that their end has left.
async fn fill(deployment: &Deployment, sessions: usize, tail: usize) {
    let recording = recording();
    let paths = format!("[\"{}\"]", recording.path().display());
    let worker = [("RUNS__WORKER_SLOTS", "8"), ("RUNS__MODEL_RECORDINGS", &*paths), ("RUNS__MODEL_PACE_MS", "0")];
    let node = deployment.node(&[&worker[..], &KEEP].concat());
    let (client, node) = (&node.client(), &node);
    let fill = |number: usize| async move {
        let session = name(number);
        open(client, &session).await;
        for answer in 0..ANSWERS {
            let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: "Go on.".into() })) };
            let send = v1::Send {
                parts: vec![part],
                role: v1::Role::User.into(),
                answer: Some(v1::Answer::default()),
                ..v1::Send::default()
            };
            let (id, action) = (format!("ask-{answer}"), Some(Action::Send(send)));
            let receipt =
                client.submit(v1::Command { id, session: session.clone(), action, ..v1::Command::default() }).await.unwrap();
            assert_eq!(receipt.refusal, "", "{receipt:?}");
            answered(node, &session).await;
        }
        for number in 0..tail {
            fact(client, &format!("fact-{number}"), &session, 100).await;
        }
    };
    futures::stream::iter(0..sessions).map(fill).buffer_unordered(8).collect::<Vec<()>>().await;
}

fn name(number: usize) -> String {
    format!("hydrate-{number}")
}

/// An answer as an OpenAI-compatible provider streams it.
fn recording() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for word in 0..WORDS {
        let chunk = serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": format!("word{word} ") } }] });
        writeln!(file, "{chunk}").unwrap();
    }
    let end = serde_json::json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    writeln!(file, "{end}").unwrap();
    file
}

/// Until no run of the session goes on.
async fn answered(node: &Node, session: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let url = format!("{}/v1/sessions/{session}?window=1", node.http);
        let state: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let runs = state["view"]["runs"].as_array().unwrap();
        let is_over = |run: &serde_json::Value| run["status"] == "RUN_STATUS_COMPLETED";
        if !runs.is_empty() && runs.iter().all(is_over) {
            return;
        }
        assert!(Instant::now() < deadline, "it is answered: {runs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Each session once, one after another.
async fn read(node: &Node, sessions: usize) -> Vec<f64> {
    let mut reader = Reader::connect(node).await;
    let mut figures = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let ask = v1::Subscribe { session: name(number), ..v1::Subscribe::default() };
        figures.push(reader.first_frame(ask).await.as_secs_f64() * 1e3);
        reader.say(In::Unsubscribe(v1::Unsubscribe { session: name(number) })).await;
    }
    figures
}
