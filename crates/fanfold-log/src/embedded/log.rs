//! The handle: verbs for callers, with the committer's thread and the store behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, RECORD_BYTES_MAX, SessionKey};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::committer::{Clock, Committer, Disk, Shared};
use super::config::EmbeddedLogConfig;
use super::disk;
use super::error::OpenError;
use super::identity::LostRange;
use super::ledger::Ledger;
use super::queue::{Append, Chore, Queue, Refusal, Request};
use super::store::{Query, Store, read_error};
use super::tails::Tails;
use crate::{AppendError, EventLog, Expect, Page, ReadError, Tail, Wake, metric};

/// Bytes of an append id. A longer one is a bug of the caller.
pub const APPEND_ID_BYTES_MAX: usize = 256;

/// Records that one step of a trim lets go of, so that appends get their turn between steps.
const TRIM_RECORDS: usize = 1024;

/// An [`EventLog`] in a local directory.
///
/// Dropping it closes it and waits for the commit under way, so that the directory is free afterwards; [`EventLog::close`]
/// does the same without blocking a thread.
pub struct EmbeddedLog {
    epoch: Epoch,
    given_up: Arc<[LostRange]>,
    store: Arc<Store>,
    reads: Arc<Semaphore>,
    pub(crate) committer: Running,
    bytes_max: u64,
}

/// A committer's thread and the way to it.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    ended: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens the log in `config.dir`, or makes it. Blocks while journals are replayed and checked for loss, up to seconds.
    ///
    /// `clock` tells milliseconds since 1970, for people and for retention.
    pub fn open(config: EmbeddedLogConfig, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Result<Self, OpenError> {
        let opened = disk::guarded(|| disk::open(&config))?;
        let committer = Running::start(opened.disk, opened.ledger, clock, &config)?;
        let (gone, total) = opened.bytes;
        committer.shared.bytes_gone.store(gone, Ordering::Relaxed);
        committer.shared.bytes_total.store(total, Ordering::Relaxed);
        Ok(Self {
            epoch: opened.identity.epoch,
            given_up: opened.identity.given_up.into(),
            store: opened.store,
            reads: Arc::new(Semaphore::new(config.reads_max.max(1))),
            committer,
            bytes_max: config.bytes_max,
        })
    }

    /// Up to where everything is in the archive.
    pub(crate) fn consumed(&self) -> Result<Offset, ReadError> {
        self.store.consumed().map_err(|error| read_error(error, Offset::NONE))
    }

    /// The part of [`EmbeddedLogConfig::bytes_max`] that is used.
    pub(crate) fn fullness(&self) -> f64 {
        self.bytes() as f64 / self.bytes_max as f64
    }

    /// Takes off the disk what was removed: what was let go of before this is in no file after it. Writes 64 MiB and then the
    /// whole log once; appends and reads go on meanwhile.
    pub async fn compact(&self) -> std::io::Result<()> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.expunge()).await?.map_err(std::io::Error::other)
    }

    /// Bytes of the records in it.
    fn bytes(&self) -> u64 {
        let shared = &self.committer.shared;
        shared.bytes_total.load(Ordering::Relaxed).saturating_sub(shared.bytes_gone.load(Ordering::Relaxed))
    }

    pub(crate) fn visible(&self) -> Offset {
        Offset(self.committer.shared.visible.load(Ordering::Acquire))
    }

    /// Runs `work` on a thread that may block, when one of the permitted few is free.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = self.reads.clone().acquire_owned().await.map_err(|error| ReadError::Unavailable(Box::new(error)))?;
        let store = self.store.clone();
        let work = move || {
            let _permit = permit;
            let started = Instant::now();
            let result = work(&store);
            metrics::histogram!(metric::READ_SECONDS).record(started.elapsed().as_secs_f64());
            result
        };
        let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ReadError::Unavailable(Box::new(error))));
        if let Err(ReadError::Damaged { .. }) = &result {
            metrics::counter!(metric::READS_DAMAGED).increment(1);
        }
        result
    }
}

#[async_trait::async_trait]
impl EventLog for EmbeddedLog {
    fn epoch(&self, _session: &SessionKey) -> Epoch {
        self.epoch
    }

    async fn append(&self, session: &SessionKey, record: Bytes, expect: Expect, id: Option<&str>) -> Result<Offset, AppendError> {
        if self.bytes() >= self.bytes_max {
            metrics::counter!(metric::APPENDS, "outcome" => "overloaded").increment(1);
            return Err(AppendError::Overloaded);
        }
        self.committer.append(session, record, expect, id).await
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, ReadError> {
        let (session, visible) = (session.clone(), self.visible());
        self.blocking(move |store| store.last(&session, visible).map_err(|error| read_error(error, visible))).await
    }

    /// A directory that was replaced by an older copy looks sound to itself.
    async fn must_have(&self, _session: &SessionKey, offset: Offset) -> Result<(), ReadError> {
        match offset <= self.visible() {
            true => Ok(()),
            false => Err(ReadError::Unavailable(format!("the log ends before {offset}, which it had issued").into())),
        }
    }

    async fn read(&self, session: &SessionKey, after: Offset, records_max: usize, bytes_max: usize) -> Result<Page, ReadError> {
        let (session, given_up) = (session.clone(), self.given_up.clone());
        let shared = self.committer.shared.clone();
        self.blocking(move |store| {
            let visible = Offset(shared.visible.load(Ordering::Acquire));
            store.read(&Query { session: &session, after, visible, records_max, bytes_max, given_up: &given_up })
        })
        .await
    }

    async fn tail(&self, session: &SessionKey, wake: Wake) -> Result<Tail, ReadError> {
        Ok(self.committer.shared.tails.register(session, wake))
    }

    async fn trim(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        let upto = upto.min(self.visible());
        loop {
            let of = session.clone();
            let offsets =
                self.blocking(move |store| store.offsets(&of, upto, TRIM_RECORDS).map_err(|error| read_error(error, upto)));
            let offsets = offsets.await?;
            if offsets.is_empty() {
                return Ok(());
            }
            self.committer.chore(Chore::Trim { session: session.clone(), offsets }).await?;
        }
    }

    async fn erase(&self, session: &SessionKey, at: Offset) -> Result<(), ReadError> {
        let upto = self.visible();
        let mut marked = false;
        loop {
            let of = session.clone();
            let offsets = self
                .blocking(move |store| store.offsets_but(&of, at, upto, TRIM_RECORDS).map_err(|error| read_error(error, upto)));
            let offsets = offsets.await?;
            if offsets.is_empty() && marked {
                return Ok(());
            }
            self.committer.chore(Chore::Erase { session: session.clone(), at, offsets }).await?;
            marked = true;
        }
    }

    async fn close(&self) {
        self.committer.close().await;
    }
}

impl Running {
    /// Starts the thread that commits to `disk`, from where `ledger` stands.
    pub(crate) fn start(disk: impl Disk, ledger: Ledger, clock: Clock, config: &EmbeddedLogConfig) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_records_max, config.queue_bytes_max),
            tails: Arc::new(Tails::default()),
            visible: AtomicU64::new(ledger.last().0),
            grown: Notify::new(),
            bytes_total: AtomicU64::new(0),
            bytes_gone: AtomicU64::new(0),
        });
        let committer = Committer {
            shared: shared.clone(),
            disk,
            ledger,
            clock,
            commit_records_max: config.commit_records_max.max(1),
            commit_bytes_max: config.commit_bytes_max,
        };
        let (alive, ended) = watch::channel(());
        let run = move || {
            let _alive = alive;
            committer.run();
        };
        let thread = std::thread::Builder::new().name("fanfold-log".into()).spawn(run).map_err(OpenError::Thread)?;
        Ok(Self { shared, ended, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn append(
        &self,
        session: &SessionKey,
        record: Bytes,
        expect: Expect,
        id: Option<&str>,
    ) -> Result<Offset, AppendError> {
        assert!(id.is_none_or(|id| (1..=APPEND_ID_BYTES_MAX).contains(&id.len())), "an append id has 1 to 256 bytes");
        if record.len() > RECORD_BYTES_MAX {
            metrics::counter!(metric::APPENDS, "outcome" => "too_large").increment(1);
            return Err(AppendError::TooLarge { bytes: record.len() });
        }
        let (answer, answered) = oneshot::channel();
        let append = Append { session: session.clone(), record, expect, id: id.map(Arc::from), answer };
        match self.shared.queue.push(Request::Append(append)) {
            Ok(()) => {}
            Err(Refusal::Full) => {
                metrics::counter!(metric::APPENDS, "outcome" => "overloaded").increment(1);
                return Err(AppendError::Overloaded);
            }
            Err(Refusal::Closed) => {
                metrics::counter!(metric::APPENDS, "outcome" => "closed").increment(1);
                return Err(AppendError::Closed);
            }
        }
        // Only a committer that panicked leaves without an answer.
        answered.await.unwrap_or_else(|gone| Err(AppendError::Unknown(Box::new(gone))))
    }

    pub(crate) async fn chore(&self, chore: Chore) -> Result<(), ReadError> {
        let (answer, answered) = oneshot::channel();
        match self.shared.queue.push(Request::Chore(chore, answer)) {
            Ok(()) => answered.await.unwrap_or_else(|gone| Err(ReadError::Unavailable(Box::new(gone)))),
            Err(Refusal::Full) => Err(ReadError::Unavailable(Box::new(AppendError::Overloaded))),
            Err(Refusal::Closed) => Err(ReadError::Unavailable(Box::new(AppendError::Closed))),
        }
    }

    /// Takes nothing more, and returns when the thread has ended.
    pub(crate) async fn close(&self) {
        self.shared.queue.close();
        let mut ended = self.ended.clone();
        // The sender is dropped with the thread; nothing is ever sent.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_panic)) = thread.map(JoinHandle::join) {
            tracing::error!("the log's thread has panicked");
        }
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("epoch", &self.epoch).field("last", &self.visible()).finish_non_exhaustive()
    }
}
