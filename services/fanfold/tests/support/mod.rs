//! A real node as a process of its own, and what the tests say to it.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod archive;
pub mod cluster;
pub mod cql;
pub mod erased;
pub mod model;
pub mod nginx;
pub mod numbers;
pub mod place;
pub mod recording;
pub mod slow;
pub mod wire;
pub mod worker;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fanfold_client::{Client, ClientConfig, Follow, FollowOptions, Start, Transport, Update};
use fanfold_fold::{Part, RunStatus, View};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use rand::Rng as _;

/// How long anything may take: longer than any time-out of a node.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub struct Node {
    child: Child,
    pub http: String,
    pub grpc: String,
}

impl Node {
    /// Starts `fanfold dev` on free ports and waits until it says which.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", "127.0.0.1:0", arguments)
    }

    /// The same without a worker, with settings of the configuration, named as in the environment.
    pub fn start_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        dev.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--worker-slots", "0", "--data"]).arg(data);
        dev.envs(settings.iter().map(|(name, value)| (format!("FANFOLD_{name}"), value)));
        Self::spawn(dev)
    }

    pub fn start_at(data: &Path, http: &str, grpc: &str, arguments: &[&str]) -> Self {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        dev.args(["dev", "--http", http, "--grpc", grpc, "--data"]).arg(data).args(arguments);
        Self::spawn(dev)
    }

    /// A node from a process that says its addresses first.
    pub fn spawn(mut process: Command) -> Self {
        let mut child = process.env("FANFOLD_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = first_lines(child.stdout.take().unwrap(), 2);
        let address = |line: &String| line.split_whitespace().nth(1).unwrap().to_owned();
        let (http, grpc) = (address(&lines[0]), address(&lines[1]));
        Self { child, http, grpc }
    }

    /// The same node again, on the same ports.
    pub fn restart(mut self, data: &Path, arguments: &[&str]) -> Self {
        self.kill();
        let port = |url: &str| url.trim_start_matches("http://").to_owned();
        Self::start_at(data, &port(&self.http), &port(&self.grpc), arguments)
    }

    pub fn door(&self) -> wire::Door {
        wire::Door { http: self.http.clone(), grpc: self.grpc.clone() }
    }

    pub fn client(&self) -> Client {
        Client::new(ClientConfig { http: self.http.clone(), grpc: self.grpc.clone(), ..ClientConfig::default() }).unwrap()
    }

    /// SIGKILL: nothing is kept that wasn't durable.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM, then its exit.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// In time, or it hangs.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        ended(&mut self.child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, in time.
pub fn ended(child: &mut Child) -> std::process::ExitStatus {
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < DEADLINE, "the process ends");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a process says first, in time.
pub fn first_lines(stdout: ChildStdout, count: usize) -> Vec<String> {
    let (tell, told) = std::sync::mpsc::sync_channel(count);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().take(count) {
            // A test that has given up doesn't listen any more.
            let _ = tell.send(line.unwrap());
        }
    });
    (0..count).map(|_| told.recv_timeout(DEADLINE).expect("it says where it is")).collect()
}

/// Of a node that shares its log with others.
pub fn node_name() -> String {
    format!("node-{}", uuid::Uuid::new_v4().simple())
}

pub fn command(id: &str, session: &str, action: Action) -> v1::Command {
    v1::Command { id: id.into(), session: session.into(), action: Some(action), ..v1::Command::default() }
}

pub async fn open(client: &Client, session: &str) {
    let receipt = client.submit(command("open", session, Action::Open(v1::SessionOpened::default()))).await.unwrap();
    assert_eq!(receipt.refusal, "");
}

pub fn message(text: &str) -> Action {
    let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: text.into() })) };
    Action::Send(v1::Send {
        parts: vec![part],
        answer: Some(v1::Answer::default()),
        role: v1::Role::User.into(),
        ..v1::Send::default()
    })
}

/// Waits until so many read the session on this node.
pub async fn attached(node: &Node, session: &str, readers: u32) {
    let url = format!("{}/v1/sessions/{session}/readers", node.http);
    tokio::time::timeout(DEADLINE, async {
        loop {
            let answer = reqwest::get(&url).await.unwrap().text().await.unwrap();
            if serde_json::from_str::<v1::ListReadersReply>(&answer).unwrap().attached >= readers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("they come in time");
}

/// Appends a record of some bytes that changes nothing but a custom value.
pub async fn fact(client: &Client, id: &str, session: &str, bytes: usize) -> v1::Receipt {
    let payload = format!("{id} {}", "x".repeat(bytes)).into_bytes();
    let custom = v1::Custom { kind: "fact".into(), content_type: "text/plain".into(), payload };
    let receipt = client.submit(command(id, session, Action::Custom(custom))).await.unwrap();
    assert_eq!(receipt.refusal, "");
    receipt
}

pub async fn send(client: &Client, id: &str, session: &str) -> v1::Receipt {
    let receipt = client.submit(command(id, session, message("hello"))).await.unwrap();
    assert_eq!(receipt.refusal, "", "{receipt:?}");
    receipt
}

pub fn follow(client: &Client, session: &str, transport: Transport) -> Follow {
    client.follow(session, FollowOptions { transport, ..FollowOptions::default() }).unwrap()
}

pub fn replay(client: &Client, session: &str, transport: Transport) -> Follow {
    let options = FollowOptions { transport, start: Start::Replay(0), window: u32::MAX, ..FollowOptions::default() };
    client.follow(session, options).unwrap()
}

/// The next update, or a failed test.
pub async fn next(follow: &mut Follow) -> Update {
    tokio::time::timeout(DEADLINE, follow.next()).await.expect("an update in time").unwrap()
}

/// Follows until the condition holds.
pub async fn until(follow: &mut Follow, done: impl Fn(&View) -> bool) {
    while !done(follow.view()) {
        if let Update::Closed(closed) = next(follow).await {
            panic!("closed: {closed:?}");
        }
    }
}

/// Whether `runs` runs have been asked for and all have ended.
pub fn all_ended(view: &View, runs: usize) -> bool {
    view.runs.len() == runs && view.runs.iter().all(|run| run.status.is_final())
}

/// The node's own state, as it tells it. It may be behind what another node has acknowledged.
pub async fn state(client: &Client, session: &str) -> View {
    state_since(client, session, None).await
}

/// The same, of a node that has seen the cursor.
pub async fn state_since(client: &Client, session: &str, cursor: impl Into<Option<&str>>) -> View {
    let at_least = cursor.into().map(str::to_owned);
    let request = v1::GetStateRequest { session: session.into(), window: u32::MAX, at_least, ..v1::GetStateRequest::default() };
    client.state(request).await.unwrap().view.unwrap().try_into().unwrap()
}

pub fn text(parts: &[Part]) -> String {
    parts.iter().filter_map(|part| if let Part::Text(part) = part { Some(part.text.as_str()) } else { None }).collect()
}

pub fn reasoning(parts: &[Part]) -> String {
    parts.iter().filter_map(|part| if let Part::Reasoning(part) = part { Some(part.text.as_str()) } else { None }).collect()
}

/// The last run and the parts of its reply.
pub fn last(view: &View) -> (RunStatus, Vec<Part>) {
    let run = view.runs.last().unwrap();
    (run.status, view.messages.get(&run.reply).unwrap().parts.clone())
}

/// The folder of recordings, if there is one. What is not run for want of it is told at the end of the whole run.
pub fn recordings(test: &str) -> Option<PathBuf> {
    let sibling = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/streams");
    let folder = std::env::var_os("FANFOLD_TEST_STREAMS").map_or(sibling, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    not_run(&format!("{test}: there is no folder of recordings; name one in FANFOLD_TEST_STREAMS"));
    None
}

/// What `cargo xtask test` says of a server. Without it the test isn't run, which is told at the end; in CI it is there.
pub fn told(name: &str, test: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    missing(&format!("{test}: {name} is not set"));
    None
}

/// Of a test's random choices, printed to replay it.
pub fn seed() -> u64 {
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("FANFOLD_SEED={seed}");
    seed
}

/// Something that a test needs isn't there. In CI everything runs.
pub fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what}");
    not_run(what);
}

/// Something that can't run everywhere, CI included: told at the end of the whole run.
pub fn not_run(what: &str) {
    eprintln!("NOT RUN: {what}");
    if let Some(file) = std::env::var_os("FANFOLD_NOT_RUN") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}
