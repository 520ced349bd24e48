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

/// Where connections are made: a node, or what stands before some.
#[derive(Debug, Clone)]
pub struct Door {
    pub http: String,
    pub grpc: String,
}

/// One connection that reads sessions.
pub struct Wire {
    frames: BoxStream<'static, Out>,
    pub held: BTreeMap<String, Held>,
    pub subscribed: BTreeMap<String, v1::Subscribed>,
    /// Who answered, where the transport says that.
    pub node: Option<String>,
    /// What the last ping said.
    pub log_away: bool,
}

impl Wire {
    /// Connects and subscribes. `held`: what an earlier connection left; the cursors asked for are its own.
    pub async fn open(node: &Node, transport: Transport, asks: Vec<v1::Subscribe>, held: BTreeMap<String, Held>) -> Self {
        Self::open_at(&node.door(), transport, asks, held).await.unwrap()
    }

    /// The same where there may be nobody.
    pub async fn open_at(
        door: &Door,
        transport: Transport,
        asks: Vec<v1::Subscribe>,
        held: BTreeMap<String, Held>,
    ) -> Result<Self, Refused> {
        let frames = match transport {
            Transport::WebSocket => websocket(door, asks).await?,
            Transport::Sse => events(door, asks).await?,
            Transport::Grpc => grpc(door, asks).await?,
        };
        Ok(Self { frames, held, subscribed: BTreeMap::new(), node: None, log_away: false })
    }

    /// The next frame, taken in. I2 is checked on each delta.
    pub async fn next(&mut self) -> Out {
        self.next_or_end().await.expect("a frame")
    }

    /// The same; `None` once the connection has ended.
    pub async fn next_or_end(&mut self) -> Option<Out> {
        let frame = tokio::time::timeout(DEADLINE, self.frames.next()).await.expect("a frame in time")?;
        match &frame {
            Out::Ping(ping) => self.log_away = ping.log_away,
            Out::Welcome(welcome) => self.node = Some(welcome.node.clone()),
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
        Some(frame)
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

/// Why there is no connection.
pub type Refused = Box<dyn std::error::Error>;

async fn websocket(door: &Door, asks: Vec<v1::Subscribe>) -> Result<BoxStream<'static, Out>, Refused> {
    let mut request = format!("{}/v1/ws", door.http.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
    let (mut socket, _) = connect_async(request).await?;
    let hello = In::Hello(v1::Hello::default());
    for frame in std::iter::once(hello).chain(asks.into_iter().map(In::Subscribe)) {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        socket.send(Message::text(String::from_utf8(bytes).unwrap())).await?;
    }
    let frame = |message: Message| match message {
        Message::Text(text) => Format::Json.decode_server(text.as_bytes()).unwrap().frame,
        _ => None,
    };
    Ok(whole(socket).filter_map(move |message| std::future::ready(frame(message))).boxed())
}

async fn events(door: &Door, asks: Vec<v1::Subscribe>) -> Result<BoxStream<'static, Out>, Refused> {
    let cursors: Vec<_> = asks.iter().filter_map(|ask| Some((ask.session.as_str(), ask.cursor.as_deref()?))).collect();
    let (path, id) = match asks.as_slice() {
        [one] => (format!("/v1/sessions/{}/stream?", one.session), cursors.first().map(|(_, cursor)| (*cursor).to_owned())),
        many => {
            let names: Vec<_> = many.iter().map(|ask| ask.session.as_str()).collect();
            let id = (!cursors.is_empty()).then(|| sse::vector_id(cursors.iter().copied()));
            (format!("/v1/stream?sessions={}&", names.join(",")), id)
        }
    };
    let mut request = reqwest::Client::new().get(format!("{}{path}window={}", door.http, asks[0].window));
    if let Some(id) = id {
        request = request.header("last-event-id", id);
    }
    let events = request.send().await?.error_for_status()?.bytes_stream().eventsource();
    let frame = |event: eventsource_stream::Event| {
        Format::Json.decode_server(format!("{{\"{}\":{}}}", event.event, event.data).as_bytes()).unwrap().frame
    };
    Ok(whole(events).filter_map(move |event| std::future::ready(frame(event))).boxed())
}

async fn grpc(door: &Door, asks: Vec<v1::Subscribe>) -> Result<BoxStream<'static, Out>, Refused> {
    let mut client = SessionsClient::connect(door.grpc.clone()).await?;
    let frames = match asks.as_slice() {
        [one] => client.subscribe(one.clone()).await?.into_inner(),
        _ => {
            // It goes on sending nothing, which ends nothing.
            let asks = futures::stream::iter(asks).map(|ask| In::Subscribe(ask).into()).chain(futures::stream::pending());
            client.attach(asks).await?.into_inner()
        }
    };
    Ok(whole(frames).filter_map(|frame| std::future::ready(frame.frame)).boxed())
}

/// What comes before the connection breaks.
fn whole<T, E: std::fmt::Display>(stream: impl futures::Stream<Item = Result<T, E>>) -> impl futures::Stream<Item = T> {
    tokio_stream::StreamExt::map_while(stream, |item| item.inspect_err(|error| eprintln!("a connection broke: {error}")).ok())
}
