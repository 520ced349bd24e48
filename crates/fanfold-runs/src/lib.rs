//! Hints of work: which runs wait for a worker, handed out fairly, one at a time for each session.
//!
//! log → node → **runs** → worker → log
//!
//! The log is the only record of a run. A hint that is lost costs time, one too many costs a look at the session.
//!
//! # Contract
//!
//! [`RunQueue`] is the port, and `conformance` (feature `conformance`) the suite that every queue passes. [`EmbeddedRunQueue`] is the
//! queue of one node, in memory: at start it is offered every run that the log has open. `JetStreamRunQueue` (feature `jetstream`) is
//! that of many.
//!
//! # Invariants
//!
//! - **I4 no locks**: a lease saves work and guards nothing. Two workers may have one run; the fold fences the earlier attempt.
//! - **I5 bounded**: so many hints, leased ones included; one more is [`OfferError::Full`]. So many buried runs; the first of them goes.
//! - **I8 every run ends**: a hint goes round until somebody says `done`, which is said when the end is in the log. There is no largest
//!   number of deliveries: how often a run may be tried is the fold's to say.
//!
//! # Not here
//!
//! Whether a run goes on, which attempt counts and when a run has failed for good (`fanfold-fold`); deadlines of runs nobody takes
//! (`services/fanfold`); calling models (`fanfold-models`).
//!
//! # Failure
//!
//! A worker that is silent loses its lease, and its hint goes to the next one at the same place in its session's order. Whatever it
//! says of that lease afterwards is [`LeaseError::Lost`].
//!
//! # Example
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};
//! # use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig, Hint, RunQueue};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let queue = EmbeddedRunQueue::new(EmbeddedRunQueueConfig::default(), Arc::new(|| 0));
//! let session = SessionKey::new(TenantId::default(), SessionId::new("s1")?);
//! queue.offer(&Hint::new(session, RunId::new("r1")?)).await?;
//! let lease = queue.take("worker-1", Duration::from_secs(30), Duration::ZERO).await?.ok_or("a hint waits")?;
//! // … the run is carried out, and its end is in the log:
//! queue.done(lease.id).await?;
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, reason = "a check that panics is a check that fails")]
pub mod conformance;
mod embedded;
#[cfg(feature = "jetstream")]
pub mod jetstream;
mod metric;
mod port;

pub use embedded::{EmbeddedRunQueue, EmbeddedRunQueueConfig};
#[cfg(feature = "jetstream")]
pub use jetstream::{JetStreamRunQueue, JetStreamRunQueueConfig};
pub use metric::describe_metrics;
pub use port::{
    Clock, DeadLetter, Depth, Forgotten, Hint, Lease, LeaseError, LeaseId, Listed, OfferError, Offered, Place, QueueError,
    REASON_BYTES_MAX, RunQueue,
};
