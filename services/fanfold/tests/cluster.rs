//! Several nodes on one JetStream and one CQL keyspace: any of them serves any session, live.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use fanfold_client::{Client, Transport};
use fanfold_fold::RunStatus;
use fanfold_wire::v1;
use fanfold_wire::v1::How;
use fanfold_wire::v1::server_frame::Frame as Out;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::archive::figure;
use support::cluster::Cluster;
use support::wire::{Held, Wire};
use support::{Node, all_ended, fact, follow, last, open, seed, send, state, state_since, text, until};
use tokio::time::Instant;

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

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
    let titled = v1::command::Action::SetTitle(v1::SessionTitled { title: "Trains".into(), automatic: false });
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
    // The words of a title are stored after its row.
    let deadline = Instant::now() + support::DEADLINE;
    loop {
        let found = clients[1].list(request.clone()).await.unwrap().sessions;
        match found.iter().map(|row| row.session.as_str()).collect::<Vec<_>>()[..] {
            ["s1"] => break,
            [] => assert!(Instant::now() < deadline, "a title's words are found"),
            ref others => panic!("{others:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Written through all of them in turn. The cursor of the last.
async fn facts(clients: Vec<Client>, count: usize) -> String {
    let mut cursor = String::new();
    for n in 0..count {
        cursor = fact(&clients[n % clients.len()], &format!("fact{n}"), "s", 50).await.cursor;
    }
    cursor
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
    let written = writing.await.unwrap();
    eprintln!("{hops} hops, {resumed} of them resumed");
    assert!(resumed > hops / 2, "most hops are resumed, {resumed} of {hops}");
    let truth = state_since(&clients[1], "s", &*written).await;
    stays.until(|wire| wire.held["s"].view == truth).await;
    held.values_mut().for_each(|held| held.caught_up = false);
    let cursor = held["s"].cursor.clone();
    let mut last = Wire::open(&nodes[2], Transport::Sse, vec![ask(Some(&cursor))], held).await;
    last.caught_up(1).await;
    assert_eq!(last.held["s"].view, truth);
    for client in &clients {
        assert_eq!(state_since(client, "s", &*written).await, truth, "every node has the same state");
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
    first.kill();
    let second = cluster.node("1");
    until(&mut reader, |view| all_ended(view, 1)).await;
    let truth = state_since(&second.client(), "s", reader.cursor()).await;
    let run = &truth.runs[0];
    assert_eq!((run.status, run.attempts), (RunStatus::Completed, 2), "another node's worker began it anew");
    assert_eq!(reader.view(), &truth);
}

/// Says so, and takes nothing away from the other: that one is alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_of_one_name_leaves_the_first_ones_runs_alone() {
    let Some(cluster) = Cluster::make("two nodes of one name") else { return };
    let first = cluster.node_named("same", "1");
    open(&first.client(), "s").await;
    let mut reader = follow(&first.client(), "s", Transport::WebSocket);
    send(&first.client(), "send", "s").await;
    until(&mut reader, |view| !view.runs.is_empty() && text(&last(view).1).len() > 20).await;
    let second = cluster.node_named("same", "0");
    let deadline = Instant::now() + support::DEADLINE;
    for node in [&first, &second] {
        while figure(node, "fanfold_node_namesakes_heard_total ").await.is_none() {
            assert!(Instant::now() < deadline, "both notice");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    until(&mut reader, |view| all_ended(view, 1)).await;
    let run = &reader.view().runs[0];
    assert_eq!((run.status, run.attempts), (RunStatus::Completed, 1));
}

/// The next list of who is there.
async fn shown(wire: &mut Wire) -> Vec<String> {
    loop {
        if let Out::Presence(presence) = wire.next().await {
            return presence.present.into_iter().map(|one| format!("{}:{}", one.who, one.doing)).collect();
        }
    }
}

async fn appear(node: &Node, doing: &str) {
    let body = serde_json::json!({ "doing": doing }).to_string();
    let asked = reqwest::Client::new().post(format!("{}/v1/sessions/s/presence", node.http)).body(body);
    assert!(asked.send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_on_one_node_are_seen_on_the_others_and_go_with_it() {
    let Some(cluster) = Cluster::make_with("presence", &[("SESSION__PRESENCE_TTL_MS", "20000")]) else { return };
    let (mut first, second, third) = (cluster.node("0"), cluster.node("0"), cluster.node("0"));
    open(&first.client(), "s").await;
    let mut watchers = Vec::new();
    for node in [&first, &second] {
        let mut wire = Wire::open(node, Transport::WebSocket, vec![ask(None)], BTreeMap::new()).await;
        wire.caught_up(1).await;
        watchers.push(wire);
    }
    // Each word is one frame to each: a node doesn't hear itself.
    for (node, doing) in [(&first, "typing"), (&second, "present"), (&first, "typing")] {
        appear(node, doing).await;
        for wire in &mut watchers {
            assert_eq!(shown(wire).await, [format!("dev:{doing}")]);
        }
    }
    // Who comes later asks.
    let mut late = Wire::open(&third, Transport::Sse, vec![ask(None)], BTreeMap::new()).await;
    assert_eq!(shown(&mut late).await, ["dev:typing"]);
    first.kill();
    for wire in [&mut watchers[1], &mut late] {
        assert_eq!(shown(wire).await, Vec::<String>::new(), "their node is gone, and they say no more");
    }
}

fn said(one: v1::said::Said) -> v1::Said {
    v1::Said { said: Some(one) }
}

/// Takes the next run at a node and puts it down until a person has allowed its call.
async fn wait_for_a_person(client: &Client, wait_ms: u64) -> v1::Lease {
    use v1::said::Said;
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 30_000 }).await.unwrap();
    let lease = taken.lease.unwrap();
    let (session, run) = (lease.session.clone(), lease.run.clone());
    let mut writing = client.append(v1::AppendStart { session, run, ..v1::AppendStart::default() }).await.unwrap();
    let (call, until_ms) = ("c".to_owned(), taken.run.unwrap().requested_at_ms + wait_ms);
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::ToolCalls.into(), other: String::new() });
    let words = vec![
        Said::Text(v1::Text { text: "May I? ".into() }),
        Said::ToolCall(v1::ToolCallStarted { call: call.clone(), name: "pay".into(), needs_approval: true }),
        Said::ToolReady(v1::ToolReady { call: call.clone() }),
        Said::StepFinished(v1::Step { reason }),
        Said::Waiting(v1::Waiting { calls: vec![call], until_ms }),
    ];
    writing.say(words.into_iter().map(said).collect()).await.unwrap();
    writing.over().await.unwrap();
    let held = state(client, &lease.session).await;
    assert!(held.runs[0].status == RunStatus::Waiting, "what a node has acknowledged it has folded: {:?}", held.runs);
    lease
}

/// Takes the run that was put down, goes on with it and ends it.
async fn take_up(client: &Client, lease: &v1::Lease) {
    use v1::said::Said;
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 60_000 }).await.unwrap();
    assert_eq!(taken.lease.as_ref().map(|taken| &taken.run), Some(&lease.run));
    assert_eq!(taken.reply.unwrap().parts.len(), 3, "what was written so far");
    let (session, run) = (lease.session.clone(), lease.run.clone());
    let start = v1::AppendStart { session, run, resume: true, ..v1::AppendStart::default() };
    let mut writing = client.append(start).await.unwrap();
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    let rest = [Said::Text(v1::Text { text: "Done.".into() }), Said::Completed(v1::Completed { reason, steered: None })];
    writing.say(rest.map(said).into()).await.unwrap();
    assert_eq!(writing.finish().await.unwrap(), fanfold_client::AppendEnd::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_person_outlives_its_node() {
    let Some(cluster) = Cluster::make("a run that waits on many nodes") else { return };
    let (mut first, second) = (cluster.node("0"), cluster.node("0"));
    let client = second.client();
    open(&client, "decided").await;
    send(&client, "one", "decided").await;
    let decided = wait_for_a_person(&first.client(), 3_600_000).await;
    open(&client, "late").await;
    send(&client, "one", "late").await;
    let late = wait_for_a_person(&first.client(), 20_000).await;
    first.kill();
    // Nobody says anything about the one. Its hint comes to the node that is left, which sees to its time.
    take_up(&client, &late).await;
    let message = state(&client, "decided").await.runs[0].reply.to_string();
    let decision = v1::ToolDecided { message, call: "c".into(), approved: true, reason: String::new() };
    let command = support::command("decide", "decided", v1::command::Action::DecideTool(decision));
    assert_eq!(client.submit(command).await.unwrap().refusal, "");
    take_up(&client, &decided).await;
    for session in ["decided", "late"] {
        let view = state(&client, session).await;
        assert_eq!((view.runs[0].status, view.runs[0].attempts), (RunStatus::Completed, 1), "{session}");
        assert_eq!(text(&last(&view).1), "May I? Done.");
    }
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
        ("FANFOLD_NODE__NAME", "fanfold", "node.name"),
    ];
    for (key, value, why) in rows {
        let said = refused(key, value);
        assert!(said.contains(why), "{key}={value}: {said}");
    }
}

/// Takes the next run at a node, and begins to write it.
async fn begin(client: &Client) -> (v1::Lease, fanfold_client::Append) {
    let lease = client.take_run(v1::TakeRunRequest { wait_ms: 60_000 }).await.unwrap().lease.unwrap();
    let (session, run) = (lease.session.clone(), lease.run.clone());
    (lease, client.append(v1::AppendStart { session, run, ..v1::AppendStart::default() }).await.unwrap())
}

fn words(text: &str) -> Vec<v1::Said> {
    vec![said(v1::said::Said::Text(v1::Text { text: text.into() }))]
}

async fn complete(mut writing: fanfold_client::Append) {
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    writing.say(vec![said(v1::said::Said::Completed(v1::Completed { reason, steered: None }))]).await.unwrap();
    assert_eq!(writing.finish().await.unwrap(), fanfold_client::AppendEnd::Done);
}

/// Longer than silence is borne.
const LONG: std::time::Duration = std::time::Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_reader_has_left_takes_no_attempt_for_lost_that_goes_on_elsewhere() {
    let Some(cluster) = Cluster::make_with("a reader that hops away from a run", &[("SESSION__IDLE_MS", "500")]) else { return };
    let (left, writes) = (cluster.node("0"), cluster.node("0"));
    let client = writes.client();
    open(&client, "s").await;
    send(&client, "one", "s").await;
    let (_, mut writing) = begin(&client).await;
    writing.say(words("begun")).await.unwrap();
    // Who reads it once, and hops on.
    assert_eq!(state(&left.client(), "s").await.runs[0].status, RunStatus::Running);
    let started = tokio::time::Instant::now();
    while started.elapsed() < LONG {
        assert_eq!(writing.say_all(words(".")).await.unwrap(), fanfold_client::AppendEnd::Done, "it still counts");
        // So slowly that the other node could keep the state, and let the session go.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    complete(writing).await;
    let run = state(&client, "s").await.runs[0].clone();
    assert_eq!((run.status, run.attempts, run.error), (RunStatus::Completed, 1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_that_a_silent_worker_lives() {
    let Some(cluster) = Cluster::make("a worker that has nothing to say") else { return };
    let nodes = [cluster.node("0"), cluster.node("0")];
    let client = nodes[1].client();
    open(&client, "s").await;
    let mut readers = nodes.each_ref().map(|node| follow(&node.client(), "s", Transport::WebSocket));
    send(&client, "one", "s").await;
    let (lease, mut writing) = begin(&client).await;
    writing.say(words("Let me think.")).await.unwrap();
    for reader in &mut readers {
        until(reader, |view| !view.runs.is_empty() && !text(&last(view).1).is_empty()).await;
    }
    let started = tokio::time::Instant::now();
    while started.elapsed() < LONG {
        client.extend_lease(lease.clone()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    // Or without a lease, where it is written: at any node.
    let start =
        v1::AppendStart { session: "s".into(), run: lease.run, attempt: writing.attempt().into(), ..v1::AppendStart::default() };
    drop(writing);
    let mut writing = nodes[0].client().append(start).await.unwrap();
    let started = tokio::time::Instant::now();
    while started.elapsed() < LONG {
        assert_eq!(writing.say(Vec::new()).await.unwrap(), None);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    complete(writing).await;
    for reader in &mut readers {
        until(reader, |view| all_ended(view, 1)).await;
        let run = &reader.view().runs[0];
        assert_eq!((run.status, run.attempts), (RunStatus::Completed, 1));
    }
}
