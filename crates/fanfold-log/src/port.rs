//! The port: what every log promises, embedded or distributed.

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, RECORD_BYTES_MAX, SessionKey};

use crate::{Tail, Wake};

/// One record as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position, issued by the log.
    pub offset: Offset,
    /// The position of the session's record before it; [`Offset::NONE`] for the first. This chain is how a reader knows that nothing is
    /// missing. The first record of a page may name what was read after, where only that is known.
    pub previous: Offset,
    /// Milliseconds since 1970 when the log stored it, by the log's clock. For people and for retention, never for the fold.
    pub stored_at_ms: u64,
    /// What was appended.
    pub record: Bytes,
}

/// What an append requires of the session's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: what counts is decided by the fold. Everything but the cases below.
    Any,
    /// No record yet. Only `session_opened` asks for this.
    Empty,
    /// The session's last record is at this offset: a client's conditional command.
    Last(Offset),
}

/// Some of a session's records, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Without a gap: each `previous` is the offset before it, the first one's is at or below what was asked for.
    pub records: Vec<StoredRecord>,
    /// Whether the session's log ended here when it was read.
    pub end: bool,
}

/// Why a record was not stored, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The expectation did not hold. Not stored.
    #[error("the session's log ends at {last}, which is not what the append expects")]
    Conflict {
        /// Where it ends; [`Offset::NONE`] when empty.
        last: Offset,
    },
    /// Over [`RECORD_BYTES_MAX`]. Not stored.
    #[error("a record of {bytes} bytes is over the limit of {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The queue of appends, or the disk, is full. Not stored; worth another try later.
    #[error("the log takes no more appends at the moment")]
    Overloaded,
    /// The log has shut down or refuses service. Not stored.
    #[error("the log is closed")]
    Closed,
    /// Stored or not: nobody knows. Ask again with the same command id.
    #[error("the log did not confirm the append")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer has everything from here on: what lies before `first` is in the archive only.
    #[error("the log begins at {first}")]
    Trimmed {
        /// The first offset that can still be read.
        first: Offset,
        /// Whether the session had records before it. Where sessions are trimmed together, or records were given up, only the archive knows.
        certain: bool,
    },
    /// A record is there but fails its checksum.
    #[error("the record at {offset} is damaged")]
    Damaged {
        /// Where.
        offset: Offset,
    },
    /// The log could not be asked. Never means "empty".
    #[error("the log can't be read at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An ordered, durable log per session.
///
/// # Contract
///
/// - If `append` returns `Ok(offset)`, that record and every earlier acknowledged one survive the crash the configuration claims (I9).
/// - A record reaches no reader and no tail before it is acknowledged as durable (I1).
/// - Offsets of one session strictly grow in the order of acknowledgement; they may skip.
/// - `AppendError::Unknown` may still be stored later. The caller repeats with the same `id`; the log drops a
///   repetition within a short window and the fold drops it for ever.
#[async_trait::async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// The incarnation whose offsets this log issues.
    fn epoch(&self, session: &SessionKey) -> Epoch;

    /// Stores one record. `id` names the attempt to store it, so that a repetition within the duplicate window
    /// returns the first one's offset instead of storing it twice.
    async fn append(&self, session: &SessionKey, record: Bytes, expect: Expect, id: Option<&str>) -> Result<Offset, AppendError>;

    /// The session's last offset as the log's leader knows it; [`Offset::NONE`] if it has none.
    async fn last(&self, session: &SessionKey) -> Result<Offset, ReadError>;

    /// The same for many sessions at once, in their order. `None` where the log could not be asked: never "empty", and of one session
    /// no word on the others. May be a little behind the leader: for noticing what a tail lost.
    async fn last_of(&self, sessions: &[SessionKey]) -> Vec<Option<Offset>> {
        let mut last = Vec::with_capacity(sessions.len());
        for session in sessions {
            last.push(self.last(session).await.ok());
        }
        last
    }

    /// Whether a tail can lose a session's last record without saying so, as where delivery is at most once.
    /// Then [`Self::last_of`] is asked every few seconds for sessions in use.
    fn tail_may_lose(&self) -> bool {
        false
    }

    /// How often all tails were made anew, because the connection they hang on was lost and came back. Each may have lost what was
    /// appended meanwhile.
    fn tails_made_anew(&self) -> u64 {
        0
    }

    /// Tells of an offset that this log must have issued, as a stored snapshot names it. A log that ends below it has lost records: it
    /// refuses the session, and those that are with it, until an operator has given it a new epoch.
    async fn must_have(&self, session: &SessionKey, offset: Offset) -> Result<(), ReadError>;

    /// Records after `after`, at most `records_max` and about `bytes_max` (at least one record if there is one).
    async fn read(&self, session: &SessionKey, after: Offset, records_max: usize, bytes_max: usize) -> Result<Page, ReadError>;

    /// Registers for what is appended from now on. When this returns, no later append can be missed by the tail
    /// without [`crate::TailItem::Lost`] saying so or the chain of `previous` showing it.
    async fn tail(&self, session: &SessionKey, wake: Wake) -> Result<Tail, ReadError>;

    /// Lets go of the session's records up to and including `upto`, and where sessions share a shard, of the others' records up to there.
    /// All of them must be in the archive already.
    async fn trim(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError>;

    /// Removes all of the session's records but the one at `at`, which says that the session is erased, archived or not.
    ///
    /// ```text
    /// before: 3  5  8  at 9  12       12 was on its way when 9 was stored
    /// after:           at 9           read from wherever before it, 9 is the first record and the last
    /// ```
    ///
    /// So the session still has an end: it isn't taken for one that never was, as long as `at` isn't trimmed. What is appended
    /// later stays until this is called again; whether it counts is the fold's to say. Again changes nothing where nothing came. What
    /// was removed is read by nobody from now on; its bytes leave the disk with the next compaction.
    async fn erase(&self, session: &SessionKey, at: Offset) -> Result<(), ReadError>;

    /// Stops taking appends, and returns when those it took are durable or failed.
    async fn close(&self);
}
