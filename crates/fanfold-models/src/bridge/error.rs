//! How a call to a model fails, what the failure is called, and whether another try may help.

use std::time::Duration;

use crate::Failure;

/// Why there is no answer, or no more of it.
///
/// Sentences are made for people who read the session: none says where a model is served. What else is known is in the node's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection: no such host, refused, no agreement on TLS.
    #[error("The model can't be reached.")]
    Connect,
    /// No connection in time.
    #[error("The model could not be reached within {} s.", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// No token in time.
    #[error("The model said nothing within {} s.", .0.as_secs_f32())]
    FirstTokenTimeout(Duration),
    /// Nothing came for so long, in the middle of the answer.
    #[error("The model fell silent for {} s in mid-answer.", .0.as_secs_f32())]
    IdleTimeout(Duration),
    /// The answer took too long in all.
    #[error("The answer took longer than {} s.", .0.as_secs_f32())]
    TotalTimeout(Duration),
    /// The connection broke.
    #[error("The connection to the model broke.")]
    ConnectionLost,
    /// A status that is no success.
    #[error("The model's provider answered {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// The provider's sentence, or the status's usual one.
        message: String,
        /// Whether another try may help, as status and provider's code have it.
        retryable: bool,
        /// How long to wait before it, as the provider asks.
        retry_after: Option<Duration>,
    },
    /// A redirection, which is followed only within one origin and with the request as it was.
    #[error("The model's address redirects to {origin}, which is not followed.")]
    Redirected {
        /// Scheme, host and port of the new address.
        origin: String,
    },
    /// Neither a stream of events nor an answer in JSON.
    #[error("The model's address answered with something that is no answer of a model.")]
    NotAnAnswer,
    /// An event that can't be read.
    #[error("The model's stream has an event that can't be read.")]
    BadChunk,
    /// An event is longer than so many bytes.
    #[error("An event of the model's stream is longer than {0} bytes.")]
    EventTooLarge(usize),
    /// The answer is longer than so many bytes.
    #[error("The model's answer is longer than {0} bytes.")]
    AnswerTooLarge(u64),
    /// What the provider reports in its stream, in its own words.
    #[error("{}", .0.message)]
    Provider(Failure),
}

impl CallError {
    /// A word for programs; it doesn't change. A provider's own code stays what it is.
    pub fn code(&self) -> &str {
        match self {
            Self::Provider(failure) => &failure.code,
            other => other.kind(),
        }
    }

    /// The same with one word for all that providers report in their streams.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::FirstTokenTimeout(_) => "first_token_timeout",
            Self::IdleTimeout(_) => "idle_timeout",
            Self::TotalTimeout(_) => "total_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Status { status, .. } => status_kind(*status),
            Self::Redirected { .. } => "redirected",
            Self::NotAnAnswer => "not_an_answer",
            Self::BadChunk => "bad_chunk",
            Self::EventTooLarge(_) => "event_too_large",
            Self::AnswerTooLarge(_) => "answer_too_large",
            Self::Provider(_) => "provider_failure",
        }
    }

    /// Whether the same request may go better another time, at the same place.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Connect | Self::ConnectTimeout(_) | Self::FirstTokenTimeout(_) | Self::IdleTimeout(_) => true,
            Self::ConnectionLost | Self::BadChunk => true,
            // It would be as long again.
            Self::TotalTimeout(_) | Self::EventTooLarge(_) | Self::AnswerTooLarge(_) => false,
            // Somebody has to mend the configuration.
            Self::Redirected { .. } | Self::NotAnAnswer => false,
            Self::Status { retryable, .. } => *retryable,
            Self::Provider(failure) => failure.retryable,
        }
    }

    /// Whether it speaks against the endpoint, and not only against the request.
    pub fn is_unhealthy(&self) -> bool {
        match self {
            Self::Connect | Self::ConnectTimeout(_) | Self::FirstTokenTimeout(_) | Self::IdleTimeout(_) => true,
            Self::ConnectionLost | Self::BadChunk | Self::Redirected { .. } | Self::NotAnAnswer => true,
            Self::TotalTimeout(_) | Self::EventTooLarge(_) | Self::AnswerTooLarge(_) => false,
            // A key that isn't taken or an address that isn't there fails every request.
            Self::Status { status, retryable, .. } => *retryable || matches!(status, 401 | 402 | 403 | 404 | 429 | 500..),
            Self::Provider(failure) => failure.retryable,
        }
    }

    /// How long the provider asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }

    /// The same as the event that ends an answer.
    pub fn failure(&self) -> Failure {
        Failure { code: self.code().to_owned(), message: self.to_string(), retryable: self.retryable() }
    }
}

fn status_kind(status: u16) -> &'static str {
    match status {
        401 | 402 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        408 | 504 => "provider_timeout",
        413 => "request_too_large",
        429 => "rate_limited",
        500.. => "provider_error",
        _ => "bad_request",
    }
}
