//! Log and store of a node that isn't this process, opened for a tool.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fanfold_fold::{Run, RunId, SessionKey};
use fanfold_log::{EmbeddedLog, EventLog, Inventory, JetStreamLog};
use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig, JetStreamRunQueue, RunQueue};
use fanfold_session::{Alone, Observer, Ports, Sessions};
use fanfold_store::{EmbeddedStore, ScyllaStore};
use tokio::time::Instant;

use super::export::Exporter;
use crate::backend::{self, Store};
use crate::clock;
use crate::config::{Config, LogBackend};
use crate::run::graves::Graves;

/// See the module. Nothing is served, and nothing begins by itself.
pub(crate) struct Source {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) inventory: Arc<dyn Inventory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Sessions,
    /// The log, where many nodes share it.
    pub(crate) shared: Option<Arc<JetStreamLog>>,
}

/// A tool offers no runs.
struct Nobody;

impl Observer for Nobody {
    fn run_changed(&self, _session: &SessionKey, _run: &Run) {}
    fn worked(&self, _session: &SessionKey, _run: &RunId) {}
}

impl Source {
    /// Opens what is there. Makes nothing; an embedded log that a node has open is refused as busy.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        if config.log.backend == LogBackend::Embedded {
            let data = &config.node.data;
            let is_there = data.join("log").is_dir() && data.join("store").is_dir();
            anyhow::ensure!(is_there, "there is no log and no store in {}", data.display());
        }
        Self::open_or_make(config).await
    }

    /// The same, but an embedded log and store are made where there are none.
    pub(crate) async fn open_or_make(config: &Config) -> anyhow::Result<Self> {
        match config.log.backend {
            LogBackend::Embedded => {
                let log = EmbeddedLog::open(backend::embedded_log(config), Arc::new(clock::now_ms));
                let log = Arc::new(log.context("the log does not open")?);
                let store = EmbeddedStore::open(config.node.data.join("store")).context("the store does not open")?;
                Self::start(config, log.clone(), log, Arc::new(store), None).await
            }
            LogBackend::Jetstream => {
                let (log, store) = shared(config).await?;
                backend::same_epochs(&log, &store).await?;
                Self::start(config, log.clone(), log.clone(), store, Some(log)).await
            }
        }
    }

    /// Log and store that many nodes share, whatever they say of each other.
    pub(crate) async fn open_any_epoch(config: &Config) -> anyhow::Result<Self> {
        let (log, store) = shared(config).await?;
        Self::start(config, log.clone(), log.clone(), store, Some(log)).await
    }

    async fn start(
        config: &Config,
        log: Arc<dyn EventLog>,
        inventory: Arc<dyn Inventory>,
        store: Arc<dyn Store>,
        shared: Option<Arc<JetStreamLog>>,
    ) -> anyhow::Result<Self> {
        let ports = Ports {
            log: Arc::clone(&log),
            snapshots: store.clone(),
            archive: store.clone(),
            contents: store.clone(),
            index: store.clone(),
            parking: store.clone(),
            codecs: Vec::new(),
            neighbours: Arc::new(Alone),
            observer: Arc::new(Nobody),
            clock: Arc::new(clock::now_ms),
        };
        let sessions = Sessions::start(ports, config.session.to_session()).await.context("sessions")?;
        Ok(Self { log, inventory, store, sessions, shared })
    }

    /// The queue of runs. One in memory has what outlives a process, and nothing else.
    pub(crate) async fn queue(&self, config: &Config) -> anyhow::Result<Arc<dyn RunQueue>> {
        if self.shared.is_some() {
            let queue = JetStreamRunQueue::open(&backend::queue_config(config), Arc::new(clock::now_ms)).await;
            return Ok(Arc::new(queue.context("the run queue does not open")?));
        }
        let queue = Arc::new(EmbeddedRunQueue::new(EmbeddedRunQueueConfig::default(), Arc::new(clock::now_ms)));
        let graves = Graves::new(queue.clone(), Some(self.store.clone()));
        graves.restore().await.context("dead letters can't be read")?;
        Ok(queue)
    }

    /// Reads from here into files.
    pub(crate) async fn exporter(&self, config: &Config) -> anyhow::Result<Exporter> {
        Ok(Exporter {
            log: Arc::clone(&self.log),
            inventory: Arc::clone(&self.inventory),
            store: Arc::clone(&self.store),
            sessions: self.sessions.clone(),
            queue: self.queue(config).await?,
        })
    }
}

async fn shared(config: &Config) -> anyhow::Result<(Arc<JetStreamLog>, Arc<ScyllaStore>)> {
    let log = JetStreamLog::open(&config.log.jetstream).await.context("the log does not open")?;
    let store = ScyllaStore::open(&config.store.scylla).await.context("the store does not open")?;
    Ok((Arc::new(log), Arc::new(store)))
}

/// How long a node that ended may seem to be there yet.
const GONE_WITHIN: Duration = Duration::from_secs(12);

const AGAIN: Duration = Duration::from_millis(200);

/// A node that has looked at a session before it came in, or knows the old epoch, would go on from what it knows.
pub(crate) async fn ensure_stopped(log: &JetStreamLog) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    while log.is_served().await.context("the log doesn't say whether nodes run")? {
        anyhow::ensure!(Instant::now() < deadline, "nodes are running: stop them first, start them after");
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}
