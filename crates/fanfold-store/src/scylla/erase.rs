//! Erasing: a mark that readers meet with every row, then the removal of what holds text, by partition.

use bytes::Bytes;
use fanfold_fold::{Offset, SessionKey};
use scylla::policies::timestamp_generator::{SimpleTimestampGenerator, TimestampGenerator as _};
use uuid::Uuid;

use super::ScyllaStore;
use super::archive::Entry;
use super::call::Call;
use super::index::{BUCKETS, bucket, session_of};
use super::snapshots::{Name, visible};
use super::value::varint;
use crate::port::{Erasure, SessionRow, StoreError};
use crate::stored::key::session_key;
use crate::stored::row::Stored;
use crate::stored::unavailable;

/// Rows of an erased session outlived their removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rows of an erased session are still there: a server's clock is ahead")]
struct NotRemoved;

/// How far ahead of this node's clock rows and words of an erased session are removed. Far more than clocks of servers differ, and less
/// than ScyllaDB takes (3 days).
const AHEAD_US: i64 = 24 * 60 * 60 * 1_000_000;

/// When what must not come back is removed, in microseconds since 1970: after whatever a server with a clock that is ahead has written, or
/// writes meanwhile. The id of an erased session stays taken, so that nobody has anything to write there later.
pub(crate) fn for_good() -> i64 {
    SimpleTimestampGenerator::new().next_timestamp().saturating_add(AHEAD_US)
}

impl ScyllaStore {
    /// Marks stand in static columns, which the removal of rows leaves alone: whatever is written late is hidden, too.
    pub(crate) async fn hide_and_remove(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let call = self.cql.call();
        let session = &erasure.session;
        let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
        let row = erasure.row().encode(&session_key(session)).map_err(unavailable)?;
        // First of all, so that another node goes on where this one stops.
        call.execute(&self.statements.put_erasure, (bucket(session), tenant, id, &row)).await?;
        call.execute(&self.statements.hide_row, (tenant, id, &row)).await?;
        call.execute(&self.statements.hide_snapshots, (tenant, id)).await?;
        call.execute(&self.statements.hide_segments, (tenant, id)).await?;
        self.remove(call, session).await
    }

    /// What holds text. Rows that only name it stay until the end, so that what a late writer brings is found by them.
    async fn remove(&self, call: Call<'_>, session: &SessionKey) -> Result<(), StoreError> {
        for name in self.snapshot_names(call, session).await? {
            self.drop_chunks(call, session, name).await?;
        }
        self.drop_segments(call, session).await?;
        self.drop_all_words(call, session).await?;
        call.execute(&self.statements.drop_rows, (for_good(), session.tenant.as_str(), session.session.as_str())).await
    }

    /// All that ever were, also those that were let go.
    async fn snapshot_names(&self, call: Call<'_>, session: &SessionKey) -> Result<Vec<Name>, StoreError> {
        let mut pages = self.snapshot_rows(call, session, Offset(u64::MAX))?;
        let mut names = Vec::new();
        while let Some(rows) = pages.next().await? {
            names.extend(rows.into_iter().filter_map(|(_, _, at, epoch, fold, stage, content)| {
                visible((None, None, at, epoch, fold, stage, content)).map(|(name, ..)| name)
            }));
        }
        names.dedup();
        Ok(names)
    }

    pub(crate) async fn remove_for_good(&self, session: &SessionKey) -> Result<(), StoreError> {
        let call = self.cql.call();
        let ids = (session.tenant.as_str(), session.session.as_str());
        self.remove(call, session).await?;
        let entries = self.segment_entries(call, session).await?;
        if self.is_something_left(call, session, &entries).await? {
            return Err(unavailable(NotRemoved));
        }
        let mut epochs = entries.into_iter().map(|entry| entry.epoch).collect::<Vec<_>>();
        epochs.dedup();
        for epoch in epochs {
            call.execute(&self.statements.drop_segment_keys, (ids.0, ids.1, epoch.0)).await?;
        }
        call.execute(&self.statements.drop_snapshots, ids).await?;
        call.execute(&self.statements.drop_erasure, (bucket(session), ids.0, ids.1)).await
    }

    /// What was written by a server whose clock is ahead is only removed once the others' clocks have come that far.
    async fn is_something_left(&self, call: Call<'_>, session: &SessionKey, entries: &[Entry]) -> Result<bool, StoreError> {
        let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
        for name in self.snapshot_names(call, session).await? {
            let values = (tenant, id, name.epoch.0, varint(name.offset.0), i32::from(name.fold.0));
            if call.row::<(i32,)>(&self.statements.any_chunk, values).await?.is_some() {
                return Ok(true);
            }
        }
        for Entry { epoch, month, .. } in entries {
            if call.row::<(Uuid,)>(&self.statements.any_segment, (tenant, id, epoch.0, month)).await?.is_some() {
                return Ok(true);
            }
        }
        let row: Option<(Option<Bytes>, Option<Bytes>)> = call.row(&self.statements.row, (tenant, id)).await?;
        Ok(row.is_some_and(|(_, content)| content.is_some()))
    }

    pub(crate) async fn has_erasure(&self, session: &SessionKey) -> Result<bool, StoreError> {
        let ids = (bucket(session), session.tenant.as_str(), session.session.as_str());
        Ok(self.cql.call().row::<(Option<Bytes>,)>(&self.statements.erasure, ids).await?.is_some())
    }

    pub(crate) async fn erasure_page(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Erasure>, StoreError> {
        let call = self.cql.call();
        let mut found = Vec::new();
        for bucket in after.map_or(0, bucket)..BUCKETS {
            let after = after.filter(|after| self::bucket(after) == bucket);
            let (tenant, session) = after.map_or(("", ""), |after| (after.tenant.as_str(), after.session.as_str()));
            let mut pages =
                call.pages::<(String, String, Option<Bytes>)>(&self.statements.erasures, (bucket, tenant, session))?;
            while let Some(page) = pages.next().await? {
                for (tenant, session, content) in page {
                    if found.len() >= rows_max {
                        return Ok(found);
                    }
                    let Some(session) = session_of(&tenant, &session) else { continue };
                    let row = SessionRow::decode(&session_key(&session), &content.unwrap_or_default()).ok();
                    // To be finished it is, even where nobody can say since when.
                    let (offset, erased_at_ms) = row.map_or((Offset::NONE, 0), |row| (row.offset, row.active_at_ms));
                    found.push(Erasure { session, offset, erased_at_ms });
                }
            }
        }
        Ok(found)
    }
}
