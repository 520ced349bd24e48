//! Real servers for tests: started in a folder of their own, killed and started again at the same address.
//!
//! The binary is what `FANFOLD_NATS_SERVER` names, else what `cargo xtask test` has built, else `nats-server` on the path. Without one a
//! test doesn't run: with `CI=true` that is a failure, elsewhere a line in the file that `FANFOLD_NOT_RUN` names.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use tempfile::TempDir;

use crate::{Limits, Nats, NatsOptions};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(60);

/// How long a cluster may take until streams can be made on all of it.
const CLUSTER_START: Duration = Duration::from_secs(120);

/// What it acknowledges survives the loss of power.
const SYNC_ALWAYS: &str = ", sync_interval: always";

/// For connections of tests.
pub const LIMITS: Limits = Limits { subscription_messages_max: 4096, request_max: Duration::from_secs(5) };

/// A server's process and where it lives.
#[derive(Debug)]
pub struct Server {
    pub name: String,
    pub url: String,
    binary: PathBuf,
    config: PathBuf,
    process: Option<Child>,
    _folder: Option<TempDir>,
}

/// Servers that replicate to each other, in one folder.
#[derive(Debug)]
pub struct Cluster {
    pub servers: Vec<Server>,
    _folder: TempDir,
}

/// The binary, or a note that `what` didn't run.
pub fn binary(what: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/nats-server");
    let told = std::env::var_os("FANFOLD_NATS_SERVER").map(PathBuf::from);
    let candidates = told.into_iter().chain([built, PathBuf::from("nats-server")]);
    let runs = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = candidates.into_iter().find(runs);
    if found.is_none() {
        not_run(&format!("{what}: there is no nats-server"));
    }
    found
}

fn not_run(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "in CI everything runs: {reason}");
    if let Some(file) = std::env::var_os("FANFOLD_NOT_RUN") {
        writeln!(std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap(), "{reason}").unwrap();
    }
}

impl Server {
    /// One server, whose configuration also holds `more`. `None` where there is no binary.
    pub fn start(what: &str, more: &str) -> Option<Self> {
        Self::start_with(what, SYNC_ALWAYS, more)
    }

    /// One server that acknowledges before it syncs, as they do by default.
    pub fn start_unsynced(what: &str, more: &str) -> Option<Self> {
        Self::start_with(what, "", more)
    }

    fn start_with(what: &str, sync: &str, more: &str) -> Option<Self> {
        let binary = binary(what)?;
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::new(binary, folder.path(), "one", sync, more);
        server._folder = Some(folder);
        server.start_again();
        Some(server)
    }

    fn new(binary: PathBuf, folder: &Path, name: &str, sync: &str, more: &str) -> Self {
        let port = fanfold_ports::free();
        let config = folder.join(format!("{name}.conf"));
        let store = folder.join(name);
        let text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\n\
             jetstream {{ store_dir: \"{}\", max_file_store: 64GB {sync} }}\n{more}\n",
            store.display()
        );
        std::fs::write(&config, text).unwrap();
        Self { name: name.into(), url: format!("nats://127.0.0.1:{port}"), binary, config, process: None, _folder: None }
    }

    /// After [`Self::kill`]: the same server at the same address, with what it had on its disk.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = std::fs::File::create(self.config.with_extension("log")).unwrap();
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let address = self.url.trim_start_matches("nats://").to_owned();
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(&address).is_err() {
            let ended = self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some());
            assert!(!ended && Instant::now() < deadline, "the server doesn't listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL: nothing is written any more.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Such as `-STOP` and `-CONT`, to pause it.
    pub fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.config.parent().unwrap()
    }

    pub fn options(&self) -> NatsOptions {
        NatsOptions { urls: vec![self.url.clone()], ..NatsOptions::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Cluster {
    /// Three servers that have found each other, and are [`Self::ready`].
    pub async fn start(what: &str) -> Option<Self> {
        let binary = binary(what)?;
        let folder = tempfile::tempdir().unwrap();
        let routes = [(); 3].map(|()| fanfold_ports::free());
        let known = routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
        let servers = ["one", "two", "three"].iter().zip(routes).map(|(name, port)| {
            let cluster = format!("cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{known}] }}");
            let mut server = Server::new(binary.clone(), folder.path(), name, SYNC_ALWAYS, &cluster);
            server.start_again();
            server
        });
        let cluster = Self { servers: servers.collect(), _folder: folder };
        cluster.ready().await;
        Some(cluster)
    }

    /// Until every server answers questions about JetStream, and a stream on all of them can be made: a leader that two of three have
    /// elected says that it has no room for the third replica.
    pub async fn ready(&self) {
        let deadline = Instant::now() + CLUSTER_START;
        loop {
            match self.is_whole().await {
                Ok(true) => return,
                waits => assert!(Instant::now() < deadline, "the cluster isn't whole: {waits:?}; {}", self.servers[0].log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_whole(&self) -> Result<bool, Box<dyn std::error::Error>> {
        for server in &self.servers {
            Nats::connect(&server.options(), LIMITS).await?.api::<serde_json::Value>("INFO", &()).await?;
        }
        let nats = Nats::connect(&self.options(), LIMITS).await?;
        let probe = Config {
            name: "probe".into(),
            subjects: vec!["probe".into()],
            num_replicas: self.servers.len(),
            ..Config::default()
        };
        let (found, _) = nats.stream_or_make(&probe).await?;
        let is_whole = found.cluster.is_some_and(|cluster| {
            let current = cluster.replicas.iter().filter(|replica| replica.current && !replica.offline).count();
            cluster.leader.is_some() && current + 1 == self.servers.len()
        });
        if is_whole {
            nats.api::<serde_json::Value>("STREAM.DELETE.probe", &serde_json::json!({})).await?;
        }
        Ok(is_whole)
    }

    pub fn options(&self) -> NatsOptions {
        NatsOptions { urls: self.servers.iter().map(|server| server.url.clone()).collect(), ..NatsOptions::default() }
    }
}
