//! What the fold says of a record.

use serde::{Deserialize, Serialize};

/// What became of a record at its offset. The answer to whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It changed the state, or was kept as something unknown.
    Applied,
    /// It was there before and changed nothing; this is what became of the first.
    Repeated(Settled),
    /// It changed nothing.
    Refused(Refusal),
}

/// What became of a command, as the state remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It was applied.
    Applied,
    /// It was refused.
    Refused(Refusal),
}

/// Why a record changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nobody has opened it.
    #[error("the session does not exist")]
    SessionNotFound,
    /// Somebody else opened it first.
    #[error("the session exists already")]
    SessionExists,
    /// It takes no more commands.
    #[error("the session is closed")]
    SessionClosed,
    /// Its content is gone and its id stays taken.
    #[error("the session was erased")]
    SessionErased,
    /// It holds as much as a session may.
    #[error("the session is full")]
    SessionFull,
    /// No such message.
    #[error("the message does not exist")]
    MessageNotFound,
    /// A message id is used once.
    #[error("a message of this id exists already")]
    MessageExists,
    /// No such run.
    #[error("the run does not exist")]
    RunNotFound,
    /// A run id is used once.
    #[error("a run of this id exists already")]
    RunExists,
    /// It has ended: completed, cancelled, failed or orphaned.
    #[error("the run has ended")]
    RunEnded,
    /// It isn't running.
    #[error("the run has not started")]
    RunNotStarted,
    /// Another run of the session goes on or comes first.
    #[error("another run comes first")]
    RunNotNext,
    /// It has had as many attempts as it may take.
    #[error("the run has no attempt left")]
    AttemptsExhausted,
    /// Another attempt is current: this worker's words no longer count.
    #[error("another attempt has taken over")]
    Fenced,
    /// No such tool call.
    #[error("the tool call does not exist")]
    ToolCallNotFound,
    /// It doesn't wait for a decision.
    #[error("the tool call does not wait for a decision")]
    ToolCallSettled,
    /// No run is open.
    #[error("there is nothing to cancel")]
    NothingToCancel,
    /// A field is empty, too long or too many.
    #[error("a field is over its limit")]
    Limit,
}

impl Refusal {
    /// Whether a state that lacks the newest records could say this of a command that is fine. Everything else stays true
    /// whatever is appended.
    pub fn may_be_lag(self) -> bool {
        match self {
            Self::SessionNotFound
            | Self::SessionFull
            | Self::MessageNotFound
            | Self::RunNotFound
            | Self::RunNotStarted
            | Self::RunNotNext
            | Self::Fenced
            | Self::ToolCallNotFound
            | Self::ToolCallSettled
            | Self::NothingToCancel => true,
            Self::SessionExists
            | Self::SessionClosed
            | Self::SessionErased
            | Self::MessageExists
            | Self::RunExists
            | Self::RunEnded
            | Self::AttemptsExhausted
            | Self::Limit => false,
        }
    }
}
