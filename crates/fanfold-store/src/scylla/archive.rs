//! Segments: the row of the index first, so that nothing is ever there that nobody finds; then the records.

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, SessionKey};
use futures::future::try_join_all;
use scylla::value::CqlVarint;
use uuid::Uuid;

use super::ScyllaStore;
use super::call::Call;
use super::value::{offset, varint};
use crate::metric;
use crate::port::{Segment, SegmentKey, StoreError};
use crate::stored::key::segment_key;
use crate::stored::month::Month;
use crate::stored::page::{Archived, Page, Range};
use crate::stored::segment::{Unpacked, pack, unpack};
use crate::stored::{ArchiveGap, damaged, unavailable};

/// Bytes of records in one cell before they are compressed. Servers warn of cells above 1 MB.
pub(crate) const CUT_BYTES: usize = 768 << 10;

/// Bytes of one cell. Only a single record above [`CUT_BYTES`] can come near it.
const CELL_BYTES_MAX: usize = 1_000_000;

/// Rows of the index, from its end on, that are looked at for one whose records are there. Each one whose records aren't is a writer that
/// died, or a store that has lost what it kept: so many are the latter.
const LAST_LOOKED_AT_MAX: usize = 100;

/// Cells on their way at one time.
const CELLS_AT_ONCE: usize = 8;

/// A row of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) epoch: Epoch,
    pub(crate) last: Offset,
    pub(crate) first: Offset,
    pub(crate) month: i64,
    pub(crate) digest: Uuid,
}

impl ScyllaStore {
    /// Large ones are cut: readers merge cuts by offset anyway. One after another, so that what is last has all before it.
    pub(crate) async fn put_cuts(&self, session: &SessionKey, segment: Segment) -> Result<(), StoreError> {
        let call = self.cql.call();
        for cut in cut(segment) {
            self.put_cut(call, session, cut).await?;
        }
        // What was written behind an erasure is never read: it need not stay.
        if self.are_segments_erased(call, session).await? { self.drop_segments(call, session).await } else { Ok(()) }
    }

    pub(crate) async fn are_segments_erased(&self, call: Call<'_>, session: &SessionKey) -> Result<bool, StoreError> {
        let ids = (session.tenant.as_str(), session.session.as_str());
        let erased: Option<(Option<bool>,)> = call.row(&self.statements.segments_state, ids).await?;
        Ok(erased == Some((Some(true),)))
    }

    async fn put_cut(&self, call: Call<'_>, session: &SessionKey, cut: Segment) -> Result<(), StoreError> {
        let (owner, key) = (session.clone(), cut.key.clone());
        let at = Month::of(cut.first_stored_at_ms).to_number();
        let records = i32::try_from(cut.records.len()).unwrap_or(i32::MAX);
        let packed = tokio::task::spawn_blocking(move || pack(&owner, &cut)).await.map_err(unavailable)??;
        let bytes = packed.value.len();
        if bytes > CELL_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes, limit: CELL_BYTES_MAX });
        }
        metrics::histogram!(metric::SEGMENT_BYTES).record(bytes as f64);
        let (tenant, id, epoch, digest) = (session.tenant.as_str(), session.session.as_str(), key.epoch.0, packed.digest);
        let (first, last) = (varint(key.first.0), varint(key.last.0));
        call.execute(&self.statements.put_segment_key, (tenant, id, epoch, &last, &first, at, digest, records)).await?;
        call.execute(&self.statements.put_segment, (tenant, id, epoch, at, &first, &last, digest, packed.value)).await
    }

    pub(crate) async fn read_records(&self, session: &SessionKey, range: &Range) -> Result<Vec<Archived>, StoreError> {
        let call = self.cql.call();
        let mut entries = Vec::new();
        for epoch in self.segment_epochs(call, session).await? {
            entries.extend(self.segments_after(call, session, epoch, range.after).await?);
        }
        entries.sort_by_key(|(entry, _)| entry.last);
        let mut entries = entries.into_iter().peekable();
        let mut page = Page::new(range);
        while entries.peek().is_some() && !page.is_full() {
            self.add_wave(call, session, &mut page, &mut entries).await?;
        }
        page.finish()
    }

    /// Reads at once what the page has room for, and adds it in order.
    async fn add_wave(
        &self,
        call: Call<'_>,
        session: &SessionKey,
        page: &mut Page<'_>,
        entries: &mut impl Iterator<Item = (Entry, usize)>,
    ) -> Result<(), StoreError> {
        let (mut wave, mut room) = (Vec::new(), page.room());
        while room > 0
            && wave.len() < CELLS_AT_ONCE
            && let Some((entry, records)) = entries.next()
        {
            if page.has_use_for(entry.last) {
                wave.push(entry);
                room = room.saturating_sub(records);
            }
        }
        let segments = try_join_all(wave.iter().map(|entry| self.segment(call, session, *entry))).await?;
        for (entry, segment) in wave.into_iter().zip(segments) {
            match segment {
                Some(segment) => page.add(segment),
                None if page.has_use_for(entry.last) && page.asks_for(entry.first) => {
                    tracing::error!(%session, last = entry.last.0, "missing or damaged segment skipped");
                    damaged("segment");
                    page.lost(entry.last);
                }
                None => {}
            }
        }
        Ok(())
    }

    pub(crate) async fn last_archived(&self, session: &SessionKey) -> Result<Offset, StoreError> {
        let call = self.cql.call();
        let mut last = Offset::NONE;
        for epoch in self.segment_epochs(call, session).await? {
            last = last.max(self.last_of_epoch(call, session, epoch).await?);
        }
        Ok(last)
    }

    /// A row of the index whose records never came, as its writer died, tells of nothing.
    async fn last_of_epoch(&self, call: Call<'_>, session: &SessionKey, epoch: Epoch) -> Result<Offset, StoreError> {
        let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
        let rows: Vec<(CqlVarint, CqlVarint, i64, Uuid)> =
            call.rows(&self.statements.last_segments, (tenant, id, epoch.0, LAST_LOOKED_AT_MAX as i32)).await?;
        let all = rows.len() < LAST_LOOKED_AT_MAX;
        for (last, first, month, digest) in rows {
            let values = (tenant, id, epoch.0, month, &first, &last, digest);
            let there: Option<(Uuid,)> = call.row(&self.statements.segment_is_there, values).await?;
            if there.is_some() {
                return Ok(offset(&last).unwrap_or_default());
            }
        }
        if all { Ok(Offset::NONE) } else { Err(unavailable(ArchiveGap { after: Offset::NONE })) }
    }

    /// The epochs that the session has segments of. None once it is erased.
    async fn segment_epochs(&self, call: Call<'_>, session: &SessionKey) -> Result<Vec<Epoch>, StoreError> {
        let mut epochs = Vec::new();
        // Below all others.
        let mut after = Uuid::nil();
        loop {
            let values = (session.tenant.as_str(), session.session.as_str(), after);
            let row: Option<(Option<bool>, Option<Uuid>)> = call.row(&self.statements.next_segment_epoch, values).await?;
            match row {
                Some((Some(true), _)) => return Ok(Vec::new()),
                Some((_, Some(epoch))) => {
                    epochs.push(Epoch(epoch));
                    after = epoch;
                }
                Some((_, None)) | None => return Ok(epochs),
            }
        }
    }

    /// Rows of the index of one epoch that end after `after`, each with how many records it tells of: as many as a session, whose
    /// records are limited, has segments.
    async fn segments_after(
        &self,
        call: Call<'_>,
        session: &SessionKey,
        epoch: Epoch,
        after: Offset,
    ) -> Result<Vec<(Entry, usize)>, StoreError> {
        type Row = (CqlVarint, CqlVarint, i64, Uuid, Option<i32>);
        let values = (session.tenant.as_str(), session.session.as_str(), epoch.0, varint(after.0));
        let rows: Vec<Row> = call.rows(&self.statements.segment_keys, values).await?;
        let entry = |(last, first, month, digest, records): Row| {
            let (last, first) = (offset(&last)?, offset(&first)?);
            let records = usize::try_from(records.unwrap_or(0)).unwrap_or(0);
            Some((Entry { epoch, last, first, month, digest }, records))
        };
        Ok(rows.into_iter().filter_map(entry).collect())
    }

    /// What the index says is there. `None` if it isn't, or is damaged.
    async fn segment(&self, call: Call<'_>, session: &SessionKey, entry: Entry) -> Result<Option<Unpacked>, StoreError> {
        let Entry { epoch, last, first, month: at, digest } = entry;
        let values = (session.tenant.as_str(), session.session.as_str(), epoch.0, at, varint(first.0), varint(last.0), digest);
        let row: Option<(Option<Bytes>,)> = call.row(&self.statements.segment, values).await?;
        let Some((Some(content),)) = row else { return Ok(None) };
        let name = SegmentKey { epoch, first, last };
        let Some(key) = Month::of_number(at).map(|month| segment_key(session, &name, month, digest.into_bytes())) else {
            return Ok(None);
        };
        tokio::task::spawn_blocking(move || unpack(&key, &content)).await.map_err(unavailable)
    }

    /// All rows of the index, of all epochs.
    pub(crate) async fn segment_entries(&self, call: Call<'_>, session: &SessionKey) -> Result<Vec<Entry>, StoreError> {
        type Row = (Option<Uuid>, Option<CqlVarint>, Option<CqlVarint>, Option<i64>, Option<Uuid>);
        let ids = (session.tenant.as_str(), session.session.as_str());
        let rows: Vec<Row> = call.rows(&self.statements.all_segment_keys, ids).await?;
        let entry = |(epoch, last, first, month, digest): Row| {
            let (last, first) = (offset(&last?)?, offset(&first?)?);
            Some(Entry { epoch: Epoch(epoch?), last, first, month: month?, digest: digest? })
        };
        Ok(rows.into_iter().filter_map(entry).collect())
    }

    /// The records of the session, by partition. The index stays: it holds no text, and finds what a late writer brings.
    pub(crate) async fn drop_segments(&self, call: Call<'_>, session: &SessionKey) -> Result<(), StoreError> {
        let mut partitions = self.segment_entries(call, session).await?;
        partitions.dedup_by_key(|entry| (entry.epoch, entry.month));
        for Entry { epoch, month, .. } in partitions {
            let values = (session.tenant.as_str(), session.session.as_str(), epoch.0, month);
            call.execute(&self.statements.drop_segments, values).await?;
        }
        Ok(())
    }
}

/// The segment in pieces that fit a cell, the same ones each time.
fn cut(segment: Segment) -> Vec<Segment> {
    let (epoch, mut previous) = (segment.key.epoch, segment.previous);
    let (mut cuts, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut end = |records: &mut Vec<Archived>| {
        let last = records.last().map(|(offset, ..)| *offset);
        cuts.extend(Segment::new(epoch, previous, std::mem::take(records)));
        previous = last.unwrap_or(previous);
    };
    for record in segment.records {
        if bytes + record.2.len() > CUT_BYTES && !records.is_empty() {
            end(&mut records);
            bytes = 0;
        }
        bytes += record.2.len();
        records.push(record);
    }
    end(&mut records);
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_and_fit() {
        let record = |number: u64, bytes: usize| (Offset(number * 2), number, Bytes::from(vec![7; bytes]));
        let check = |sizes: &[usize], pieces: usize| {
            let records = sizes.iter().zip(1..).map(|(bytes, number)| record(number, *bytes)).collect::<Vec<_>>();
            let segment = Segment::new(Epoch(Uuid::nil()), Offset(1), records.clone()).unwrap();
            let cuts = cut(segment);
            assert_eq!(cuts.len(), pieces, "{sizes:?}");
            let mut upto = Offset(1);
            for piece in &cuts {
                assert!(piece.is_whole() && piece.previous == upto, "I2 contiguous: {:?}", piece.key);
                upto = piece.key.last;
            }
            assert_eq!(cuts.into_iter().flat_map(|piece| piece.records).collect::<Vec<_>>(), records);
        };
        check(&[0], 1);
        check(&[CUT_BYTES], 1);
        check(&[CUT_BYTES, 1], 2);
        check(&[CUT_BYTES + 1, CUT_BYTES + 1], 2);
        check(&[CUT_BYTES / 3; 7], 3);
        check(&[0; 5000], 1);
    }
}
