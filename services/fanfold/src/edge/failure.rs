//! What went wrong, as one of the table's errors.

use fanfold_fold::CursorError;
use fanfold_session::{HostError, SubmitError, SubscribeError};
use fanfold_store::StoreError;
use fanfold_wire::convert::FieldError;
use fanfold_wire::{DecodeError, ErrorCode, Retry, v1};

use crate::auth::{Denied, TokenError};

/// Advice to clients that meet a node without room, in milliseconds. They add jitter of their own.
const RETRY_AFTER_MS: u32 = 1000;

/// An error on its way to a client. The cause has been logged; the client sees the code's own sentence.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which.
    pub code: ErrorCode,
    /// Which field of the request, where that is what is wrong. Never holds its content.
    pub detail: Option<String>,
}

impl Failure {
    /// Without a detail.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, detail: None }
    }

    /// When to come back; 0: no advice.
    pub fn retry_after_ms(&self) -> u32 {
        match self.code.row().retry {
            Retry::Later => RETRY_AFTER_MS,
            Retry::No | Retry::WithToken | Retry::Resume => 0,
        }
    }

    /// As a frame about a session or a command.
    pub fn frame(&self, session: &str, command: &str) -> v1::Error {
        let mut error = self.code.frame(session, command, self.retry_after_ms());
        if let Some(detail) = &self.detail {
            error.message = format!("{} ({detail})", error.message);
        }
        error
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(match error {
            HostError::Busy => ErrorCode::Busy,
            HostError::Draining => ErrorCode::Draining,
            HostError::Parked => ErrorCode::SessionParked,
            HostError::Unavailable(source) => {
                tracing::warn!(error = &*source as &dyn std::error::Error, "history not readable");
                ErrorCode::Unavailable
            }
            HostError::Missing { after } => {
                tracing::error!(after = after.0, "history is missing");
                ErrorCode::HistoryMissing
            }
        })
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        Self::new(match error {
            SubmitError::Host(error) => return error.into(),
            SubmitError::TooLarge { .. } => ErrorCode::TooLarge,
            SubmitError::Overloaded => ErrorCode::Overloaded,
            SubmitError::Conflict { .. } => ErrorCode::Conflict,
            SubmitError::Unknown => ErrorCode::UnknownOutcome,
        })
    }
}

impl From<SubscribeError> for Failure {
    fn from(error: SubscribeError) -> Self {
        Self::new(match error {
            SubscribeError::Host(error) => return error.into(),
            SubscribeError::OtherSession => ErrorCode::CursorOfOtherSession,
            SubscribeError::NotFound => ErrorCode::SessionNotFound,
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "store not readable");
        Self::new(match error {
            StoreError::TooLarge { .. } => ErrorCode::TooLarge,
            StoreError::Unavailable(_) => ErrorCode::Unavailable,
            StoreError::Overloaded => ErrorCode::Busy,
        })
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Role | Denied::Session => Self::new(ErrorCode::PermissionDenied),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::new(match error {
            TokenError::Missing | TokenError::Invalid => ErrorCode::Unauthenticated,
            TokenError::Expired => ErrorCode::TokenExpired,
        })
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self { code: ErrorCode::BadRequest, detail: Some(error.to_string()) }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self { code: ErrorCode::BadRequest, detail: Some(error.to_string()) }
    }
}

impl From<CursorError> for Failure {
    fn from(_: CursorError) -> Self {
        Self::new(ErrorCode::CursorMalformed)
    }
}
