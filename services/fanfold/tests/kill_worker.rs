//! Workers that are killed at random places, again and again: each run ends once, with the text of one attempt, and no reader sees a word of
//! a dead attempt after the next one began.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfold_client::{Client, Follow, Transport, Update};
use fanfold_fold::{Event, Run, RunId, RunStatus, View};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::worker::{Worker, impatient, recording};
use support::{Node, command, follow, next, open, state, text};

/// How often a worker is killed, in all.
const KILLS: usize = 200;

/// Workers at a time; each is killed and started anew.
const WORKERS: usize = 4;

/// Sessions, each with a run at any time.
const SESSIONS: usize = 8;

/// A worker that says nothing for so long is taken for dead.
const SILENCE_MS: u64 = 300;

/// Words of an answer, and the milliseconds between two of them: about half as long as a worker lives.
const WORDS: usize = 25;
const PACE_MS: u64 = 5;

/// Longest life of a worker after it has begun to take runs.
const LIFE_MS_MAX: u64 = 500;

fn seed() -> u64 {
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("FANFOLD_SEED={seed}");
    seed
}

/// What a worker of this name says to everything.
fn words(worker: &str) -> Vec<String> {
    (0..WORDS).map(|number| format!("{worker}:{number} ")).collect()
}

/// Kills workers until there were enough kills, then leaves one alive.
async fn kill_and_start(
    node: Arc<Node>,
    data: Arc<tempfile::TempDir>,
    number: usize,
    kills: Arc<AtomicUsize>,
    seed: u64,
) -> Worker {
    let mut rng = StdRng::seed_from_u64(seed ^ number as u64);
    for life in 0.. {
        let name = format!("w{number}x{life}");
        let mut worker = start(&node, data.path(), &name).await;
        if kills.load(Ordering::Relaxed) >= KILLS {
            return worker;
        }
        // Drawn before it is waited for, so that a seed gives the same lives.
        let life = Duration::from_millis(rng.random_range(0..LIFE_MS_MAX));
        tokio::time::sleep(life).await;
        worker.kill();
        kills.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("kills end")
}

async fn start(node: &Arc<Node>, data: &Path, name: &str) -> Worker {
    let file = recording(data, name, &words(name));
    let (node, name) = (Arc::clone(node), name.to_owned());
    let start = move || {
        let pace = PACE_MS.to_string();
        Worker::start(&node, &name, &["--slots", "3", "--model-recording", file.to_str().unwrap(), "--model-pace", &pace])
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Asks for run after run in one session, each when the one before has ended, until there were enough kills.
async fn keep_asking(client: Client, session: String, kills: Arc<AtomicUsize>) -> usize {
    open(&client, &session).await;
    let mut reader = follow(&client, &session, Transport::WebSocket);
    let (mut runs, mut ended) = (0, HashMap::new());
    while kills.load(Ordering::Relaxed) < KILLS {
        runs += 1;
        let message = format!("m{runs}");
        let text = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: "go on".into() })) };
        let send = v1::Send { message: message.clone(), parts: vec![text], role: v1::Role::User.into(), ..v1::Send::default() };
        client.submit(command(&message, &session, Action::Send(send))).await.unwrap();
        // As many attempts as it takes.
        let request = v1::RunRequested { prompt: message, attempts_max: 1_000, ..v1::RunRequested::default() };
        client.submit(command(&format!("r{runs}"), &session, Action::RequestRun(request))).await.unwrap();
        watch(&mut reader, runs, &mut ended).await;
    }
    runs
}

/// Follows until so many runs have ended, and looks at each frame: what the answer holds is said by the current attempt's worker alone,
/// and what has ended stays as it is.
async fn watch(reader: &mut Follow, runs: usize, ended: &mut HashMap<RunId, Run>) {
    loop {
        let view = reader.view();
        for run in &view.runs {
            check_words(view, run);
            if run.status.is_final() {
                assert_eq!(ended.entry(run.id.clone()).or_insert_with(|| run.clone()), run, "I8: once");
            }
        }
        if support::all_ended(view, runs) {
            return;
        }
        if let Update::Closed(closed) = next(reader).await {
            panic!("closed: {closed:?}");
        }
    }
}

fn check_words(view: &View, run: &Run) {
    let said = text(&view.messages.get(&run.reply).unwrap().parts);
    let worker = run.worker.as_deref().unwrap_or("nobody");
    assert!(words(worker).concat().starts_with(&said), "{run:?} says {said:?}");
    let whole = said.len() == words(worker).concat().len();
    assert!(run.status != RunStatus::Completed || whole, "{run:?} is complete with {said:?}");
}

/// Every run has ended once, whole, in the records as they are stored.
async fn check_session(client: &Client, session: &str, runs: usize) -> u32 {
    let view = state(client, session).await;
    assert_eq!(view.runs.len(), runs);
    for run in &view.runs {
        assert_eq!(run.status, RunStatus::Completed, "{run:?}");
        check_words(&view, run);
    }
    let mut after = 0;
    let (mut completed, mut attempts) = (0, HashSet::new());
    loop {
        let request = v1::ListEventsRequest { session: session.into(), after, limit: 1000, ..v1::ListEventsRequest::default() };
        let reply = client.events(request).await.unwrap();
        for record in reply.records {
            after = record.offset;
            for event in record.events {
                match Event::try_from(event) {
                    Ok(Event::RunStarted(started)) => assert!(attempts.insert(started.attempt)),
                    Ok(Event::Output(output)) => {
                        completed += output.said.iter().filter(|said| matches!(said, fanfold_fold::Said::Completed(_))).count();
                    }
                    _ => {}
                }
            }
        }
        if reply.end {
            break;
        }
    }
    assert!(completed >= runs, "each end is stored");
    view.runs.iter().map(|run| run.attempts - 1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_ends_once_with_the_words_of_one_attempt() {
    let seed = seed();
    let data = Arc::new(tempfile::tempdir().unwrap());
    let node = Arc::new(impatient(&data.path().join("node"), SILENCE_MS));
    let kills = Arc::new(AtomicUsize::new(0));
    let started = std::time::Instant::now();
    let workers = (0..WORKERS)
        .map(|number| tokio::spawn(kill_and_start(Arc::clone(&node), Arc::clone(&data), number, Arc::clone(&kills), seed)));
    let workers: Vec<_> = workers.collect();
    let sessions = (0..SESSIONS).map(|number| format!("s{number}"));
    let sessions: Vec<_> =
        sessions.map(|name| (name.clone(), tokio::spawn(keep_asking(node.client(), name, Arc::clone(&kills))))).collect();
    let mut alive = Vec::new();
    for worker in workers {
        alive.push(worker.await.unwrap());
    }
    let (mut runs, mut lost) = (0, 0);
    for (name, asking) in sessions {
        let asked = asking.await.unwrap();
        lost += check_session(&node.client(), &name, asked).await;
        runs += asked;
    }
    eprintln!("{KILLS} kills, {runs} runs, {lost} attempts lost, in {:?}", started.elapsed());
    assert!(lost > 20, "runs were hit: {lost}");
}
