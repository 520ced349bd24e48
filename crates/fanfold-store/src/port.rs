//! The ports: what every store promises, embedded or distributed.

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};

/// One session's state at one offset, encoded by the fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The incarnation that `offset` belongs to.
    pub epoch: Epoch,
    /// The last offset the state includes.
    pub offset: Offset,
    /// The fold that made it. Another version's snapshot counts as absent.
    pub fold: FoldVersion,
    /// The encoded state.
    pub state: Bytes,
}

/// What names an archived segment. Two different cuts of the same records are two rows: the reader merges by offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentKey {
    /// The incarnation that the offsets belong to.
    pub epoch: Epoch,
    /// First offset in it.
    pub first: Offset,
    /// Last offset in it.
    pub last: Offset,
}

/// Consecutive records of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it covers.
    pub key: SegmentKey,
    /// Milliseconds since 1970 of the first record, by the log's clock: decides the partition it is stored in.
    pub first_stored_at_ms: u64,
    /// The records as (offset, stored at in ms, bytes), in order.
    pub records: Vec<(Offset, u64, Bytes)>,
}

/// What a list of sessions shows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Which session.
    pub key: SessionKey,
    /// Who opened it, if that was said.
    pub user: Option<String>,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// `open`, `closed` or `erased`, as the fold says.
    pub status: String,
    /// Milliseconds since 1970 when it was opened, by its opener's clock.
    pub opened_at_ms: u64,
    /// Milliseconds since 1970 of the last activity that the writer of this row knew of.
    pub active_at_ms: u64,
    /// Runs that have not ended.
    pub open_runs: u32,
    /// The offset this row describes. A row with a lower one never replaces a higher one of the same or a later epoch.
    pub offset: Offset,
}

/// Which sessions to list: newest activity first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionQuery {
    /// Whose sessions.
    pub tenant: TenantId,
    /// Only those opened by this user.
    pub user: Option<String>,
    /// Only those whose (`active_at_ms`, session) is below this: where the last page ended.
    pub before: Option<(u64, SessionId)>,
    /// Rows of a page at most.
    pub rows_max: usize,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Over a limit that the store has for one row. Nothing was stored.
    #[error("{bytes} bytes are over the store's limit of {limit}")]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The store can't be asked. Never means "absent".
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Snapshots by session. Writing the same one twice changes nothing.
#[async_trait::async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Keeps a snapshot. Durable on return.
    async fn put(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// The newest snapshot of this epoch and fold at or below `upto` whose checksum holds. A damaged one is
    /// skipped with a warning and counted, and the next older one is tried.
    async fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps the `keep` newest snapshots and lets older ones go.
    async fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError>;
}

/// Records that may have left the log.
#[async_trait::async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Keeps a segment. Durable on return.
    async fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError>;

    /// Archived records in (after, upto], in order, each offset once, at most `records_max`.
    async fn records(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<(Offset, u64, Bytes)>, StoreError>;
}

/// What sessions there are.
#[async_trait::async_trait]
pub trait SessionIndex: Send + Sync + 'static {
    /// Keeps what a list shows of a session.
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError>;

    /// One session's row.
    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError>;

    /// Sessions whose row tells of runs that have not ended: after a restart they are offered to workers again.
    async fn unfinished(&self) -> Result<Vec<SessionKey>, StoreError>;

    /// A page of rows.
    async fn list(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError>;
}
