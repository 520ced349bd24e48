//! What there is of a session, by its keys.

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};

use super::disk::Disk;
use super::layout::{ERASED_PREFIX, erased_key};
use super::read::snapshot_keys;
use crate::port::{KeptSnapshot, SegmentKey, StoreError};
use crate::stored::key::{session_at_end, session_key};
use crate::stored::unavailable;

impl Disk {
    /// Those with a row, and those of which only that they were erased is left.
    pub(crate) fn sessions(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let above = |key: Vec<u8>| [&*key, &[0]].concat();
        let rows = self.rows.range(after.map_or(Vec::new(), |session| above(session_key(session)))..).take(rows_max);
        let erased = self.parking.range(after.map_or(ERASED_PREFIX.to_vec(), |session| above(erased_key(session)))..);
        let erased = erased.take(rows_max);
        let mut keys = Vec::new();
        for entry in rows {
            keys.push(entry.key().map_err(unavailable)?.to_vec());
        }
        for entry in erased {
            match entry.key().map_err(unavailable)?.strip_prefix(&ERASED_PREFIX) {
                Some(key) => keys.push(key.to_vec()),
                None => break,
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(rows_max);
        Ok(keys.iter().filter_map(|key| session_at_end(key)).collect())
    }

    pub(crate) fn kept_snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError> {
        let begin = session_key(session).len();
        let snapshot = |key: fjall::UserKey| {
            let (epoch, rest) = key.get(begin..)?.split_first_chunk()?;
            let (fold, offset) = rest.split_first_chunk()?;
            let epoch = Epoch(uuid::Uuid::from_bytes(*epoch));
            let (fold, offset) = (u16::from_be_bytes(*fold), u64::from_be_bytes(offset.try_into().ok()?));
            Some(KeptSnapshot { epoch, offset: Offset(offset), fold: FoldVersion(fold) })
        };
        Ok(snapshot_keys(&self.snapshots, session)?.into_iter().filter_map(snapshot).take(rows_max).collect())
    }

    pub(crate) fn segment_names(
        &self,
        session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError> {
        let begin = session_key(session);
        let order = |name: &SegmentKey| (name.epoch.0, name.last, name.first);
        let mut names: Vec<SegmentKey> = Vec::new();
        for entry in self.segments.prefix(&begin) {
            let key = entry.key().map_err(unavailable)?;
            let name = key.get(begin.len()..).and_then(|key| {
                let (epoch, rest) = key.split_first_chunk()?;
                let (last, rest) = rest.split_first_chunk()?;
                let (epoch, last) = (Epoch(uuid::Uuid::from_bytes(*epoch)), Offset(u64::from_be_bytes(*last)));
                Some(SegmentKey { epoch, last, first: Offset(u64::from_be_bytes(*rest.first_chunk()?)) })
            });
            let name = name.filter(|name| after.is_none_or(|after| order(name) > order(after)) && names.last() != Some(name));
            names.extend(name);
            if names.len() > rows_max {
                break;
            }
        }
        names.truncate(rows_max);
        Ok(names)
    }
}
