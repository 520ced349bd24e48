//! What the archiver is configured with.

use std::time::Duration;

use fanfold_store::SEGMENT_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Records of a segment at most: with the largest names its bytes stay far below the store's limit.
const SEGMENT_RECORDS_MAX: usize = 100_000;

/// `[archive]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// A session is archived when it has so many new records …
    pub segment_records: usize,
    /// … or bytes of them …
    pub segment_bytes: usize,
    /// … or has been quiet for so long …
    pub quiet_ms: u64,
    /// … or when its oldest new record has waited for so long.
    pub wait_ms_max: u64,
    /// Records that may wait to be archived on this node. More stay with the log until there is room.
    pub waiting_records_max: usize,
    /// What is archived stays in the log for so long, unless that is half full.
    pub keep_ms: u64,
    /// Bytes of records that the embedded log keeps. While there are more, as the archive is behind, appends are refused as
    /// `overloaded`.
    pub log_bytes_max: u64,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            segment_records: 1000,
            segment_bytes: 512 << 10,
            quiet_ms: 10_000,
            wait_ms_max: 60_000,
            waiting_records_max: 100_000,
            keep_ms: 3_600_000,
            log_bytes_max: 64 << 30,
        }
    }
}

/// The archiver can't work like that.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchiveError {
    /// Nothing would ever be archived, or one record at a time.
    #[error("archive.{0} must not be 0")]
    Zero(&'static str),
    /// The store would refuse it.
    #[error("archive.{name} is {value}, and may be {max} at most")]
    TooLarge {
        /// Which key.
        name: &'static str,
        /// What it says.
        value: usize,
        /// What it may.
        max: usize,
    },
    /// A session would never be found quiet.
    #[error("archive.wait_ms_max is below archive.quiet_ms")]
    Impatient,
}

impl ArchiveConfig {
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }

    pub(crate) fn wait_max(&self) -> Duration {
        Duration::from_millis(self.wait_ms_max)
    }

    /// Refuses what can't work.
    pub fn check(&self) -> Result<(), ArchiveError> {
        let counts = [
            ("segment_records", self.segment_records),
            ("segment_bytes", self.segment_bytes),
            ("waiting_records_max", self.waiting_records_max),
            ("log_bytes_max", usize::try_from(self.log_bytes_max).unwrap_or(usize::MAX)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(ArchiveError::Zero(name));
        }
        // A record and what stands beside each go on top.
        let limits = [
            ("segment_records", self.segment_records, SEGMENT_RECORDS_MAX),
            ("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MAX / 2),
        ];
        if let Some((name, value, max)) = limits.into_iter().find(|(_, value, max)| value > max) {
            return Err(ArchiveError::TooLarge { name, value, max });
        }
        if self.wait_ms_max < self.quiet_ms { Err(ArchiveError::Impatient) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_work_is_refused() {
        let check = |change: fn(&mut ArchiveConfig)| {
            let mut config = ArchiveConfig::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|config| config.segment_records = 0), Err(ArchiveError::Zero("segment_records")));
        let too_large = check(|config| config.segment_bytes = SEGMENT_BYTES_MAX);
        assert!(matches!(too_large, Err(ArchiveError::TooLarge { name: "segment_bytes", .. })), "{too_large:?}");
        assert_eq!(check(|config| config.quiet_ms = 70_000), Err(ArchiveError::Impatient));
    }
}
