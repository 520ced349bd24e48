//! A node that is told to go: whoever is there or still comes hears of it, and it is gone in time.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource as _;
use fanfold_client::Transport;
use fanfold_wire::grpc::Details;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use support::wire::Wire;
use support::{Node, open};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Long enough to look at it while it drains.
const DRAIN_MS_MAX: &str = "60000";

fn ask() -> v1::Subscribe {
    v1::Subscribe { session: "s".into(), ..v1::Subscribe::default() }
}

/// A reader that takes nothing and has too much to take: it doesn't leave, and the node waits for it as long as it may.
async fn stubborn(node: &Node) -> TcpStream {
    let address = node.http.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET /v1/sessions/s/stream HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    let client = node.client();
    support::attached(node, "s", 1).await;
    for n in 0..30 {
        support::fact(&client, &format!("fact{n}"), "s", 200_000).await;
    }
    socket
}

async fn status(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// What this reader is told last.
async fn sent_away(mut wire: Wire) -> u32 {
    let mut reconnect_after_ms = None;
    while let Some(frame) = wire.next_or_end().await {
        if let Out::Draining(draining) = frame {
            reconnect_after_ms = Some(draining.reconnect_after_ms);
        }
    }
    reconnect_after_ms.expect("it is told when to come back")
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_until_the_end_which_comes_in_time() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("NODE__DRAIN_MS_MAX", DRAIN_MS_MAX), ("LIMITS__SEND_BUFFER_BYTES", "4096")];
    let mut node = Node::start_with(data.path(), &settings);
    open(&node.client(), "s").await;
    let stubborn = stubborn(&node).await;
    let mut readers = Vec::new();
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc, Transport::WebSocket, Transport::WebSocket] {
        let mut wire = Wire::open(&node, transport, vec![ask()], BTreeMap::new()).await;
        wire.caught_up(1).await;
        readers.push(tokio::spawn(sent_away(wire)));
    }
    let ready = format!("{}/readyz", node.http);
    assert_eq!(status(&ready).await.0, 200);
    let health = async |service: &str| {
        let channel = tonic::transport::Endpoint::from_shared(node.grpc.clone()).unwrap().connect().await.unwrap();
        let mut health = HealthClient::new(channel);
        health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status()
    };
    let services = ["", "fanfold.v1.Sessions", "fanfold.v1.Workers", "fanfold.v1.Operations"];
    for service in services {
        assert_eq!(health(service).await, ServingStatus::Serving, "{service}");
    }
    node.signal("-TERM");
    let mut waits = BTreeSet::new();
    for reader in readers {
        waits.insert(reader.await.unwrap());
    }
    assert!(waits.len() > 1, "each its own time: {waits:?}");
    // The stubborn one is still there, and so is the node.
    assert_eq!(status(&ready).await, (503, "draining".into()));
    for service in services {
        assert_eq!(health(service).await, ServingStatus::NotServing, "{service}");
    }
    let stream = reqwest::get(format!("{}/v1/sessions/s/stream", node.http)).await.unwrap();
    assert_eq!(stream.status().as_u16(), 200, "an EventSource would give up for good");
    let events: Vec<_> = stream.bytes_stream().eventsource().map(|event| event.unwrap().event).collect().await;
    assert_eq!(events, ["draining"]);
    let refused = Wire::open_at(&node.door(), Transport::WebSocket, vec![ask()], BTreeMap::new()).await;
    assert!(refused.err().unwrap().to_string().contains("503"));
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let refused = sessions.subscribe(ask()).await.unwrap_err();
    assert_eq!(Details::of(&refused).map(|details| details.code), Some(ErrorCode::Draining));
    drop(stubborn);
    assert!(tokio::task::spawn_blocking(move || node.ended()).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_does_not_hold_up_the_end() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("NODE__DRAIN_MS_MAX", "2000"), ("LIMITS__SEND_BUFFER_BYTES", "4096"), ("LIMITS__STALL_MS_MAX", "600000")];
    let mut node = Node::start_with(data.path(), &settings);
    open(&node.client(), "s").await;
    let _stubborn = stubborn(&node).await;
    let begun = Instant::now();
    assert!(tokio::task::spawn_blocking(move || node.terminate()).await.unwrap().success());
    // By itself that reader would have stayed for minutes.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
