//! What there is of a session, without its bytes.

use fanfold_fold::{Offset, SessionKey};

use super::ScyllaStore;
use super::snapshots::{WHOLE, visible};
use crate::port::{KeptSnapshot, SegmentKey, StoreError};

impl ScyllaStore {
    pub(crate) async fn kept_snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError> {
        let mut pages = self.snapshot_rows(self.cql.call(), session, Offset(u64::MAX))?;
        let mut kept = Vec::new();
        while let Some(rows) = pages.next().await? {
            for row in rows {
                let Some((name, stage, _)) = visible(row).filter(|_| kept.len() < rows_max) else { return Ok(kept) };
                if stage == WHOLE {
                    kept.push(KeptSnapshot { epoch: name.epoch, offset: name.offset, fold: name.fold });
                }
            }
        }
        Ok(kept)
    }

    /// The index of one session is read whole: it has a row for some hundred records.
    pub(crate) async fn segment_names(
        &self,
        session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError> {
        let order = |name: &SegmentKey| (name.epoch.0, name.last, name.first);
        let call = self.cql.call();
        if self.are_segments_erased(call, session).await? {
            return Ok(Vec::new());
        }
        let entries = self.segment_entries(call, session).await?;
        let names = entries.into_iter().map(|entry| SegmentKey { epoch: entry.epoch, first: entry.first, last: entry.last });
        let mut names = names.filter(|name| after.is_none_or(|after| order(name) > order(after))).collect::<Vec<_>>();
        names.sort_by_key(order);
        names.dedup();
        names.truncate(rows_max);
        Ok(names)
    }
}
