//! What is read: damaged values are skipped where an older one does, and told where nothing else does.

use std::collections::BTreeSet;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey};
use fjall::{Keyspace, Readable, UserValue};

use super::disk::Disk;
use super::layout::{
    OPEN_RUNS_PREFIX, listing_entry, listing_key, listing_prefix, open_runs_key, segment_end, segment_epoch, segment_last,
    snapshot_offset, word_entry, word_prefix,
};
use crate::port::{Parked, SessionPage, SessionQuery, SessionRow, Snapshot, StoreError};
use crate::stored::key::{PARKED_PREFIX, parked_key, segment_from, session_at_end, session_key, snapshot_key};
use crate::stored::page::{Archived, Page, Range};
use crate::stored::row::{DamagedRow, Stored};
use crate::stored::seal::{HEADER_BYTES, open};
use crate::stored::segment::unpack;
use crate::stored::wanted::{FOUND_MAX, Wanted};
use crate::stored::{damaged, unavailable};

/// Rows looked at for one page.
const LOOKED_MAX: usize = 5000;

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

    pub(crate) fn records(&self, session: &SessionKey, range: &Range) -> Result<Vec<Archived>, StoreError> {
        let view = self.db.snapshot();
        let mut page = Page::new(range);
        for (last, key) in self.segment_keys(&view, session, range.after)? {
            if page.is_full() {
                break;
            }
            if !page.has_use_for(last) {
                continue;
            }
            let value = view.get(&self.segments, &key);
            match value.ok().flatten().and_then(|value| unpack(&key, &value)) {
                Some(segment) => page.add(segment),
                None => {
                    tracing::error!(%session, last = last.0, "damaged segment skipped");
                    damaged("segment");
                    page.lost(last);
                }
            }
        }
        page.finish()
    }

    /// Names of the segments that end after `after`, of all epochs, in the order of their last offsets.
    fn segment_keys(
        &self,
        view: &impl Readable,
        session: &SessionKey,
        after: Offset,
    ) -> Result<Vec<(Offset, fjall::UserKey)>, StoreError> {
        let mut keys = Vec::new();
        let mut from = session_key(session);
        let end = segment_end(session, Epoch(uuid::Uuid::max()));
        // From epoch to epoch: what an older one has below `after` is passed over.
        while let Some(first) = view.range(&self.segments, &*from..&*end).next() {
            let first = first.key().map_err(unavailable)?;
            let Some(epoch) = segment_epoch(session, &first) else { break };
            let above = segment_from(session, epoch, Offset(after.0.saturating_add(1)));
            from = segment_end(session, epoch);
            for entry in view.range(&self.segments, &*above..&*from) {
                let key = entry.key().map_err(unavailable)?;
                keys.extend(segment_last(session, &key).map(|last| (last, key)));
            }
        }
        keys.sort_by_key(|(last, _)| *last);
        Ok(keys)
    }

    pub(crate) fn last(&self, session: &SessionKey) -> Result<Offset, StoreError> {
        let view = self.db.snapshot();
        let mut last = Offset::NONE;
        let mut end = segment_end(session, Epoch(uuid::Uuid::max()));
        while let Some(newest) = view.range(&self.segments, &*session_key(session)..&*end).next_back() {
            let newest = newest.key().map_err(unavailable)?;
            let Some(epoch) = segment_epoch(session, &newest) else { break };
            last = last.max(segment_last(session, &newest).unwrap_or_default());
            end = segment_from(session, epoch, Offset::NONE);
        }
        Ok(last)
    }

    pub(crate) fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        match self.erased(session)? {
            Some(erased) => Ok(Some(erased)),
            None => stored(&self.rows.get(session_key(session)), &session_key(session), "row"),
        }
    }

    pub(crate) fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        if query.rows_max == 0 {
            return Ok(SessionPage::default());
        }
        let (view, wanted) = (self.db.snapshot(), Wanted::new(query));
        match self.find(&view, &wanted)? {
            Some(sessions) => {
                Ok(wanted.page(sessions.iter().filter_map(|session| self.wanted_row(&view, &wanted, session)).collect()))
            }
            None => self.walk(&view, &wanted),
        }
    }

    /// Sessions with a word that the query asks for; `None` if it asks for none, or each of its words has too many.
    fn find(&self, view: &impl Readable, wanted: &Wanted<'_>) -> Result<Option<BTreeSet<SessionId>>, StoreError> {
        let SessionQuery { tenant, user, .. } = wanted.query;
        for word in &wanted.sought {
            let entries = view.prefix(&self.listing, word_prefix(tenant, user.as_deref(), word)).take(FOUND_MAX + 1);
            let keys = entries.map(fjall::Guard::key).collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
            if keys.len() <= FOUND_MAX {
                return Ok(Some(keys.iter().filter_map(|key| word_entry(key)).collect()));
            }
        }
        Ok(None)
    }

    /// The newest activity first.
    fn walk(&self, view: &impl Readable, wanted: &Wanted<'_>) -> Result<SessionPage, StoreError> {
        let query = wanted.query;
        let user = query.user.as_deref();
        let prefix = listing_prefix(&query.tenant, user);
        let at = |at_ms: u64| [&*prefix, &at_ms.to_be_bytes()].concat();
        let begin = query.since_ms.map_or(prefix.clone(), at);
        let ends = [
            query.before.as_ref().map(|(at_ms, session)| listing_key(&query.tenant, user, *at_ms, session)),
            query.until_ms.map(at),
            // Above every id.
            Some([&*prefix, &[0xff; 9]].concat()),
        ];
        let end = ends.into_iter().flatten().min().unwrap_or_default();
        let mut page = SessionPage::default();
        if begin >= end {
            return Ok(page);
        }
        for (looked, entry) in view.range(&self.listing, begin..end).rev().enumerate() {
            if page.rows.len() >= query.rows_max || looked >= LOOKED_MAX {
                return Ok(page);
            }
            let key = entry.key().map_err(unavailable)?;
            let Some((active_at_ms, session)) = listing_entry(&key, prefix.len()) else { continue };
            // An entry that the row doesn't know is left over from a row that was damaged.
            page.rows.extend(self.wanted_row(view, wanted, &session).filter(|row| row.active_at_ms == active_at_ms));
            page.next = Some((active_at_ms, session));
        }
        page.next = None;
        Ok(page)
    }

    /// One that is damaged spoils no list.
    fn wanted_row(&self, view: &impl Readable, wanted: &Wanted<'_>, session: &SessionId) -> Option<SessionRow> {
        let key = session_key(&SessionKey::new(wanted.query.tenant.clone(), session.clone()));
        stored::<SessionRow>(&view.get(&self.rows, &key), &key, "row")
            .inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "session left out of a list"))
            .ok()
            .flatten()
            .filter(|row| wanted.fits(row))
    }

    pub(crate) fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let begin = after.map_or(OPEN_RUNS_PREFIX.to_vec(), |session| [&*open_runs_key(session), &[0]].concat());
        let end = [OPEN_RUNS_PREFIX[0] + 1];
        let mut sessions = Vec::new();
        for entry in self.listing.range(&*begin..&end[..]).take(rows_max) {
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

/// Keys of snapshots, newest first.
pub(crate) fn snapshot_keys(snapshots: &Keyspace, session: &SessionKey) -> Result<Vec<fjall::UserKey>, StoreError> {
    let keys = snapshots.prefix(session_key(session)).map(fjall::Guard::key);
    let mut keys = keys.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
    keys.sort_by_key(|key| std::cmp::Reverse(snapshot_offset(key)));
    Ok(keys)
}
