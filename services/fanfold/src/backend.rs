//! What a node stands on: embedded log and store for one, JetStream and CQL for many.

use std::sync::Arc;

use anyhow::Context as _;
use fanfold_fold::{Epoch, Offset};
use fanfold_log::{Consumer, EmbeddedLog, EmbeddedLogConfig, EventLog, Inventory, JetStreamLog, JetStreamLogConfig};
use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig, JetStreamRunQueue, JetStreamRunQueueConfig, RunQueue};
use fanfold_session::{Alone, Neighbours};
use fanfold_store::{
    Archive, Contents, EmbeddedStore, Eraser, LogEpoch, Notes, Parking, ScyllaStore, SessionIndex, SnapshotStore,
};

use crate::clock;
use crate::config::{Config, LogBackend, QueueConfig};
use crate::namesake::Namesakes;
use crate::presence::NatsNeighbours;

/// All the ports of one store.
pub trait Store: SnapshotStore + Archive + SessionIndex + Parking + Eraser + Notes + Contents {}

impl<T: SnapshotStore + Archive + SessionIndex + Parking + Eraser + Notes + Contents> Store for T {}

/// Log and store, open and sound.
pub struct Backend {
    /// The log of every session.
    pub log: Arc<dyn EventLog>,
    /// The same log, for whoever takes all of it along.
    pub inventory: Arc<dyn Inventory>,
    /// What carries its records into the archive.
    pub consumer: Arc<dyn Consumer>,
    /// Everything else that lasts.
    pub store: Arc<dyn Store>,
    /// Hints of work.
    pub queue: Arc<dyn RunQueue>,
    /// Other nodes, for what is never stored.
    pub neighbours: Arc<dyn Neighbours>,
    /// Other nodes of this one's name, where there are other nodes.
    pub(crate) namesakes: Option<Namesakes>,
    /// Whether the queue is this process's memory, and empty now.
    pub queue_is_new: bool,
    /// What takes off the disk what log and store have removed, where no server does.
    pub compaction: Option<Compaction>,
}

/// Compacts the embedded log and store.
pub struct Compaction {
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
}

impl Compaction {
    /// What was removed before this is in no file after it. Takes the time it takes to write their contents once.
    pub async fn run(&self) -> std::io::Result<()> {
        self.log.compact().await?;
        self.store.compact().await
    }
}

impl Backend {
    /// Opens what the configuration names. Makes nothing that [`migrate`] makes.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        match config.log.backend {
            LogBackend::Embedded => embedded(config),
            LogBackend::Jetstream => shared(config).await,
        }
    }
}

fn embedded(config: &Config) -> anyhow::Result<Backend> {
    let data = &config.node.data;
    let log = EmbeddedLog::open(embedded_log(config), Arc::new(clock::now_ms)).context("the log does not open")?;
    let log = Arc::new(log);
    let consumer = log.consumer(config.archive.waiting_records_max).context("the log does not say how far the archive is")?;
    let store = Arc::new(EmbeddedStore::open(data.join("store")).context("the store does not open")?);
    let compaction = Some(Compaction { log: Arc::clone(&log), store: Arc::clone(&store) });
    // Empty: every session that comes into memory offers its open runs.
    let QueueConfig { hints_max, letters_max, .. } = config.runs.queue;
    let queue = EmbeddedRunQueueConfig { hints_max, letters_max, ..EmbeddedRunQueueConfig::default() };
    let queue = EmbeddedRunQueue::new(queue, Arc::new(clock::now_ms));
    Ok(Backend {
        log: log.clone(),
        inventory: log,
        consumer: Arc::new(consumer),
        store,
        queue: Arc::new(queue),
        neighbours: Arc::new(Alone),
        namesakes: None,
        queue_is_new: true,
        compaction,
    })
}

/// The embedded log of a configuration.
pub(crate) fn embedded_log(config: &Config) -> EmbeddedLogConfig {
    let bytes_max = config.archive.log_bytes_max;
    EmbeddedLogConfig { dir: config.node.data.join("log"), bytes_max, ..EmbeddedLogConfig::default() }
}

/// Servers that must keep a record so that the loss of one neither loses it nor stops the log.
const REPLICAS_SAFE: usize = 3;

async fn shared(config: &Config) -> anyhow::Result<Backend> {
    let log = JetStreamLog::open(&config.log.jetstream).await.context("the log does not open")?;
    if log.replicas() < REPLICAS_SAFE {
        // Whether servers sync before they acknowledge, they tell the system's account only: that the doctor asks.
        tracing::warn!(
            replicas = log.replicas(),
            "records are kept on fewer than {REPLICAS_SAFE} servers: the loss of one stops the log, or loses what was acknowledged"
        );
    }
    let store = ScyllaStore::open(&config.store.scylla).await.context("the store does not open")?;
    same_epochs(&log, &store).await?;
    let consumer = log.consumer().await.context("the log has no consumer")?;
    let queue = JetStreamRunQueue::open(&queue_config(config), Arc::new(clock::now_ms)).await;
    let queue = queue.context("the run queue does not open")?;
    let log = Arc::new(log);
    let neighbours = NatsNeighbours::open(&config.log.jetstream).await.context("other nodes can't be reached")?;
    let namesakes = Some(neighbours.namesakes(&config.node.name));
    Ok(Backend {
        log: log.clone(),
        inventory: log,
        consumer: Arc::new(consumer),
        store: Arc::new(store),
        queue: Arc::new(queue),
        neighbours: Arc::new(neighbours),
        namesakes,
        queue_is_new: false,
        compaction: None,
    })
}

/// A log put back from a backup, or another one's store: its offsets would mean something else.
pub(crate) async fn same_epochs(log: &JetStreamLog, store: &ScyllaStore) -> anyhow::Result<()> {
    for (shard, epoch) in (0..).zip(log.epochs()) {
        let known = store.epochs(shard).await.context("the store can't be asked for epochs")?;
        let newest = known.first().map(|known| known.epoch);
        anyhow::ensure!(
            newest == Some(epoch),
            "shard {shard} of the log has epoch {epoch}, the store knows {}: run `fanfold migrate` for a new deployment, \
             `fanfold epoch new` after a loss",
            newest.map_or("none".to_owned(), |newest| newest.to_string())
        );
    }
    Ok(())
}

/// The queue is where the log is.
pub(crate) fn queue_config(config: &Config) -> JetStreamRunQueueConfig {
    let JetStreamLogConfig { nats, prefix, replicas, .. } = config.log.jetstream.clone();
    JetStreamRunQueueConfig { nats, prefix, replicas, ..config.runs.queue.to_jetstream() }
}

/// What [`migrate`] found and did.
#[derive(Debug, serde::Serialize)]
pub struct Migrated {
    /// Streams made.
    pub streams_created: u32,
    /// Streams brought up to date.
    pub streams_updated: u32,
    /// The store's schema before; 0 where there was none.
    pub schema_from: i32,
    /// The store's schema now.
    pub schema_to: i32,
}

/// Makes streams, keyspace and tables, or brings them up to date. Safe twice, and by several nodes at once.
/// `None`: the embedded side needs none of it.
pub async fn migrate(config: &Config) -> anyhow::Result<Option<Migrated>> {
    if config.log.backend == LogBackend::Embedded {
        return Ok(None);
    }
    let schema = ScyllaStore::migrate(&config.store.scylla).await.context("the store is not migrated")?;
    let streams =
        fanfold_log::jetstream::migrate(&config.log.jetstream, Offset::NONE).await.context("the log is not migrated")?;
    fanfold_runs::jetstream::migrate(&queue_config(config)).await.context("the run queue is not migrated")?;
    let store = ScyllaStore::open(&config.store.scylla).await.context("the store does not open")?;
    for (shard, epoch) in (0..).zip(streams.epochs) {
        note_first(&store, shard, epoch).await?;
    }
    Ok(Some(Migrated {
        streams_created: streams.created,
        streams_updated: streams.updated,
        schema_from: schema.from,
        schema_to: schema.to,
    }))
}

/// Tells a store that knows no epoch of the shard which one it has. Where it knows one, only `epoch new` begins another.
async fn note_first(store: &ScyllaStore, shard: u32, epoch: Epoch) -> anyhow::Result<()> {
    if !store.epochs(shard).await.context("the store can't be asked for epochs")?.is_empty() {
        return Ok(());
    }
    let first = LogEpoch { shard, epoch, first: Offset(1), begun_at_ms: clock::now_ms() };
    store.put_epoch(&first).await.context("the store doesn't take the log's epoch")
}
