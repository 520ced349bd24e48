//! Log and store of a test's own, of either side: with nodes on them, and tools beside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Node, node_name, told};

pub struct Place {
    settings: Vec<(String, String)>,
    /// The folder of an embedded log and store.
    pub data: PathBuf,
    /// An empty configuration file: the environment says everything.
    config: Option<PathBuf>,
    folder: tempfile::TempDir,
    /// The same of places whose part this took.
    _others: Vec<tempfile::TempDir>,
}

impl Place {
    /// An embedded log and store that a first node makes.
    pub fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { settings: Vec::new(), data: folder.path().join("data"), config: None, folder, _others: Vec::new() }
    }

    /// Streams and a keyspace on the servers that the environment tells of, not made yet.
    pub fn servers(what: &str) -> Option<Self> {
        let (nats, cql) = (told("FANFOLD_TEST_NATS", what)?, told("FANFOLD_TEST_CQL", what)?);
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let settings = [
            ("NODE__NAME", node_name()),
            ("LOG__BACKEND", "jetstream".to_owned()),
            ("LOG__JETSTREAM__PREFIX", name.clone()),
            ("LOG__JETSTREAM__SHARDS", "2".into()),
            ("LOG__JETSTREAM__REPLICAS", "1".into()),
            ("LOG__JETSTREAM__SHARD_BYTES_MAX", "67108864".into()),
            ("LOG__JETSTREAM__NATS__URLS", format!("[\"{nats}\"]")),
            ("RUNS__QUEUE__ACK_WAIT_MS", "2000".into()),
            ("RUNS__QUEUE__BUCKETS", "2".into()),
            ("STORE__BACKEND", "scylla".into()),
            ("STORE__SCYLLA__KEYSPACE", name),
            ("STORE__SCYLLA__REPLICAS", "1".into()),
            ("STORE__SCYLLA__NODES", format!("[\"{cql}\"]")),
            ("STORE__SCYLLA__CONNECT_MS_MAX", "60000".into()),
        ];
        let settings = settings.into_iter().map(|(name, value)| (format!("FANFOLD_{name}"), value)).collect();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("fanfold.toml");
        std::fs::write(&config, "").unwrap();
        Some(Self { settings, data: folder.path().join("data"), config: Some(config), folder, _others: Vec::new() })
    }

    pub fn migrate(&self) {
        assert!(self.command("migrate").output().unwrap().status.success());
    }

    /// This one in place of another, whose own files stay.
    pub fn beside(self, other: Self) -> Self {
        Self { folder: other.folder, _others: vec![self.folder], ..self }
    }

    /// What streams and subjects begin with.
    pub fn prefix(&self) -> &str {
        let prefix = self.settings.iter().find(|(name, _)| name.ends_with("PREFIX"));
        prefix.map(|(_, value)| value.as_str()).unwrap()
    }

    /// A file or folder of the test's own.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        command.arg(name).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("FANFOLD_NODE__DATA", &self.data).env("FANFOLD_LOG", "warn");
        command
    }

    pub fn node(&self, worker_slots: usize, settings: &[(&str, &str)]) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_LISTEN__HTTP", "127.0.0.1:0").env("FANFOLD_LISTEN__GRPC", "127.0.0.1:0");
        serve.env("FANFOLD_RUNS__WORKER_SLOTS", worker_slots.to_string()).env("FANFOLD_RUNS__MODEL_PACE_MS", "0");
        serve.envs(settings.iter().map(|(name, value)| (format!("FANFOLD_{name}"), value)));
        Node::spawn(serve)
    }

    /// A command on log and store themselves.
    pub fn tool(&self, arguments: &[&str]) -> Output {
        self.prepared(arguments).output().unwrap()
    }

    /// The same, not run yet.
    pub fn prepared(&self, arguments: &[&str]) -> Command {
        let (name, rest) = arguments.split_first().unwrap();
        let mut command = self.command(name);
        command.args(rest);
        match &self.config {
            Some(config) => command.arg("--config").arg(config),
            None => command.arg("--data").arg(&self.data),
        };
        command
    }

    /// The same, which succeeds; what it says.
    pub fn does(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `export` into a file.
    pub fn export(&self, which: &str, file: &Path) {
        let output = self.tool(&["export", which]);
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::write(file, output.stdout).unwrap();
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
