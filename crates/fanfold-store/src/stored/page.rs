//! Records of overlapping segments, merged by offset into one contiguous page.

use bytes::Bytes;
use fanfold_fold::Offset;

use super::segment::Unpacked;
use super::{ArchiveGap, unavailable};
use crate::metric;
use crate::port::StoreError;

/// Bytes of a page of archived records, about: a page ends with the record that goes over it.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// A record as the archive returns it.
pub(crate) type Archived = (Offset, u64, Bytes);

/// Which records of the archive.
pub(crate) struct Range {
    pub(crate) after: Offset,
    pub(crate) upto: Offset,
    pub(crate) records_max: usize,
}

/// Records so far, each joined to the one before. Takes the segments in the order of their last offsets: one that doesn't join
/// what is there is left, for a later one that does holds all of its records too. If none does, the page ends there.
pub(crate) struct Page<'a> {
    range: &'a Range,
    /// Everything up to here is in it.
    upto: Offset,
    /// Some segment says that there are records up to here.
    known: Offset,
    bytes: usize,
    records: Vec<Archived>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(range: &'a Range) -> Self {
        Self { range, upto: range.after, known: range.after, bytes: 0, records: Vec::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.upto >= self.range.upto || self.records.len() >= self.range.records_max || self.bytes >= PAGE_BYTES_MAX
    }

    /// Records that it still takes.
    #[cfg(feature = "scylla")]
    pub(crate) fn room(&self) -> usize {
        if self.is_full() { 0 } else { self.range.records_max - self.records.len() }
    }

    /// Whether a segment up to `last` has anything that the page hasn't.
    pub(crate) fn has_use_for(&self, last: Offset) -> bool {
        last > self.upto
    }

    /// Whether a segment from `first` on has anything that was asked for. One that hasn't and isn't there proves nothing: its writer
    /// may not have come to an end yet, and the log still has its records.
    #[cfg(feature = "scylla")]
    pub(crate) fn asks_for(&self, first: Offset) -> bool {
        first <= self.range.upto
    }

    /// There is a segment up to `last`, and it can't be read.
    pub(crate) fn lost(&mut self, last: Offset) {
        self.known = self.known.max(last);
    }

    /// Takes what comes next from a segment, if it joins.
    pub(crate) fn add(&mut self, segment: Unpacked) {
        let upto = self.upto;
        self.known = self.known.max(segment.records.last().map_or(Offset::NONE, |(last, ..)| *last));
        if segment.previous > upto {
            return;
        }
        for record in segment.records.into_iter().skip_while(|(offset, ..)| *offset <= upto) {
            if self.is_full() {
                return;
            }
            if record.0 > self.range.upto {
                // Between the last one and this there is none.
                self.upto = self.range.upto;
                return;
            }
            self.upto = record.0;
            self.bytes += record.2.len();
            self.records.push(record);
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<Archived>, StoreError> {
        let gap = !self.is_full() && self.known > self.upto;
        if gap {
            metrics::counter!(metric::GAPS).increment(1);
            tracing::error!(after = self.upto.0, "archived records are missing or damaged");
        }
        if gap && self.records.is_empty() { Err(unavailable(ArchiveGap { after: self.upto })) } else { Ok(self.records) }
    }
}
