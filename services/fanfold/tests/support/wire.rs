//! The frames of a connection as they come, over any transport, folded with every promise of the protocol checked.

use std::collections::BTreeMap;

use eventsource_stream::Eventsource as _;
use fanfold_client::Transport;
use fanfold_fold::View;
use fanfold_wire::convert::delta;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::{Format, sse, v1};
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{DEADLINE, Node};

/// What a reader has of one session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    pub view: View,
    pub cursor: String,
    pub caught_up: bool,
}

/// One connection that reads sessions.
pub struct Wire {
    frames: BoxStream<'static, Out>,
    pub held: BTreeMap<String, Held>,
    pub subscribed: BTreeMap<String, v1::Subscribed>,
}

impl Wire {
    /// Connects and subscribes. `held`: what an earlier connection left; the cursors asked for are its own.
    pub async fn open(node: &Node, transport: Transport, asks: Vec<v1::Subscribe>, held: BTreeMap<String, Held>) -> Self {
        let frames = match transport {
            Transport::WebSocket => websocket(node, asks).await,
            Transport::Sse => events(node, asks).await,
            Transport::Grpc => grpc(node, asks).await,
        };
        Self { frames, held, subscribed: BTreeMap::new() }
    }

    /// The next frame, taken in. I2 is checked on each delta.
    pub async fn next(&mut self) -> Out {
        let frame = tokio::time::timeout(DEADLINE, self.frames.next()).await.expect("a frame in time").expect("a frame");
        match &frame {
            Out::Subscribed(subscribed) => {
                self.subscribed.insert(subscribed.session.clone(), subscribed.clone());
            }
            Out::Snapshot(snapshot) => {
                let view = snapshot.view.clone().unwrap().try_into().unwrap();
                self.held.insert(snapshot.session.clone(), Held { view, cursor: snapshot.cursor.clone(), ..Held::default() });
            }
            Out::Delta(frame) => {
                let held = self.held.get_mut(&frame.session).expect("a delta follows a state");
                assert_eq!(held.cursor, frame.after, "I2 contiguous");
                held.view.apply(&delta(frame.ops.clone()).unwrap()).unwrap();
                held.cursor = frame.cursor.clone();
            }
            Out::CaughtUp(caught_up) => {
                let held = self.held.get_mut(&caught_up.session).unwrap();
                assert_eq!(held.cursor, caught_up.cursor, "I2 contiguous");
                held.caught_up = true;
            }
            _ => {}
        }
        frame
    }

    pub async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.next().await;
        }
    }

    /// Until every session has said that its reader has everything.
    pub async fn caught_up(&mut self, sessions: usize) {
        self.until(|wire| wire.held.len() == sessions && wire.held.values().all(|held| held.caught_up)).await;
    }
}

async fn websocket(node: &Node, asks: Vec<v1::Subscribe>) -> BoxStream<'static, Out> {
    let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let hello = In::Hello(v1::Hello::default());
    for frame in std::iter::once(hello).chain(asks.into_iter().map(In::Subscribe)) {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        socket.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
    }
    let frame = async |message: Result<Message, _>| match message.unwrap() {
        Message::Text(text) => Format::Json.decode_server(text.as_bytes()).unwrap().frame,
        _ => None,
    };
    socket.filter_map(frame).boxed()
}

async fn events(node: &Node, asks: Vec<v1::Subscribe>) -> BoxStream<'static, Out> {
    let cursors: Vec<_> = asks.iter().filter_map(|ask| Some((ask.session.as_str(), ask.cursor.as_deref()?))).collect();
    let (path, id) = match asks.as_slice() {
        [one] => (format!("/v1/sessions/{}/stream?", one.session), cursors.first().map(|(_, cursor)| (*cursor).to_owned())),
        many => {
            let names: Vec<_> = many.iter().map(|ask| ask.session.as_str()).collect();
            let id = (!cursors.is_empty()).then(|| sse::vector_id(cursors.iter().copied()));
            (format!("/v1/stream?sessions={}&", names.join(",")), id)
        }
    };
    let mut request = reqwest::Client::new().get(format!("{}{path}window={}", node.http, asks[0].window));
    if let Some(id) = id {
        request = request.header("last-event-id", id);
    }
    let events = request.send().await.unwrap().error_for_status().unwrap().bytes_stream().eventsource();
    let frame = async |event: Result<eventsource_stream::Event, _>| {
        let event = event.unwrap();
        Format::Json.decode_server(format!("{{\"{}\":{}}}", event.event, event.data).as_bytes()).unwrap().frame
    };
    events.filter_map(frame).boxed()
}

async fn grpc(node: &Node, asks: Vec<v1::Subscribe>) -> BoxStream<'static, Out> {
    let mut client = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let frames = match asks.as_slice() {
        [one] => client.subscribe(one.clone()).await.unwrap().into_inner(),
        _ => {
            // It goes on sending nothing, which ends nothing.
            let asks = futures::stream::iter(asks).map(|ask| In::Subscribe(ask).into()).chain(futures::stream::pending());
            client.attach(asks).await.unwrap().into_inner()
        }
    };
    frames.filter_map(async |frame| frame.unwrap().frame).boxed()
}
