//! What an embedded log is opened with: where, and its limits.

use std::path::PathBuf;

/// Where the log lives and what bounds it. `Default` is right for one node with a disk of its own.
#[derive(Debug, Clone)]
pub struct EmbeddedLogConfig {
    /// The directory of this log and nothing else. Made if it isn't there.
    pub dir: PathBuf,
    /// Appends that wait for their commit. One more is refused as [`crate::AppendError::Overloaded`].
    pub queue_records_max: usize,
    /// Bytes of the appends that wait for their commit. One more is refused as [`crate::AppendError::Overloaded`].
    pub queue_bytes_max: usize,
    /// Records of one commit. More wait for the next.
    pub commit_records_max: usize,
    /// Bytes of one commit, about. More wait for the next.
    pub commit_bytes_max: usize,
    /// Records, over all sessions, whose append ids are remembered. A repetition after that many is stored again,
    /// and the fold drops it.
    pub duplicate_window_records: usize,
    /// Sessions whose last offset is kept in memory. An append to another one reads it from the store first.
    pub heads_max: usize,
    /// Reads that occupy a thread at one time. More wait.
    pub reads_max: usize,
    /// Bytes of the records that it keeps. While there are more, as the archive is behind, appends are refused as
    /// [`crate::AppendError::Overloaded`]; what is there stays. On disk they take more: indexes, journals, what is gone but not cleared.
    pub bytes_max: u64,
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
    /// Bytes of journals on disk before they are written into tables. What is in them is replayed and checked at start-up.
    /// At least 64 MiB.
    pub journal_bytes_max: u64,
    /// Bytes of records in memory before they are written into a table.
    pub memtable_bytes_max: u64,
}

impl Default for EmbeddedLogConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("fanfold-data/log"),
            queue_records_max: 65_536,
            queue_bytes_max: 64 << 20,
            commit_records_max: 4096,
            commit_bytes_max: 8 << 20,
            duplicate_window_records: 65_536,
            heads_max: 65_536,
            reads_max: 16,
            bytes_max: 64 << 30,
            cache_bytes: 32 << 20,
            journal_bytes_max: 256 << 20,
            memtable_bytes_max: 32 << 20,
        }
    }
}
