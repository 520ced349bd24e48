//! Nodes on a log that three servers keep, whose leader is killed under a producer, a worker and readers: nothing acknowledged is lost, no
//! reader misses a record or has one twice, and it goes on by itself within a bounded time.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfold_client::{Client, Transport};
use fanfold_fold::RunStatus;
use fanfold_nats::Nats;
use fanfold_nats::testing::{Cluster as Servers, LIMITS};
use fanfold_wire::v1;
use support::cluster::Cluster;
use support::numbers::{count, number};
use support::wire::Wire;
use support::{DEADLINE, Node, all_ended, follow, open, send, state, state_since, told, until};
use tokio::time::Instant;

/// From the death of a leader until what was said after it has reached everybody, on a machine that has other things to do. An election
/// takes some seconds, and an append is tried for fifteen.
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);

/// One shard, so that a test knows whose leader it kills.
const SETTINGS: [(&str, &str); 3] =
    [("LOG__JETSTREAM__REPLICAS", "3"), ("LOG__JETSTREAM__SHARDS", "1"), ("RUNS__QUEUE__ACK_WAIT_MS", "20000")];

async fn reader(node: &Node, transport: Transport) -> Wire {
    let ask = v1::Subscribe { session: "s".into(), window: u32::MAX, ..v1::Subscribe::default() };
    let mut wire = Wire::open(node, transport, vec![ask], BTreeMap::new()).await;
    wire.caught_up(1).await;
    wire
}

/// The server that leads the stream, once the other two have all of it.
async fn leader(servers: &Servers, stream: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Ok(nats) = Nats::connect(&servers.options(), LIMITS).await
            && let Ok(Some(info)) = nats.stream(stream).await
            && let Some(cluster) = info.cluster
            && let Some(leader) = cluster.leader
            && cluster.replicas.len() == 2
            && cluster.replicas.iter().all(|replica| replica.current && !replica.offline)
        {
            return leader;
        }
        assert!(Instant::now() < deadline, "{stream} is whole");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The numbers in the order of the log, each where it comes first: a repetition may be stored, and changes nothing.
async fn numbers(client: &Client) -> Vec<usize> {
    let (mut numbers, mut after) = (Vec::new(), 0);
    loop {
        let request = v1::ListEventsRequest { session: "s".into(), after, limit: 1000, ..v1::ListEventsRequest::default() };
        let page = client.events(request).await.unwrap();
        for record in &page.records {
            let number = record.command.as_deref().and_then(|command| command.strip_prefix("number")?.parse().ok());
            numbers.extend(number.filter(|number| !numbers.contains(number)));
        }
        after = page.records.last().map_or(after, |record| record.offset);
        if page.end {
            return numbers;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_killed_under_nodes_that_lose_nothing() {
    let what = "nodes whose log elects a leader";
    let Some(cql) = told("FANFOLD_TEST_CQL", what) else { return };
    let Some(mut servers) = Servers::start(what).await else { return };
    let cluster = Cluster::on_all(&servers.options().urls, &cql, &SETTINGS);
    let stream = format!("{}-log-0", cluster.name);
    let nodes = [cluster.node("1"), cluster.node("1")];
    let clients = [nodes[0].client(), nodes[1].client()];
    open(&clients[0], "s").await;
    let mut readers = Vec::new();
    for (node, transport) in nodes.iter().zip([Transport::WebSocket, Transport::Sse]) {
        readers.push(reader(node, transport).await);
        readers.push(reader(node, Transport::Grpc).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn(count(clients[0].clone(), 1, Arc::clone(&stop)));
    for round in 0..2 {
        let leader = leader(&servers, &stream).await;
        for wire in &mut readers {
            let upto = number(&wire.held["s"].view) + 5;
            wire.until(|wire| number(&wire.held["s"].view) > upto).await;
        }
        if round == 1 {
            // Asked for and taken while there is no leader, or just before.
            send(&clients[1], "ask", "s").await;
        }
        let server = servers.servers.iter_mut().find(|server| server.name == leader).unwrap();
        server.kill();
        let killed = Instant::now();
        // One more may have been on its way when it died.
        let upto = number(&state(&clients[0], "s").await) + 5;
        for wire in &mut readers {
            let goes_on = wire.until(|wire| number(&wire.held["s"].view) > upto);
            tokio::time::timeout_at(killed + GOES_ON_WITHIN, goes_on).await.expect("it goes on in time");
        }
        eprintln!("{leader} was killed; everybody went on after {:?}", killed.elapsed());
        server.start_again();
    }
    let mut run = follow(&clients[0], "s", Transport::WebSocket);
    until(&mut run, |view| all_ended(view, 1)).await;
    assert_eq!(run.view().runs[0].status, RunStatus::Completed, "I8 every run ends");
    stop.store(true, Ordering::Relaxed);
    let (last, cursor) = counting.await.unwrap();
    assert_eq!(numbers(&clients[1]).await, (1..=last).collect::<Vec<_>>(), "I9 durable before acked");
    let truth = state_since(&clients[0], "s", &*cursor).await;
    assert_eq!(number(&truth), last);
    assert_eq!(state_since(&clients[1], "s", &*cursor).await, truth);
    for wire in &mut readers {
        wire.until(|wire| wire.held["s"].view == truth).await;
    }
}
