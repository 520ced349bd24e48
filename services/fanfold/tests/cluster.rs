//! Several nodes on one JetStream and one CQL keyspace: any of them serves any session, live.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use eventsource_stream::Eventsource as _;
use fanfold_client::{Client, Transport};
use fanfold_fold::RunStatus;
use fanfold_wire::v1;
use fanfold_wire::v1::How;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::wire::{Held, Wire};
use support::{Node, all_ended, fact, follow, last, open, seed, send, state, text, told, until};

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

/// A deployment of its own on the servers that the environment tells of.
struct Cluster {
    settings: Vec<(&'static str, String)>,
    data: tempfile::TempDir,
}

impl Cluster {
    fn make(what: &str) -> Option<Self> {
        let (nats, cql) = (told("FANFOLD_TEST_NATS", what)?, told("FANFOLD_TEST_CQL", what)?);
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let settings = vec![
            ("FANFOLD_LISTEN__HTTP", "127.0.0.1:0".into()),
            ("FANFOLD_LISTEN__GRPC", "127.0.0.1:0".into()),
            ("FANFOLD_LOG__BACKEND", "jetstream".into()),
            ("FANFOLD_LOG__JETSTREAM__PREFIX", name.clone()),
            ("FANFOLD_LOG__JETSTREAM__SHARDS", "2".into()),
            ("FANFOLD_LOG__JETSTREAM__REPLICAS", "1".into()),
            ("FANFOLD_LOG__JETSTREAM__SHARD_BYTES_MAX", "67108864".into()),
            ("FANFOLD_LOG__JETSTREAM__NATS__URLS", format!("[\"{nats}\"]")),
            // So that what a dead node had is given to another while the test waits.
            ("FANFOLD_RUNS__SILENCE_MS_MAX", "2000".into()),
            ("FANFOLD_RUNS__QUEUE__ACK_WAIT_MS", "2000".into()),
            ("FANFOLD_RUNS__QUEUE__BUCKETS", "2".into()),
            ("FANFOLD_STORE__BACKEND", "scylla".into()),
            ("FANFOLD_STORE__SCYLLA__KEYSPACE", name),
            ("FANFOLD_STORE__SCYLLA__REPLICAS", "1".into()),
            ("FANFOLD_STORE__SCYLLA__NODES", format!("[\"{cql}\"]")),
            ("FANFOLD_STORE__SCYLLA__CONNECT_MS_MAX", "60000".into()),
        ];
        let cluster = Self { settings, data: tempfile::tempdir().unwrap() };
        // By two at once, as two nodes that are rolled out together.
        let migrating: Vec<_> = (0..2).map(|_| cluster.command("migrate").spawn().unwrap()).collect();
        for mut child in migrating {
            assert!(child.wait().unwrap().success());
        }
        Some(cluster)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        command.arg(name).envs(self.settings.iter().map(|(key, value)| (key, value)));
        command.env("FANFOLD_NODE__DATA", self.data.path()).env("FANFOLD_LOG", "warn");
        command
    }

    fn node(&self, worker_slots: &str) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", worker_slots);
        Node::spawn(serve)
    }
}

fn ask(cursor: Option<&str>) -> v1::Subscribe {
    v1::Subscribe { session: "s".into(), cursor: cursor.map(str::to_owned), window: u32::MAX, ..v1::Subscribe::default() }
}

/// Who watches the list on one node is told of what another one keeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_watched_on_another_node() {
    let Some(cluster) = Cluster::make("the list of sessions over nodes") else { return };
    let nodes = [cluster.node("0"), cluster.node("0")];
    let clients = nodes.each_ref().map(Node::client);
    open(&clients[0], "s1").await;
    let mut stream = reqwest::get(format!("{}/v1/stream?list=true", nodes[1].http)).await.unwrap().bytes_stream().eventsource();
    open(&clients[0], "s2").await;
    let titled = v1::command::Action::SetTitle(v1::SessionTitled { title: "Trains".into() });
    clients[0].submit(support::command("title", "s1", titled)).await.unwrap();
    let mut rows = BTreeMap::new();
    while rows.get("s1") != Some(&Some("Trains".to_owned())) || !rows.contains_key("s2") {
        let event = tokio::time::timeout(support::DEADLINE, stream.next()).await.expect("a frame in time").unwrap().unwrap();
        if event.event == "listed" {
            let listed: v1::Listed = serde_json::from_str(&event.data).unwrap();
            rows.extend(listed.rows.into_iter().map(|row| (row.session, row.title)));
        }
    }
    let request = v1::ListSessionsRequest { query: Some("tra".into()), ..v1::ListSessionsRequest::default() };
    let found = clients[1].list(request).await.unwrap().sessions;
    assert_eq!(found.iter().map(|row| row.session.as_str()).collect::<Vec<_>>(), ["s1"]);
}

async fn facts(clients: Vec<Client>, count: usize) {
    for n in 0..count {
        fact(&clients[n % clients.len()], &format!("fact{n}"), "s", 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_hops_between_nodes_and_transports_misses_nothing() {
    let seed = seed();
    let Some(cluster) = Cluster::make("a reader that hops between nodes") else { return };
    let nodes = [cluster.node("0"), cluster.node("0"), cluster.node("0")];
    let clients: Vec<_> = nodes.iter().map(Node::client).collect();
    open(&clients[0], "s").await;
    // One who stays sees every frame; one who hops must have the same in the end.
    let mut stays = Wire::open(&nodes[0], Transport::WebSocket, vec![ask(None)], BTreeMap::new()).await;
    stays.caught_up(1).await;
    let writing = tokio::spawn(facts(clients.clone(), 300));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    let (mut hops, mut resumed) = (0, 0);
    while !writing.is_finished() || hops < 20 {
        let (node, transport) = (&nodes[rng.random_range(0..3)], TRANSPORTS[rng.random_range(0..3)]);
        let cursor = held.get("s").map(|held| held.cursor.clone());
        held.values_mut().for_each(|held| held.caught_up = false);
        let mut wire = Wire::open(node, transport, vec![ask(cursor.as_deref())], std::mem::take(&mut held)).await;
        wire.caught_up(1).await;
        for _ in 0..rng.random_range(0..5) {
            if writing.is_finished() {
                break;
            }
            wire.next().await;
        }
        let how = wire.subscribed["s"].how();
        assert!(cursor.is_none() || how == How::Resumed || how == How::Snapshot, "{how:?}");
        resumed += usize::from(how == How::Resumed);
        hops += 1;
        held = wire.held;
    }
    writing.await.unwrap();
    eprintln!("{hops} hops, {resumed} of them resumed");
    assert!(resumed > hops / 2, "most hops are resumed, {resumed} of {hops}");
    let truth = state(&clients[1], "s").await;
    stays.until(|wire| wire.held["s"].view == truth).await;
    held.values_mut().for_each(|held| held.caught_up = false);
    let cursor = held["s"].cursor.clone();
    let mut last = Wire::open(&nodes[2], Transport::Sse, vec![ask(Some(&cursor))], held).await;
    last.caught_up(1).await;
    assert_eq!(last.held["s"].view, truth);
    for client in &clients {
        assert_eq!(state(client, "s").await, truth, "every node has the same state");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_is_replaced_by_any_other() {
    let Some(cluster) = Cluster::make("a node that is killed") else { return };
    let mut first = cluster.node("0");
    let second = cluster.node("0");
    open(&first.client(), "s").await;
    facts(vec![first.client()], 20).await;
    let mut wire = Wire::open(&first, Transport::WebSocket, vec![ask(None)], BTreeMap::new()).await;
    wire.caught_up(1).await;
    let mut held = std::mem::take(&mut wire.held);
    first.kill();
    held.values_mut().for_each(|held| held.caught_up = false);
    let cursor = held["s"].cursor.clone();
    let mut wire = Wire::open(&second, Transport::Grpc, vec![ask(Some(&cursor))], held).await;
    wire.caught_up(1).await;
    assert_eq!(wire.subscribed["s"].how(), How::Resumed);
    fact(&second.client(), "after", "s", 50).await;
    let truth = state(&second.client(), "s").await;
    wire.until(|wire| wire.held["s"].view == truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_answered_by_any_node_and_survives_the_one_that_answers() {
    let Some(cluster) = Cluster::make("a run on many nodes") else { return };
    let asked = cluster.node("0");
    let mut first = cluster.node("1");
    open(&asked.client(), "s").await;
    let mut reader = follow(&asked.client(), "s", Transport::WebSocket);
    send(&asked.client(), "send", "s").await;
    until(&mut reader, |view| !view.runs.is_empty() && text(&last(view).1).len() > 20).await;
    let second = cluster.node("1");
    first.kill();
    until(&mut reader, |view| all_ended(view, 1)).await;
    let truth = state(&second.client(), "s").await;
    let run = &truth.runs[0];
    assert_eq!((run.status, run.attempts), (RunStatus::Completed, 2), "another node's worker began it anew");
    assert_eq!(reader.view(), &truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_dangerous() {
    let Some(cluster) = Cluster::make("the doctor") else { return };
    let output = cluster.command("doctor").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "one server of each is dangerous: {said}");
    for part in ["records are kept on 1 server", "store\tok\t", "one copy"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_streams_or_with_half_of_a_backend_does_not_start() {
    let Some(cluster) = Cluster::make("a node without its streams") else { return };
    let refused = |key: &str, value: &str| {
        let output = cluster.command("serve").env(key, value).output().unwrap();
        assert!(!output.status.success(), "{key}={value}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let rows = [
        ("FANFOLD_LOG__JETSTREAM__PREFIX", "other", "fanfold migrate"),
        ("FANFOLD_LOG__JETSTREAM__SHARDS", "3", "2 shards"),
        ("FANFOLD_STORE__SCYLLA__KEYSPACE", "other", "fanfold migrate"),
        ("FANFOLD_STORE__BACKEND", "embedded", "go together"),
    ];
    for (key, value, why) in rows {
        let said = refused(key, value);
        assert!(said.contains(why), "{key}={value}: {said}");
    }
}
