//! Nodes on each kind of backend, as processes of their own, and readers of their frames. What several benchmarks share.
//!
//! JetStream's servers are started here; the CQL server is the one that `FANFOLD_TEST_CQL` names, as `cargo xtask bench` does.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfold_client::{Client, ClientConfig};
use fanfold_nats::NatsOptions;
use fanfold_nats::testing::{Cluster, Server};
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Of the CPU time in `/proc`: fixed in the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Until something that was asked for must have come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What nodes stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Log and store in the data folder, every commit synced.
    Embedded,
    /// One NATS server that syncs every two minutes, one CQL server.
    One,
    /// Three NATS servers that sync always, one CQL server.
    Three,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::One => "JetStream R1, synced every 2 min",
            Self::Three => "JetStream R3, sync_interval: always",
        }
    }
}

/// A deployment without nodes: its servers, and what nodes are told of them.
pub struct Deployment {
    settings: Vec<(String, String)>,
    data: tempfile::TempDir,
    nats: Option<NatsOptions>,
    _servers: (Option<Server>, Option<Cluster>),
}

impl Deployment {
    /// `None` where its servers aren't to be had; that is said.
    pub async fn make(kind: Kind) -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let (servers, nats) = match kind {
            Kind::Embedded => ((None, None), None),
            Kind::One => {
                let server = Server::start_unsynced("a node on one NATS server", "")?;
                let options = server.options();
                ((Some(server), None), Some(options))
            }
            Kind::Three => {
                let cluster = Cluster::start("nodes on three NATS servers").await?;
                let options = cluster.options();
                ((None, Some(cluster)), Some(options))
            }
        };
        let settings = match &nats {
            None => Vec::new(),
            Some(nats) => shared(nats, if kind == Kind::Three { 3 } else { 1 })?,
        };
        let deployment = Self { settings, data, nats, _servers: servers };
        if deployment.nats.is_some() {
            assert!(deployment.command("migrate").stdout(Stdio::null()).status().unwrap().success());
        }
        Some(deployment)
    }

    /// Where NATS is.
    pub fn nats(&self) -> Option<&NatsOptions> {
        self.nats.as_ref()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        command.arg(name).env("FANFOLD_LOG", "error").env("FANFOLD_NODE__DATA", self.data.path());
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Starts a node without a worker. Embedded, there can be one at a time.
    pub fn node(&self, settings: &[(&str, &str)]) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_LISTEN__HTTP", "127.0.0.1:0").env("FANFOLD_LISTEN__GRPC", "127.0.0.1:0");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", "0").env("FANFOLD_NODE__NAME", format!("node-{}", uuid::Uuid::new_v4()));
        serve.envs(settings.iter().map(|(key, value)| (format!("FANFOLD_{key}"), value)));
        let mut process = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = || said.next().unwrap().unwrap().split_whitespace().nth(1).unwrap().to_owned();
        Node { http: address(), grpc: address(), process }
    }
}

/// What a node on JetStream and CQL is told; a keyspace of its own.
fn shared(nats: &NatsOptions, replicas: usize) -> Option<Vec<(String, String)>> {
    let Ok(cql) = std::env::var("FANFOLD_TEST_CQL") else {
        eprintln!("NOT RUN: what needs a CQL server; name one in FANFOLD_TEST_CQL");
        return None;
    };
    let urls = nats.urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(",");
    let settings = [
        ("LOG__BACKEND", "jetstream".to_owned()),
        ("LOG__JETSTREAM__SHARDS", "4".to_owned()),
        ("LOG__JETSTREAM__REPLICAS", replicas.to_string()),
        ("LOG__JETSTREAM__NATS__URLS", format!("[{urls}]")),
        // What a node that was drained had been told of is told to the next one within a turn.
        ("LOG__JETSTREAM__ARCHIVE_ACK_MS_MAX", "10000".to_owned()),
        ("RUNS__QUEUE__BUCKETS", "2".to_owned()),
        ("STORE__BACKEND", "scylla".to_owned()),
        ("STORE__SCYLLA__NODES", format!("[\"{cql}\"]")),
        ("STORE__SCYLLA__KEYSPACE", format!("b{}", uuid::Uuid::new_v4().simple())),
        ("STORE__SCYLLA__REPLICAS", "1".to_owned()),
        ("STORE__SCYLLA__CONNECT_MS_MAX", "60000".to_owned()),
    ];
    Some(settings.map(|(key, value)| (format!("FANFOLD_{key}"), value)).into())
}

/// A node's process.
pub struct Node {
    pub http: String,
    grpc: String,
    process: Child,
}

impl Node {
    pub fn client(&self) -> Client {
        Client::new(ClientConfig { http: self.http.clone(), grpc: self.grpc.clone(), ..ClientConfig::default() }).unwrap()
    }

    /// CPU microseconds that it has used, in user and kernel.
    pub fn cpu_us(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name before may have spaces; behind it come state and, as the 12th and 13th, both times.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
        ticks.sum::<f64>() / TICKS_PER_SECOND * 1e6
    }

    /// A figure that it reports.
    pub async fn figure(&self, name: &str) -> Option<f64> {
        let page = reqwest::get(format!("{}/metrics", self.http)).await.unwrap().text().await.unwrap();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// SIGTERM, and its end: sessions keep their states.
    pub fn drain(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success() && self.process.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been drained.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Opens a session.
pub async fn open(client: &Client, session: &str) {
    submit(client, &format!("open-{session}"), session, Action::Open(v1::SessionOpened::default())).await;
}

/// Appends a record of some bytes. Its receipt says where.
pub async fn fact(client: &Client, id: &str, session: &str, bytes: usize) -> v1::Receipt {
    let custom = v1::Custom { kind: "fact".into(), content_type: "text/plain".into(), payload: vec![b'x'; bytes] };
    submit(client, id, session, Action::Custom(custom)).await
}

/// Adds a message of some bytes that nobody answers.
pub async fn message(client: &Client, id: &str, session: &str, bytes: usize) -> v1::Receipt {
    let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: "x".repeat(bytes) })) };
    submit(client, id, session, Action::Send(v1::Send { parts: vec![part], role: v1::Role::User.into(), ..v1::Send::default() }))
        .await
}

/// Says something that wants an answer. Returns the run.
pub async fn ask_for_answer(client: &Client, id: &str, session: &str) -> String {
    let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: "go on".into() })) };
    let send =
        v1::Send { parts: vec![part], role: v1::Role::User.into(), answer: Some(v1::Answer::default()), ..v1::Send::default() };
    submit(client, id, session, Action::Send(send)).await.run
}

/// Has a command judged, which is not refused.
pub async fn submit(client: &Client, id: &str, session: &str, action: Action) -> v1::Receipt {
    let command = v1::Command { id: id.into(), session: session.into(), action: Some(action), ..v1::Command::default() };
    let receipt = client.submit(command).await.unwrap();
    assert_eq!(receipt.refusal, "", "{receipt:?}");
    receipt
}

/// One WebSocket that reads sessions.
pub struct Reader(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Reader {
    pub async fn connect(node: &Node) -> Self {
        let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut reader = Self(socket);
        reader.say(In::Hello(v1::Hello::default())).await;
        reader.until(|frame| matches!(frame, Out::Welcome(_))).await;
        reader
    }

    pub async fn say(&mut self, frame: In) {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        self.0.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
    }

    /// The next frame, and when it was there.
    pub async fn next(&mut self) -> (Out, Instant) {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time").unwrap().unwrap();
            let at = Instant::now();
            if let Message::Text(text) = message
                && let Some(frame) = Format::Json.decode_server(text.as_bytes()).unwrap().frame
            {
                let is_asked_for = |closed: &v1::Closed| closed.code == "unsubscribed";
                assert!(!matches!(&frame, Out::Error(_)), "{frame:?}");
                assert!(!matches!(&frame, Out::Closed(closed) if !is_asked_for(closed)), "{frame:?}");
                return (frame, at);
            }
        }
    }

    pub async fn until(&mut self, done: impl Fn(&Out) -> bool) -> Instant {
        loop {
            let (frame, at) = self.next().await;
            if done(&frame) {
                return at;
            }
        }
    }

    /// Subscribes and reads up to the first frame that shows something of the session, or that it has everything.
    pub async fn first_frame(&mut self, ask: v1::Subscribe) -> Duration {
        let started = Instant::now();
        self.say(In::Subscribe(ask)).await;
        let shown = |frame: &Out| matches!(frame, Out::Snapshot(_) | Out::SnapshotPart(_) | Out::Delta(_) | Out::CaughtUp(_));
        self.until(shown).await - started
    }
}

/// What a request costs that reads nothing.
pub async fn pages(node: &Node, times: usize) -> Vec<f64> {
    let (client, url) = (reqwest::Client::new(), format!("{}/v1/openapi.json", node.http));
    let mut figures = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        client.get(&url).send().await.unwrap().bytes().await.unwrap();
        figures.push(started.elapsed().as_secs_f64() * 1e3);
    }
    figures
}

/// The value below which so many of a hundred are.
pub fn percentile(figures: &mut [f64], percent: usize) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() * percent / 100).min(figures.len() - 1)]
}

pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
