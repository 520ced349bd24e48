//! Rows and the lists of them, held against each other when the store opens. A list has no values that a checksum could be over, and
//! the driver doesn't notice every damage to what says which tables there are: a row or an entry would just not be there.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use fanfold_fold::SessionKey;
use fjall::OwnedWriteBatch;

use super::change::entries;
use super::disk::Disk;
use super::layout::{OPEN_RUNS_PREFIX, listing_of_tenant, open_runs_key};
use crate::port::SessionRow;
use crate::stored::damaged;
use crate::stored::key::{session_at_end, session_key};
use crate::stored::row::Stored;

/// What stands for a row that is known to have been there: no checksum is right for it.
const LOST: [u8; 0] = [];

/// Where a row is found, in every list.
fn places(row: &SessionRow) -> impl Iterator<Item = Vec<u8>> {
    entries(row).chain((row.open_runs > 0).then(|| open_runs_key(&row.key)))
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

impl Disk {
    /// What to write so that each agrees with the other, where they don't. Nothing is left out or left over if the sums are the same;
    /// two scans say so.
    pub(crate) fn compare_rows_and_lists(&self) -> fjall::Result<Option<OwnedWriteBatch>> {
        let mut rows = 0_u64;
        for entry in self.rows.iter() {
            let (key, value) = entry.into_inner()?;
            let places = SessionRow::decode(&key, &value).into_iter().flat_map(|row| places(&row).collect::<Vec<_>>());
            places.for_each(|key| rows = rows.wrapping_add(hash(&key)));
        }
        let mut listed = 0_u64;
        for entry in self.listing.iter() {
            listed = listed.wrapping_add(hash(&entry.key()?));
        }
        if rows == listed { Ok(None) } else { self.mending().map(Some) }
    }

    fn mending(&self) -> fjall::Result<OwnedWriteBatch> {
        let mut listed = BTreeSet::new();
        for entry in self.listing.iter() {
            listed.insert(entry.key()?.to_vec());
        }
        let mut batch = self.db.batch();
        let (mut known, mut lost, mut unlisted) = (BTreeMap::new(), 0, 0);
        for entry in self.rows.iter() {
            let (key, value) = entry.into_inner()?;
            let row = SessionRow::decode(&key, &value).ok();
            known.insert(key.to_vec(), row);
        }
        let newest = newest_entries(&listed);
        for (session, (at, key)) in &newest {
            let is_stale = match known.get(key) {
                None => true,
                // A newer row was there: this is an older table's.
                Some(Some(row)) => *at > row.active_at_ms && !places(row).all(|place| listed.contains(&place)),
                Some(None) => false,
            };
            if is_stale {
                tracing::error!(%session, "a row of the list of sessions is lost");
                damaged("row");
                batch.insert(&self.rows, key.clone(), LOST);
                known.insert(key.clone(), None);
                lost += 1;
            }
        }
        for place in known.values().flatten().flat_map(|row| places(row).collect::<Vec<_>>()) {
            if !listed.remove(&place) {
                batch.insert(&self.listing, place, &[][..]);
                unlisted += 1;
            }
        }
        // What is left is from rows that were damaged, or are lost.
        listed.into_iter().filter(|key| key[0] != OPEN_RUNS_PREFIX[0]).for_each(|key| batch.remove(&self.listing, key));
        tracing::error!(lost, unlisted, "the list of sessions is damaged; what can be mended will be");
        Ok(batch)
    }
}

/// Of each session the newest entry of its tenant's list, and the key of its row.
fn newest_entries(listed: &BTreeSet<Vec<u8>>) -> BTreeMap<SessionKey, (u64, Vec<u8>)> {
    let mut newest = BTreeMap::new();
    for (session, at) in listed.iter().filter_map(|key| listing_of_tenant(key)) {
        let key = session_key(&session);
        let entry = newest.entry(session).or_insert((at, key));
        entry.0 = entry.0.max(at);
    }
    for session in listed.iter().filter_map(|key| session_at_end(key.strip_prefix(&OPEN_RUNS_PREFIX)?)) {
        let key = session_key(&session);
        newest.entry(session).or_insert((0, key));
    }
    newest
}
