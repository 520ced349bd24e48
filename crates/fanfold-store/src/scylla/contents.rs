//! What there is of a session, without its bytes.

use fanfold_fold::{Offset, SessionKey};

use super::ScyllaStore;
use super::index::session_of;
use super::snapshots::{WHOLE, visible};
use crate::port::{KeptSnapshot, SegmentKey, StoreError};

impl ScyllaStore {
    /// In the order of tokens. Several sessions may share one, so a page begins with that of the last one of the page before.
    pub(crate) async fn session_page(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let call = self.cql.call();
        let mut pages = match after {
            None => call.pages::<(String, String)>(&self.statements.all_sessions, ())?,
            Some(after) => call.pages(&self.statements.sessions_from, (after.tenant.as_str(), after.session.as_str()))?,
        };
        let (mut sessions, mut skipping) = (Vec::new(), after);
        while let Some(page) = pages.next().await? {
            for (tenant, session) in page {
                let Some(session) = session_of(&tenant, &session) else { continue };
                if skipping.is_some() {
                    skipping = skipping.filter(|after| **after != session);
                    continue;
                }
                sessions.push(session);
                if sessions.len() >= rows_max {
                    return Ok(sessions);
                }
            }
        }
        Ok(sessions)
    }

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
