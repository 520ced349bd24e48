//! What a hydration leaves in the store: when, and whose it was, or that it failed. All of it is in the UUID that names it, so that a
//! row is written once and never changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::seal::{open, seal};
use crate::port::Tries;

/// Tries that are kept of a session. Those before them are let go of: a session is parked long before.
const TRIES_MAX: usize = 64;

/// A hydration that was begun; its last bits say by which process.
const BEGUN: u8 = 1;

/// One that came to an end which was the session's fault; its last bits are random.
const FAILED: u8 = 2;

/// Bits of a UUID that are a process's own.
const PROCESS_BITS: u64 = (1 << 62) - 1;

/// One opening of a store, as tries name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    pub(crate) fn mint() -> Self {
        Self::from_bits(random())
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits & PROCESS_BITS)
    }

    /// The try that this process begins now.
    pub(crate) fn begins(self, now_ms: u64) -> Uuid {
        named(now_ms, BEGUN, self.0)
    }

    fn began(self, tried: Uuid) -> bool {
        is(tried, BEGUN) && last_bits(tried) == self.0
    }

    /// When this process last began one of these.
    pub(crate) fn last_of(self, tries: &[Uuid]) -> Option<u64> {
        tries.iter().filter(|tried| self.began(**tried)).map(|tried| at_ms(*tried)).max()
    }

    /// What these tell this process. Others' tries that were begun at `silent_since_ms` or before can't be under way any more.
    ///
    /// Releases before this one counted tries without saying whose they are, or when they were. Nobody can tell which of them are still
    /// under way, so they count for nothing.
    pub(crate) fn count(self, tries: &[Uuid], silent_since_ms: u64) -> Tries {
        let mut newest = BTreeMap::new();
        for tried in tries.iter().filter(|tried| is(**tried, BEGUN) && !self.began(**tried)) {
            let at = newest.entry(last_bits(*tried)).or_insert(0);
            *at = at_ms(*tried).max(*at);
        }
        let broken_off = newest.values().filter(|at| **at <= silent_since_ms).count();
        let failed = tries.iter().filter(|tried| is(**tried, FAILED)).count();
        Tries { broken_off: broken_off as u32, failed: failed as u32 }
    }
}

/// A try that has failed now.
pub(crate) fn failed(now_ms: u64) -> Uuid {
    named(now_ms, FAILED, random())
}

/// A UUIDv7: when, in milliseconds; what; and the last bits.
fn named(now_ms: u64, what: u8, last: u64) -> Uuid {
    let mut bytes = [0, what, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..].copy_from_slice(&last.to_be_bytes());
    Builder::from_unix_timestamp_millis(now_ms, &bytes).into_uuid()
}

fn random() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

fn last_bits(tried: Uuid) -> u64 {
    tried.as_u64_pair().1 & PROCESS_BITS
}

fn is(tried: Uuid, what: u8) -> bool {
    tried.get_version_num() == 7 && tried.as_bytes()[7] == what
}

fn at_ms(tried: Uuid) -> u64 {
    (tried.as_u128() >> 80) as u64
}

/// A session's tries in one value, the newest last.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct StoredTries {
    pub(crate) tries: Vec<Uuid>,
}

impl StoredTries {
    pub(crate) fn encode(&self, key: &[u8]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let kept = Self { tries: self.tries[self.tries.len().saturating_sub(TRIES_MAX)..].to_vec() };
        Ok(seal(key, &[&rmp_serde::to_vec_named(&kept)?]))
    }

    /// Damaged ones count as none: better one try too many than a session parked for a flipped bit. So does a bare count, which releases
    /// before this one wrote.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Self {
        open(key, value).and_then(|content| rmp_serde::from_slice(content).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Process = Process(7);
    const OTHERS: [Process; 3] = [Process(8), Process(9), Process(10)];
    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn each_other_process_counts_once_and_only_when_it_is_silent() {
        let [one, two, three] = OTHERS;
        let tries = [one.begins(NOW - 3), one.begins(NOW), two.begins(NOW), three.begins(NOW + 1), OWN.begins(NOW - 9)];
        assert_eq!(OWN.count(&tries, NOW), Tries { broken_off: 2, failed: 0 });
        assert_eq!(OWN.count(&tries, NOW - 1), Tries::default(), "one has said since that it goes on");
        assert_eq!(OWN.count(&tries, u64::MAX), Tries { broken_off: 3, failed: 0 });
        assert_eq!(OWN.last_of(&tries), Some(NOW - 9));
        assert_eq!(two.last_of(&tries[..2]), None);
    }

    #[test]
    fn failures_count_each() {
        let tries = [failed(NOW), failed(NOW), OWN.begins(NOW)];
        assert_eq!(OWN.count(&tries, u64::MAX), Tries { broken_off: 0, failed: 2 });
    }

    #[test]
    fn tries_of_earlier_releases_count_for_nothing() {
        assert_eq!(OWN.count(&[Uuid::new_v4(), Uuid::new_v4()], u64::MAX), Tries::default());
        let count = seal(b"key", &[&3_u32.to_be_bytes()]);
        assert!(StoredTries::decode(b"key", &count).tries.is_empty());
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let tries = StoredTries { tries: (0..200).map(|at| OWN.begins(at)).collect() };
        let kept = StoredTries::decode(b"key", &tries.encode(b"key").unwrap()).tries;
        assert_eq!(kept, tries.tries[200 - TRIES_MAX..]);
    }
}
