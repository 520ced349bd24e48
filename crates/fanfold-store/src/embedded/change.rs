//! What the writer's thread does for each kind of write. One at a time, so that what it reads first is still so when it writes.

use std::collections::BTreeSet;

use fanfold_fold::SessionKey;
use uuid::Uuid;

use super::disk::Disk;
use super::layout::{attempts_key, listing_key, open_runs_key, word_key};
use super::read::snapshot_keys;
use crate::port::{Begun, Parked, SessionRow, StoreError};
use crate::stored::key::{parked_key, session_key};
use crate::stored::row::Stored;
use crate::stored::tries::{Process, StoredTries, failed};
use crate::stored::unavailable;
use crate::stored::wanted::words_of;

impl Disk {
    pub(crate) fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        if self.is_erased(&row.key)? {
            return Ok(());
        }
        let key = session_key(&row.key);
        // A damaged row is replaced by whatever comes: any is better.
        let old = self.rows.get(&key).map_err(unavailable)?;
        let old = old.and_then(|value| SessionRow::decode(&key, &value).ok());
        if old.as_ref().is_some_and(|old| old.offset > row.offset || old == row) {
            return Ok(());
        }
        let value = row.encode(&key).map_err(unavailable)?;
        let mut batch = self.db.batch();
        let new = entries(row).collect::<BTreeSet<_>>();
        let old = old.iter().flat_map(entries).collect::<BTreeSet<_>>();
        old.difference(&new).for_each(|key| batch.remove(&self.listing, key.clone()));
        new.difference(&old).for_each(|key| batch.insert(&self.listing, key.clone(), &[][..]));
        match row.open_runs {
            0 => batch.remove(&self.listing, open_runs_key(&row.key)),
            _ => batch.insert(&self.listing, open_runs_key(&row.key), &[][..]),
        }
        batch.insert(&self.rows, key, value);
        batch.commit().map_err(unavailable)
    }

    pub(crate) fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        let keys = snapshot_keys(&self.snapshots, session)?;
        keys.into_iter().skip(keep).for_each(|key| batch.remove(&self.snapshots, key));
        batch.commit().map_err(unavailable)
    }

    /// One process at a time has the store open: whatever another one began has ended.
    pub(crate) fn begin(&self, session: &SessionKey, process: Process, now_ms: u64) -> Result<Begun, StoreError> {
        if let Some(parked) = self.parked_one(session)? {
            return Ok(Begun::Parked(parked));
        }
        let StoredTries { tries } = self.tries(session)?;
        let before = process.count(&tries, u64::MAX);
        if process.last_of(&tries).is_none() {
            self.put_try(session, tries, process.begins(now_ms))?;
        }
        Ok(Begun::Attempt(before))
    }

    pub(crate) fn fail(&self, session: &SessionKey, now_ms: u64) -> Result<(), StoreError> {
        let StoredTries { tries } = self.tries(session)?;
        self.put_try(session, tries, failed(now_ms))
    }

    fn tries(&self, session: &SessionKey) -> Result<StoredTries, StoreError> {
        let key = attempts_key(session);
        let value = self.parking.get(&key).map_err(unavailable)?;
        Ok(value.map(|value| StoredTries::decode(&key, &value)).unwrap_or_default())
    }

    fn put_try(&self, session: &SessionKey, mut tries: Vec<Uuid>, tried: Uuid) -> Result<(), StoreError> {
        let key = attempts_key(session);
        tries.push(tried);
        let value = StoredTries { tries }.encode(&key).map_err(unavailable)?;
        self.parking.insert(key, value).map_err(unavailable)
    }

    pub(crate) fn clear(&self, session: &SessionKey) -> Result<(), StoreError> {
        self.parking.remove(attempts_key(session)).map_err(unavailable)
    }

    pub(crate) fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        let key = parked_key(&parked.session);
        let value = parked.encode(&key).map_err(unavailable)?;
        self.parking.insert(key, value).map_err(unavailable)
    }

    pub(crate) fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError> {
        let key = parked_key(session);
        let was_parked = self.parking.contains_key(&key).map_err(unavailable)?;
        let mut batch = self.db.batch();
        batch.remove(&self.parking, key);
        batch.remove(&self.parking, attempts_key(session));
        batch.commit().map_err(unavailable)?;
        Ok(was_parked)
    }
}

/// Where a row is listed.
pub(crate) fn entries(row: &SessionRow) -> impl Iterator<Item = Vec<u8>> {
    let lists = [Some(None), row.user.as_deref().map(Some)];
    let words = words_of(row);
    lists.into_iter().flatten().flat_map(move |user| {
        let SessionKey { tenant, session } = &row.key;
        let by_word = words.iter().map(|word| word_key(tenant, user, word, session));
        by_word.chain([listing_key(tenant, user, row.active_at_ms, session)]).collect::<Vec<_>>()
    })
}
