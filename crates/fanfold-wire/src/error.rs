//! Every error a client can see, once: its name, what each transport makes of it, and what to do.
//!
//! `docs/errors.md` lists the same table; a test compares the two.

use fanfold_fold::Refusal;

use crate::v1;

/// Whether it may have been done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was done.
    NotApplied,
    /// It may have been done: ask again with the same id.
    Unknown,
}

/// What a client can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: the same request fails again.
    No,
    /// Try again later, with back-off.
    Later,
    /// Try again with a new token.
    WithToken,
    /// Subscribe again with the last cursor, at once.
    Resume,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The word for programs; it never changes.
    pub name: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status.
    pub grpc: tonic::Code,
    /// WebSocket close code, where it ends the connection: 4000-4499 come back and resume, 4500-4999 don't.
    pub close: u16,
    /// What to do.
    pub retry: Retry,
    /// Whether it may have been done.
    pub outcome: Outcome,
    /// The sentence for people. Never holds anything of the request.
    pub text: &'static str,
}

macro_rules! table {
    ($( $variant:ident $name:literal $http:literal $grpc:ident $close:literal $retry:ident $outcome:ident $text:literal; )+) => {
        /// Everything that can go wrong, as clients see it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $( #[doc = $text] $variant, )+
        }

        impl ErrorCode {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// Its row.
            pub fn row(self) -> Row {
                match self {
                    $( Self::$variant => Row {
                        name: $name,
                        http: $http,
                        grpc: tonic::Code::$grpc,
                        close: $close,
                        retry: Retry::$retry,
                        outcome: Outcome::$outcome,
                        text: $text,
                    }, )+
                }
            }
        }
    };
}

table! {
    SessionNotFound "session_not_found" 404 NotFound 4504 No NotApplied "The session does not exist.";
    SessionExists "session_exists" 409 AlreadyExists 4509 No NotApplied "The session exists already.";
    SessionClosed "session_closed" 409 FailedPrecondition 4510 No NotApplied "The session is closed.";
    SessionErased "session_erased" 410 NotFound 4511 No NotApplied "The session was erased.";
    SessionFull "session_full" 409 ResourceExhausted 4512 No NotApplied "The session holds as much as a session may.";
    SessionParked "session_parked" 503 Unavailable 4513 No NotApplied "The session failed to load too often; an operator must look at it.";
    MessageNotFound "message_not_found" 404 NotFound 4504 No NotApplied "The message does not exist.";
    MessageExists "message_exists" 409 AlreadyExists 4509 No NotApplied "A message of this id exists already.";
    RunNotFound "run_not_found" 404 NotFound 4504 No NotApplied "The run does not exist.";
    RunExists "run_exists" 409 AlreadyExists 4509 No NotApplied "A run of this id exists already.";
    RunEnded "run_ended" 409 FailedPrecondition 4514 No NotApplied "The run has ended.";
    RunNotStarted "run_not_started" 409 FailedPrecondition 4515 Later NotApplied "The run has not started.";
    RunNotNext "run_not_next" 409 FailedPrecondition 4516 Later NotApplied "Another run of the session comes first.";
    AttemptsExhausted "attempts_exhausted" 409 FailedPrecondition 4517 No NotApplied "The run has no attempt left.";
    Fenced "fenced" 409 Aborted 4518 No NotApplied "This attempt was given up or overtaken; what it says no longer counts.";
    ToolCallNotFound "tool_call_not_found" 404 NotFound 4504 No NotApplied "The tool call does not exist.";
    ToolCallSettled "tool_call_settled" 409 FailedPrecondition 4519 No NotApplied "The tool call does not wait for a decision.";
    NothingToCancel "nothing_to_cancel" 409 FailedPrecondition 4520 No NotApplied "No run is open.";
    FieldLimit "field_limit" 400 InvalidArgument 4521 No NotApplied "A field is empty, too long, or there are too many of it.";
    LeaseLost "lease_lost" 409 Aborted 4530 No NotApplied "The lease has ended; the run may be another worker's by now.";
    TooManyRuns "too_many_runs" 429 ResourceExhausted 4435 Later NotApplied "As many runs are open as may be.";
    TokensExhausted "tokens_exhausted" 429 ResourceExhausted 4531 No NotApplied "The budget of tokens is used up.";
    Conflict "conflict" 409 Aborted 4522 No NotApplied "The session has moved on from the cursor that the command depends on.";
    BadRequest "bad_request" 400 InvalidArgument 4500 No NotApplied "The request is malformed.";
    TooLarge "too_large" 413 ResourceExhausted 4523 No NotApplied "The request is over the limit.";
    CursorMalformed "cursor_malformed" 400 InvalidArgument 4524 No NotApplied "This is not a cursor.";
    CursorOfOtherSession "cursor_of_other_session" 400 InvalidArgument 4525 No NotApplied "The cursor was issued for another session.";
    Unauthenticated "unauthenticated" 401 Unauthenticated 4501 No NotApplied "A valid token is needed.";
    TokenExpired "token_expired" 401 Unauthenticated 4401 WithToken NotApplied "The token has expired.";
    PermissionDenied "permission_denied" 403 PermissionDenied 4503 No NotApplied "The token does not allow this.";
    OriginDenied "origin_denied" 403 PermissionDenied 4526 No NotApplied "Pages of this origin may not connect.";
    NotFound "not_found" 404 NotFound 4504 No NotApplied "There is nothing here.";
    UnsupportedProtocol "unsupported_protocol" 400 Unimplemented 4527 No NotApplied "None of the offered subprotocols is known.";
    TooManySessions "too_many_sessions" 429 ResourceExhausted 4528 No NotApplied "The connection subscribes to as many sessions as it may.";
    TooManyConnections "too_many_connections" 503 ResourceExhausted 4429 Later NotApplied "The node has as many connections as it may.";
    Busy "busy" 503 Unavailable 4430 Later NotApplied "The node is busy.";
    Overloaded "overloaded" 503 ResourceExhausted 4431 Later NotApplied "The log takes no more at the moment.";
    Unavailable "unavailable" 503 Unavailable 4432 Later NotApplied "The session's history can't be read at the moment.";
    HistoryMissing "history_missing" 500 DataLoss 4529 No NotApplied "Part of the session's history is missing or damaged.";
    UnknownOutcome "unknown_outcome" 504 DeadlineExceeded 4433 Later Unknown "It was not confirmed in time and may have been done.";
    SlowConsumer "slow_consumer" 408 ResourceExhausted 4408 Resume NotApplied "The connection took nothing for too long.";
    Draining "draining" 503 Unavailable 4400 Resume NotApplied "The node is going away.";
    Expired "stream_expired" 408 Unavailable 4402 Resume NotApplied "The stream has lasted as long as it may.";
    Internal "internal" 500 Internal 4434 Later Unknown "Something went wrong on the node.";
}

impl ErrorCode {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// By name, as clients get it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The error frame. `retry_after_ms`: 0 for no advice.
    pub fn frame(self, session: &str, command: &str, retry_after_ms: u32) -> v1::Error {
        let row = self.row();
        v1::Error {
            code: row.name.to_owned(),
            message: row.text.to_owned(),
            session: session.to_owned(),
            command: command.to_owned(),
            retry_after_ms,
            outcome: row.outcome.name().to_owned(),
            request: String::new(),
            list: None,
        }
    }

    /// The body of an HTTP answer (RFC 9457, `application/problem+json`).
    pub fn problem(self, detail: Option<&str>, request: &str) -> serde_json::Value {
        let row = self.row();
        let mut problem = serde_json::json!({
            "type": format!("urn:fanfold:error:{}", row.name),
            "title": row.text,
            "status": row.http,
            "code": row.name,
            "outcome": row.outcome.name(),
            "retry": row.retry.name(),
            "request": request,
        });
        if let Some(detail) = detail {
            problem["detail"] = detail.into();
        }
        problem
    }
}

impl Outcome {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotApplied => "not_applied",
            Self::Unknown => "unknown",
        }
    }
}

impl Retry {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Later => "later",
            Self::WithToken => "with_token",
            Self::Resume => "resume",
        }
    }
}

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SessionNotFound => Self::SessionNotFound,
            Refusal::SessionExists => Self::SessionExists,
            Refusal::SessionClosed => Self::SessionClosed,
            Refusal::SessionErased => Self::SessionErased,
            Refusal::SessionFull => Self::SessionFull,
            Refusal::MessageNotFound => Self::MessageNotFound,
            Refusal::MessageExists => Self::MessageExists,
            Refusal::RunNotFound => Self::RunNotFound,
            Refusal::RunExists => Self::RunExists,
            Refusal::RunEnded => Self::RunEnded,
            Refusal::RunNotStarted => Self::RunNotStarted,
            Refusal::RunNotNext => Self::RunNotNext,
            Refusal::AttemptsExhausted => Self::AttemptsExhausted,
            Refusal::Fenced => Self::Fenced,
            Refusal::ToolCallNotFound => Self::ToolCallNotFound,
            Refusal::ToolCallSettled => Self::ToolCallSettled,
            Refusal::NothingToCancel => Self::NothingToCancel,
            Refusal::Limit => Self::FieldLimit,
        }
    }
}
