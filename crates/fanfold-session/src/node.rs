//! What every session of a node shares: ports, encodings, limits, clock.

use std::sync::Arc;

use fanfold_fold::{Cursor, Epoch, FOLD_VERSION, Offset, Run, RunId, SessionKey};
use fanfold_log::EventLog;
use fanfold_store::{Archive, Contents, Parking, SessionIndex, SnapshotStore};
use tokio::sync::Semaphore;

use crate::codec::{FormatId, FrameCodec};
use crate::config::SessionConfig;
use crate::neighbours::Neighbours;
use crate::park::Unforgotten;

/// Told of what this node folds. Called on the session's actor: must return at once and never call back.
pub trait Observer: Send + Sync + 'static {
    /// A run is new or has changed; also said of each open run when its session comes into memory.
    fn run_changed(&self, session: &SessionKey, run: &Run);

    /// The run's current attempt has said something, or in the log that its worker lives.
    fn worked(&self, session: &SessionKey, run: &RunId);
}

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a node's sessions stand on.
#[derive(Clone)]
pub struct Ports {
    /// The log of every session.
    pub log: Arc<dyn EventLog>,
    /// States.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Records that have left the log.
    pub archive: Arc<dyn Archive>,
    /// Which of these there are.
    pub contents: Arc<dyn Contents>,
    /// What sessions there are.
    pub index: Arc<dyn SessionIndex>,
    /// What must not be hydrated.
    pub parking: Arc<dyn Parking>,
    /// Encodings for readers; [`FormatId`] is the position here.
    pub codecs: Vec<Arc<dyn FrameCodec>>,
    /// Other nodes, for what is never logged.
    pub neighbours: Arc<dyn Neighbours>,
    /// Told of runs.
    pub observer: Arc<dyn Observer>,
    /// For what people see; never for the fold.
    pub clock: Clock,
}

/// States and rows that are kept at one time. Many sessions leave memory together; the store has others to serve meanwhile.
const KEEPS_MAX: usize = 32;

pub(crate) struct Node {
    pub(crate) ports: Ports,
    pub(crate) config: SessionConfig,
    pub(crate) hydrations: Arc<Semaphore>,
    pub(crate) keeps: Arc<Semaphore>,
    pub(crate) unforgotten: Unforgotten,
}

impl Node {
    pub(crate) fn new(ports: Ports, config: SessionConfig) -> Self {
        let hydrations = Arc::new(Semaphore::new(config.hydrations_max));
        let keeps = Arc::new(Semaphore::new(KEEPS_MAX));
        Self { ports, config, hydrations, keeps, unforgotten: Unforgotten::default() }
    }

    pub(crate) fn codec(&self, format: FormatId) -> &dyn FrameCodec {
        &*self.ports.codecs[format.0]
    }

    pub(crate) fn epoch(&self, session: &SessionKey) -> Epoch {
        self.ports.log.epoch(session)
    }

    pub(crate) fn cursor(&self, session: &SessionKey, offset: Offset) -> Cursor {
        Cursor::new(session, self.epoch(session), FOLD_VERSION, offset)
    }
}
