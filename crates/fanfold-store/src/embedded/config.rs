//! What an embedded store is opened with: where, and its limits.

use std::path::PathBuf;

/// Where the store lives and what bounds it. `Default` is right for one node with a disk of its own.
#[derive(Debug, Clone)]
pub struct EmbeddedStoreConfig {
    /// The directory of this store and nothing else. Made if it isn't there.
    pub dir: PathBuf,
    /// Reads and compressions that occupy a thread at one time. More wait.
    pub calls_max: usize,
    /// Writes that wait for their group. More wait before they are taken.
    pub queue_writes_max: usize,
    /// Bytes of the writes that wait for their group. More wait before they are taken.
    pub queue_bytes_max: usize,
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
    /// Bytes of journals on disk before they are written into tables. At least 64 MiB.
    pub journal_bytes_max: u64,
    /// Bytes in memory, for each of five kinds of values, before they are written into a table.
    pub memtable_bytes_max: u64,
}

impl Default for EmbeddedStoreConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("fanfold-data/store"),
            calls_max: 16,
            queue_writes_max: 1024,
            queue_bytes_max: 256 << 20,
            cache_bytes: 32 << 20,
            journal_bytes_max: 256 << 20,
            memtable_bytes_max: 16 << 20,
        }
    }
}
