//! What is read: damaged values are skipped where an older one does, and told where nothing else does.

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use fjall::{Keyspace, Readable, UserValue};

use super::disk::Disk;
use super::error::{ArchiveGap, unavailable};
use super::layout::{
    OPEN_RUNS_PREFIX, PARKED_PREFIX, listing_entry, listing_key, listing_prefix, parked_key, segment_end, segment_from,
    segment_last, session_at_end, session_key, snapshot_key, snapshot_offset,
};
use super::row::{DamagedRow, Stored};
use super::seal::{HEADER_BYTES, open};
use super::segment::unpack;
use crate::metric;
use crate::port::{Parked, SessionQuery, SessionRow, Snapshot, StoreError};

/// Bytes of a page of archived records, about: a page ends with the record that goes over it.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// A record as the archive returns it.
pub(crate) type Archived = (Offset, u64, Bytes);

/// Which records of the archive.
pub(crate) struct Range {
    pub(crate) epoch: Epoch,
    pub(crate) after: Offset,
    pub(crate) upto: Offset,
    pub(crate) records_max: usize,
}

impl Disk {
    pub(crate) fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        let view = self.db.snapshot();
        let range = snapshot_key(session, epoch, fold, Offset::NONE)..=snapshot_key(session, epoch, fold, upto);
        for entry in view.range(&self.snapshots, range).rev() {
            let key = entry.key().map_err(unavailable)?;
            let offset = snapshot_offset(&key).unwrap_or_default();
            // A value that the driver can't read is as damaged as one whose checksum fails.
            match view.get(&self.snapshots, &key) {
                Ok(Some(value)) => match snapshot_state(&key, fold, value) {
                    Some(state) => return Ok(Some(Snapshot { epoch, offset, fold, state })),
                    None => tracing::warn!(%session, offset = offset.0, "damaged snapshot skipped"),
                },
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%session, offset = offset.0, error = &error as &dyn std::error::Error, "unreadable snapshot skipped");
                }
            }
            damaged("snapshot");
        }
        Ok(None)
    }

    /// Goes through the segments by their last offset and takes of each what comes next. One that doesn't join what is there is
    /// left: a later one that does holds all of its records too. If none does, the page ends there.
    pub(crate) fn records(&self, session: &SessionKey, range: &Range) -> Result<Vec<Archived>, StoreError> {
        let view = self.db.snapshot();
        let from = segment_from(session, range.epoch, Offset(range.after.0.saturating_add(1)));
        let mut page = Page { range, upto: range.after, known: range.after, bytes: 0, records: Vec::new() };
        for entry in view.range(&self.segments, from..segment_end(session, range.epoch)) {
            if page.is_full() {
                break;
            }
            let key = entry.key().map_err(unavailable)?;
            let Some(last) = segment_last(session, &key) else { continue };
            page.known = page.known.max(last);
            if last <= page.upto {
                continue;
            }
            let value = view.get(&self.segments, &key);
            match value.ok().flatten().and_then(|value| unpack(&key, &value)) {
                Some(segment) if segment.previous <= page.upto => page.add(segment.records),
                Some(_) => {}
                None => {
                    tracing::error!(%session, last = last.0, "damaged segment skipped");
                    damaged("segment");
                }
            }
        }
        page.finish()
    }

    pub(crate) fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        stored(&self.rows.get(session_key(session)), &session_key(session), "row")
    }

    pub(crate) fn list(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError> {
        let view = self.db.snapshot();
        let user = query.user.as_deref();
        let begin = listing_prefix(&query.tenant, user);
        let end = match &query.before {
            Some((active_at_ms, session)) => listing_key(&query.tenant, user, *active_at_ms, session),
            // Above every id.
            None => [&*begin, &[0xff; 9]].concat(),
        };
        let mut rows = Vec::new();
        for entry in view.range(&self.listing, &*begin..&*end).rev() {
            if rows.len() >= query.rows_max {
                break;
            }
            let key = entry.key().map_err(unavailable)?;
            let Some((active_at_ms, session)) = listing_entry(&key, begin.len()) else { continue };
            let row_key = session_key(&SessionKey::new(query.tenant.clone(), session));
            match stored::<SessionRow>(&view.get(&self.rows, &row_key), &row_key, "row") {
                // An entry that the row doesn't know is left over from a row that was damaged.
                Ok(Some(row)) if row.active_at_ms == active_at_ms && (user.is_none() || row.user == query.user) => rows.push(row),
                Ok(Some(_) | None) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "session left out of a list"),
            }
        }
        Ok(rows)
    }

    pub(crate) fn unfinished(&self) -> Result<Vec<SessionKey>, StoreError> {
        let mut sessions = Vec::new();
        for entry in self.listing.prefix(OPEN_RUNS_PREFIX) {
            sessions.extend(session_at_end(&entry.key().map_err(unavailable)?[OPEN_RUNS_PREFIX.len()..]));
        }
        Ok(sessions)
    }

    pub(crate) fn parked_one(&self, session: &SessionKey) -> Result<Option<Parked>, StoreError> {
        let key = parked_key(session);
        stored(&self.parking.get(&key), &key, "parked")
    }

    pub(crate) fn parked(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        let begin = after.map_or(PARKED_PREFIX.to_vec(), |session| [&*parked_key(session), &[0]].concat());
        let end = [PARKED_PREFIX[0] + 1];
        let mut parked = Vec::new();
        for entry in self.parking.range(&*begin..&end[..]).take(rows_max) {
            let (key, value) = entry.into_inner().map_err(unavailable)?;
            // Parked it is, even where nobody can say why.
            let unknown = |session| Parked { session, attempts: 0, reason: "the row is damaged".into(), parked_at_ms: 0 };
            let session = session_at_end(&key[PARKED_PREFIX.len()..]);
            parked.extend(Parked::decode(&key, &value).ok().or_else(|| session.map(unknown)));
        }
        Ok(parked)
    }
}

/// The state in a snapshot's value: behind the header stands the fold's version.
fn snapshot_state(key: &[u8], fold: FoldVersion, value: UserValue) -> Option<Bytes> {
    let (version, _) = open(key, &value)?.split_first_chunk()?;
    (FoldVersion(u16::from_be_bytes(*version)) == fold).then(|| Bytes::from_owner(value).slice(HEADER_BYTES + 2..))
}

/// A row that is there but can't be read is an error: absent would mean that there never was one.
fn stored<T: Stored>(value: &fjall::Result<Option<UserValue>>, key: &[u8], what: &'static str) -> Result<Option<T>, StoreError> {
    match value {
        Ok(None) => Ok(None),
        Ok(Some(value)) => T::decode(key, value).map(Some).map_err(|error: DamagedRow| {
            damaged(what);
            unavailable(error)
        }),
        Err(error) => Err(StoreError::Unavailable(error.to_string().into())),
    }
}

fn damaged(what: &'static str) {
    metrics::counter!(metric::DAMAGED, "what" => what).increment(1);
}

/// Records so far, each joined to the one before.
struct Page<'a> {
    range: &'a Range,
    /// Everything up to here is in it.
    upto: Offset,
    /// Some segment says that there are records up to here.
    known: Offset,
    bytes: usize,
    records: Vec<Archived>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.upto >= self.range.upto || self.records.len() >= self.range.records_max || self.bytes >= PAGE_BYTES_MAX
    }

    fn add(&mut self, records: Vec<Archived>) {
        let upto = self.upto;
        for record in records.into_iter().skip_while(|(offset, ..)| *offset <= upto) {
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

    fn finish(self) -> Result<Vec<Archived>, StoreError> {
        let gap = !self.is_full() && self.known > self.upto;
        if gap {
            metrics::counter!(metric::GAPS).increment(1);
            tracing::error!(after = self.upto.0, "archived records are missing or damaged");
        }
        if gap && self.records.is_empty() { Err(unavailable(ArchiveGap { after: self.upto })) } else { Ok(self.records) }
    }
}

/// Keys of snapshots, newest first.
pub(crate) fn snapshot_keys(snapshots: &Keyspace, session: &SessionKey) -> Result<Vec<fjall::UserKey>, StoreError> {
    let keys = snapshots.prefix(session_key(session)).map(fjall::Guard::key);
    let mut keys = keys.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
    keys.sort_by_key(|key| std::cmp::Reverse(snapshot_offset(key)));
    Ok(keys)
}
