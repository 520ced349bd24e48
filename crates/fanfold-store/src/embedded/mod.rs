//! The store on one machine: snapshots, segments, session rows and parked sessions in one local database.

mod change;
mod compact;
mod config;
mod contents;
#[cfg(test)]
mod damage;
mod disk;
mod erase;
mod error;
mod layout;
mod mend;
mod notes;
mod read;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use tokio::sync::Semaphore;

pub use config::EmbeddedStoreConfig;
pub use error::OpenError;

use disk::Disk;
use writer::{Durable, Writer};

use crate::SNAPSHOT_BYTES_MAX;
use crate::metric;
use crate::port::{
    Archive, Begun, Contents, Eraser, Erasure, KeptSnapshot, Parked, Parking, Segment, SegmentKey, SessionIndex, SessionPage,
    SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError,
};
use crate::stored::key::snapshot_key;
use crate::stored::page::{Archived, Range};
use crate::stored::seal::seal;
use crate::stored::tries::Process;
use crate::stored::{segment, too_large, unavailable};

/// See the module. Clones share one database, which is closed when the last of them and all calls under way are gone.
#[derive(Clone)]
pub struct EmbeddedStore {
    disk: Arc<Disk>,
    writer: Arc<Writer>,
    calls: Arc<Semaphore>,
    process: Process,
}

impl EmbeddedStore {
    /// Opens or makes the store in a directory of its own, with the usual limits. Waits for the disk.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_with(&EmbeddedStoreConfig { dir: dir.into(), ..EmbeddedStoreConfig::default() })
    }

    /// Opens or makes the store. Waits for the disk.
    pub fn open_with(config: &EmbeddedStoreConfig) -> Result<Self, OpenError> {
        let disk = Arc::new(Disk::open(config)?);
        let writer = Arc::new(Writer::start(Arc::clone(&disk), config).map_err(OpenError::Directory)?);
        Ok(Self { disk, writer, calls: Arc::new(Semaphore::new(config.calls_max.max(1))), process: Process::mint() })
    }

    /// Runs what may wait for the disk, or takes its time, where it holds up nobody else.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.calls).acquire_owned().await.map_err(unavailable)?;
        let disk = Arc::clone(&self.disk);
        let work = move || {
            // Held until the work is done, also when nobody waits for it any more (I5).
            let _permit = permit;
            let started = Instant::now();
            let result = work(&disk);
            metrics::histogram!(metric::CALL_SECONDS).record(started.elapsed().as_secs_f64());
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(unavailable)?
    }
}

#[async_trait::async_trait]
impl SnapshotStore for EmbeddedStore {
    async fn put(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError> {
        let bytes = snapshot.state.len();
        if bytes > SNAPSHOT_BYTES_MAX {
            too_large("snapshot");
            return Err(StoreError::TooLarge { bytes, limit: SNAPSHOT_BYTES_MAX });
        }
        metrics::histogram!(metric::SNAPSHOT_BYTES).record(bytes as f64);
        let key = snapshot_key(session, snapshot.epoch, snapshot.fold, snapshot.offset);
        let (owner, fold, state) = (session.clone(), snapshot.fold, snapshot.state.clone());
        let put = move |disk: &Disk| {
            if disk.is_erased(&owner)? {
                return Ok(());
            }
            let value = seal(&key, &[&fold.0.to_be_bytes(), &state]);
            disk.snapshots.insert(key, value).map_err(unavailable)
        };
        self.writer.write(bytes, Durable::Synced, put).await
    }

    async fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.newest(&session, epoch, fold, upto)).await
    }

    async fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError> {
        let session = session.clone();
        self.writer.write(0, Durable::Written, move |disk| disk.prune(&session, keep)).await
    }
}

#[async_trait::async_trait]
impl Archive for EmbeddedStore {
    async fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError> {
        assert!(segment.is_whole(), "I2 contiguous: a segment's name fits its records, and they are in order");
        let (owner, session, segment) = (session.clone(), session.clone(), segment.clone());
        let packed = self.call(move |_| segment::pack(&session, &segment)).await;
        let packed = packed.inspect_err(|error| match error {
            StoreError::TooLarge { .. } => too_large("segment"),
            StoreError::Unavailable(_) | StoreError::Overloaded => {}
        })?;
        let bytes = packed.value.len();
        metrics::histogram!(metric::SEGMENT_BYTES).record(bytes as f64);
        let put = move |disk: &Disk| {
            if disk.is_erased(&owner)? {
                return Ok(());
            }
            disk.segments.insert(packed.key, packed.value).map_err(unavailable)
        };
        self.writer.write(bytes, Durable::Synced, put).await
    }

    async fn records(
        &self,
        session: &SessionKey,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<Archived>, StoreError> {
        let session = session.clone();
        let range = Range { after, upto, records_max };
        self.call(move |disk| disk.records(&session, &range)).await
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.last(&session)).await
    }
}

#[async_trait::async_trait]
impl SessionIndex for EmbeddedStore {
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        let row = row.clone();
        self.writer.write(0, Durable::Synced, move |disk| disk.put_row(&row)).await
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.row(&session)).await
    }

    async fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let after = after.cloned();
        self.call(move |disk| disk.unfinished(after.as_ref(), rows_max)).await
    }

    async fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        let query = query.clone();
        self.call(move |disk| disk.list(&query)).await
    }
}

#[async_trait::async_trait]
impl Parking for EmbeddedStore {
    async fn begin(&self, session: &SessionKey, now_ms: u64) -> Result<Begun, StoreError> {
        let (session, process) = (session.clone(), self.process);
        self.writer.write(0, Durable::Written, move |disk| disk.begin(&session, process, now_ms)).await
    }

    async fn fail(&self, session: &SessionKey, now_ms: u64) -> Result<(), StoreError> {
        let session = session.clone();
        self.writer.write(0, Durable::Written, move |disk| disk.fail(&session, now_ms)).await
    }

    async fn clear(&self, session: &SessionKey) -> Result<(), StoreError> {
        let session = session.clone();
        self.writer.write(0, Durable::Written, move |disk| disk.clear(&session)).await
    }

    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        let parked = parked.clone();
        self.writer.write(0, Durable::Synced, move |disk| disk.park(&parked)).await
    }

    async fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError> {
        let session = session.clone();
        self.writer.write(0, Durable::Synced, move |disk| disk.unpark(&session)).await
    }

    async fn parked(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        let after = after.cloned();
        self.call(move |disk| disk.parked(after.as_ref(), rows_max)).await
    }
}

#[async_trait::async_trait]
impl Contents for EmbeddedStore {
    async fn sessions(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let after = after.cloned();
        self.call(move |disk| disk.sessions(after.as_ref(), rows_max)).await
    }

    async fn snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.kept_snapshots(&session, rows_max)).await
    }

    async fn segments(
        &self,
        session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError> {
        let (session, after) = (session.clone(), after.cloned());
        self.call(move |disk| disk.segment_names(&session, after.as_ref(), rows_max)).await
    }
}

#[async_trait::async_trait]
impl Eraser for EmbeddedStore {
    async fn erase(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let erasure = erasure.clone();
        self.writer.write(0, Durable::Synced, move |disk| disk.erase(&erasure)).await
    }

    async fn erase_done(&self, session: &SessionKey) -> Result<(), StoreError> {
        let session = session.clone();
        self.writer.write(0, Durable::Synced, move |disk| disk.erase_done(&session)).await
    }

    async fn is_erasing(&self, session: &SessionKey) -> Result<bool, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.is_erasing(&session)).await
    }

    async fn erasures(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Erasure>, StoreError> {
        let after = after.cloned();
        self.call(move |disk| disk.erasures(after.as_ref(), rows_max)).await
    }
}
