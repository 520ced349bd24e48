//! The order of every session's records, made durable.
//!
//! append → **log** → session → wire
//!
//! Stores bytes and issues offsets; never interprets a record and never talks to subscribers.

#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, reason = "a check that panics is a check that fails")]
pub mod conformance;
mod embedded;
mod metric;
mod port;
mod tail;

pub use embedded::{
    APPEND_ID_BYTES_MAX, AcceptedLoss, EmbeddedLog, EmbeddedLogConfig, LOSS_SESSIONS_MAX, Loss, LostRange, OpenError,
};
pub use metric::describe_metrics;
pub use port::{AppendError, EventLog, Expect, Page, ReadError, StoredRecord};
pub use tail::{TAIL_BYTES_MAX, TAIL_RECORDS_MAX, Tail, TailItem, TailSender, Wake};
