//! The port by which everything that is appended is carried on: what every log's consumer promises.

use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};

use crate::ReadError;

/// Word that a record was appended. The record itself is read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose record.
    pub session: SessionKey,
    /// Where it is.
    pub offset: Offset,
    /// Milliseconds since 1970 when the log stored it, by the log's clock.
    pub stored_at_ms: u64,
    /// Its size.
    pub bytes: usize,
    /// It was noticed before, here or elsewhere, or may have been, and was not given back.
    pub again: bool,
    /// To be given back when it is dealt with.
    pub ticket: Ticket,
}

/// One delivery of a notice. A notice that comes again has another ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket(pub(crate) TicketKind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TicketKind {
    Embedded(Offset),
    #[cfg(feature = "jetstream")]
    JetStream(async_nats::Subject),
}

/// How far behind a consumer is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lag {
    /// Notices that nobody has given a ticket back for.
    pub records: u64,
    /// The part of the log's room that is used, of the fullest shard: at 1 appends are refused.
    pub fullness: f64,
}

/// The durable consumer of all records of all sessions.
///
/// ```text
/// notices: 1 ✓  2 ✓  3   4 ✓  5      ✓ ticket given back
///               │floor: up to 2
/// ```
///
/// # Contract
///
/// - Every record is noticed, each session's in order, at least once: what is noticed and never given back is noticed again, after a
///   while or after a restart. All nodes share one consumer, and each gets a part.
/// - Tickets may be given back in any order, and more than once. The floor is the last record up to which all have been; it
///   survives restarts, except that the last ones given back may be noticed again.
/// - Only what lies below the floor ever leaves the log, and only by [`Self::trim`].
/// - I5: so many notices are under way at most as the log's configuration says. Beyond that, nothing is noticed.
#[async_trait::async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// The next notices, at most `notices_max`. Waits for the first one; empty if none has come in time.
    async fn take(&self, notices_max: usize, wait: Duration) -> Result<Vec<Notice>, ReadError>;

    /// Says that these are dealt with.
    async fn done(&self, tickets: Vec<Ticket>) -> Result<(), ReadError>;

    /// Says that these are still being worked on, so that nobody else gets them.
    async fn working(&self, tickets: &[Ticket]) -> Result<(), ReadError>;

    /// Lets go of records below the floor that were stored before this time. A shard that can't be trimmed holds up no other; the error
    /// is of the first.
    async fn trim(&self, before_ms: u64) -> Result<(), ReadError>;

    /// How far behind it is: the sum of the shards that answer. An error where none does.
    async fn lag(&self) -> Result<Lag, ReadError>;
}
