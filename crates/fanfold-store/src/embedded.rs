//! The store on one machine: snapshots, segments and session rows in one local database, durable on return.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::sync::Semaphore;

use crate::port::{Archive, Segment, SessionIndex, SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError};
use crate::row::{StoredRow, StoredSegment};
use crate::seal::{open, seal};

/// Bytes of one snapshot or segment. More is refused as [`StoreError::TooLarge`].
pub const VALUE_BYTES_MAX: usize = 128 << 20;

/// Calls that occupy a thread at one time. More wait.
const CALLS_MAX: usize = 16;

/// zstd's level for segments: its default.
const ZSTD_LEVEL: i32 = 3;

/// See the module.
#[derive(Clone)]
pub struct EmbeddedStore {
    disk: Arc<Disk>,
    calls: Arc<Semaphore>,
}

struct Disk {
    db: Database,
    snapshots: Keyspace,
    segments: Keyspace,
    rows: Keyspace,
    recent: Keyspace,
}

/// The store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another process has the store open")]
    Busy,
    /// Not readable.
    #[error("the store can't be opened")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EmbeddedStore {
    /// Opens or makes the store in a folder of its own.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let open = || -> fjall::Result<Disk> {
            let db = Database::builder(dir.into()).worker_threads(1).open()?;
            let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
            Ok(Disk {
                snapshots: keyspace("snapshots")?,
                segments: keyspace("segments")?,
                rows: keyspace("rows")?,
                recent: keyspace("recent")?,
                db,
            })
        };
        let disk = open().map_err(|error| match error {
            fjall::Error::Locked => OpenError::Busy,
            other => OpenError::Store(Box::new(other)),
        })?;
        Ok(Self { disk: Arc::new(disk), calls: Arc::new(Semaphore::new(CALLS_MAX)) })
    }

    /// Runs a call that may wait for the disk where it holds up nobody else.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.calls.acquire().await.map_err(unavailable)?;
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || work(&disk)).await.map_err(unavailable)?
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// Length before each part, so that no key is the beginning of another session's.
fn session_key(session: &SessionKey) -> Vec<u8> {
    let mut key = tenant_key(&session.tenant);
    let id = session.session.as_str().as_bytes();
    key.extend(u8::try_from(id.len()));
    key.extend_from_slice(id);
    key
}

fn tenant_key(tenant: &TenantId) -> Vec<u8> {
    let id = tenant.as_str().as_bytes();
    let mut key = Vec::from_iter(u8::try_from(id.len()));
    key.extend_from_slice(id);
    key
}

fn snapshot_key(session: &SessionKey, epoch: Epoch, fold: FoldVersion, offset: Offset) -> Vec<u8> {
    let mut key = session_key(session);
    key.extend_from_slice(epoch.0.as_bytes());
    key.extend(fold.0.to_be_bytes());
    key.extend(offset.0.to_be_bytes());
    key
}

fn offset_at_end(key: &[u8]) -> Offset {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[key.len() - 8..]);
    Offset(u64::from_be_bytes(bytes))
}

/// The newest comes first.
fn recent_key(tenant: &TenantId, active_at_ms: u64, session: &SessionId) -> Vec<u8> {
    let mut key = tenant_key(tenant);
    key.extend((u64::MAX - active_at_ms).to_be_bytes());
    key.extend_from_slice(session.as_str().as_bytes());
    key
}

impl Disk {
    fn insert(&self, keyspace: &Keyspace, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes: value.len(), limit: VALUE_BYTES_MAX });
        }
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(keyspace, key, value);
        batch.commit().map_err(unavailable)
    }

    fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        let range = snapshot_key(session, epoch, fold, Offset::NONE)..=snapshot_key(session, epoch, fold, upto);
        for entry in self.snapshots.range(range).rev() {
            let (key, value) = entry.into_inner().map_err(unavailable)?;
            let offset = offset_at_end(&key);
            match open(&key, &value) {
                Some(state) => {
                    return Ok(Some(Snapshot { epoch, offset, fold, state: Bytes::copy_from_slice(state) }));
                }
                None => {
                    tracing::warn!(%session, offset = offset.0, "damaged snapshot skipped");
                    metrics::counter!("fanfold_store_snapshots_damaged_total").increment(1);
                }
            }
        }
        Ok(None)
    }

    fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        for entry in self.snapshots.prefix(session_key(session)) {
            keys.push(entry.key().map_err(unavailable)?);
        }
        keys.sort_by_key(|key| std::cmp::Reverse(offset_at_end(key)));
        let mut batch = self.db.batch();
        keys.iter().skip(keep).for_each(|key| batch.remove(&self.snapshots, key.clone()));
        batch.commit().map_err(unavailable)
    }

    fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError> {
        let packed = rmp_serde::to_vec_named(&StoredSegment::of(segment)).map_err(unavailable)?;
        let packed = zstd::encode_all(&*packed, ZSTD_LEVEL).map_err(unavailable)?;
        let mut key = session_key(session);
        key.extend_from_slice(segment.key.epoch.0.as_bytes());
        key.extend(segment.key.last.0.to_be_bytes());
        key.extend(segment.key.first.0.to_be_bytes());
        // Two different cuts are never the same row.
        key.extend(crc32c::crc32c(&packed).to_be_bytes());
        let value = seal(&key, &packed);
        self.insert(&self.segments, key, value)
    }

    fn records(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        after: Offset,
        upto: Offset,
        max: usize,
    ) -> Result<Vec<Archived>, StoreError> {
        let mut prefix = session_key(session);
        prefix.extend_from_slice(epoch.0.as_bytes());
        let mut from = prefix.clone();
        from.extend(after.0.saturating_add(1).to_be_bytes());
        let mut end = prefix;
        end.extend([0xff; 8]);
        let mut records = std::collections::BTreeMap::new();
        for entry in self.segments.range(from..end) {
            let (key, value) = entry.into_inner().map_err(unavailable)?;
            let Some(packed) = open(&key, &value) else {
                tracing::error!(%session, "damaged segment skipped");
                metrics::counter!("fanfold_store_segments_damaged_total").increment(1);
                continue;
            };
            let bytes = zstd::decode_all(packed).map_err(unavailable)?;
            let segment: StoredSegment = rmp_serde::from_slice(&bytes).map_err(unavailable)?;
            let first = segment.first();
            // Segments are in order of their last offset; overlapping ones may begin earlier, later ones can't fill in.
            if records.len() >= max && first.is_some_and(|first| records.keys().nth(max - 1).is_some_and(|last| first > *last)) {
                break;
            }
            let wanted = segment.into_records().filter(|(offset, ..)| *offset > after && *offset <= upto);
            records.extend(wanted.map(|(offset, stored_at_ms, record)| (offset, (stored_at_ms, record))));
        }
        Ok(records.into_iter().take(max).map(|(offset, (at, record))| (offset, at, record)).collect())
    }

    fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let Some(value) = self.rows.get(session_key(session)).map_err(unavailable)? else { return Ok(None) };
        let row: StoredRow = rmp_serde::from_slice(&value).map_err(unavailable)?;
        Ok(Some(row.into()))
    }

    fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        let old = self.row(&row.key)?;
        if old.as_ref().is_some_and(|old| old.offset > row.offset) {
            return Ok(());
        }
        let value = rmp_serde::to_vec_named(&StoredRow::from(row)).map_err(unavailable)?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        if let Some(old) = old {
            batch.remove(&self.recent, recent_key(&old.key.tenant, old.active_at_ms, &old.key.session));
        }
        batch.insert(&self.recent, recent_key(&row.key.tenant, row.active_at_ms, &row.key.session), value.clone());
        batch.insert(&self.rows, session_key(&row.key), value);
        batch.commit().map_err(unavailable)
    }

    fn list(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError> {
        let begin = match &query.before {
            // The byte that no id has makes it begin after the one it names.
            Some((active_at_ms, session)) => [recent_key(&query.tenant, *active_at_ms, session), vec![0]].concat(),
            None => tenant_key(&query.tenant),
        };
        let end = [tenant_key(&query.tenant), vec![0xff; 9]].concat();
        let mut rows = Vec::new();
        for entry in self.recent.range(begin..end) {
            let row: StoredRow = rmp_serde::from_slice(&entry.value().map_err(unavailable)?).map_err(unavailable)?;
            let row = SessionRow::from(row);
            if query.user.is_none() || row.user == query.user {
                rows.push(row);
            }
            if rows.len() >= query.rows_max {
                break;
            }
        }
        Ok(rows)
    }

    fn unfinished(&self) -> Result<Vec<SessionKey>, StoreError> {
        let mut keys = Vec::new();
        for entry in self.rows.iter() {
            let row: StoredRow = rmp_serde::from_slice(&entry.value().map_err(unavailable)?).map_err(unavailable)?;
            if row.open_runs > 0 {
                keys.push(SessionRow::from(row).key);
            }
        }
        Ok(keys)
    }
}

type Archived = (Offset, u64, Bytes);

#[async_trait::async_trait]
impl SnapshotStore for EmbeddedStore {
    async fn put(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError> {
        let key = snapshot_key(session, snapshot.epoch, snapshot.fold, snapshot.offset);
        let state = snapshot.state.clone();
        self.call(move |disk| {
            let value = seal(&key, &state);
            disk.insert(&disk.snapshots, key, value)
        })
        .await
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
        self.call(move |disk| disk.prune(&session, keep)).await
    }
}

#[async_trait::async_trait]
impl Archive for EmbeddedStore {
    async fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError> {
        let (session, segment) = (session.clone(), segment.clone());
        self.call(move |disk| disk.put_segment(&session, &segment)).await
    }

    async fn records(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<Archived>, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.records(&session, epoch, after, upto, records_max)).await
    }
}

#[async_trait::async_trait]
impl SessionIndex for EmbeddedStore {
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        let row = row.clone();
        self.call(move |disk| disk.put_row(&row)).await
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let session = session.clone();
        self.call(move |disk| disk.row(&session)).await
    }

    async fn list(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError> {
        let query = query.clone();
        self.call(move |disk| disk.list(&query)).await
    }

    async fn unfinished(&self) -> Result<Vec<SessionKey>, StoreError> {
        self.call(Disk::unfinished).await
    }
}
