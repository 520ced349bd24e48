//! A store in memory that can be told to be away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use fanfold_store::{
    Archive, Begun, Contents, KeptSnapshot, Parked, Parking, Segment, SegmentKey, SessionIndex, SessionPage, SessionQuery,
    SessionRow, Snapshot, SnapshotStore, StoreError,
};

#[derive(Default)]
pub struct SimStore {
    pub away: AtomicBool,
    pub snapshots: Mutex<BTreeMap<(SessionKey, Offset), Snapshot>>,
    /// Names only: what this store archives is in the log, too.
    pub segments: Mutex<Vec<SegmentKey>>,
    pub rows: Mutex<BTreeMap<SessionKey, SessionRow>>,
    pub attempts: Mutex<BTreeMap<SessionKey, u32>>,
    pub parked: Mutex<BTreeMap<SessionKey, Parked>>,
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
        _session: &SessionKey,
        _after: Offset,
        _upto: Offset,
        _records_max: usize,
    ) -> Result<Vec<(Offset, u64, Bytes)>, StoreError> {
        self.check()?;
        Ok(Vec::new())
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

#[async_trait::async_trait]
impl Parking for SimStore {
    async fn begin(&self, session: &SessionKey) -> Result<Begun, StoreError> {
        self.check()?;
        if let Some(parked) = self.parked.lock().unwrap().get(session) {
            return Ok(Begun::Parked(parked.clone()));
        }
        let mut attempts = self.attempts.lock().unwrap();
        let attempt = attempts.entry(session.clone()).or_default();
        *attempt += 1;
        Ok(Begun::Attempt(*attempt))
    }

    async fn clear(&self, session: &SessionKey) -> Result<(), StoreError> {
        self.check()?;
        self.attempts.lock().unwrap().remove(session);
        Ok(())
    }

    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        self.check()?;
        self.parked.lock().unwrap().insert(parked.session.clone(), parked.clone());
        Ok(())
    }

    async fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.check()?;
        self.attempts.lock().unwrap().remove(session);
        Ok(self.parked.lock().unwrap().remove(session).is_some())
    }

    async fn parked(&self, _after: Option<&SessionKey>, _rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        self.check()?;
        Ok(self.parked.lock().unwrap().values().cloned().collect())
    }
}
