//! What holds on three CQL nodes, a copy on each: the suite, and what happens when some of them are away.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{
    Archive, Eraser, Erasure, ScyllaConfig, ScyllaStore, Segment, SessionIndex, SessionRow, Snapshot, SnapshotStore, StoreError,
};
use futures::future::join_all;
use scylla::statement::{Consistency, Statement};

use support::cluster::Cluster;

const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

/// What a call may take, as these tests configure it.
const CALL: Duration = Duration::from_secs(15);

/// What a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(15);

/// One test, as the nodes take longer to start than all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes() {
    let started = Instant::now();
    let Some(mut cluster) = Cluster::start("the store on three CQL nodes", 3, |_| String::new()).await else { return };
    cluster.agree().await;
    println!("{:?}: three nodes", started.elapsed());
    let config = migrated_by_all_at_once(&cluster).await;
    println!("{:?}: migrated", started.elapsed());
    // Three servers on one machine, and all checks at once: what is slow is no outage here.
    let patient = ScyllaConfig { call_ms_max: 60_000, request_ms_max: 10_000, ..config.clone() };
    let patient = ScyllaStore::open(&patient).await.unwrap();
    fanfold_store::conformance!(together & patient);
    println!("{:?}: the suite", started.elapsed());
    let config = ScyllaConfig { call_ms_max: CALL.as_millis() as u64, request_ms_max: 4_000, ..config };
    let store = ScyllaStore::open(&config).await.unwrap();
    one_node_away(&cluster, &store).await;
    println!("{:?}: one away", started.elapsed());
    too_many_away(&cluster, &store).await;
    println!("{:?}: two and three away", started.elapsed());
    more_than_is_taken(&cluster, &config).await;
    println!("{:?}: overloaded", started.elapsed());
    all_write(&cluster, &config).await;
    nothing_is_left_on_disk(&cluster, &config, &patient).await;
    println!("{:?}: erased", started.elapsed());
    one_node_dead(&mut cluster, &store).await;
    println!("{:?}: one dead", started.elapsed());
}

/// Each through another node: one keyspace with one set of tables comes of it.
async fn migrated_by_all_at_once(cluster: &Cluster) -> ScyllaConfig {
    let config = cluster.config("m");
    let by = |number: usize| ScyllaConfig { nodes: vec![cluster.address(number)], ..config.clone() };
    let (first, second, third) = (by(0), by(1), by(2));
    let migrations = tokio::join!(ScyllaStore::migrate(&first), ScyllaStore::migrate(&second), ScyllaStore::migrate(&third));
    let again = ScyllaStore::migrate(&config).await.unwrap();
    assert_eq!(again.from, again.to);
    for migrated in [migrations.0, migrations.1, migrations.2] {
        assert_eq!(migrated.unwrap().to, again.to);
    }
    config
}

/// One session's history, which grows by `grow`.
struct History {
    session: SessionKey,
    epoch: Epoch,
    upto: u64,
}

impl History {
    fn new() -> Self {
        let tenant = TenantId::new(&uuid::Uuid::new_v4().simple().to_string()).unwrap();
        let session = SessionKey::new(tenant, SessionId::new("s").unwrap());
        Self { session, epoch: Epoch(uuid::Uuid::new_v4()), upto: 0 }
    }

    fn snapshot(&self, offset: u64) -> Snapshot {
        let state = Bytes::from(format!("the state at {offset} ").repeat(20_000));
        Snapshot { epoch: self.epoch, fold: FOLD, offset: Offset(offset), state }
    }

    fn row(&self, offset: u64) -> SessionRow {
        SessionRow {
            key: self.session.clone(),
            user: Some("ann".into()),
            title: None,
            status: "open".into(),
            opened_at_ms: 1,
            active_at_ms: offset,
            open_runs: 0,
            offset: Offset(offset),
        }
    }

    async fn put(&self, store: &ScyllaStore, offset: u64) -> Result<(), StoreError> {
        let segment = Segment::new(self.epoch, Offset(offset - 1), vec![record(offset)]).unwrap();
        store.put_segment(&self.session, &segment).await?;
        store.put(&self.session, &self.snapshot(offset)).await?;
        store.put_row(&self.row(offset)).await
    }

    async fn grow(&mut self, store: &ScyllaStore, steps: u64) {
        for _ in 0..steps {
            self.put(store, self.upto + 1).await.unwrap();
            self.upto += 1;
        }
    }

    async fn check(&self, store: &ScyllaStore) {
        let records = store.records(&self.session, Offset::NONE, LAST, 1000).await.unwrap();
        assert_eq!(records, (1..=self.upto).map(record).collect::<Vec<_>>(), "I9 durable before acked");
        let newest = store.newest(&self.session, self.epoch, FOLD, LAST).await.unwrap();
        assert!(newest == Some(self.snapshot(self.upto)), "I9 durable before acked");
        assert_eq!(store.row(&self.session).await.unwrap(), Some(self.row(self.upto)), "I9 durable before acked");
    }
}

fn record(offset: u64) -> (Offset, u64, Bytes) {
    (Offset(offset), offset, Bytes::from(format!("record {offset}")))
}

/// Nobody notices, whichever it is; and what one wrote while another was away, the others read while it is away.
async fn one_node_away(cluster: &Cluster, store: &ScyllaStore) {
    let mut history = History::new();
    for node in &cluster.nodes {
        node.pause();
        let begun = Instant::now();
        history.grow(store, 4).await;
        history.check(store).await;
        println!("  without {}: {:?}", node.address, begun.elapsed());
        node.resume();
    }
    history.check(store).await;
}

/// A named error within the bound, for reads and writes; then it goes on by itself, and nothing acknowledged is lost.
async fn too_many_away(cluster: &Cluster, store: &ScyllaStore) {
    let mut history = History::new();
    history.grow(store, 3).await;
    for away in [1..3, 0..3] {
        cluster.nodes[away.clone()].iter().for_each(|node| node.pause());
        let begun = Instant::now();
        let results = tokio::join!(
            store.row(&history.session),
            store.newest(&history.session, history.epoch, FOLD, LAST),
            store.records(&history.session, Offset::NONE, LAST, 10),
            history.put(store, history.upto + 1),
        );
        let took = begun.elapsed();
        assert!(took < CALL + SLACK, "I5 bounded: {took:?}");
        assert!(is_unavailable(&results.0) && is_unavailable(&results.1), "never absent: {results:?}");
        assert!(is_unavailable(&results.2) && is_unavailable(&results.3), "never empty: {results:?}");
        let waiting = async { until_it_works(&history, store).await };
        let back = async { cluster.nodes[away].iter().for_each(|node| node.resume()) };
        tokio::join!(waiting, back);
        history.upto += 1;
        history.check(store).await;
    }
}

/// As whoever has something to keep does it.
async fn until_it_works(history: &History, store: &ScyllaStore) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = history.put(store, history.upto + 1).await {
        assert!(Instant::now() < deadline, "it recovers by itself: {error:?}");
    }
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::Unavailable(_)) => true,
        Err(StoreError::TooLarge { .. } | StoreError::Overloaded) | Ok(_) => false,
    }
}

/// Calls for which there is no room are told so within the bound.
async fn more_than_is_taken(cluster: &Cluster, config: &ScyllaConfig) {
    let store = ScyllaStore::open(&ScyllaConfig { requests_max: 2, ..config.clone() }).await.unwrap();
    let history = History::new();
    cluster.nodes.iter().for_each(|node| node.pause());
    let begun = Instant::now();
    let results = join_all((0..30).map(|_| store.row(&history.session))).await;
    let took = begun.elapsed();
    cluster.nodes.iter().for_each(|node| node.resume());
    assert!(took < CALL + SLACK, "I5 bounded: {took:?}");
    let overloaded = results.iter().filter(|result| matches!(result, Err(StoreError::Overloaded))).count();
    assert_eq!(overloaded, 28, "{results:?}");
    until_it_works(&history, &store).await;
}

/// Until what is written through any node is on all of them at once: nodes that were away have caught up.
async fn all_write(cluster: &Cluster, config: &ScyllaConfig) {
    let deadline = Instant::now() + Duration::from_secs(120);
    for number in 0..cluster.nodes.len() {
        let raw = cluster.session(number).await;
        let mut write =
            Statement::new(format!("INSERT INTO {}.notes (kind, note, content) VALUES (99, 'all', 0x)", config.keyspace));
        write.set_consistency(Consistency::All);
        while let Err(error) = raw.query_unpaged(write.clone(), ()).await {
            assert!(Instant::now() < deadline, "all nodes write again: {error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Of what was erased no byte is in any data file, once the servers have compacted their tables.
async fn nothing_is_left_on_disk(cluster: &Cluster, config: &ScyllaConfig, store: &ScyllaStore) {
    let raw = cluster.session(0).await;
    for table in ["sessions", "session_words", "snapshots", "snapshot_chunks", "segment_index", "segments"] {
        let keyspace = &config.keyspace;
        raw.query_unpaged(format!("ALTER TABLE {keyspace}.{table} WITH gc_grace_seconds = 0"), ()).await.unwrap();
    }
    let history = History::new();
    let (session, epoch) = (&history.session, history.epoch);
    // What no compressor makes smaller stands in files as it is.
    let noise = |_| (0..64).map(|_| rand::random::<u8>()).collect::<Vec<_>>();
    let (state, archived) = (noise(()), noise(()));
    let title = uuid::Uuid::new_v4().simple().to_string();
    let needles = [state.clone(), archived.clone(), title.as_bytes()[..16].to_vec()];
    let put = async || {
        let snapshot = Snapshot { epoch, fold: FOLD, offset: Offset(1), state: Bytes::from(state.clone()) };
        let segment = Segment::new(epoch, Offset::NONE, vec![(Offset(1), 1, Bytes::from(archived.clone()))]).unwrap();
        store.put_row(&SessionRow { title: Some(title.clone()), ..history.row(1) }).await.unwrap();
        store.put(session, &snapshot).await.unwrap();
        store.put_segment(session, &segment).await.unwrap();
    };
    put().await;
    let everywhere = |command: &str| {
        for number in 0..cluster.nodes.len() {
            cluster.nodetool(number, &[command, &config.keyspace]);
        }
    };
    everywhere("flush");
    for node in &cluster.nodes {
        let found = needles.iter().map(|needle| holds(&node.home.join("data"), needle));
        assert_eq!(found.collect::<Vec<_>>(), [true; 3], "a test that looks in the wrong place finds nothing");
    }
    store.erase(&Erasure { session: session.clone(), offset: Offset(2), erased_at_ms: 2 }).await.unwrap();
    // Late writers, before it is done and after.
    put().await;
    store.erase_done(session).await.unwrap();
    put().await;
    everywhere("flush");
    everywhere("compact");
    for node in &cluster.nodes {
        let found = needles.iter().map(|needle| holds(&node.home.join("data"), needle));
        assert_eq!(found.collect::<Vec<_>>(), [false; 3], "{}", node.address);
    }
    assert_eq!(store.newest(session, epoch, FOLD, LAST).await.unwrap(), None);
    assert_eq!(store.row(session).await.unwrap().unwrap().status, "erased");
}

/// Whether a file in the folder or in those below has these bytes.
fn holds(folder: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        // One that compaction has just removed holds nothing.
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

/// As if its machine were gone.
async fn one_node_dead(cluster: &mut Cluster, store: &ScyllaStore) {
    let mut history = History::new();
    history.grow(store, 3).await;
    cluster.nodes[1].kill();
    history.grow(store, 3).await;
    history.check(store).await;
}
