//! What erasing is configured with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[erase]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EraseConfig {
    /// How long after an erasure writes that were on their way are waited for, before it is done. Longer than an append or a write to the
    /// store may take, and than a node may take to notice.
    pub settle_ms: u64,
    /// Least time between two compactions of the embedded log and store, which take erased text off the disk. Erasures between two of them
    /// share the next.
    pub compact_ms: u64,
}

impl Default for EraseConfig {
    fn default() -> Self {
        Self { settle_ms: 60_000, compact_ms: 21_600_000 }
    }
}

impl EraseConfig {
    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_ms)
    }

    pub(crate) fn compact(&self) -> Duration {
        Duration::from_millis(self.compact_ms)
    }
}
