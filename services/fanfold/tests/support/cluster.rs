//! A deployment of a test's own, of any number of nodes, on servers that the environment tells of or that the test has started.

use std::ffi::OsStr;
use std::process::Command;

use super::{Node, node_name, told};

/// Streams and a keyspace that nobody else uses.
pub struct Cluster {
    /// Of streams' names, and the keyspace.
    pub name: String,
    settings: Vec<(String, String)>,
    data: tempfile::TempDir,
}

impl Cluster {
    /// On the servers that all tests share.
    pub fn make(what: &str) -> Option<Self> {
        Self::make_with(what, &[])
    }

    /// The same with settings of the configuration, named as in the environment.
    pub fn make_with(what: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let (nats, cql) = (told("FANFOLD_TEST_NATS", what)?, told("FANFOLD_TEST_CQL", what)?);
        Some(Self::on(&nats, &cql, settings))
    }

    /// On these servers.
    pub fn on(nats: &str, cql: &str, settings: &[(&str, &str)]) -> Self {
        Self::on_all(&[nats.to_owned()], cql, settings)
    }

    /// The same with a log on several servers.
    pub fn on_all(nats: &[String], cql: &str, settings: &[(&str, &str)]) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let (urls, nodes) = (format!("{nats:?}"), format!("[\"{cql}\"]"));
        let all = [
            ("LISTEN__HTTP", "127.0.0.1:0"),
            ("LISTEN__GRPC", "127.0.0.1:0"),
            ("LOG__BACKEND", "jetstream"),
            ("LOG__JETSTREAM__PREFIX", &name),
            ("LOG__JETSTREAM__SHARDS", "2"),
            ("LOG__JETSTREAM__REPLICAS", "1"),
            ("LOG__JETSTREAM__SHARD_BYTES_MAX", "67108864"),
            ("LOG__JETSTREAM__NATS__URLS", &urls),
            // So that what a dead node had is given to another while the test waits.
            ("RUNS__SILENCE_MS_MAX", "10000"),
            ("RUNS__QUEUE__ACK_WAIT_MS", "2000"),
            ("RUNS__QUEUE__BUCKETS", "2"),
            ("STORE__BACKEND", "scylla"),
            ("STORE__SCYLLA__KEYSPACE", &name),
            ("STORE__SCYLLA__REPLICAS", "1"),
            ("STORE__SCYLLA__NODES", &nodes),
            ("STORE__SCYLLA__CONNECT_MS_MAX", "60000"),
        ];
        let settings = all.iter().chain(settings).map(|(key, value)| (format!("FANFOLD_{key}"), (*value).to_owned()));
        let settings = settings.collect();
        let cluster = Self { name, settings, data: tempfile::tempdir().unwrap() };
        // By two at once, as two nodes that are rolled out together.
        let migrating: Vec<_> = (0..2).map(|_| cluster.command("migrate").spawn().unwrap()).collect();
        for mut child in migrating {
            assert!(child.wait().unwrap().success());
        }
        cluster
    }

    pub fn command(&self, name: &str) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_fanfold"), name)
    }

    /// The same with another build.
    pub fn command_of(&self, binary: impl AsRef<OsStr>, name: &str) -> Command {
        let mut command = Command::new(binary);
        command.arg(name).envs(self.settings.iter().map(|(key, value)| (key, value)));
        command.env("FANFOLD_NODE__NAME", node_name()).env("FANFOLD_NODE__DATA", self.data.path()).env("FANFOLD_LOG", "warn");
        command
    }

    /// A node on free ports.
    pub fn node(&self, worker_slots: &str) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", worker_slots);
        Node::spawn(serve)
    }

    /// A node without a worker, with settings of its own.
    pub fn node_with(&self, settings: &[(&str, &str)]) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", "0");
        serve.envs(settings.iter().map(|(key, value)| (format!("FANFOLD_{key}"), value)));
        Node::spawn(serve)
    }

    /// A node of this name.
    pub fn node_named(&self, name: &str, worker_slots: &str) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", worker_slots).env("FANFOLD_NODE__NAME", name);
        Node::spawn(serve)
    }

    /// A node without a worker, of this name, where another one of this name was before.
    pub fn node_at(&self, name: &str, ports: [u16; 2]) -> Node {
        let mut serve = self.command("serve");
        let [http, grpc] = ports.map(|port| format!("127.0.0.1:{port}"));
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", "0").env("FANFOLD_NODE__NAME", name);
        serve.env("FANFOLD_LISTEN__HTTP", http).env("FANFOLD_LISTEN__GRPC", grpc);
        Node::spawn(serve)
    }
}
