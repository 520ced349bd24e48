//! Two releases that fold the same log differently, side by side: while nodes of one give way to nodes of the other and back, readers hop
//! between them and have at every moment what the node that answers has.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfold_client::{Append, AppendEnd, AppendError, Client, ClientConfig, Transport};
use fanfold_fold::{Cursor, FOLD_VERSION, FoldVersion, Offset, SessionKey, TenantId, View};
use fanfold_store::{ScyllaConfig, ScyllaStore, SnapshotStore as _};
use fanfold_wire::v1;
use fanfold_wire::v1::said::Said;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::{How, ResetReason};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::cluster::Cluster;
use support::wire::{Door, Held, Wire};
use support::{DEADLINE, Node, seed, told};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

/// Of nodes at one time, and of readers that hop between them.
const NODES: usize = 3;
const READERS: usize = 2;

/// Hops of all readers between one node's replacement and the next one's.
const HOPS: usize = 8;

/// Pieces of one answer.
const PIECES: u64 = 30;

/// What the other build puts behind every piece that a worker writes; see `fanfold_fold`'s feature `next-fold`.
const MARK: char = '\u{b7}';

const SETTINGS: [(&str, &str); 5] = [
    // The worker of this test is away as long as it takes to find another node.
    ("RUNS__SILENCE_MS_MAX", "60000"),
    ("SESSION__SNAPSHOT_RECORDS", "20"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "10"),
    // All are kept, so that each release finds newer ones of the other.
    ("SESSION__SNAPSHOTS_KEPT", "10000"),
    ("NODE__DRAIN_MS_MAX", "5000"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    This,
    Next,
}

/// A deployment whose nodes come and go.
struct Deployment {
    cluster: Cluster,
    /// The other build.
    next: String,
    nodes: Vec<Node>,
    doors: Doors,
}

/// Where readers and writers knock. Somebody may just have left.
type Doors = Arc<Mutex<Vec<Door>>>;

impl Deployment {
    fn make(what: &str) -> Option<Self> {
        let next = told("FANFOLD_TEST_NEXT", what)?;
        let cluster = Cluster::make_with(what, &SETTINGS)?;
        let mut deployment = Self { cluster, next, nodes: Vec::new(), doors: Doors::default() };
        deployment.nodes = (0..NODES).map(|at| deployment.start(at, Release::This)).collect();
        deployment.doors.lock().unwrap().extend(deployment.nodes.iter().map(Node::door));
        Some(deployment)
    }

    fn start(&self, at: usize, release: Release) -> Node {
        let mut serve = match release {
            Release::This => self.cluster.command("serve"),
            Release::Next => self.cluster.command_of(&self.next, "serve"),
        };
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", "0").env("FANFOLD_NODE__NAME", format!("node-{at}"));
        Node::spawn(serve)
    }

    /// As operators do: SIGTERM, its end, and one of the other release under its name.
    fn replace(&mut self, at: usize, release: Release) {
        let status = tokio::task::block_in_place(|| self.nodes[at].terminate());
        assert!(status.success(), "it drains: {status}");
        self.nodes[at] = tokio::task::block_in_place(|| self.start(at, release));
        self.doors.lock().unwrap()[at] = self.nodes[at].door();
    }
}

/// What the tasks tell each other.
#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    hops: AtomicUsize,
    pieces: AtomicUsize,
    fold_changed: AtomicUsize,
    resumed: AtomicUsize,
    compared: AtomicUsize,
}

impl Progress {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Until readers have hopped and the worker has written for a while.
    async fn goes_on(&self, tasks: &[AbortHandle]) {
        let now = || [self.hops.load(Ordering::Relaxed), self.pieces.load(Ordering::Relaxed)];
        let (begun, deadline) = (now(), Instant::now() + DEADLINE);
        while now()[0] < begun[0] + HOPS || now()[1] < begun[1] + 10 {
            assert!(!tasks.iter().any(AbortHandle::is_finished), "a reader or the worker has failed");
            assert!(Instant::now() < deadline, "readers and the worker go on: {begun:?}, {:?}", now());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn any(doors: &Doors, rng: &mut StdRng) -> Door {
    doors.lock().unwrap()[rng.random_range(0..NODES)].clone()
}

fn client(door: Door) -> Client {
    Client::new(ClientConfig { http: door.http, grpc: door.grpc, ..ClientConfig::default() }).unwrap()
}

fn cursor(token: &str) -> Cursor {
    token.parse().unwrap()
}

/// Asks nodes until one answers.
async fn answered<T, E, F>(doors: &Doors, rng: &mut StdRng, mut ask: impl FnMut(Client) -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        let door = any(doors, rng);
        match ask(client(door)).await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn asked_state(client: &Client, session: &str, at: Option<u64>) -> Result<v1::Snapshot, fanfold_client::RequestError> {
    client.state(v1::GetStateRequest { session: session.into(), at, window: u32::MAX, ..v1::GetStateRequest::default() }).await
}

/// What a node of any release says once it has this much.
async fn state_of(node: &Node, session: &str, at_least: &str) -> (Cursor, View) {
    let (session, at_least) = (session.to_owned(), Some(at_least.to_owned()));
    let request = v1::GetStateRequest { session, at_least, window: u32::MAX, ..v1::GetStateRequest::default() };
    let snapshot = node.client().state(request).await.unwrap();
    (cursor(&snapshot.cursor), snapshot.view.unwrap().try_into().unwrap())
}

fn piece(seq: u64) -> String {
    format!("w{seq} ")
}

/// One question, answered by a worker that goes on at another node when its own leaves. Its attempt stays the same. Returns where the
/// answer ends.
async fn exchange(doors: &Doors, session: &str, number: usize, rng: &mut StdRng, progress: &Progress) -> String {
    let message = support::command(&format!("ask{number}"), session, support::message("go on"));
    let receipt = answered(doors, rng, |client| {
        let message = message.clone();
        async move { client.submit(message).await }
    });
    let receipt = receipt.await;
    assert_eq!(receipt.refusal, "");
    let asked = v1::GetStateRequest { session: session.into(), at_least: Some(receipt.cursor), ..v1::GetStateRequest::default() };
    let state = answered(doors, rng, |client| {
        let asked = asked.clone();
        async move { client.state(asked).await }
    });
    let run = state.await.view.unwrap().runs.last().unwrap().id.clone();
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    let mut said: Vec<_> = (1..=PIECES).map(|seq| Said::Text(v1::Text { text: piece(seq) })).collect();
    said.push(Said::Completed(v1::Completed { reason, steered: None }));
    let attempt = format!("attempt{number}");
    let start = v1::AppendStart { session: session.into(), run, attempt, worker: "mine".into(), ..v1::AppendStart::default() };
    loop {
        let begun = answered(doors, rng, |client| {
            let start = start.clone();
            async move { begin(&client, start).await }
        });
        let mut append = match begun.await {
            Begun::Writes(append) => append,
            Begun::Over { cursor } => return cursor,
        };
        let mut written = usize::try_from(append.acked()).unwrap();
        while let Some(one) = said.get(written) {
            match append.say_all(vec![v1::Said { said: Some(one.clone()) }]).await {
                Ok(AppendEnd::Done) => written += 1,
                Ok(AppendEnd::Over(run)) => panic!("nobody else writes: {run:?}"),
                Err(_) => break,
            }
            progress.pieces.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if written == said.len() {
            return append.cursor().to_owned();
        }
    }
}

/// What became of a worker's word that it writes.
enum Begun {
    Writes(Box<Append>),
    /// The run has ended, and only the last acknowledgement was lost.
    Over {
        cursor: String,
    },
}

async fn begin(client: &Client, start: v1::AppendStart) -> Result<Begun, AppendError> {
    let (session, run) = (start.session.clone(), start.run.clone());
    let error = match client.append(start).await {
        Ok(append) => return Ok(Begun::Writes(Box::new(append))),
        Err(error) => error,
    };
    let is_over = |known: &v1::Run| known.id == run && known.status() == v1::RunStatus::Completed;
    match asked_state(client, &session, None).await {
        Ok(v1::Snapshot { view: Some(view), cursor, .. }) if view.runs.iter().any(is_over) => Ok(Begun::Over { cursor }),
        Ok(_) | Err(_) => Err(error),
    }
}

/// Answers one question after the other. Returns where the last answer ends.
async fn work(doors: Doors, seed: u64, progress: Arc<Progress>) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut number = 1;
    loop {
        let end = exchange(&doors, "s", number, &mut rng, &progress).await;
        if progress.is_over() {
            return end;
        }
        number += 1;
    }
}

/// A reader has what this fold makes of the pieces so far, and nothing of the other's.
fn check_text(view: &View, fold: FoldVersion) {
    for message in view.messages.iter().filter(|message| message.run.is_some()) {
        let text = support::text(&message.parts);
        let pieces = (1..).map(piece).take(text.matches('w').count());
        let written = |piece: String| if fold == FOLD_VERSION { piece } else { format!("{piece}{MARK}") };
        assert_eq!(text, pieces.map(written).collect::<String>(), "a delta of another fold than {fold:?}");
    }
}

/// Takes in so many frames, or what comes before the connection ends.
async fn listen(wire: &mut Wire, frames: usize) {
    let mut left = frames;
    while left > 0 || !wire.held.get("s").is_some_and(|held| held.caught_up) {
        match wire.next_or_end().await {
            None | Some(Out::Error(_) | Out::Closed(_) | Out::Draining(_)) => return,
            Some(Out::Delta(_) | Out::Snapshot(_)) => {
                left = left.saturating_sub(1);
                let held = &wire.held["s"];
                check_text(&held.view, cursor(&held.cursor).fold);
            }
            Some(_) => {}
        }
    }
}

/// How a reader was answered fits what it came with.
fn check_answer(answer: &v1::Subscribed, had: Option<&Held>, progress: &Progress) {
    let (now, how, reason) = (cursor(&answer.cursor), answer.how(), answer.reset_reason());
    let Some(had) = had.map(|held| cursor(&held.cursor)) else { return assert_eq!(how, How::Fresh) };
    if now.fold != had.fold {
        assert_eq!((how, reason), (How::Snapshot, ResetReason::FoldChanged));
        assert!(now.offset >= had.offset, "never back in time: {:?} after {:?}", now.offset, had.offset);
        progress.fold_changed.fetch_add(1, Ordering::Relaxed);
        return;
    }
    assert!(how == How::Resumed || (how == How::Snapshot && reason == ResetReason::TooOld), "{how:?} {reason:?}");
    progress.resumed.fetch_add(usize::from(how == How::Resumed), Ordering::Relaxed);
}

async fn read(doors: Doors, seed: u64, progress: Arc<Progress>) -> Held {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    while !progress.is_over() || held.is_empty() {
        let (door, transport) = (any(&doors, &mut rng), TRANSPORTS[rng.random_range(0..3)]);
        let had = held.get("s").cloned();
        let cursor_had = had.as_ref().map(|held| held.cursor.clone());
        let ask = v1::Subscribe { session: "s".into(), cursor: cursor_had, window: u32::MAX, ..v1::Subscribe::default() };
        held.values_mut().for_each(|held| held.caught_up = false);
        let Ok(mut wire) = Wire::open_at(&door, transport, vec![ask], held.clone()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        listen(&mut wire, rng.random_range(0..6)).await;
        let Some(answer) = wire.subscribed.get("s") else { continue };
        check_answer(answer, had.as_ref(), &progress);
        // A snapshot that was promised and never came leaves the reader with what it had.
        held = wire.held;
        compare(door, &held, &progress).await;
        progress.hops.fetch_add(1, Ordering::Relaxed);
    }
    held.remove("s").unwrap()
}

/// The node that answered says the same of this offset, unless it has left meanwhile.
async fn compare(door: Door, held: &BTreeMap<String, Held>, progress: &Progress) {
    let Some(held) = held.get("s") else { return };
    let at = cursor(&held.cursor);
    let Ok(snapshot) = asked_state(&client(door), "s", Some(at.offset.0)).await else { return };
    if cursor(&snapshot.cursor).fold == at.fold {
        assert_eq!(held.view, snapshot.view.unwrap().try_into().unwrap(), "at {}", at.offset);
        progress.compared.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_that_fold_differently_share_a_deployment() {
    let seed = seed();
    let Some(mut deployment) = Deployment::make("two releases side by side") else { return };
    let mut rng = StdRng::seed_from_u64(seed);
    let (doors, progress) = (Arc::clone(&deployment.doors), Arc::new(Progress::default()));
    for session in ["s", "quiet"] {
        support::open(&deployment.nodes[0].client(), session).await;
    }
    let quiet_end = exchange(&doors, "quiet", 1, &mut rng, &progress).await;
    let quiet = state_of(&deployment.nodes[1], "quiet", &quiet_end).await;
    let working = tokio::spawn(work(Arc::clone(&doors), rng.random(), Arc::clone(&progress)));
    let reading: Vec<_> =
        (0..READERS).map(|_| tokio::spawn(read(Arc::clone(&doors), rng.random(), Arc::clone(&progress)))).collect();
    let tasks: Vec<_> = reading.iter().map(JoinHandle::abort_handle).chain([working.abort_handle()]).collect();
    progress.goes_on(&tasks).await;
    for release in [Release::Next, Release::This] {
        for at in 0..NODES {
            deployment.replace(at, release);
            progress.goes_on(&tasks).await;
        }
        // Nobody has written meanwhile, so the newest snapshot is the other release's.
        let (at, view) = state_of(&deployment.nodes[0], "quiet", &quiet_end).await;
        check_text(&view, at.fold);
        assert_eq!(at.fold == FOLD_VERSION, release == Release::This, "the build that stands for the next release is it");
        assert_eq!(at.offset, quiet.0.offset);
    }
    progress.stop.store(true, Ordering::Relaxed);
    let end = working.await.unwrap();
    for reader in reading {
        let held = reader.await.unwrap();
        check_text(&held.view, cursor(&held.cursor).fold);
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (hops, changed, resumed) = (count(&progress.hops), count(&progress.fold_changed), count(&progress.resumed));
    let compared = count(&progress.compared);
    eprintln!("{hops} hops: {changed} met another fold, {resumed} resumed, {compared} states compared");
    assert!(changed >= 2 && resumed >= 2 && compared >= hops / 2);
    let (_, truth) = state_of(&deployment.nodes[0], "s", &end).await;
    check_text(&truth, FOLD_VERSION);
    for node in &deployment.nodes {
        assert_eq!(state_of(node, "s", &end).await.1, truth);
        assert_eq!(state_of(node, "quiet", &quiet_end).await, quiet, "as before the upgrade");
    }
    drop(deployment.nodes);
    both_have_snapshots(&deployment.cluster).await;
}

/// Neither release has taken away what the other one has kept.
async fn both_have_snapshots(cluster: &Cluster) {
    let nodes = vec![told("FANFOLD_TEST_CQL", "snapshots of two releases").unwrap()];
    let config = ScyllaConfig { nodes, keyspace: cluster.name.clone(), replicas: 1, ..ScyllaConfig::default() };
    let store = ScyllaStore::open(&config).await.unwrap();
    let next = FoldVersion(FOLD_VERSION.0 + 1);
    for (session, fold) in [("s", FOLD_VERSION), ("s", next), ("quiet", FOLD_VERSION), ("quiet", next)] {
        let key = SessionKey::new(TenantId::default(), session.parse().unwrap());
        let epochs = [store.epochs(0).await.unwrap(), store.epochs(1).await.unwrap()].concat();
        let mut found = false;
        for known in epochs {
            found |= store.newest(&key, known.epoch, fold, Offset(u64::MAX)).await.unwrap().is_some();
        }
        assert!(found, "{session} of {fold:?}");
    }
}
