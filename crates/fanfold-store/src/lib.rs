//! States and old records, kept so that a session need not be folded from its beginning.
//!
//! session → **store** → session          (snapshots, session rows, parked sessions)
//! log → archiver → **store** → session   (segments)
//!
//! Keeps bytes; never folds.
//!
//! # Contract
//!
//! Seven ports, and `conformance` (feature `conformance`) the suite that every store passes: [`SnapshotStore`], [`Archive`],
//! [`SessionIndex`], [`Parking`], [`Notes`], [`Eraser`], and [`Contents`] for tools. [`EmbeddedStore`] is all of them on one machine, in
//! a local directory; `ScyllaStore` (feature `scylla`) on ScyllaDB or Cassandra, where any node reads what any other wrote.
//!
//! # Invariants
//!
//! - **I2 contiguous**: a page of the archive never passes over a missing or damaged record.
//! - **I4 no locks**: every row is immutable, or an idempotent upsert that an older one never undoes.
//! - **I5 bounded**: snapshots and segments have a largest size, and writes and reads under way a largest number.
//! - **I9 durable before acked**: a put returns after the sync, or when as many servers have it as the configuration asks for.
//!
//! # Not here
//!
//! What a record or a state means (`fanfold-fold`), their order (`fanfold-log`), when a snapshot is due or a session is to be parked
//! (`fanfold-session`), when a segment is cut and the log trimmed (the archiver).
//!
//! # Failure
//!
//! A damaged snapshot is skipped for an older one. A damaged row, or a gap in the archive, is [`StoreError::Unavailable`] and never
//! "absent". A store with a part missing doesn't open: [`OpenError`] says which. Servers that are slow or away are asked again until the
//! call's time is over; then it is [`StoreError::Unavailable`] or [`StoreError::Overloaded`].
//!
//! At the start the embedded store holds rows and lists against each other: the driver doesn't notice every damage to what says which
//! tables there are. A row known to be lost is damaged, not absent, until it is put again.
//!
//! A journal damaged on disk is another matter: the database drops what follows the damage and says nothing. The embedded store may
//! then be older than it was. Of snapshots and rows that costs time, for the log has it all and rows come again with their session's
//! next activity; a hole in the archive is told when it is read, and its missing end by the log, which begins above it.
//!
//! # Example
//!
//! ```
//! # use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
//! # use fanfold_store::{EmbeddedStore, Snapshot, SnapshotStore};
//! # let dir = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let store = EmbeddedStore::open(dir.path())?;
//! let session = SessionKey::new(TenantId::default(), SessionId::new("s1")?);
//! let (epoch, fold) = (Epoch(uuid::Uuid::new_v4()), FoldVersion(1));
//! store.put(&session, &Snapshot { epoch, fold, offset: Offset(7), state: "a state".into() }).await?;
//! assert_eq!(store.newest(&session, epoch, fold, Offset(6)).await?, None);
//! assert!(store.newest(&session, epoch, fold, Offset(9)).await?.is_some());
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, reason = "a check that panics is a check that fails")]
pub mod conformance;
mod embedded;
mod metric;
mod notes;
mod port;
#[cfg(feature = "scylla")]
mod scylla;
mod stored;

pub use embedded::{EmbeddedStore, EmbeddedStoreConfig, OpenError};
pub use metric::describe_metrics;
pub use notes::{NOTE_BYTES_MAX, NoteKind, Notes};
pub use port::{
    Archive, Begun, Contents, Eraser, Erasure, HYDRATION_SIGN, HYDRATION_SILENCE_MAX, KeptSnapshot, Parked, Parking, Segment,
    SegmentKey, SessionIndex, SessionPage, SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError, Tries,
};
#[cfg(feature = "scylla")]
pub use scylla::{
    LogEpoch, Migrated, ScyllaCompression, ScyllaConfig, ScyllaConsistency, ScyllaError, ScyllaFinding, ScyllaReport,
    ScyllaServer, ScyllaStore, ScyllaTls,
};
pub use stored::ArchiveGap;
pub use stored::segment::SEGMENT_BYTES_MAX;

/// Bytes of one snapshot's state. More is refused as [`StoreError::TooLarge`]: the session is then folded from an older one. Twice the
/// content of a full session, so that what stands around content has as much room.
pub const SNAPSHOT_BYTES_MAX: usize = 128 << 20;

const _: () = assert!(SNAPSHOT_BYTES_MAX as u64 >= 2 * fanfold_fold::CONTENT_BYTES_MAX, "a full session's state is kept");
