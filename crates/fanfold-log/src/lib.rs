//! The order of every session's records, made durable.
//!
//! append → **log** → session → wire
//!
//! Stores bytes and issues offsets; never interprets a record and never talks to subscribers.

mod port;
mod tail;

pub use port::{AppendError, EventLog, Expect, Page, ReadError, StoredRecord};
pub use tail::{TAIL_BYTES_MAX, TAIL_RECORDS_MAX, Tail, TailItem, TailSender, Wake};
