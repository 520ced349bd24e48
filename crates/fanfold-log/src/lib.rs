//! The order of every session's records, made durable.
//!
//! append → **log** → session → wire
//!
//! Stores bytes and issues offsets; never interprets a record and never talks to subscribers.
//!
//! # Contract
//!
//! [`EventLog`] is the port, [`Consumer`] carries what it stores into the archive, [`Inventory`] is for tools that move all of it, and
//! `conformance` (feature `conformance`) has the suites that every log passes. [`EmbeddedLog`] is the log of one node, in a local directory; `JetStreamLog` (feature `jetstream`) that of many,
//! on NATS servers.
//!
//! # Invariants
//!
//! - **I1 truth**: a record reaches no reader and no tail before it is durable.
//! - **I2 contiguous**: each record names the one before it, and a read never passes over a missing one.
//! - **I5 bounded**: appends waiting, tails, reads under way and remembered ids have limits, and a named outcome when full.
//! - **I9 durable before acked**: store, then high-water mark, then the answer.
//!
//! # Not here
//!
//! What a record means (`fanfold-fold`), snapshots and archive (`fanfold-store`), who may append (`services/fanfold`).
//!
//! # Failure
//!
//! An append's outcome is one of [`AppendError`], and says whether the record is stored; a read never takes trouble for an
//! empty log. A log that lost acknowledged records doesn't open: [`OpenError`] says which, and
//! [`EmbeddedLog::accept_loss`] is the way on.
//!
//! # Example
//!
//! ```
//! # use std::sync::Arc;
//! # use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
//! # use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Expect};
//! # let dir = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let config = EmbeddedLogConfig { dir: dir.path().into(), ..EmbeddedLogConfig::default() };
//! let log = EmbeddedLog::open(config, Arc::new(|| 0))?;
//! let session = SessionKey::new(TenantId::default(), SessionId::new("s1")?);
//! let offset = log.append(&session, "a record".into(), Expect::Empty, Some("command-1")).await?;
//! let page = log.read(&session, Offset::NONE, 100, 1 << 20).await?;
//! assert_eq!((page.records[0].offset, page.end), (offset, true));
//! log.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, reason = "a check that panics is a check that fails")]
pub mod conformance;
mod consumer;
mod embedded;
mod inventory;
#[cfg(feature = "jetstream")]
pub mod jetstream;
mod metric;
mod port;
mod tail;

pub use consumer::{Consumer, Lag, Notice, Ticket};
pub use embedded::{
    APPEND_ID_BYTES_MAX, AcceptedLoss, BegunEpoch, EmbeddedConsumer, EmbeddedLog, EmbeddedLogConfig, LOSS_SESSIONS_MAX, Loss,
    LostRange, OpenError,
};
pub use inventory::Inventory;
#[cfg(feature = "jetstream")]
pub use jetstream::{JetStreamLog, JetStreamLogConfig};
pub use metric::describe_metrics;
pub use port::{AppendError, EventLog, Expect, Page, ReadError, StoredRecord};
pub use tail::{TAIL_BYTES_MAX, TAIL_RECORDS_MAX, Tail, TailItem, TailSender, Wake};
