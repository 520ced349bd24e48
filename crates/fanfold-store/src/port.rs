//! The ports: what every store promises, embedded or distributed.

use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};

use crate::stored::wanted::Wanted;

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

/// Consecutive records of one session: between `previous` and `key.last` it has no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it covers.
    pub key: SegmentKey,
    /// The session's last offset before the first one here, as the log says it; [`Offset::NONE`] if there is none. It is how
    /// a reader knows that a segment is missing.
    pub previous: Offset,
    /// Milliseconds since 1970 of the first record, by the log's clock: decides the partition it is stored in.
    pub first_stored_at_ms: u64,
    /// The records as (offset, stored at in ms, bytes), in order.
    pub records: Vec<(Offset, u64, Bytes)>,
}

impl Segment {
    /// The segment of these records, named after them. `None` if there are none.
    pub fn new(epoch: Epoch, previous: Offset, records: Vec<(Offset, u64, Bytes)>) -> Option<Self> {
        let (first, first_stored_at_ms, _) = records.first()?;
        let (last, ..) = records.last()?;
        let key = SegmentKey { epoch, first: *first, last: *last };
        Some(Self { key, previous, first_stored_at_ms: *first_stored_at_ms, records })
    }

    /// Whether its name fits its records, and their offsets grow from `previous` on.
    pub fn is_whole(&self) -> bool {
        let mut upto = self.previous;
        let grows = self.records.iter().all(|(offset, ..)| std::mem::replace(&mut upto, *offset) < *offset);
        let first = self.records.first().is_some_and(|(first, at, _)| (*first, *at) == (self.key.first, self.first_stored_at_ms));
        grows && first && upto == self.key.last
    }
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
    /// The offset this row describes. Offsets grow across epochs, so it alone says which of two rows is newer.
    pub offset: Offset,
}

/// Which sessions to list: newest activity first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionQuery {
    /// Whose sessions.
    pub tenant: TenantId,
    /// Only those opened by this user.
    pub user: Option<String>,
    /// Only those last active at or after this, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those last active before this.
    pub until_ms: Option<u64>,
    /// Only those where each of these words begins a word of the title or of the id, in small letters or capitals. A text without
    /// any word in it asks for all.
    pub words: Option<String>,
    /// Only those whose (`active_at_ms`, session) is below this: where the last page ended.
    pub before: Option<(u64, SessionId)>,
    /// Rows of a page at most.
    pub rows_max: usize,
}

impl SessionQuery {
    /// The first page of all sessions of a tenant.
    pub fn new(tenant: TenantId, rows_max: usize) -> Self {
        Self { tenant, user: None, since_ms: None, until_ms: None, words: None, before: None, rows_max }
    }

    /// The page of what it asks for, where these are all the rows that there are, in any order.
    pub fn page_of(&self, mut rows: Vec<SessionRow>) -> SessionPage {
        let wanted = Wanted::new(self);
        rows.retain(|row| wanted.fits(row));
        wanted.page(rows)
    }
}

/// Some of what a query asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionPage {
    /// By (`active_at_ms`, session) descending.
    pub rows: Vec<SessionRow>,
    /// What `before` is to be for the next page; `None`: there is nothing more. A page with few rows, or none, may have one: a
    /// store looks through a limited number of sessions at a time.
    pub next: Option<(u64, SessionId)>,
}

/// A session that no node hydrates until an operator says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Which session.
    pub session: SessionKey,
    /// Hydrations in a row that did not come to an end.
    pub attempts: u32,
    /// What an operator is told. Never holds a user's text.
    pub reason: String,
    /// Milliseconds since 1970 when it was parked, by the clock of the node that did it.
    pub parked_at_ms: u64,
}

/// A session that was erased, and what of it is still said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Which session.
    pub session: SessionKey,
    /// The offset of the record that erased it.
    pub offset: Offset,
    /// Milliseconds since 1970 when that was asked for.
    pub erased_at_ms: u64,
}

impl Erasure {
    /// What is left of the session's row.
    pub fn row(&self) -> SessionRow {
        SessionRow {
            key: self.session.clone(),
            user: None,
            title: None,
            status: "erased".into(),
            opened_at_ms: self.erased_at_ms,
            active_at_ms: self.erased_at_ms,
            open_runs: 0,
            offset: self.offset,
        }
    }
}

/// A hydration that goes on is begun again this often, so that other processes see that it does.
pub const HYDRATION_SIGN: Duration = Duration::from_secs(20);

/// One that was neither begun again nor forgotten for so long has ended with its process.
pub const HYDRATION_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Hydrations of a session before this one, since the last that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// Other processes that have begun one and can't be at it any more: it may have ended them. Each counts once.
    pub broken_off: u32,
    /// Those that failed for a reason that lies in the session.
    pub failed: u32,
}

/// What became of the wish to hydrate a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It may be tried. What was before.
    Attempt(Tries),
    /// It is parked: not to be tried. Nothing was counted.
    Parked(Parked),
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
    /// The store can't be asked, or what it has is damaged. Never means "absent".
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store has more to do than it can. The same again after a pause may succeed.
    #[error("the store takes no more at the moment")]
    Overloaded,
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

    /// Keeps the `keep` newest snapshots of the session, of whatever epoch and fold, and lets older ones go.
    async fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError>;
}

/// Records that may have left the log.
///
/// ```text
/// stored:   ├── 1…10 ──┤         ├── 15…20 ──┤      previous of 15 is 12: something between is missing
///                ├── 5…12 ──┤
/// records(NONE, 20) → 1…12, then records(12, 20) → Unavailable
/// ```
#[async_trait::async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Keeps a segment. Durable on return. The same one again changes nothing; another cut of the same records is kept beside it.
    async fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError>;

    /// Archived records in (after, upto], in order, each offset once, at most `records_max`. Of all epochs: offsets grow over them, so
    /// that what an older one stored stays the session's history.
    ///
    /// A page may be shorter than there are records, but it is empty only where the archive ends. It never passes over a
    /// missing or damaged record (I2): it ends before it, and from there the answer is [`StoreError::Unavailable`] for the cause of an
    /// [`ArchiveGap`](crate::ArchiveGap).
    async fn records(
        &self,
        session: &SessionKey,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<(Offset, u64, Bytes)>, StoreError>;

    /// The last offset that any segment of the session ends with whose records are there; [`Offset::NONE`] if there is none. An archiver
    /// goes on from there. What it should have found besides, [`Contents::segments`] names.
    async fn last(&self, session: &SessionKey) -> Result<Offset, StoreError>;
}

/// What sessions there are.
#[async_trait::async_trait]
pub trait SessionIndex: Send + Sync + 'static {
    /// Keeps what a list shows of a session, unless a row of a higher offset is there. Durable on return.
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError>;

    /// One session's row. `None` means that there never was one.
    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError>;

    /// A page of sessions whose row tells of runs that have not ended, in an order of the store's own that doesn't change, from after
    /// the given one on. After a restart they are offered to workers again. A store may forget those whose row was last put a week
    /// ago: every run has ended by then.
    async fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError>;

    /// A page of rows. A row that moves while pages are read may be missed; none is on two pages unless it did.
    async fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError>;
}

/// Which hydrations of a session came to no end, so that one that kills its node does not travel with its clients.
///
/// A try survives the death of the process, not necessarily that of the machine. It is a fence against a loop, never a lock (I4):
/// any number of nodes may hydrate one session at once. So a try tells whose it is, a process being one opening of the store, and when
/// that was: what may still be under way says nothing against the session.
#[async_trait::async_trait]
pub trait Parking: Send + Sync + 'static {
    /// Notes that this process hydrates the session, before it is tried and every [`HYDRATION_SIGN`] until it has come to an end. After an
    /// error it may be noted nevertheless. `now_ms` is the node's clock: milliseconds since 1970.
    async fn begin(&self, session: &SessionKey, now_ms: u64) -> Result<Begun, StoreError>;

    /// Notes that a hydration failed for a reason that lies in the session.
    async fn fail(&self, session: &SessionKey, now_ms: u64) -> Result<(), StoreError>;

    /// Forgets all tries, after a hydration that came to its end. A parked session stays parked.
    async fn clear(&self, session: &SessionKey) -> Result<(), StoreError>;

    /// Parks a session. Durable on return; again replaces the reason.
    async fn park(&self, parked: &Parked) -> Result<(), StoreError>;

    /// Lets a session be tried again, and forgets all tries. Says whether it was parked.
    async fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError>;

    /// A page of what is parked, in an order of the store's own that doesn't change, from after the given one on.
    async fn parked(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Parked>, StoreError>;
}

/// A snapshot that a store has, without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// The incarnation that `offset` belongs to.
    pub epoch: Epoch,
    /// The last offset the state includes.
    pub offset: Offset,
    /// The fold that made it.
    pub fold: FoldVersion,
}

/// What a store has of a session, for tools: they look in without a node. The bytes are read by [`SnapshotStore::newest`] and
/// [`Archive::records`].
#[async_trait::async_trait]
pub trait Contents: Send + Sync + 'static {
    /// A page of the sessions that have a row, of all tenants, erased ones included, in an order of the store's own that doesn't change,
    /// from after the given one on. One whose row is put while pages are read may be missed.
    async fn sessions(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError>;

    /// The newest snapshots, of whatever epoch and fold, by offset descending.
    async fn snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError>;

    /// A page of the names of segments of all epochs, by (epoch, last, first), from after the given one on. Overlapping cuts stand
    /// beside each other.
    async fn segments(
        &self,
        session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError>;
}

/// Sessions whose history is to be nowhere.
///
/// ```text
/// erase ──▶ nothing is read any more, removal begins ──▶ erase, as often as needed ──▶ erase_done ──▶ only the row is left
///           └────────────────────── listed by `erasures` ──────────────────────┘
/// ```
///
/// Whoever writes late is told that it is done, and nothing of it is ever read.
#[async_trait::async_trait]
pub trait Eraser: Send + Sync + 'static {
    /// Hides all that the store has of the session, then removes it. [`SessionIndex::row`] gives [`Erasure::row`] from then on;
    /// lists don't show it. Again removes what was written late.
    async fn erase(&self, erasure: &Erasure) -> Result<(), StoreError>;

    /// Removes once more, and forgets that there is something to remove. To be called when no writer is left that began before the
    /// erasure. [`StoreError::Unavailable`] if something is left even so: to be called again later. The row stays.
    async fn erase_done(&self, session: &SessionKey) -> Result<(), StoreError>;

    /// Whether its erasure has begun and is not done.
    async fn is_erasing(&self, session: &SessionKey) -> Result<bool, StoreError>;

    /// A page of erasures that are not done, in an order of the store's own that doesn't change, from after the given one on. Any
    /// node finishes them.
    async fn erasures(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Erasure>, StoreError>;
}
