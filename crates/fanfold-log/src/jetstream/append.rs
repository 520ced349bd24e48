//! Appends: one publish each, repeated with its id until the leader has answered or time is up.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use fanfold_fold::{Offset, RECORD_BYTES_MAX, SessionKey};
use fanfold_nats::{ApiError, RequestError};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::read::{Reader, Trouble};
use super::shard::Shard;
use crate::{AppendError, Expect};

/// Before a leader that had no answer is asked again; twice as long each time, up to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];

/// What ids of appends are hashed under. Part of the stored layout: a repetition by another release must hash alike.
const IDS: Uuid = Uuid::from_u128(0x6f1f_7a0e_9c57_4f0b_8f5c_2b9a_3f6d_41e8);

/// What bounds appends.
pub(crate) struct Appends {
    pub(crate) under_way: Semaphore,
    pub(crate) max: Duration,
    pub(crate) try_max: Duration,
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
    /// It was stored before, under the same id.
    #[serde(default)]
    duplicate: bool,
}

/// What one try came to.
enum Tried {
    Stored(Ack),
    /// Not stored, and the same again may be.
    NotYet,
    /// The expectation did not hold, or something of the session was on its way, which is the same to the server.
    Unexpected,
    /// Stored or not.
    InDoubt(RequestError),
    Refused(AppendError),
}

/// An append on its way.
pub(crate) struct Append<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) limits: &'a Appends,
    pub(crate) session: &'a SessionKey,
    pub(crate) record: Bytes,
    pub(crate) expect: Expect,
    pub(crate) id: Option<&'a str>,
}

impl Append<'_> {
    pub(crate) async fn run(self) -> Result<Offset, AppendError> {
        if self.record.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: self.record.len() });
        }
        let _permit = self.limits.under_way.try_acquire().map_err(|error| match error {
            tokio::sync::TryAcquireError::Closed => AppendError::Closed,
            tokio::sync::TryAcquireError::NoPermits => AppendError::Overloaded,
        })?;
        let shard = self.reader.shard(self.session);
        shard.check().map_err(|_| AppendError::Closed)?;
        let mut doubt = None;
        match (self.until_answered(shard, &mut doubt).await, doubt) {
            // What is said of a later try says nothing of the earlier one, which may be stored: a server of its own looks at the
            // expectation before the id, and a cluster at limits before either.
            (Err(_), Some(doubt)) => Err(AppendError::Unknown(Box::new(doubt))),
            (result, _) => result,
        }
    }

    /// `doubt`: of the last try that may be stored or not.
    async fn until_answered(&self, shard: &Shard, doubt: &mut Option<RequestError>) -> Result<Offset, AppendError> {
        let deadline = Instant::now() + self.limits.max;
        let mut expected = match self.expect {
            Expect::Any => None,
            Expect::Empty => Some(Offset::NONE),
            Expect::Last(offset) => Some(offset),
        };
        let [mut pause, pause_max] = PAUSES;
        loop {
            let before = shard.seen();
            match self.publish(expected).await {
                Tried::Stored(ack) => return settled(shard, &ack, before),
                Tried::Refused(error) => return Err(error),
                Tried::NotYet => {}
                // Without an id a repetition would be a second record.
                Tried::InDoubt(error) if self.id.is_none() => return Err(AppendError::Unknown(Box::new(error))),
                Tried::InDoubt(error) => *doubt = Some(error),
                Tried::Unexpected => match self.unexpected(expected).await {
                    Ok(now) => expected = now,
                    Err(error) => return Err(error),
                },
            }
            if Instant::now() + pause >= deadline {
                return Err(AppendError::Overloaded);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    async fn publish(&self, expected: Option<Offset>) -> Tried {
        let mut headers = HeaderMap::new();
        if let Some(expected) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.0.to_string());
        }
        if let Some(id) = self.id {
            headers.insert("Nats-Msg-Id", message_id(self.session, id));
        }
        let headers = (!headers.is_empty()).then_some(headers);
        let subject = self.reader.layout.subject(self.session);
        match self.reader.nats.ask::<Ack>(subject, self.record.clone(), headers, Some(self.limits.try_max)).await {
            Ok(ack) => Tried::Stored(ack),
            Err(RequestError::NoResponders) => Tried::NotYet,
            Err(RequestError::Api(error)) => judge(&error, self.record.len()),
            Err(error @ (RequestError::Timeout | RequestError::Connection(_) | RequestError::Malformed(_))) => {
                Tried::InDoubt(error)
            }
        }
    }

    /// Asks the leader where the session ends. `Ok` if the same may be tried again, with this expectation.
    async fn unexpected(&self, expected: Option<Offset>) -> Result<Option<Offset>, AppendError> {
        let unasked = |trouble: Trouble| {
            tracing::warn!(error = &trouble as &dyn std::error::Error, "the leader doesn't say where the session ends");
            AppendError::Overloaded
        };
        let last = self.reader.last(self.session).await.map_err(unasked)?;
        if Some(last) == expected {
            return Ok(expected);
        }
        // A trimmed session counts as empty: what was expected may have been its last record.
        if let (Expect::Last(offset), Offset::NONE) = (self.expect, last) {
            let (first, _) = self.reader.ends(self.session).await.map_err(unasked)?;
            if offset < first {
                return Ok(Some(Offset::NONE));
            }
        }
        Err(AppendError::Conflict { last })
    }
}

fn settled(shard: &Shard, ack: &Ack, before: Offset) -> Result<Offset, AppendError> {
    if !ack.duplicate {
        shard.issued(Offset(ack.seq), before).map_err(|error| AppendError::Unknown(Box::new(error)))?;
    }
    Ok(Offset(ack.seq))
}

/// Ids are unique to a session, the server's memory of them is the whole stream's.
fn message_id(session: &SessionKey, id: &str) -> String {
    let name = format!("{}.{}.{id}", session.tenant, session.session);
    Uuid::new_v5(&IDS, name.as_bytes()).simple().to_string()
}

/// What the server means by a refusal.
fn judge(error: &ApiError, bytes: usize) -> Tried {
    /// An expectation while something of the subject is on its way.
    const WRONG_LAST_SEQUENCE_IN_PROCESS: ErrorCode = ErrorCode(10164);
    /// The same id is on its way.
    const DUPLICATE_IN_PROCESS: ErrorCode = ErrorCode(10158);
    let is = |codes: &[ErrorCode]| codes.iter().any(|code| error.is(*code));
    if is(&[ErrorCode::STREAM_WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_PROCESS]) {
        Tried::Unexpected
    } else if is(&[DUPLICATE_IN_PROCESS]) {
        Tried::InDoubt(error.clone().into())
    } else if is(&[ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM]) {
        Tried::Refused(AppendError::TooLarge { bytes })
    } else if is(&[ErrorCode::CLUSTER_NOT_AVAILABLE]) {
        Tried::NotYet
    } else {
        // A full stream or disk, an account at its limits, too much at once: not stored, and no sooner for asking again.
        tracing::warn!(error = error as &dyn std::error::Error, "append refused");
        Tried::Refused(AppendError::Overloaded)
    }
}
