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
    /// Names this failure to the client and in the node's log.
    pub request: String,
}

impl Failure {
    /// Without a detail.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, detail: None, request: uuid::Uuid::now_v7().simple().to_string() }
    }

    /// The request itself is wrong; `detail` says which field, and how.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(ErrorCode::BadRequest) }
    }

    /// Something behind the node failed: the log gets the whole chain, the client the code.
    fn caused(code: ErrorCode, cause: &(dyn std::error::Error + 'static)) -> Self {
        let failure = Self::new(code);
        tracing::warn!(code = code.name(), request = failure.request, error = cause, "request failed");
        failure
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
        error.request.clone_from(&self.request);
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
        match &error {
            HostError::Busy => Self::new(ErrorCode::Busy),
            HostError::Draining => Self::new(ErrorCode::Draining),
            HostError::Parked => Self::new(ErrorCode::SessionParked),
            HostError::Erased { .. } => Self::new(ErrorCode::SessionErased),
            HostError::Unavailable(_) => Self::caused(ErrorCode::Unavailable, &error),
            HostError::Missing { .. } => Self::caused(ErrorCode::HistoryMissing, &error),
        }
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
        let code = match error {
            StoreError::TooLarge { .. } => ErrorCode::TooLarge,
            StoreError::Unavailable(_) => ErrorCode::Unavailable,
            StoreError::Overloaded => ErrorCode::Busy,
        };
        Self::caused(code, &error)
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
        Self::bad_request(error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<CursorError> for Failure {
    fn from(_: CursorError) -> Self {
        Self::new(ErrorCode::CursorMalformed)
    }
}
