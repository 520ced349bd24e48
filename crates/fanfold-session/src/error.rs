//! What can go wrong with a request to a session, as its caller sees it.

use std::sync::Arc;

use fanfold_fold::Offset;

/// A cause that several waiting callers are told of.
pub type SharedCause = Arc<dyn std::error::Error + Send + Sync>;

/// A session could not be brought into memory, or has no room for the request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostError {
    /// A limit of this node is reached: sessions in memory, or requests waiting. Worth another try.
    #[error("the node is busy")]
    Busy,
    /// The node is going away. Another one serves.
    #[error("the node is draining")]
    Draining,
    /// The session failed to load too often; an operator must look at it.
    #[error("the session is parked")]
    Parked,
    /// The session was erased: it has no past.
    #[error("the session was erased")]
    Erased {
        /// By the record at this offset.
        at: Offset,
    },
    /// Log or store can't be read at the moment. Never means that the session is empty.
    #[error("the session's history can't be read at the moment")]
    Unavailable(#[source] SharedCause),
    /// What was asked for was trimmed from the log and isn't in the archive, or is damaged.
    #[error("part of the session's history is missing after {after}")]
    Missing {
        /// The last offset before what is missing.
        after: Offset,
    },
}

/// A command or output did not get its verdict.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// Not applied.
    #[error("the session can't take it")]
    Host(#[from] HostError),
    /// Over the limit of one record. Not applied.
    #[error("it is {bytes} bytes, over the limit of a record")]
    TooLarge {
        /// Its size as a record.
        bytes: usize,
    },
    /// The log takes no more at the moment. Not applied.
    #[error("the log is overloaded")]
    Overloaded,
    /// The session has moved on from the offset that the command was conditional on. Not applied.
    #[error("the session is at {last}")]
    Conflict {
        /// Where it is.
        last: Offset,
    },
    /// It may have been applied or may yet be. Ask again with the same id.
    #[error("the log did not confirm it in time")]
    Unknown,
}

/// A subscription was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscribeError {
    /// It could not be served.
    #[error("the session can't be read")]
    Host(#[from] HostError),
    /// The cursor was issued for another session.
    #[error("the cursor is of another session")]
    OtherSession,
    /// Nobody has opened it.
    #[error("the session does not exist")]
    NotFound,
}
