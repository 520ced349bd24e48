//! Servers that are slow, hang or are gone, under real nodes: producers are answered in time, readers keep what they have, and everything goes on
//! by itself with nothing lost.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use fanfold_client::{Client, RequestError, Transport};
use fanfold_fold::{RunStatus, View};
use fanfold_nats::testing::Server;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use support::cluster::Cluster;
use support::cql::CqlServer;
use support::numbers::{count, number};
use support::slow::SlowNetwork;
use support::wire::Wire;
use support::worker::recording;
use support::{DEADLINE, Node, all_ended, command, last, open, send, state, state_since, text, told};
use tokio::time::Instant;

/// How long a caller may be kept waiting, whatever is away, on a machine that has other things to do. The limits below add up to less.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// Until readers hear that the log is away, or is back: two looks of the node, each as long as it may take. No other ping comes meanwhile.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Limits that a test can wait for.
const SHORT: [(&str, &str); 9] = [
    ("LIMITS__PING_INTERVAL_MS", "3600000"),
    ("LOG__JETSTREAM__APPEND_MS_MAX", "4000"),
    ("LOG__JETSTREAM__APPEND_TRY_MS_MAX", "1000"),
    ("LOG__JETSTREAM__READ_MS_MAX", "2000"),
    ("SESSION__WAIT_MS_MAX", "5000"),
    ("STORE__SCYLLA__REQUEST_MS_MAX", "1000"),
    ("STORE__SCYLLA__CALL_MS_MAX", "3000"),
    ("ARCHIVE__QUIET_MS", "100"),
    ("ARCHIVE__KEEP_MS", "0"),
];

/// After so long a silent worker is lost. Longer than it takes to notice that the log is away, and to come back to it.
const SILENCE: Duration = Duration::from_secs(15);

fn ask() -> v1::Subscribe {
    v1::Subscribe { session: "s".into(), window: u32::MAX, ..v1::Subscribe::default() }
}

async fn reader(node: &Node, transport: Transport) -> Wire {
    let door = node.door();
    let opened = Wire::open_at(&door, transport, vec![ask()], BTreeMap::new());
    let mut wire = tokio::time::timeout(ANSWER_WITHIN, opened).await.expect("an answer in time").unwrap();
    tokio::time::timeout(ANSWER_WITHIN, wire.caught_up(1)).await.expect("a state in time");
    wire
}

/// Until a ping says whether the log is away. It comes with the change, long before its time.
async fn told_of_log(wire: &mut Wire, away: bool) {
    let told = tokio::time::timeout(TOLD_WITHIN, wire.until(|wire| wire.log_away == away)).await;
    assert!(told.is_ok(), "told that the log is away: {away}");
}

/// What became of a request, which is told in time.
async fn answer<T>(request: impl Future<Output = Result<T, RequestError>>) -> Result<T, ErrorCode> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, request).await.expect("I5 bounded: an answer in time");
    answer.map_err(|error| {
        let RequestError::Refused(status) = error else { panic!("the node itself is there: {error}") };
        let is_named = |code: &&ErrorCode| status.message().starts_with(code.row().text);
        *ErrorCode::ALL.iter().find(is_named).unwrap_or_else(|| panic!("{status:?}"))
    })
}

async fn look(client: &Client, session: &str) -> Result<v1::Snapshot, ErrorCode> {
    answer(client.state(v1::GetStateRequest { session: session.into(), ..v1::GetStateRequest::default() })).await
}

/// Tries until it succeeds, as everything must without being started again.
async fn recovers<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, ErrorCode>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(code) => assert!(Instant::now() < deadline, "{what} stays {code:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every node and every reader comes to have this.
async fn all_have(clients: &[Client; 2], readers: &mut [Wire], truth: &View) {
    for client in clients {
        recovers("a node's state", async || match &state(client, "s").await == truth {
            true => Ok(()),
            false => Err(ErrorCode::Busy),
        })
        .await;
    }
    for wire in readers {
        wire.until(|wire| wire.held["s"].view == *truth).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_hangs_or_is_gone_is_waited_for_within_bounds() {
    let what = "a log that hangs or is gone";
    let Some(cql) = told("FANFOLD_TEST_CQL", what) else { return };
    let Some(mut nats) = Server::start(what, "") else { return };
    let cluster = Cluster::on(&nats.url, &cql, &SHORT);
    let nodes = [cluster.node("0"), cluster.node("0")];
    let clients = [nodes[0].client(), nodes[1].client()];
    open(&clients[0], "s").await;
    let mut readers = vec![reader(&nodes[0], Transport::WebSocket).await, reader(&nodes[1], Transport::Sse).await];
    let mut last = 0;
    for gone in [false, true] {
        let elsewhere = begin_elsewhere(&clients[1], gone).await;
        let stop = Arc::new(AtomicBool::new(false));
        let counting = tokio::spawn(count(clients[0].clone(), last + 1, Arc::clone(&stop)));
        for wire in &mut readers {
            wire.until(|wire| number(&wire.held["s"].view) > last + 10).await;
        }
        if gone {
            nats.kill()
        } else {
            nats.signal("-STOP")
        }
        let refused = answer(clients[1].submit(piece(&format!("during-{gone}")))).await.unwrap_err();
        assert!(matches!(refused, ErrorCode::UnknownOutcome | ErrorCode::Overloaded | ErrorCode::Busy), "{refused:?}");
        // Who is attached is told.
        for wire in &mut readers {
            told_of_log(wire, true).await;
        }
        // What is in memory is read as before, by new readers as well.
        for node in &nodes {
            look(&node.client(), "s").await.unwrap();
            readers.push(reader(node, Transport::Grpc).await);
            told_of_log(readers.last_mut().unwrap(), true).await;
        }
        // What is not is unavailable, and never taken for absent.
        let refused = look(&clients[0], &elsewhere).await.unwrap_err();
        assert!(matches!(refused, ErrorCode::Unavailable | ErrorCode::Busy), "{refused:?}");
        if gone {
            nats.start_again()
        } else {
            for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc] {
                holds_up_nobody(&nodes[0], transport, &elsewhere).await;
            }
            nats.signal("-CONT")
        }
        for wire in &mut readers {
            told_of_log(wire, false).await;
        }
        recovers("a session that nobody has in memory", async || look(&clients[0], &elsewhere).await).await;
        let upto = number(&state(&clients[1], "s").await) + 20;
        for wire in &mut readers {
            wire.until(|wire| number(&wire.held["s"].view) > upto).await;
        }
        stop.store(true, Ordering::Relaxed);
        let (counted, cursor) = counting.await.unwrap();
        last = counted;
        let truth = state_since(&clients[0], "s", &*cursor).await;
        assert_eq!(number(&truth), last, "I9 durable before acked");
        all_have(&clients, &mut readers, &truth).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_or_is_gone_stops_the_log_only_when_that_is_full() {
    let what = "a store that hangs or is gone";
    // One of its own: what others do with the shared one may take longer than an append is tried here.
    let Some(nats) = Server::start(what, "") else { return };
    let Some(mut cql) = CqlServer::start(what) else { return };
    let small = ("LOG__JETSTREAM__SHARD_BYTES_MAX", "200000");
    let cluster = Cluster::on(&nats.url, &cql.address(), &[&SHORT[..], &[small]].concat());
    let nodes = [cluster.node("0"), cluster.node("0")];
    let clients = [nodes[0].client(), nodes[1].client()];
    open(&clients[0], "s").await;
    let mut readers = vec![reader(&nodes[0], Transport::WebSocket).await, reader(&nodes[1], Transport::Grpc).await];
    let (mut acknowledged, mut cursor) = (1, String::new());
    for gone in [false, true] {
        let elsewhere = begin_elsewhere(&clients[1], gone).await;
        if gone {
            cql.kill()
        } else {
            cql.signal("-STOP");
            list_keeps_nobody_waiting(&nodes[0]).await;
        }
        let before = acknowledged;
        let refused = loop {
            match answer(clients[acknowledged % 2].submit(piece(&format!("piece{acknowledged}")))).await {
                Ok(receipt) => {
                    assert_eq!(receipt.refusal, "");
                    cursor = receipt.cursor;
                }
                Err(code) => break code,
            }
            acknowledged += 1;
            assert!(acknowledged < before + 100, "I5 bounded");
        };
        assert_eq!(refused, ErrorCode::Overloaded);
        assert!(acknowledged > before + 5, "the log goes on without the store: {acknowledged}");
        let truth = state_since(&clients[0], "s", &*cursor).await;
        all_have(&clients, &mut readers, &truth).await;
        readers.push(reader(&nodes[0], Transport::Sse).await);
        assert_eq!(look(&clients[0], &elsewhere).await.unwrap_err(), ErrorCode::Unavailable, "never taken for absent");
        if gone {
            cql.start_again()
        } else {
            cql.signal("-CONT")
        }
        let piece = piece(&format!("piece{acknowledged}"));
        let cursor = recovers("a full log", async || answer(clients[0].submit(piece.clone())).await).await.cursor;
        acknowledged += 1;
        recovers("a session that nobody has in memory", async || look(&clients[0], &elsewhere).await).await;
        let truth = state_since(&clients[1], "s", &*cursor).await;
        all_have(&clients, &mut readers, &truth).await;
        assert_eq!(events(&clients[1], "s").await, acknowledged, "I9 durable before acked");
    }
}

/// The node of its reader hears of the worker by the log alone. What it can't hear is no silence.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_after_the_log_was_away_for_longer_than_a_worker_may_be_silent() {
    let what = "an answer while the log is away";
    let Some(cql) = told("FANFOLD_TEST_CQL", what) else { return };
    let Some(mut nats) = Server::start(what, "") else { return };
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..60).map(|number| format!("{number} ")).collect();
    let recordings = format!("[{:?}]", recording(folder.path(), "count", &words));
    let silence_ms = SILENCE.as_millis().to_string();
    let cluster = Cluster::on(&nats.url, &cql, &[&SHORT[..], &[("RUNS__SILENCE_MS_MAX", &*silence_ms)]].concat());
    let hosts = cluster.node("0");
    let slow = [("RUNS__WORKER_SLOTS", "1"), ("RUNS__MODEL_RECORDINGS", &*recordings), ("RUNS__MODEL_PACE_MS", "200")];
    let _works = cluster.node_with(&slow);
    open(&hosts.client(), "s").await;
    send(&hosts.client(), "send", "s").await;
    let mut reader = reader(&hosts, Transport::WebSocket).await;
    let has_begun = |view: &View| !view.runs.is_empty() && !text(&last(view).1).is_empty();
    reader.until(|wire| has_begun(&wire.held["s"].view)).await;
    nats.kill();
    tokio::time::sleep(SILENCE * 3 / 2).await;
    nats.start_again();
    reader.until(|wire| all_ended(&wire.held["s"].view, 1)).await;
    let view = &reader.held["s"].view;
    let run = &view.runs[0];
    assert_eq!((run.status, run.attempts), (RunStatus::Completed, 1), "its worker was there all the time: {run:?}");
    assert_eq!(text(&last(view).1), words.concat());
}

/// One way: within the limits, and far beyond them.
const SLOW: Duration = Duration::from_millis(250);
const TOO_SLOW: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_slow_is_waited_for_and_one_that_is_too_slow_is_told() {
    let what = "a slow log";
    let Some(cql) = told("FANFOLD_TEST_CQL", what) else { return };
    let Some(nats) = Server::start(what, "") else { return };
    let network = SlowNetwork::before(nats.url.trim_start_matches("nats://")).await;
    let cluster = Cluster::on(&format!("nats://{}", network.address), &cql, &SHORT);
    let nodes = [cluster.node("0"), cluster.node("0")];
    let clients = [nodes[0].client(), nodes[1].client()];
    open(&clients[0], "s").await;
    let mut readers = vec![reader(&nodes[0], Transport::WebSocket).await, reader(&nodes[1], Transport::Sse).await];
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn(count(clients[0].clone(), 1, Arc::clone(&stop)));
    network.delay(SLOW);
    for wire in &mut readers {
        let upto = number(&wire.held["s"].view) + 5;
        wire.until(|wire| number(&wire.held["s"].view) > upto).await;
        assert!(!wire.log_away, "slow is not away");
    }
    network.delay(TOO_SLOW);
    let refused = answer(clients[1].submit(piece("too-slow"))).await.unwrap_err();
    assert!(matches!(refused, ErrorCode::UnknownOutcome | ErrorCode::Overloaded | ErrorCode::Busy), "{refused:?}");
    for wire in &mut readers {
        told_of_log(wire, true).await;
    }
    for client in &clients {
        look(client, "s").await.unwrap();
    }
    network.delay(Duration::ZERO);
    for wire in &mut readers {
        told_of_log(wire, false).await;
        let upto = number(&wire.held["s"].view) + 20;
        wire.until(|wire| number(&wire.held["s"].view) > upto).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (last, cursor) = counting.await.unwrap();
    let truth = state_since(&clients[0], "s", &*cursor).await;
    assert_eq!(number(&truth), last, "I9 durable before acked");
    all_have(&clients, &mut readers, &truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_slow_is_waited_for_and_one_that_is_too_slow_is_unavailable() {
    let what = "a slow store";
    let Some(cql) = told("FANFOLD_TEST_CQL", what) else { return };
    let Some(nats) = Server::start(what, "") else { return };
    let network = SlowNetwork::before(&cql).await;
    // What has left the log would be asked of the store.
    let keep = ("ARCHIVE__KEEP_MS", "3600000");
    let cluster = Cluster::on(&nats.url, &network.address, &[&SHORT[..], &[keep]].concat());
    let nodes = [cluster.node("0"), cluster.node("0")];
    let clients = [nodes[0].client(), nodes[1].client()];
    open(&clients[0], "s").await;
    let mut readers = vec![reader(&nodes[0], Transport::WebSocket).await, reader(&nodes[1], Transport::Grpc).await];
    let elsewhere = [begin_elsewhere(&clients[1], false).await, begin_elsewhere(&clients[1], true).await];
    network.delay(SLOW);
    recovers("a session in a slow store", async || look(&clients[0], &elsewhere[0]).await).await;
    network.delay(TOO_SLOW);
    // Whichever limit is met first: that of the store, or that of whoever waits for it.
    let refused = look(&clients[0], &elsewhere[1]).await.unwrap_err();
    assert!(matches!(refused, ErrorCode::Unavailable | ErrorCode::Busy), "never taken for absent: {refused:?}");
    let mut cursor = String::new();
    for number in 0..5 {
        // What is in memory asks the log only.
        cursor = answer(clients[number % 2].submit(piece(&format!("piece{number}")))).await.unwrap().cursor;
    }
    let truth = state_since(&clients[0], "s", &*cursor).await;
    all_have(&clients, &mut readers, &truth).await;
    network.delay(Duration::ZERO);
    recovers("a session that nobody has in memory", async || look(&clients[0], &elsewhere[1]).await).await;
    assert_eq!(events(&clients[1], "s").await, 6, "I9 durable before acked");
}

/// A list that hangs comes when it comes; what is there is told meanwhile.
async fn list_keeps_nobody_waiting(node: &Node) {
    let stream = reqwest::get(format!("{}/v1/stream?sessions=s&list=true", node.http));
    let mut events = tokio::time::timeout(ANSWER_WITHIN, stream).await.unwrap().unwrap().bytes_stream().eventsource();
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "error") {
        let event = tokio::time::timeout(ANSWER_WITHIN, events.next()).await.expect("I5 bounded: an answer in time");
        names.push(event.unwrap().unwrap().event);
    }
    assert!(names.iter().any(|name| name == "caught_up"), "{names:?}");
}

/// A session that takes its time to come into memory holds up nobody who reads another on the same connection, asked for behind it.
async fn holds_up_nobody(node: &Node, transport: Transport, elsewhere: &str) {
    let asks = vec![v1::Subscribe { session: elsewhere.into(), ..ask() }, ask()];
    let door = node.door();
    let opened = Wire::open_at(&door, transport, asks, BTreeMap::new());
    let mut wire = tokio::time::timeout(ANSWER_WITHIN, opened).await.expect("an answer in time").unwrap();
    let mut answered = Vec::new();
    while answered.len() < 2 {
        match tokio::time::timeout(ANSWER_WITHIN, wire.next()).await.expect("an answer in time") {
            Out::CaughtUp(caught_up) => answered.push((caught_up.session, None)),
            Out::Error(error) => answered.push((error.session, Some(error.code))),
            _ => {}
        }
    }
    let [first, second] = &answered[..] else { panic!("{answered:?}") };
    assert_eq!((first.0.as_str(), &first.1), ("s", &None), "{transport:?}: {answered:?}");
    assert!(second.0 == elsewhere && second.1.is_some(), "{transport:?}: {answered:?}");
}

/// A session that only this client's node has in memory.
async fn begin_elsewhere(client: &Client, gone: bool) -> String {
    let session = format!("elsewhere-{gone}");
    client.submit(command("open", &session, Action::Open(v1::SessionOpened::default()))).await.unwrap();
    session
}

/// A record of ten kilobytes.
fn piece(id: &str) -> v1::Command {
    let payload = format!("{id} {}", "x".repeat(10_000)).into_bytes();
    command(id, "s", Action::Custom(v1::Custom { kind: "piece".into(), content_type: "text/plain".into(), payload }))
}

/// How many records there are, over as many pages as it takes.
async fn events(client: &Client, session: &str) -> usize {
    let (mut records, mut after) = (0, 0);
    loop {
        let request = v1::ListEventsRequest { session: session.into(), after, limit: 1000, ..v1::ListEventsRequest::default() };
        // The store that came back may not be as quick as it was.
        let page = recovers("history", async || answer(client.events(request.clone())).await).await;
        records += page.records.len();
        after = page.records.last().map_or(after, |record| record.offset);
        if page.end {
            return records;
        }
    }
}
