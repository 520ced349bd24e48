//! Cassandra nodes of a test's own, which it may stop, kill and start again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfold_store::ScyllaConfig;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;

/// How long a node may take until it serves.
const START: Duration = Duration::from_secs(300);

/// Ends with this value.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub port: u16,
    jars: PathBuf,
    home: tempfile::TempDir,
    storage: u16,
}

pub struct Node {
    pub address: String,
    pub home: PathBuf,
    token: String,
    jmx: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Nodes on 127.0.0.1, .2, … with lines of configuration of their own, that all know each other. `None` where there is nothing to
    /// start, which is reported.
    pub async fn start(what: &str, count: usize, extra: impl Fn(&Path) -> String) -> Option<Self> {
        let jars = super::told("FANFOLD_CQL_JARS", what)?.into();
        let home = tempfile::tempdir().unwrap();
        let mut cluster = Self { nodes: Vec::new(), port: fanfold_ports::free(), jars, home, storage: fanfold_ports::free() };
        for number in 0..count {
            let home = cluster.home.path().join(format!("node{}", number + 1));
            std::fs::create_dir(&home).unwrap();
            std::fs::write(home.join("extra.yaml"), extra(&home)).unwrap();
            let token = i128::from(i64::MIN) + (1 << 64) / count as i128 * number as i128;
            let address = format!("127.0.0.{}", number + 1);
            cluster.nodes.push(Node { address, home, token: token.to_string(), jmx: fanfold_ports::free(), child: None });
            cluster.spawn(number);
        }
        Some(cluster)
    }

    /// Starts a node in its home and waits until it serves.
    pub fn spawn(&mut self, number: usize) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/cql/node");
        let node = &mut self.nodes[number];
        let log = node.home.join("log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new(script);
        command.args([&self.jars, &node.home]).arg(&node.address);
        command.args([self.port, self.storage, node.jmx].map(|port| port.to_string()));
        command.args([&node.token, "127.0.0.1"]);
        let child = command.stdin(Stdio::null()).stderr(file.try_clone().unwrap()).stdout(file).spawn().unwrap();
        node.child = Some(child);
        let deadline = Instant::now() + START;
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("Startup complete") {
                return;
            }
            let ended = node.child.as_mut().unwrap().try_wait().unwrap().is_some();
            let tail = text.char_indices().rev().nth(3000).map_or(&*text, |(at, _)| &text[at..]);
            assert!(!ended && Instant::now() < deadline, "{} does not serve; its log ends with\n{tail}", node.address);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Until every node lists all others and all have one schema: before, a table may be made in a keyspace that a node doesn't know.
    pub async fn agree(&self) {
        let deadline = Instant::now() + START;
        while !self.agrees().await {
            assert!(Instant::now() < deadline, "the nodes don't know each other");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn agrees(&self) -> bool {
        let mut versions = Vec::new();
        for number in 0..self.nodes.len() {
            let session = self.session(number).await;
            for (text, rows) in [
                ("SELECT schema_version FROM system.local", 1),
                ("SELECT schema_version FROM system.peers", self.nodes.len() - 1),
            ] {
                let Ok(found) = session.query_unpaged(text, ()).await else { return false };
                let found = found.into_rows_result().unwrap();
                let found = found.rows::<(Option<uuid::Uuid>,)>().unwrap().map(|row| row.unwrap().0).collect::<Vec<_>>();
                if found.len() != rows {
                    return false;
                }
                versions.extend(found);
            }
        }
        versions.iter().all(|version| version.is_some() && *version == versions[0])
    }

    /// With one node only.
    pub async fn session(&self, number: usize) -> Session {
        let address = self.address(number);
        let only = AllowListHostFilter::new([&address]).unwrap();
        let builder = SessionBuilder::new().known_node(&address).host_filter(std::sync::Arc::new(only));
        builder.fetch_schema_metadata(false).default_execution_profile_handle(super::patient()).build().await.unwrap()
    }

    pub fn address(&self, number: usize) -> String {
        format!("{}:{}", self.nodes[number].address, self.port)
    }

    /// All nodes, a copy on each.
    pub fn config(&self, keyspace: &str) -> ScyllaConfig {
        let nodes = (0..self.nodes.len()).map(|number| self.address(number)).collect();
        ScyllaConfig { nodes, replicas: self.nodes.len() as u32, ..super::config("", keyspace) }
    }

    /// Cassandra's tool for operators.
    pub fn nodetool(&self, number: usize, args: &[&str]) {
        let arguments = format!("@{}", concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/cql/java.args"));
        let jars = format!("{}/*", self.jars.display());
        let mut command = Command::new("java");
        command.args([&arguments, "-Xms32m", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &jars]);
        command.args(["org.apache.cassandra.tools.NodeTool", "-p", &self.nodes[number].jmx.to_string()]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Node {
    /// It keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &process]).status().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
