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
use support::cluster::Cluster;
use support::worker::{Worker, impatient, recording};
use support::{Node, all_ended, command, follow, last, message, next, open, seed, send, state, state_since, text, until};

/// How often a worker is killed, in all: on one node, and on two that share their servers.
const KILLS: usize = 200;
const KILLS_SHARED: usize = 40;

/// Workers at a time; each is killed and started anew.
const WORKERS: usize = 4;

/// Sessions, each with a run at any time.
const SESSIONS: usize = 8;

/// A worker that says nothing for so long is taken for dead.
const SILENCE_MS: u64 = 300;
const SILENCE_MS_SHARED: u64 = 1_000;

/// Words of an answer, and the milliseconds between two of them: about half as long as a worker lives.
const WORDS: usize = 25;
const PACE_MS: u64 = 5;

/// Longest life of a worker after it has begun to take runs.
const LIFE_MS_MAX: u64 = 500;

/// What a worker of this name says to everything.
fn words(worker: &str) -> Vec<String> {
    (0..WORDS).map(|number| format!("{worker}:{number} ")).collect()
}

/// How often workers are killed, and were.
struct Kills {
    wanted: usize,
    done: AtomicUsize,
}

impl Kills {
    fn are_done(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.wanted
    }
}

/// Kills workers until there were enough kills, then leaves one alive.
async fn kill_and_start(node: Arc<Node>, data: Arc<tempfile::TempDir>, number: usize, kills: Arc<Kills>, seed: u64) -> Worker {
    let mut rng = StdRng::seed_from_u64(seed ^ number as u64);
    for life in 0.. {
        let name = format!("w{number}x{life}");
        let mut worker = start(&node, data.path(), &name).await;
        if kills.are_done() {
            return worker;
        }
        // Drawn before it is waited for, so that a seed gives the same lives.
        let life = Duration::from_millis(rng.random_range(0..LIFE_MS_MAX));
        tokio::time::sleep(life).await;
        worker.kill();
        kills.done.fetch_add(1, Ordering::Relaxed);
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

/// Asks for run after run in one session, each when the one before has ended, until there were enough kills. Returns how many, and how
/// far its reader is, which may be on another node.
async fn keep_asking(client: Client, reads: Client, session: String, kills: Arc<Kills>) -> (usize, String) {
    open(&client, &session).await;
    let mut reader = follow(&reads, &session, Transport::WebSocket);
    let (mut runs, mut ended) = (0, HashMap::new());
    while !kills.are_done() {
        runs += 1;
        let message = format!("m{runs}");
        let text = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: "go on".into() })) };
        let send = v1::Send { message: message.clone(), parts: vec![text], role: v1::Role::User.into(), ..v1::Send::default() };
        client.submit(command(&message, &session, Action::Send(send))).await.unwrap();
        // As many attempts as it takes.
        request(&client, &session, &format!("r{runs}"), message, 1_000).await;
        watch(&mut reader, runs, &mut ended).await;
    }
    (runs, reader.cursor().unwrap_or_default().to_owned())
}

async fn request(client: &Client, session: &str, id: &str, prompt: String, attempts_max: u32) {
    let request = v1::RunRequested { prompt, attempts_max, ..v1::RunRequested::default() };
    assert_eq!(client.submit(command(id, session, Action::RequestRun(request))).await.unwrap().refusal, "");
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
async fn check_session(client: &Client, session: &str, runs: usize, cursor: &str) -> u32 {
    let view = state_since(client, session, cursor).await;
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

/// Kills workers at these nodes. Returns how many attempts were lost.
async fn kill_at(nodes: &[Arc<Node>], kills: usize) -> u32 {
    let seed = seed();
    let data = Arc::new(tempfile::tempdir().unwrap());
    let kills = Arc::new(Kills { wanted: kills, done: AtomicUsize::new(0) });
    let started = std::time::Instant::now();
    let node = |number: usize| Arc::clone(&nodes[number % nodes.len()]);
    let workers = (0..WORKERS)
        .map(|number| tokio::spawn(kill_and_start(node(number), Arc::clone(&data), number, Arc::clone(&kills), seed)));
    let workers: Vec<_> = workers.collect();
    let mut asking = Vec::new();
    for number in 0..SESSIONS {
        let (asks, reads, name) = (node(number).client(), node(number + 1).client(), format!("s{number}"));
        asking.push((name.clone(), tokio::spawn(keep_asking(asks, reads, name, Arc::clone(&kills)))));
    }
    let mut alive = Vec::new();
    for worker in workers {
        alive.push(worker.await.unwrap());
    }
    let (mut runs, mut lost) = (0, 0);
    for (name, asking) in asking {
        let (asked, cursor) = asking.await.unwrap();
        let mut here = 0;
        for node in nodes {
            here = check_session(&node.client(), &name, asked, &cursor).await;
        }
        lost += here;
        runs += asked;
    }
    eprintln!("{} kills, {runs} runs, {lost} attempts lost, in {:?}", kills.wanted, started.elapsed());
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_ends_once_with_the_words_of_one_attempt() {
    let data = tempfile::tempdir().unwrap();
    let lost = kill_at(&[Arc::new(impatient(data.path(), SILENCE_MS))], KILLS).await;
    assert!(lost > 20, "runs were hit: {lost}");
}

/// Asked for at one node, read at another, answered by workers of both.
#[tokio::test(flavor = "multi_thread")]
async fn every_run_ends_once_on_nodes_that_share_log_and_queue() {
    let silence_ms = SILENCE_MS_SHARED.to_string();
    let settings = [("RUNS__SILENCE_MS_MAX", &*silence_ms)];
    let Some(cluster) = Cluster::make_with("workers that are killed, of several nodes", &settings) else { return };
    let nodes = [Arc::new(cluster.node("0")), Arc::new(cluster.node("0"))];
    let lost = kill_at(&nodes, KILLS_SHARED).await;
    assert!(lost > 2, "runs were hit: {lost}");
}

/// Readers on every transport, who have everything so far.
async fn readers(client: &Client) -> Vec<Follow> {
    let mut readers = Vec::new();
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc] {
        let mut reader = follow(client, "s", transport);
        until(&mut reader, |view| view.session.opened_at_ms > 0).await;
        readers.push(reader);
    }
    readers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_last_worker_is_killed_ends_as_orphaned_with_what_was_said() {
    let data = tempfile::tempdir().unwrap();
    let node = Arc::new(impatient(&data.path().join("node"), SILENCE_MS_SHARED));
    let client = node.client();
    open(&client, "s").await;
    let mut readers = readers(&client).await;
    let file = recording(data.path(), "w", &words("w"));
    // So slow that it is killed in the middle.
    let mut worker = Worker::start(&node, "w", &["--model-recording", file.to_str().unwrap(), "--model-pace", "400"]);
    let Action::Send(send) = message("go on") else { unreachable!() };
    let send = v1::Send { message: "m".into(), answer: None, ..send };
    client.submit(command("m", "s", Action::Send(send))).await.unwrap();
    request(&client, "s", "r", "m".into(), 1).await;
    until(&mut readers[0], |view| !view.runs.is_empty() && !text(&last(view).1).is_empty()).await;
    worker.kill();
    for reader in &mut readers {
        until(reader, |view| all_ended(view, 1)).await;
        let (status, parts) = last(reader.view());
        assert_eq!(status, RunStatus::Orphaned);
        let said = text(&parts);
        assert!(!said.is_empty() && words("w").concat().starts_with(&said), "what it has said stays: {said:?}");
        assert_eq!(reader.view(), &state(&client, "s").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_no_worker_takes_fails_for_want_of_one() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[("RUNS__QUEUED_MS_MAX", "1000")]);
    let client = node.client();
    open(&client, "s").await;
    let mut readers = readers(&client).await;
    send(&client, "send", "s").await;
    for reader in &mut readers {
        until(reader, |view| all_ended(view, 1)).await;
        let run = &reader.view().runs[0];
        let code = run.error.as_ref().map(|error| error.code.as_str());
        assert_eq!((run.status, code, run.attempts), (RunStatus::Failed, Some("no_worker"), 0));
    }
}
