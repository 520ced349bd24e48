//! A store in memory that can be told to be away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use fanfold_store::{
    Archive, Contents, KeptSnapshot, Segment, SegmentKey, SessionIndex, SessionPage, SessionQuery, SessionRow, Snapshot,
    SnapshotStore, StoreError,
};

pub type ArchivedRecord = (Offset, u64, Bytes);

#[derive(Default)]
pub struct SimStore {
    pub away: AtomicBool,
    /// How long a snapshot takes.
    pub put_ms: AtomicU64,
    /// Snapshots on their way, and the most there were at one time.
    pub putting: AtomicUsize,
    pub putting_most: AtomicUsize,
    pub snapshots: Mutex<BTreeMap<(SessionKey, Offset), Snapshot>>,
    /// Names only.
    pub segments: Mutex<Vec<SegmentKey>>,
    /// What has left the log.
    pub archived: Mutex<BTreeMap<SessionKey, Vec<ArchivedRecord>>>,
    pub rows: Mutex<BTreeMap<SessionKey, SessionRow>>,
}

impl SimStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Relaxed) { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl SnapshotStore for SimStore {
    async fn put(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.check()?;
        let putting = self.putting.fetch_add(1, Ordering::Relaxed) + 1;
        self.putting_most.fetch_max(putting, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(self.put_ms.load(Ordering::Relaxed))).await;
        self.putting.fetch_sub(1, Ordering::Relaxed);
        self.snapshots.lock().unwrap().insert((session.clone(), snapshot.offset), snapshot.clone());
        Ok(())
    }

    async fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.check()?;
        let snapshots = self.snapshots.lock().unwrap();
        let mut fitting = snapshots.iter().rev().filter(|((key, offset), snapshot)| {
            key == session && *offset <= upto && snapshot.epoch == epoch && snapshot.fold == fold
        });
        Ok(fitting.next().map(|(_, snapshot)| snapshot.clone()))
    }

    async fn prune(&self, _session: &SessionKey, _keep: usize) -> Result<(), StoreError> {
        self.check()
    }
}

#[async_trait::async_trait]
impl Archive for SimStore {
    async fn put_segment(&self, _session: &SessionKey, segment: &Segment) -> Result<(), StoreError> {
        self.segments.lock().unwrap().push(segment.key.clone());
        self.check()
    }

    async fn records(
        &self,
        session: &SessionKey,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<(Offset, u64, Bytes)>, StoreError> {
        self.check()?;
        let archived = self.archived.lock().unwrap();
        let asked = archived.get(session).into_iter().flatten().filter(|(offset, ..)| after < *offset && *offset <= upto);
        Ok(asked.take(records_max).cloned().collect())
    }

    async fn last(&self, _session: &SessionKey) -> Result<Offset, StoreError> {
        self.check()?;
        Ok(Offset::NONE)
    }
}

#[async_trait::async_trait]
impl Contents for SimStore {
    async fn sessions(&self, _after: Option<&SessionKey>, _rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        self.check()?;
        Ok(Vec::new())
    }

    async fn snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError> {
        self.check()?;
        let snapshots = self.snapshots.lock().unwrap();
        let of_session = snapshots.iter().rev().filter(|((key, _), _)| key == session);
        let kept = of_session.map(|(_, Snapshot { epoch, offset, fold, .. })| (*epoch, *offset, *fold));
        Ok(kept.map(|(epoch, offset, fold)| KeptSnapshot { epoch, offset, fold }).take(rows_max).collect())
    }

    async fn segments(
        &self,
        _session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError> {
        self.check()?;
        let segments = self.segments.lock().unwrap();
        let order = |name: &SegmentKey| (name.epoch.0, name.last, name.first);
        let mut names =
            segments.iter().filter(|name| after.is_none_or(|after| order(name) > order(after))).cloned().collect::<Vec<_>>();
        names.sort_by_key(order);
        names.truncate(rows_max);
        Ok(names)
    }
}

#[async_trait::async_trait]
impl SessionIndex for SimStore {
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        self.check()?;
        self.rows.lock().unwrap().insert(row.key.clone(), row.clone());
        Ok(())
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        self.check()?;
        Ok(self.rows.lock().unwrap().get(session).cloned())
    }

    async fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        self.check()?;
        let rows = self.rows.lock().unwrap();
        let open = rows.values().filter(|row| row.open_runs > 0 && after.is_none_or(|after| row.key > *after));
        Ok(open.map(|row| row.key.clone()).take(rows_max).collect())
    }

    async fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        self.check()?;
        Ok(query.page_of(self.rows.lock().unwrap().values().cloned().collect()))
    }
}
