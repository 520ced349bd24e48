//! Erasing on several nodes: no node gives anything of it, whatever comes late, and no file of the servers has its text in the end.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fanfold_fold::{CommandId, Event, Record, SessionOpened};
use fanfold_nats::Nats;
use fanfold_nats::testing::{LIMITS, Server};
use fanfold_wire::v1;
use rand::RngCore as _;
use scylla::client::session_builder::SessionBuilder;
use support::archive::{archived, figure, until_zero};
use support::erased::{check, erase, files_with, is_told, new_marker, read, write};
use support::{DEADLINE, Node, fact, not_run, open, state, told};
use tokio::time::Instant;

/// Tables whose rows hold what people wrote.
const TABLES: [&str; 5] = ["sessions", "snapshots", "snapshot_chunks", "segment_index", "segments"];

/// More than Cassandra's commit log writes into one file.
const FILLER_BYTES: usize = 40 << 20;

/// A deployment of its own: a NATS server whose files it knows, and a keyspace.
struct Cluster {
    name: String,
    nats: Server,
    cql: String,
    settings: Vec<(&'static str, String)>,
    data: tempfile::TempDir,
}

impl Cluster {
    fn make(what: &str, settle_ms: &str) -> Option<Self> {
        let (nats, cql) = (Server::start(what, "")?, told("FANFOLD_TEST_CQL", what)?);
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let settings = vec![
            ("FANFOLD_LISTEN__HTTP", "127.0.0.1:0".into()),
            ("FANFOLD_LISTEN__GRPC", "127.0.0.1:0".into()),
            ("FANFOLD_LOG__BACKEND", "jetstream".into()),
            ("FANFOLD_LOG__JETSTREAM__PREFIX", name.clone()),
            ("FANFOLD_LOG__JETSTREAM__SHARDS", "1".into()),
            ("FANFOLD_LOG__JETSTREAM__REPLICAS", "1".into()),
            ("FANFOLD_LOG__JETSTREAM__SHARD_BYTES_MAX", "67108864".into()),
            ("FANFOLD_LOG__JETSTREAM__NATS__URLS", format!("[\"{}\"]", nats.url)),
            // So that what a dead node had is given to another while the test waits.
            ("FANFOLD_LOG__JETSTREAM__ARCHIVE_ACK_MS_MAX", "3000".into()),
            ("FANFOLD_RUNS__WORKER_SLOTS", "0".into()),
            ("FANFOLD_RUNS__QUEUE__BUCKETS", "2".into()),
            ("FANFOLD_STORE__BACKEND", "scylla".into()),
            ("FANFOLD_STORE__SCYLLA__KEYSPACE", name.clone()),
            ("FANFOLD_STORE__SCYLLA__REPLICAS", "1".into()),
            ("FANFOLD_STORE__SCYLLA__NODES", format!("[\"{cql}\"]")),
            ("FANFOLD_STORE__SCYLLA__CONNECT_MS_MAX", "60000".into()),
            ("FANFOLD_ARCHIVE__QUIET_MS", "50".into()),
            ("FANFOLD_ARCHIVE__WAIT_MS_MAX", "200".into()),
            ("FANFOLD_ARCHIVE__SEGMENT_RECORDS", "20".into()),
            ("FANFOLD_SESSION__SNAPSHOT_RECORDS", "10".into()),
            ("FANFOLD_SESSION__SNAPSHOT_INTERVAL_MS", "10".into()),
            ("FANFOLD_ERASE__SETTLE_MS", settle_ms.into()),
        ];
        let cluster = Self { name, nats, cql, settings, data: tempfile::tempdir().unwrap() };
        assert!(cluster.command("migrate").status().unwrap().success());
        Some(cluster)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        command.arg(name).envs(self.settings.iter().map(|(key, value)| (key, value)));
        command.env("FANFOLD_NODE__DATA", self.data.path()).env("FANFOLD_LOG", "warn");
        command
    }

    fn node(&self, more: &[(&str, &str)]) -> Node {
        let mut serve = self.command("serve");
        serve.env("FANFOLD_NODE__NAME", support::node_name()).envs(more.iter().copied());
        Node::spawn(serve)
    }

    /// Stores a record as a publish does that was sent long ago.
    async fn publish_late(&self, record: &Record) {
        let nats = Nats::connect(&self.nats.options(), LIMITS).await.unwrap();
        let subject = format!("{}.log.0.default.s", self.name);
        nats.ask::<serde_json::Value>(subject, record.encode().into(), None, None).await.unwrap();
    }

    /// Has the servers write down what they have, and throw away what is gone.
    async fn compact_store(&self, data: &Path) {
        let session = SessionBuilder::new().known_node(&self.cql).build().await.unwrap();
        for table in TABLES {
            let statement = format!("ALTER TABLE {}.{table} WITH gc_grace_seconds = 0", self.name);
            session.query_unpaged(statement, &[]).await.unwrap();
        }
        let filler = format!("{}.filler", self.name);
        session.query_unpaged(format!("CREATE TABLE {filler} (n int PRIMARY KEY, noise blob)"), &[]).await.unwrap();
        let insert = session.prepare(format!("INSERT INTO {filler} (n, noise) VALUES (?, ?)")).await.unwrap();
        for n in 0..(FILLER_BYTES >> 20) as i32 {
            let mut noise = vec![0_u8; 1 << 20];
            rand::rng().fill_bytes(&mut noise);
            session.execute_unpaged(&insert, (n, noise)).await.unwrap();
        }
        for what in ["flush", "compact"] {
            let done = Command::new(data.join("nodetool")).args([what, &self.name]).status().unwrap();
            assert!(done.success(), "nodetool {what}");
        }
        // What else stands in the commit log's files is in tables of the server's own.
        assert!(Command::new(data.join("nodetool")).arg("flush").status().unwrap().success());
    }
}

/// Until all of the nodes together say so.
async fn until_figure(nodes: &[&Node], name: &str, reached: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut sum = 0.0;
        for node in nodes {
            sum += figure(node, name).await.unwrap_or(f64::NAN);
        }
        if reached(sum) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {sum}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_none(folder: &Path, marker: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = files_with(folder, marker);
        if found == [] as [PathBuf; 0] {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_session_is_in_no_file_of_any_server() {
    let what = "erasing, with a look into the servers' files";
    // Of a server in a container only the address is known.
    let Some(data) = std::env::var_os("FANFOLD_TEST_CQL_DATA").map(PathBuf::from) else {
        return not_run(&format!("{what}: FANFOLD_TEST_CQL_DATA is not set"));
    };
    let Some(cluster) = Cluster::make(what, "1000") else { return };
    let marker = new_marker();
    let (mut a, b) = (cluster.node(&[]), cluster.node(&[]));
    write(&a.client(), "s", &marker, 60).await;
    write(&b.client(), "t", &new_marker(), 60).await;
    let stays = state(&a.client(), "t").await;
    until_zero(&a, &["fanfold_archive_lag_records "]).await;
    assert!(!files_with(cluster.nats.folder(), &marker).is_empty() && !files_with(&data, &marker).is_empty());
    // By a reader of each node, and both have it in memory.
    let (mut here, mut there) = (read(&a, "s").await, read(&b, "s").await);
    let cursor = there.held["s"].cursor.clone();
    let (code, stages) = erase(&a, "s", &["--yes"]);
    assert_eq!((code, stages.last().map(String::as_str)), (0, Some("ERASURE_STAGE_REMOVED")));
    is_told(&mut here).await;
    is_told(&mut there).await;
    for node in [&a, &b] {
        check(node, "s", &cursor).await;
    }
    // What was on its way: the command that opened it, once more.
    let opened = Event::from(SessionOpened { title: Some(marker.clone()), user: None });
    let command = Some(CommandId::new("late").unwrap());
    let late = Record { command, at_ms: 1, by: None, events: vec![opened] };
    cluster.publish_late(&late).await;
    check(&b, "s", &cursor).await;
    let (code, stages) = erase(&b, "s", &["--yes", "--wait"]);
    assert_eq!((code, stages.last().map(String::as_str)), (0, Some("ERASURE_STAGE_DONE")));
    // And after everything, for nodes that know nothing of it: the log lets go of all it has.
    cluster.publish_late(&Record { command: Some(CommandId::new("later").unwrap()), ..late }).await;
    a.kill();
    drop(b);
    let c = cluster.node(&[("FANFOLD_ARCHIVE__KEEP_MS", "0")]);
    check(&c, "s", &cursor).await;
    archived(&c).await;
    check(&c, "s", &cursor).await;
    assert_eq!(state(&c.client(), "t").await, stays, "others are left alone");
    until_none(cluster.nats.folder(), &marker).await;
    cluster.compact_store(&data).await;
    until_none(&data, &marker).await;
    check(&c, "s", &cursor).await;
    assert_eq!(state(&c.client(), "t").await, stays, "others are left alone");
}

/// The one that was asked dies with late writers still to be waited for; another has its list.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_finishes_what_one_has_begun() {
    let Some(cluster) = Cluster::make("an erasure that another node finishes", "2000") else { return };
    let mut a = cluster.node(&[]);
    open(&a.client(), "s").await;
    fact(&a.client(), "f", "s", 100).await;
    let cursor = read(&a, "s").await.held["s"].cursor.clone();
    assert_eq!(a.client().erase("s").await.unwrap().stage(), v1::ErasureStage::Removed);
    a.kill();
    // Two at once.
    let (b, c) = (cluster.node(&[]), cluster.node(&[]));
    until_figure(&[&b], "fanfold_erase_pending ", |pending| pending == 0.0).await;
    for node in [&b, &c] {
        check(node, "s", &cursor).await;
        assert_eq!(node.client().erase("s").await.unwrap().stage(), v1::ErasureStage::Done);
    }
}
