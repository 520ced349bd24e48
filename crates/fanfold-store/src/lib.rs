//! States and old records, kept so that a session need not be folded from its beginning.
//!
//! session → **store** → session          (snapshots, session rows)
//! log → archiver → **store** → session   (segments)
//!
//! Keeps bytes; never folds. Every row is immutable or an idempotent upsert: nothing here is a lock (I4).

mod embedded;
mod port;
mod row;
mod seal;

pub use embedded::{EmbeddedStore, OpenError, VALUE_BYTES_MAX};
pub use port::{Archive, Segment, SegmentKey, SessionIndex, SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError};
