//! A reader that stops reading: nobody else waits for it, it is let go of by name, and comes back to where it was.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use eventsource_stream::Eventsource as _;
use fanfold_client::{Client, Transport};
use fanfold_fold::View;
use fanfold_wire::convert::delta;
use fanfold_wire::grpc::Details;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::{ErrorCode, Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use support::{DEADLINE, Node, fact, follow, open, state, until};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// What the slow one has taken in.
#[derive(Default)]
struct Reader {
    view: View,
    cursor: Option<String>,
}

impl Reader {
    fn ask(&self) -> v1::Subscribe {
        v1::Subscribe { session: "s".into(), cursor: self.cursor.clone(), ..v1::Subscribe::default() }
    }

    fn take(&mut self, frame: Out) {
        match frame {
            Out::Snapshot(snapshot) => {
                self.view = snapshot.view.unwrap().try_into().unwrap();
                self.cursor = Some(snapshot.cursor);
            }
            Out::Delta(frame) => {
                assert_eq!(self.cursor.as_ref(), Some(&frame.after), "I2 contiguous");
                self.view.apply(&delta(frame.ops).unwrap()).unwrap();
                self.cursor = Some(frame.cursor);
            }
            _ => {}
        }
    }
}

fn node(data: &std::path::Path) -> Node {
    Node::start_with(data, &[("LIMITS__STALL_MS_MAX", "3000"), ("LIMITS__SEND_BUFFER_BYTES", "4096")])
}

/// Writes much more than everything between the node and a reader holds, while another one has it all at once.
async fn write(client: Client) {
    let mut quick = follow(&client, "s", Transport::WebSocket);
    until(&mut quick, |view| view.session.opened_at_ms > 0).await;
    for n in 0..60 {
        fact(&client, &format!("big{n}"), "s", 100_000).await;
    }
    let truth = state(&client, "s").await;
    until(&mut quick, |view| *view == truth).await;
}

/// Waits until the node has given up on somebody.
async fn given_up(node: &Node) {
    let url = format!("{}/metrics", node.http);
    let given_up = async {
        loop {
            let metrics = reqwest::get(&url).await.unwrap().text().await.unwrap();
            if metrics.lines().any(|line| line.starts_with("fanfold_slow_consumers_total") && !line.ends_with(" 0")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, given_up).await.expect("it is given up in time");
}

/// Comes back with its cursor and has what the others have.
async fn comes_back(node: &Node, mut reader: Reader) {
    let truth = state(&node.client(), "s").await;
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let mut frames = sessions.subscribe(reader.ask()).await.unwrap().into_inner();
    while reader.view != truth {
        let frame = tokio::time::timeout(DEADLINE, frames.message()).await.expect("a frame in time").unwrap();
        reader.take(frame.unwrap().frame.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_websocket_it_is_closed_with_4408() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path());
    open(&node.client(), "s").await;
    let mut reader = Reader::default();
    let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    for frame in [In::Hello(v1::Hello::default()), In::Subscribe(reader.ask())] {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        socket.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
    }
    support::attached(&node, "s", 1).await;
    let writing = tokio::spawn(write(node.client()));
    given_up(&node).await;
    let close = loop {
        match tokio::time::timeout(DEADLINE, socket.next()).await.expect("a frame in time").unwrap().unwrap() {
            Message::Text(text) => reader.take(Format::Json.decode_server(text.as_bytes()).unwrap().frame.unwrap()),
            Message::Close(close) => break close.unwrap(),
            _ => {}
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4408, ErrorCode::SlowConsumer.name()));
    writing.await.unwrap();
    comes_back(&node, reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sse_the_last_event_says_so() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path());
    open(&node.client(), "s").await;
    let mut reader = Reader::default();
    let stream = reqwest::get(format!("{}/v1/sessions/s/stream", node.http)).await.unwrap();
    let writing = tokio::spawn(write(node.client()));
    given_up(&node).await;
    let mut events = stream.bytes_stream().eventsource();
    let mut last = None;
    while let Some(event) = tokio::time::timeout(DEADLINE, events.next()).await.expect("an event in time") {
        let event = event.unwrap();
        let frame = format!("{{\"{}\":{}}}", event.event, event.data);
        let frame = Format::Json.decode_server(frame.as_bytes()).unwrap().frame.unwrap();
        last = Some(frame.clone());
        reader.take(frame);
    }
    assert!(matches!(&last, Some(Out::Error(error)) if error.code == ErrorCode::SlowConsumer.name()), "{last:?}");
    writing.await.unwrap();
    comes_back(&node, reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_the_status_says_so_and_the_trailers_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path());
    open(&node.client(), "s").await;
    let mut reader = Reader::default();
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let mut frames = sessions.subscribe(reader.ask()).await.unwrap().into_inner();
    let writing = tokio::spawn(write(node.client()));
    given_up(&node).await;
    let status = loop {
        match tokio::time::timeout(DEADLINE, frames.message()).await.expect("a frame in time") {
            Ok(frame) => reader.take(frame.expect("it doesn't end without a word").frame.unwrap()),
            Err(status) => break status,
        }
    };
    assert_eq!(Details::of(&status).map(|details| details.code), Some(ErrorCode::SlowConsumer));
    let cursor = format!("s={}", reader.cursor.clone().unwrap());
    assert_eq!(status.metadata().get("fanfold-cursor").unwrap(), &*cursor, "what was sent");
    writing.await.unwrap();
    comes_back(&node, reader).await;
}
