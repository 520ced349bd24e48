//! Erasing, by the one thread that writes: what it writes later, it first looks whether the session was erased.

use fanfold_fold::SessionKey;

use super::disk::Disk;
use super::layout::{UNDONE_PREFIX, erased_key, open_runs_key, undone_key};
use crate::port::{Erasure, SessionRow, StoreError};
use crate::stored::key::{session_at_end, session_key};
use crate::stored::row::{DamagedRow, Stored};
use crate::stored::{damaged, unavailable};

impl Disk {
    pub(crate) fn erase(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let session = &erasure.session;
        let mut batch = self.db.batch();
        let key = erased_key(session);
        batch.insert(&self.parking, key.clone(), erasure.row().encode(&key).map_err(unavailable)?);
        batch.insert(&self.parking, undone_key(session), &[][..]);
        let row_key = session_key(session);
        for keyspace in [&self.snapshots, &self.segments] {
            for entry in keyspace.prefix(&row_key) {
                batch.remove(keyspace, entry.key().map_err(unavailable)?);
            }
        }
        let old = self.rows.get(&row_key).map_err(unavailable)?;
        if let Some(old) = old.and_then(|value| SessionRow::decode(&row_key, &value).ok()) {
            super::change::entries(&old).for_each(|key| batch.remove(&self.listing, key));
        }
        batch.remove(&self.listing, open_runs_key(session));
        batch.remove(&self.rows, row_key);
        batch.commit().map_err(unavailable)
    }

    /// Nothing is written late on this side: there is one writer, and it looks.
    pub(crate) fn erase_done(&self, session: &SessionKey) -> Result<(), StoreError> {
        self.parking.remove(undone_key(session)).map_err(unavailable)
    }

    /// What is left of an erased session.
    pub(crate) fn erased(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let key = erased_key(session);
        let Some(value) = self.parking.get(&key).map_err(unavailable)? else { return Ok(None) };
        SessionRow::decode(&key, &value).map(Some).map_err(|error: DamagedRow| {
            damaged("row");
            unavailable(error)
        })
    }

    /// Erased it is, also where the row that says so is damaged.
    pub(crate) fn is_erased(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.parking.contains_key(erased_key(session)).map_err(unavailable)
    }

    pub(crate) fn is_erasing(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.parking.contains_key(undone_key(session)).map_err(unavailable)
    }

    pub(crate) fn erasures(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Erasure>, StoreError> {
        let begin = after.map_or(UNDONE_PREFIX.to_vec(), |session| [&*undone_key(session), &[0]].concat());
        let end = [UNDONE_PREFIX[0] + 1];
        let mut erasures = Vec::new();
        for entry in self.parking.range(&*begin..&end[..]).take(rows_max) {
            let key = entry.key().map_err(unavailable)?;
            let Some(session) = session_at_end(&key[UNDONE_PREFIX.len()..]) else { continue };
            let row = self.erased(&session).ok().flatten();
            // To be finished it is, even where nobody can say since when.
            let (offset, erased_at_ms) = row.map_or_else(Default::default, |row| (row.offset, row.active_at_ms));
            erasures.push(Erasure { session, offset, erased_at_ms });
        }
        Ok(erasures)
    }
}
