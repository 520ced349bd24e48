//! Lists of sessions: searched, and watched over every transport, by those who may see them.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::process::Command as Process;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use fanfold_client::{Client, ClientConfig, Transport};
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::{Format, v1};
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use support::cluster::Cluster;
use support::{DEADLINE, Node, command, message};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Until it is listed, which a command doesn't wait for, and the next one is of another millisecond.
async fn open(client: &Client, session: &str, user: &str, title: &str) {
    let opened = v1::SessionOpened { title: Some(title.into()), user: Some(user.into()) };
    let receipt = client.submit(command("open", session, Action::Open(opened))).await.unwrap();
    assert_eq!(receipt.refusal, "");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let listed = client.list(v1::ListSessionsRequest::default()).await.unwrap().sessions;
        if listed.iter().any(|row| row.session == session && row.active_at_ms < now_ms()) {
            return;
        }
        assert!(Instant::now() < deadline, "{session} is listed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

async fn title(client: &Client, session: &str, title: &str) {
    let action = Action::SetTitle(v1::SessionTitled { title: title.into(), automatic: false });
    assert_eq!(
        client.submit(command(&title.replace(|sign: char| !sign.is_alphanumeric(), "-"), session, action)).await.unwrap().refusal,
        ""
    );
}

/// Whom a node of [`guarded`] asks for tokens.
fn client(node: &Node, claims: serde_json::Value) -> (Client, String) {
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    let (http, grpc) = (node.http.clone(), node.grpc.clone());
    (Client::new(ClientConfig { http, grpc, token: Some(token.clone()), ..ClientConfig::default() }).unwrap(), token)
}

fn guarded(data: &std::path::Path) -> Node {
    std::fs::write(data.join("secret"), SECRET).unwrap();
    let config = format!(
        "[node]\ndata = {:?}\n[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n[[auth.keys]]\nalgorithm = 'HS256'\npath = {:?}\n",
        data.join("data"),
        data.join("secret"),
    );
    std::fs::write(data.join("fanfold.toml"), config).unwrap();
    let mut process = Process::new(env!("CARGO_BIN_EXE_fanfold"));
    process.arg("serve").arg("--config").arg(data.join("fanfold.toml"));
    Node::spawn(process)
}

/// A connection that watches a list, and what it has of it.
struct Watcher {
    frames: BoxStream<'static, Out>,
    sends: Option<mpsc::UnboundedSender<In>>,
    rows: BTreeMap<String, v1::SessionRow>,
    resets: usize,
    next_page: Option<String>,
}

impl Watcher {
    async fn open(node: &Node, transport: Transport, token: &str, watch: v1::Watch) -> Self {
        #[allow(clippy::disallowed_methods, reason = "a test sends a handful")]
        let (sends, frames) = mpsc::unbounded_channel();
        let (frames, sends) = match transport {
            Transport::WebSocket => (websocket(node, token, frames).await, Some(sends)),
            Transport::Grpc => (grpc(node, token, frames).await, Some(sends)),
            Transport::Sse => (events(node, token, &watch).await, None),
        };
        if let Some(sends) = &sends {
            sends.send(In::Watch(watch)).unwrap();
        }
        let mut watcher = Self { frames, sends, rows: BTreeMap::new(), resets: 0, next_page: None };
        watcher.until(|watcher| watcher.resets == 1).await;
        watcher
    }

    fn send(&self, frame: In) {
        self.sends.as_ref().unwrap().send(frame).unwrap();
    }

    async fn next(&mut self) -> Out {
        let frame = tokio::time::timeout(DEADLINE, self.frames.next()).await.expect("a frame in time").expect("a frame");
        if let Out::Listed(listed) = &frame {
            if listed.reset {
                self.resets += 1;
                self.rows.clear();
                self.next_page = listed.next_page.clone();
            }
            for row in &listed.rows {
                if self.rows.get(&row.session).is_none_or(|known| known.offset <= row.offset) {
                    self.rows.insert(row.session.clone(), row.clone());
                }
            }
        }
        frame
    }

    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.next().await;
        }
    }

    fn titles(&self) -> Vec<&str> {
        self.rows.values().map(|row| row.title.as_deref().unwrap_or_default()).collect()
    }
}

async fn websocket(node: &Node, token: &str, mut sends: mpsc::UnboundedReceiver<In>) -> BoxStream<'static, Out> {
    let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
    let (mut sink, frames) = connect_async(request).await.unwrap().0.split();
    let hello = In::Hello(v1::Hello { token: token.into(), ..v1::Hello::default() });
    tokio::spawn(async move {
        let mut next = Some(hello);
        while let Some(frame) = next {
            let mut bytes = Vec::new();
            Format::Json.encode_client(&frame.into(), &mut bytes);
            sink.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
            next = sends.recv().await;
        }
    });
    let frame = async |message: Result<Message, _>| match message.unwrap() {
        Message::Text(text) => Format::Json.decode_server(text.as_bytes()).unwrap().frame,
        _ => None,
    };
    frames.filter_map(frame).boxed()
}

async fn events(node: &Node, token: &str, watch: &v1::Watch) -> BoxStream<'static, Out> {
    let user = watch.user.as_ref().map(|user| format!("&user={user}")).unwrap_or_default();
    let path = format!("{}/v1/stream?list=true&limit={}{user}", node.http, watch.limit);
    let mut request = reqwest::Client::new().get(path);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let events = request.send().await.unwrap().error_for_status().unwrap().bytes_stream().eventsource();
    let frame = async |event: Result<eventsource_stream::Event, _>| {
        let event = event.unwrap();
        Format::Json.decode_server(format!("{{\"{}\":{}}}", event.event, event.data).as_bytes()).unwrap().frame
    };
    events.filter_map(frame).boxed()
}

async fn grpc(node: &Node, token: &str, sends: mpsc::UnboundedReceiver<In>) -> BoxStream<'static, Out> {
    let mut client = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let frames = futures::stream::unfold(sends, async |mut sends| Some((v1::ClientFrame::from(sends.recv().await?), sends)));
    let mut request = tonic::Request::new(frames);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    client.attach(request).await.unwrap().into_inner().filter_map(async |frame| frame.unwrap().frame).boxed()
}

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_sees_sessions_begin_change_and_run() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[]);
    let client = node.client();
    open(&client, "a", "ann", "First").await;
    let watch = || v1::Watch { user: Some("ann".into()), limit: 10 };
    let mut watchers = Vec::new();
    for transport in TRANSPORTS {
        let mut watcher = Watcher::open(&node, transport, "", watch()).await;
        watcher.until(|watcher| watcher.titles() == ["First"]).await;
        watchers.push(watcher);
    }
    open(&client, "b", "ann", "Second").await;
    open(&client, "c", "bob", "Another's").await;
    title(&client, "a", "Renamed").await;
    client.submit(command("m", "b", message("hello"))).await.unwrap();
    for watcher in &mut watchers {
        watcher.until(|watcher| watcher.titles() == ["Renamed", "Second"] && watcher.rows["b"].open_runs == 1).await;
        let opened = watcher.rows["a"].offset;
        assert!(opened > 0 && watcher.resets == 1);
    }
    client.submit(command("stop", "b", Action::Cancel(v1::Cancel::default()))).await.unwrap();
    for watcher in &mut watchers {
        watcher.until(|watcher| watcher.rows["b"].open_runs == 0).await;
    }
    // What is watched in place of it is another list, from its beginning.
    watchers[0].send(In::Watch(v1::Watch { user: None, limit: 1 }));
    watchers[0].until(|watcher| watcher.resets == 2).await;
    assert_eq!((watchers[0].titles(), watchers[0].next_page.is_some()), (vec!["Second"], true));
    watchers[0].send(In::Unwatch(v1::Unwatch {}));
    watchers[0].send(In::Subscribe(v1::Subscribe { session: "c".into(), ..v1::Subscribe::default() }));
    // Its answer comes after what was said before it.
    while !matches!(watchers[0].next().await, Out::Snapshot(_)) {}
    title(&client, "c", "Unseen").await;
    loop {
        match watchers[0].next().await {
            Out::Listed(listed) => panic!("nothing is watched any more: {listed:?}"),
            Out::Delta(_) => break,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_searched_by_user_time_and_words() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[]);
    let client = node.client();
    open(&client, "a", "ann", "Night trains").await;
    open(&client, "b", "bob", "Training a model").await;
    open(&client, "c", "ann", "Something else").await;
    let all = client.list(v1::ListSessionsRequest::default()).await.unwrap().sessions;
    let at = |session: &str| all.iter().find(|row| row.session == session).unwrap().active_at_ms;
    let get = async |query: String| {
        let body = reqwest::get(format!("{}/v1/sessions?{query}", node.http)).await.unwrap().text().await.unwrap();
        let reply: v1::ListSessionsReply = serde_json::from_str(&body).unwrap();
        reply.sessions.into_iter().map(|row| row.session).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(get("query=train".into()).await, "b a");
    assert_eq!(get("query=NIGHT%20tra&user=ann".into()).await, "a");
    assert_eq!(get("query=nothing".into()).await, "");
    assert_eq!(get(format!("since_ms={}", at("b"))).await, "c b");
    assert_eq!(get(format!("until_ms={}&query=train", at("b"))).await, "a");
    let run = |arguments: &[&str]| {
        let mut process = Process::new(env!("CARGO_BIN_EXE_fanfold"));
        let output = process.args(["--url", &node.http, "--grpc-url", &node.grpc, "sessions"]).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(run(&["--query", "train", "--user", "bob", "--since", "1h"]), "b");
    assert_eq!(run(&["--until", "1h"]), "");
    assert_eq!(run(&["--since", "2026-01-01", "--until", "2200-01-01T00:00:00Z"]), "c b a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_holds_what_its_reader_may_read() {
    let data = tempfile::tempdir().unwrap();
    let node = guarded(data.path());
    let (admin, _) = client(&node, serde_json::json!({ "sub": "root", "role": "admin", "exp": u64::MAX }));
    for session in ["a", "b", "c"] {
        open(&admin, session, "ann", &format!("Title {session}")).await;
    }
    let granted = |sessions: &[&str]| serde_json::json!({ "sub": "ann", "role": "user", "sessions": sessions, "exp": u64::MAX });
    let (ann, token) = client(&node, granted(&["a", "b", "absent"]));
    let ids = async |client: &Client, request: v1::ListSessionsRequest| {
        let reply = client.list(request).await.unwrap();
        (reply.sessions.into_iter().map(|row| row.session).collect::<Vec<_>>().join(" "), reply.next_page)
    };
    assert_eq!(ids(&ann, v1::ListSessionsRequest::default()).await, ("b a".into(), None));
    let (one, page) = ids(&ann, v1::ListSessionsRequest { limit: 1, ..v1::ListSessionsRequest::default() }).await;
    assert_eq!(
        (one.as_str(), ids(&ann, v1::ListSessionsRequest { page, ..v1::ListSessionsRequest::default() }).await.0),
        ("b", "a".into())
    );
    let asked = v1::ListSessionsRequest { query: Some("title c".into()), ..v1::ListSessionsRequest::default() };
    assert_eq!(ids(&ann, asked.clone()).await.0, "");
    let (other, _) = client(&node, serde_json::json!({ "sub": "eve", "tenant": "other", "role": "admin", "exp": u64::MAX }));
    assert_eq!(ids(&other, v1::ListSessionsRequest::default()).await.0, "", "another tenant's");
    let (worker, _) = client(&node, serde_json::json!({ "sub": "w", "role": "worker", "exp": u64::MAX }));
    assert!(worker.list(v1::ListSessionsRequest::default()).await.is_err());

    let mut watchers = Vec::new();
    for transport in TRANSPORTS {
        let mut watcher = Watcher::open(&node, transport, &token, v1::Watch::default()).await;
        watcher.until(|watcher| watcher.titles() == ["Title a", "Title b"]).await;
        watchers.push(watcher);
    }
    title(&admin, "c", "Not for Ann").await;
    title(&admin, "a", "For Ann").await;
    for watcher in &mut watchers {
        watcher.until(|watcher| watcher.titles() == ["For Ann", "Title b"]).await;
    }
    // A token that grants less ends what comes of the others.
    let (_, token) = client(&node, granted(&["b"]));
    watchers[0].send(In::Refresh(v1::Refresh { token }));
    // Refused by the new token, so that it counts from here on.
    watchers[0].send(In::Subscribe(v1::Subscribe { session: "a".into(), ..v1::Subscribe::default() }));
    while !matches!(watchers[0].next().await, Out::Error(_) | Out::Closed(_)) {}
    title(&admin, "a", "No longer for Ann").await;
    title(&admin, "b", "Still for Ann").await;
    watchers[0].until(|watcher| watcher.titles().contains(&"Still for Ann")).await;
    assert_eq!(watchers[0].titles(), ["For Ann", "Still for Ann"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_how_readers_came_back() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[]);
    let client = node.client();
    open(&client, "a", "ann", "First").await;
    let get = async |query: &str| -> v1::ListReadersReply {
        let body = reqwest::get(format!("{}/v1/sessions/a/readers?{query}", node.http)).await.unwrap().text().await.unwrap();
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(get("").await, v1::ListReadersReply { node: "fanfold".into(), ..v1::ListReadersReply::default() });
    let waiting = tokio::spawn({
        let url = format!("{}/v1/sessions/a/readers?wait_ms=30000", node.http);
        async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
    });
    let stream = async |id: Option<&str>| {
        let mut request = reqwest::Client::new().get(format!("{}/v1/sessions/a/stream", node.http));
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let mut events = request.send().await.unwrap().error_for_status().unwrap().bytes_stream().eventsource();
        let mut id = String::new();
        while id.is_empty() {
            id = events.next().await.unwrap().unwrap().id;
        }
        (events, id)
    };
    let (first, id) = stream(None).await;
    let news: v1::ListReadersReply = serde_json::from_str(&waiting.await.unwrap()).unwrap();
    assert_eq!((news.attached, news.latest.len()), (1, 1));
    let (_second, _) = stream(Some(&id)).await;
    drop(first);
    let mut known = news;
    while (known.latest.len(), known.attached) != (2, 1) {
        known = get(&format!("wait_ms=30000&known={}", known.version)).await;
    }
    let told = known.latest.iter().map(|one| (one.number, one.how(), one.transport.as_str(), one.from)).collect::<Vec<_>>();
    let offset = known.latest[0].offset;
    assert_eq!(told, [(1, v1::How::Fresh, "sse", None), (2, v1::How::Resumed, "sse", Some(offset))]);
    assert_eq!(
        known.counts.iter().map(|one| (one.how(), one.count)).collect::<Vec<_>>(),
        [(v1::How::Resumed, 1), (v1::How::Fresh, 1)]
    );
}

/// No list shows what was erased, so the other node finds it elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_another_node_erases_leaves_the_list() {
    // Later than the test ends, the watcher's node would do something for the erasure itself.
    let later = ("ERASE__SETTLE_MS", "3600000");
    let Some(cluster) = Cluster::make_with("a list of sessions that another node erases from", &[later]) else { return };
    let here = cluster.node_with(&[("ARCHIVE__QUIET_MS", "3600000"), ("ARCHIVE__WAIT_MS_MAX", "3600000")]);
    let there = cluster.node("0");
    for session in ["a", "b"] {
        open(&there.client(), session, "ann", session).await;
    }
    let mut watcher = Watcher::open(&here, Transport::WebSocket, "", v1::Watch::default()).await;
    watcher.until(|watcher| watcher.titles() == ["a", "b"]).await;
    there.client().erase("b").await.unwrap();
    let told = watcher.until(|watcher| watcher.rows["b"].status == "erased");
    tokio::time::timeout(DEADLINE, told).await.expect("it is told");
    assert_eq!((watcher.rows["a"].status.as_str(), watcher.resets), ("open", 1));
}
