//! Removing a session's records from its shard: what stood before its erasure at once, what was stored behind it one by one.

use async_nats::jetstream::ErrorCode;
use fanfold_fold::{Offset, SessionKey};
use serde_json::json;

use super::read::{Reader, Trouble};
use crate::ReadError;

/// Records behind an erasure that are looked for at a time. There are few: each was on its way when it was stored.
const LATE_RECORDS_MAX: usize = 100;
const LATE_BYTES_MAX: usize = 1 << 20;

pub(crate) async fn erase(reader: &Reader, session: &SessionKey, at: Offset) -> Result<(), ReadError> {
    let stream = &reader.shard(session).stream;
    let subject = reader.layout.subject(session);
    let purge = match at {
        Offset::NONE => json!({ "filter": subject }),
        at => json!({ "filter": subject, "seq": at.0 }),
    };
    reader.nats.api::<serde_json::Value>(&format!("STREAM.PURGE.{stream}"), &purge).await.map_err(Trouble::from)?;
    // A purge has no beginning but the stream's, and the record at `at` stays.
    let mut after = at;
    loop {
        let page = match reader.read(session, after, LATE_RECORDS_MAX, LATE_BYTES_MAX).await {
            Ok(page) => page,
            // The erasure itself has left the log, and what came right behind it, too.
            Err(ReadError::Trimmed { first, .. }) => {
                after = Offset(first.0.saturating_sub(1));
                continue;
            }
            Err(error) => return Err(error),
        };
        for late in &page.records {
            remove(reader, stream, late.offset).await?;
        }
        if page.end {
            return Ok(());
        }
    }
}

/// Overwrites one record where it lies.
async fn remove(reader: &Reader, stream: &str, offset: Offset) -> Result<(), Trouble> {
    let question = json!({ "seq": offset.0 });
    match reader.nats.api::<serde_json::Value>(&format!("STREAM.MSG.DELETE.{stream}"), &question).await {
        Ok(_) => Ok(()),
        // Another node was faster.
        Err(error) if error.is(ErrorCode::SEQUENCE_NOT_FOUND) || error.is(ErrorCode::NO_MESSAGE_FOUND) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
