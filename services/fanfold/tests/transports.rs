//! What each transport adds to the one contract: many sessions on a connection, encodings, ids, presence, limits, tokens.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;

use eventsource_stream::Eventsource as _;
use fanfold_fold::View;
use fanfold_wire::convert::delta;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use support::{DEADLINE, Node, all_ended, command, message, open, send, state};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A bare WebSocket in one encoding, with the state of each session it reads.
struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    format: Format,
    views: BTreeMap<String, (String, View)>,
}

impl Socket {
    async fn open(node: &Node, format: Format, token: &str) -> Self {
        let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", format.subprotocol().parse().unwrap());
        let (socket, response) = connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], format.subprotocol());
        let mut socket = Self { socket, format, views: BTreeMap::new() };
        socket.send(In::Hello(v1::Hello { token: token.into(), client: "test".into() })).await;
        socket
    }

    async fn send(&mut self, frame: In) {
        let mut bytes = Vec::new();
        self.format.encode_client(&frame.into(), &mut bytes);
        let message =
            if self.format.is_binary() { Message::binary(bytes) } else { Message::text(String::from_utf8(bytes).unwrap()) };
        self.socket.send(message).await.unwrap();
    }

    async fn subscribe(&mut self, session: &str, cursor: Option<String>) {
        self.send(In::Subscribe(v1::Subscribe { session: session.into(), cursor, ..v1::Subscribe::default() })).await;
    }

    /// The next frame, taken into the views; `Err` is the close code.
    async fn next(&mut self) -> Result<Out, u16> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a frame in time");
            let bytes = match message {
                Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(1006),
            };
            let frame = self.format.decode_server(&bytes).unwrap().frame.unwrap();
            self.take(&frame);
            return Ok(frame);
        }
    }

    fn take(&mut self, frame: &Out) {
        match frame {
            Out::Snapshot(snapshot) => {
                let view = snapshot.view.clone().unwrap().try_into().unwrap();
                self.views.insert(snapshot.session.clone(), (snapshot.cursor.clone(), view));
            }
            Out::Delta(frame) => {
                let (cursor, view) = self.views.get_mut(&frame.session).unwrap();
                assert_eq!(*cursor, frame.after, "I2");
                view.apply(&delta(frame.ops.clone()).unwrap()).unwrap();
                *cursor = frame.cursor.clone();
            }
            _ => {}
        }
    }

    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.next().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_reads_two_sessions_and_commands_both_in_every_encoding() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "0"]);
    let client = node.client();
    for format in [Format::Json, Format::Msgpack, Format::Proto] {
        let sessions = ["a", "b"].map(|name| format!("{name}-{}", format.subprotocol().replace('.', "-")));
        let mut socket = Socket::open(&node, format, "").await;
        let Ok(Out::Welcome(welcome)) = socket.next().await else { panic!("welcome is the answer to hello") };
        assert_eq!((welcome.protocol, welcome.limits.unwrap().sessions_max), (1, 100));
        for session in &sessions {
            let opened = Action::Open(v1::SessionOpened { title: Some("Zwei Sätze".into()), user: None });
            socket.send(In::Command(command("open", session, opened))).await;
            socket.subscribe(session, None).await;
        }
        socket.until(|socket| socket.views.len() == 2).await;
        for session in &sessions {
            socket.send(In::Command(command("send", session, message("hello")))).await;
        }
        let mut receipts = 0;
        let ended = |socket: &Socket| socket.views.values().all(|(_, view)| all_ended(view, 1));
        while receipts < 2 || !ended(&socket) {
            if let Ok(Out::Receipt(receipt)) = socket.next().await {
                assert_eq!(receipt.refusal, "");
                receipts += 1;
            }
        }
        for session in &sessions {
            assert_eq!(socket.views[session].1, state(&client, session).await, "{format:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_connection_are_stored_in_the_order_in_which_they_came() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let mut socket = Socket::open(&node, Format::Json, "").await;
    let ids: Vec<String> = (0..50).map(|n| format!("title-{n}")).collect();
    for id in &ids {
        let titled = Action::SetTitle(v1::SessionTitled { title: id.clone(), automatic: false });
        socket.send(In::Command(command(id, "s", titled))).await;
    }
    let mut receipts = 0;
    while receipts < ids.len() {
        if let Ok(Out::Receipt(receipt)) = socket.next().await {
            assert_eq!(receipt.refusal, "");
            receipts += 1;
        }
    }
    let events = client.events(v1::ListEventsRequest { session: "s".into(), limit: 100, ..Default::default() }).await.unwrap();
    let stored: Vec<_> = events.records.into_iter().filter_map(|record| record.command).skip(1).collect();
    assert_eq!(stored, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_tells_what_was_sent_and_bad_frames_close_with_a_code() {
    let data = tempfile::tempdir().unwrap();
    let mut process = Process::new(env!("CARGO_BIN_EXE_fanfold"));
    process.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--worker-slots", "0", "--data"]).arg(data.path());
    process.env("FANFOLD_LIMITS__PING_INTERVAL_MS", "50");
    let node = Node::spawn(process);
    open(&node.client(), "s").await;
    let mut socket = Socket::open(&node, Format::Json, "").await;
    socket.subscribe("s", None).await;
    let ping = loop {
        if let Ok(Out::Ping(ping)) = socket.next().await
            && !ping.positions.is_empty()
        {
            break ping;
        }
    };
    assert_eq!(ping.positions[0].cursor, socket.views["s"].0);
    socket.socket.send(Message::text("{\"nonsense\"")).await.unwrap();
    let code = loop {
        if let Err(code) = socket.next().await {
            break code;
        }
    };
    assert_eq!(code, fanfold_wire::ErrorCode::BadRequest.row().close);
}

/// Events of a stream until the condition holds.
async fn events(
    url: &str,
    last_id: Option<&str>,
    done: impl Fn(&[eventsource_stream::Event]) -> bool,
) -> Vec<eventsource_stream::Event> {
    let mut request = reqwest::Client::new().get(url);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let mut stream = request.send().await.unwrap().error_for_status().unwrap().bytes_stream().eventsource();
    let mut events = Vec::new();
    while !done(&events) {
        let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("an event in time");
        events.push(next.unwrap().unwrap());
    }
    events
}

fn count(events: &[eventsource_stream::Event], name: &str) -> usize {
    events.iter().filter(|event| event.event == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_share_one_event_stream_and_resume_by_its_id() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "a").await;
    open(&client, "b").await;
    // A session with something in it: of an empty one, a snapshot is smaller than what the first message changes.
    send(&client, "before", "b").await;
    let url = format!("{}/v1/stream?sessions=a,b", node.http);
    let first = events(&url, None, |events| count(events, "snapshot") == 2).await;
    let id = first.last().unwrap().id.clone();
    assert!(id.contains("a=") && id.contains("b="), "{id}");
    send(&client, "send", "b").await;
    let second = events(&url, Some(&id), |events| count(events, "delta") == 1).await;
    assert_eq!(count(&second, "snapshot"), 0, "both were resumed");
    assert!(second.last().unwrap().data.contains("\"b\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_event_stream_are_begun_once_each_and_sent_one_after_the_other() {
    let data = tempfile::tempdir().unwrap();
    let limits = [("LIMITS__SESSIONS_PER_CONNECTION_MAX", "3"), ("LIMITS__WRITE_BYTES_MAX", "1000")];
    let node = Node::start_with(data.path(), &limits);
    let client = node.client();
    for session in ["a", "b", "c", "d"] {
        open(&client, session).await;
        support::fact(&client, "fact", session, 2000).await;
    }
    let url = |sessions: &str| format!("{}/v1/stream?sessions={sessions}", node.http);
    let got = events(&url("a,b,a,a,b,b"), None, |events| count(events, "caught_up") == 2).await;
    assert_eq!((count(&got, "subscribed"), count(&got, "snapshot")), (2, 2));
    // The first one's snapshot, whichever is there first, fills a write: it was on its way before the second one's was taken.
    let ids: Vec<_> = got.iter().map(|event| event.id.as_str()).filter(|id| !id.is_empty()).collect();
    assert!(ids[0].contains("a=") != ids[0].contains("b="), "{ids:?}");
    let both = *ids.last().unwrap();
    assert!(both.contains("a=") && both.contains("b="), "{ids:?}");
    // Who is cut before a session's turn still has the cursor that it came with.
    let (_, of_one) = both.split_once(',').unwrap();
    let again = events(&url("a,b"), Some(&format!("{of_one},d=x")), |events| count(events, "caught_up") == 2).await;
    let first = again.iter().find(|event| !event.id.is_empty()).unwrap();
    assert!(first.id.contains(of_one), "{first:?}");
    assert_eq!(count(&again, "snapshot"), 1, "that one was resumed");
    let refused = reqwest::get(url("a,b,c,d")).await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    assert!(refused.text().await.unwrap().contains("too_many_sessions"));
}

/// A client that is cut within the snapshot has nothing: what it comes back with must not say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_stream_follows_what_it_leads_to() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    open(&node.client(), "s").await;
    let url = format!("{}/v1/sessions/s/stream", node.http);
    let first = events(&url, None, |events| count(events, "snapshot") == 1).await;
    let ids: Vec<_> = first.iter().map(|event| (event.event.as_str(), event.id.is_empty())).collect();
    assert_eq!(ids, [("subscribed", true), ("snapshot", false)]);
    let id = first[1].id.clone();
    let resumed = events(&url, Some(&id), |events| count(events, "caught_up") == 1).await;
    assert_eq!((resumed[0].event.as_str(), &resumed[0].id), ("subscribed", &id));
}

/// Whatever else is to be done for a connection, its pings are sent, its token ends and it is told to go.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_stops_talking_is_told_things() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[("LIMITS__PING_INTERVAL_MS", "50")]);
    let socket = Socket::open(&node, Format::Json, "").await;
    let (mut sink, mut frames) = socket.socket.split();
    let mut bytes = Vec::new();
    Format::Json.encode_client(&In::Unsubscribe(v1::Unsubscribe { session: "s".into() }).into(), &mut bytes);
    let frame = Message::text(String::from_utf8(bytes).unwrap());
    let flood = tokio::spawn(async move { while sink.feed(frame.clone()).await.is_ok() {} });
    let (mut pings, mut answers) = (0, 0);
    let told = async {
        while pings < 20 || answers < 10_000 {
            let Some(Ok(Message::Text(text))) = frames.next().await else { panic!("a frame") };
            match Format::Json.decode_server(text.as_bytes()).unwrap().frame {
                Some(Out::Ping(_)) => pings += 1,
                _ => answers += 1,
            }
        }
    };
    let told = tokio::time::timeout(DEADLINE, told).await;
    assert!(told.is_ok(), "{pings} pings among {answers} answers");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_view_gives_tokens_and_one_final_text() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "1"]);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "send", "s").await;
    let url = format!("{}/v1/sessions/s/stream?view=simple", node.http);
    let got = events(&url, None, |events| count(events, "final") == 1).await;
    let field = |event: &eventsource_stream::Event| {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        data["text"].as_str().unwrap_or_default().to_owned()
    };
    let tokens: String = got.iter().filter(|event| ["reset", "token"].contains(&event.event.as_str())).map(field).collect();
    assert_eq!(tokens, field(got.last().unwrap()));
    assert_eq!(tokens, support::text(&support::last(&state(&client, "s").await).1));
    let last: serde_json::Value = serde_json::from_str(&got.last().unwrap().data).unwrap();
    assert_eq!((&last["status"], &last["finish"]), (&"completed".into(), &"stop".into()));
    assert!(last["usage"]["output"].as_u64().is_some_and(|tokens| tokens > 0), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_each_other() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    open(&node.client(), "s").await;
    let mut watcher = Socket::open(&node, Format::Json, "").await;
    watcher.subscribe("s", None).await;
    let mut typist = Socket::open(&node, Format::Proto, "").await;
    typist.send(In::Presence(v1::PresenceSet { session: "s".into(), doing: "typing".into() })).await;
    let present = loop {
        if let Ok(Out::Presence(presence)) = watcher.next().await {
            break presence.present;
        }
    };
    assert_eq!(present, [v1::Present { who: "dev".into(), doing: "typing".into() }]);
    // What can't be shown doesn't look like the end of what is read.
    watcher.send(In::Presence(v1::PresenceSet { session: "s".into(), doing: "x".repeat(65) })).await;
    let error = loop {
        if let Ok(Out::Error(error)) = watcher.next().await {
            break error;
        }
    };
    assert_eq!((error.code.as_str(), error.session.as_str(), error.command.as_str()), ("field_limit", "s", "presence"));
    send(&node.client(), "after", "s").await;
    watcher.until(|socket| !socket.views["s"].1.messages.is_empty()).await;
}

fn token(secret: &str, claims: serde_json::Value) -> String {
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A node that asks for tokens, and the secret that signs them.
fn guarded(data: &Path) -> (Node, &'static str) {
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(data.join("secret"), secret).unwrap();
    let config = format!(
        "[node]\ndata = {:?}\n[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n[[auth.keys]]\nalgorithm = 'HS256'\npath = {:?}\n",
        data.join("data"),
        data.join("secret"),
    );
    std::fs::write(data.join("fanfold.toml"), config).unwrap();
    let mut process = Process::new(env!("CARGO_BIN_EXE_fanfold"));
    process.arg("serve").arg("--config").arg(data.join("fanfold.toml"));
    (Node::spawn(process), secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_ends_what_it_no_longer_grants() {
    let data = tempfile::tempdir().unwrap();
    let (node, secret) = guarded(data.path());
    let grant = |sessions: &[&str]| {
        token(secret, serde_json::json!({ "sub": "ann", "role": "admin", "sessions": sessions, "exp": u64::MAX }))
    };
    let all = token(secret, serde_json::json!({ "sub": "root", "role": "admin", "exp": u64::MAX }));
    let config =
        fanfold_client::ClientConfig { http: node.http.clone(), grpc: node.grpc.clone(), token: Some(all), ..Default::default() };
    let client = fanfold_client::Client::new(config).unwrap();
    for session in ["a", "b"] {
        open(&client, session).await;
    }
    let mut socket = Socket::open(&node, Format::Json, &grant(&["a", "b"])).await;
    for session in ["a", "b"] {
        socket.subscribe(session, None).await;
    }
    socket.until(|socket| socket.views.len() == 2).await;
    socket.send(In::Refresh(v1::Refresh { token: grant(&["b"]) })).await;
    let closed = loop {
        if let Out::Closed(closed) = socket.next().await.unwrap() {
            break closed;
        }
    };
    assert_eq!((closed.session.as_str(), closed.code.as_str(), closed.cursor), ("a", "revoked", socket.views["a"].0.clone()));
    support::fact(&client, "fact", "b", 10).await;
    let truth = state(&client, "b").await;
    socket.until(|socket| socket.views["b"].1 == truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_asks_who_it_is() {
    let data = tempfile::tempdir().unwrap();
    let (node, secret) = guarded(data.path());
    // As far away as the format allows: no clock counts that far.
    let far = u64::MAX;
    let user = token(secret, serde_json::json!({ "sub": "ann", "role": "user", "exp": far }));
    let viewer = token(secret, serde_json::json!({ "sub": "bob", "role": "viewer", "exp": far }));
    let other = token(secret, serde_json::json!({ "sub": "eve", "tenant": "other", "role": "admin", "exp": far }));
    let expired = token(secret, serde_json::json!({ "sub": "ann", "exp": 1 }));
    let forged = token("another secret of thirty-two bytes", serde_json::json!({ "sub": "ann", "role": "admin", "exp": far }));
    let http = reqwest::Client::new();
    let post = async |token: &str, path: &str| {
        let request = http.post(format!("{}{path}", node.http)).bearer_auth(token).body(r#"{"session":"s"}"#);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(http.post(format!("{}/v1/sessions", node.http)).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(post(&forged, "/v1/sessions").await, 401);
    assert_eq!(post(&expired, "/v1/sessions").await, 401);
    assert_eq!(post(&viewer, "/v1/sessions").await, 403);
    assert_eq!(post(&user, "/v1/sessions").await, 201);
    let get = async |token: &str| {
        http.get(format!("{}/v1/sessions/s", node.http)).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((get(&viewer).await, get(&other).await), (200, 404), "another tenant's session isn't there");
    let mut socket = Socket::open(&node, Format::Json, &forged).await;
    assert_eq!(socket.next().await, Err(fanfold_wire::ErrorCode::Unauthenticated.row().close));
    let mut socket = Socket::open(&node, Format::Json, &viewer).await;
    socket.subscribe("s", None).await;
    socket.until(|socket| !socket.views.is_empty()).await;
    socket.send(In::Command(command("c", "s", message("no")))).await;
    let error = loop {
        if let Ok(Out::Error(error)) = socket.next().await {
            break error;
        }
    };
    assert_eq!(error.code, "permission_denied");
    let config = fanfold_client::ClientConfig { http: node.http.clone(), grpc: node.grpc.clone(), ..Default::default() };
    let nobody = fanfold_client::Client::new(config).unwrap();
    assert!(nobody.list(v1::ListSessionsRequest::default()).await.is_err());
}
