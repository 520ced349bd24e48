//! What a session keeps of its recent past, so that a reader can go on where it was.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfold_fold::{Delta, Merger, Offset};

/// Entries in order, each from the offset of the one before it to its own, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    base: Offset,
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    upto: Offset,
    bytes: usize,
    value: T,
}

/// What stands between an offset and the head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The offset is where entry `from` begins; `bytes` lie between it and the head.
    Held {
        /// The first entry after the offset.
        from: usize,
        /// Bytes from there to the head.
        bytes: usize,
    },
    /// It lies before the ring, or isn't a border between two entries.
    Gone,
}

impl<T> Ring<T> {
    pub(crate) fn new(base: Offset, bytes_max: usize) -> Self {
        Self { base, entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn head(&self) -> Offset {
        self.entries.back().map_or(self.base, |entry| entry.upto)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends what leads from the head to `upto`, and lets go of the oldest entries over the limit.
    pub(crate) fn push(&mut self, upto: Offset, bytes: usize, value: T) {
        assert!(upto > self.head(), "I2 contiguous: {upto} after {}", self.head());
        self.bytes += bytes;
        self.entries.push_back(Entry { upto, bytes, value });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.base = oldest.upto;
        }
        if self.entries.is_empty() {
            self.base = upto;
        }
    }

    pub(crate) fn reach(&self, after: Offset) -> Reach {
        if after == self.head() {
            return Reach::Held { from: self.entries.len(), bytes: 0 };
        }
        let from = if after == self.base {
            0
        } else {
            match self.entries.binary_search_by_key(&after, |entry| entry.upto) {
                Ok(at) => at + 1,
                Err(_) => return Reach::Gone,
            }
        };
        Reach::Held { from, bytes: self.entries.range(from..).map(|entry| entry.bytes).sum() }
    }

    /// Entries from position `from`, each with the offset it leads to.
    pub(crate) fn range(&self, from: usize) -> impl Iterator<Item = (Offset, &T)> {
        self.entries.range(from..).map(|entry| (entry.upto, &entry.value))
    }
}

impl Ring<Arc<Delta>> {
    /// One delta from `after` to the head, if the ring reaches back so far.
    pub(crate) fn merged(&self, after: Offset) -> Option<Delta> {
        let Reach::Held { from, .. } = self.reach(after) else { return None };
        let mut merger = Merger::default();
        self.range(from).for_each(|(_, delta)| merger.push((**delta).clone()));
        Some(merger.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(bytes_max: usize, entries: &[(u64, usize)]) -> Ring<u64> {
        let mut ring = Ring::new(Offset(10), bytes_max);
        entries.iter().for_each(|(upto, bytes)| ring.push(Offset(*upto), *bytes, *upto));
        ring
    }

    #[track_caller]
    fn check(ring: &Ring<u64>, after: u64, expected: Option<&[u64]>) {
        match (ring.reach(Offset(after)), expected) {
            (Reach::Held { from, .. }, Some(expected)) => {
                assert_eq!(ring.range(from).map(|(_, value)| *value).collect::<Vec<_>>(), expected);
            }
            (Reach::Gone, None) => {}
            (reach, expected) => panic!("after {after}: {reach:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn an_offset_is_found_only_at_a_border() {
        let ring = ring(100, &[(12, 10), (15, 10), (21, 10)]);
        check(&ring, 10, Some(&[12, 15, 21]));
        check(&ring, 12, Some(&[15, 21]));
        check(&ring, 15, Some(&[21]));
        check(&ring, 21, Some(&[]));
        for odd in [0, 9, 11, 13, 20, 22] {
            check(&ring, odd, None);
        }
    }

    #[test]
    fn the_oldest_go_first_and_an_oversized_one_goes_at_once() {
        check(&ring(20, &[(12, 10), (15, 10), (21, 10)]), 12, Some(&[15, 21]));
        check(&ring(20, &[(12, 10), (15, 10), (21, 10)]), 10, None);
        let lapped = ring(20, &[(12, 10), (15, 21)]);
        check(&lapped, 12, None);
        check(&lapped, 15, Some(&[]));
        assert_eq!((lapped.bytes(), lapped.head()), (0, Offset(15)));
    }
}
