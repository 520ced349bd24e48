//! The one thread that writes: writes that arrive while a sync is under way share the next one.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use fanfold_fjall::guarded;
use fjall::PersistMode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::config::EmbeddedStoreConfig;
use super::disk::Disk;
use super::error::{GivenUp, NotSynced};
use crate::metric;
use crate::port::StoreError;
use crate::stored::unavailable;

/// Bytes are counted in units of this many, so that the limit fits a semaphore.
const UNIT_BYTES: usize = 1024;

/// Writes that share one sync. More wait for the next.
const GROUP_WRITES_MAX: usize = 256;

/// Whether the caller waits for the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Survives the machine.
    Synced,
    /// Survives the process.
    Written,
}

/// Does a write, and says whom to tell once it is durable.
type Job = Box<dyn FnOnce(&Disk) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), NotSynced>) + Send>;

struct Queued {
    job: Job,
    durable: Durable,
    _bytes: OwnedSemaphorePermit,
}

/// See the module. Dropped, it waits until all that it has taken is written.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Queued>>,
    bytes: Arc<Semaphore>,
    units_max: usize,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(disk: Arc<Disk>, config: &EmbeddedStoreConfig) -> std::io::Result<Self> {
        let (queue, queued) = mpsc::channel(config.queue_writes_max.max(1));
        let thread = std::thread::Builder::new().name("fanfold-store".into()).spawn(move || run(&disk, queued))?;
        let units_max = (config.queue_bytes_max / UNIT_BYTES).clamp(1, u32::MAX as usize >> 3);
        Ok(Self { queue: Some(queue), bytes: Arc::new(Semaphore::new(units_max)), units_max, thread: Some(thread) })
    }

    /// Has `work` done by the thread, in the order of calls, and says what came of it when it is as durable as wanted.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        durable: Durable,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let units = (bytes / UNIT_BYTES + 1).min(self.units_max) as u32;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(units).await.map_err(unavailable)?;
        let (reply, answer) = oneshot::channel();
        let job = |disk: &Disk| -> Answer {
            let outcome = work(disk);
            Box::new(move |synced| {
                // A caller that went away doesn't want to know.
                let _ = reply.send(outcome.and_then(|value| synced.map(|()| value).map_err(unavailable)));
            })
        };
        let queue = self.queue.as_ref().ok_or_else(|| unavailable(GivenUp))?;
        metrics::gauge!(metric::QUEUE_WRITES).increment(1.0);
        let queued = Queued { job: Box::new(job), durable, _bytes: permit };
        if queue.send(queued).await.is_err() {
            metrics::gauge!(metric::QUEUE_WRITES).decrement(1.0);
            return Err(unavailable(GivenUp));
        }
        answer.await.map_err(|_| unavailable(GivenUp))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        // Its panics were told to whom they concern.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(disk: &Disk, mut queued: mpsc::Receiver<Queued>) {
    while let Some(first) = queued.blocking_recv() {
        let started = Instant::now();
        let mut group = Group { disk, answers: Vec::new(), durable: Durable::Written };
        group.take(first);
        while group.answers.len() < GROUP_WRITES_MAX {
            let Ok(next) = queued.try_recv() else { break };
            group.take(next);
        }
        group.finish(started);
    }
}

/// Writes that share one sync.
struct Group<'a> {
    disk: &'a Disk,
    answers: Vec<Answer>,
    durable: Durable,
}

impl Group<'_> {
    /// Each write is a batch of its own, applied at once: the next one sees it.
    fn take(&mut self, queued: Queued) {
        metrics::gauge!(metric::QUEUE_WRITES).decrement(1.0);
        match queued.durable {
            Durable::Synced => self.durable = Durable::Synced,
            Durable::Written => {}
        }
        // A driver that panics on damaged files takes no other write with it: this one's caller sees its answer dropped.
        if let Ok(answer) = guarded(|| (queued.job)(self.disk)) {
            self.answers.push(answer);
        }
    }

    fn finish(self, started: Instant) {
        let synced = match self.durable {
            Durable::Synced => self.disk.db.persist(PersistMode::SyncAll).map_err(|error| NotSynced(Arc::new(error))),
            Durable::Written => Ok(()),
        };
        if let Err(error) = &synced {
            tracing::error!(error = error as &dyn std::error::Error, "writes not synced");
        }
        metrics::histogram!(metric::COMMIT_WRITES).record(self.answers.len() as f64);
        metrics::histogram!(metric::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        self.answers.into_iter().for_each(|answer| answer(synced.clone()));
    }
}
