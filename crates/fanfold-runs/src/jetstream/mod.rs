//! The queue of many nodes: a work-queue stream on NATS JetStream, one consumer for each bucket of tenants.
//!
//! # Contract
//!
//! What [`RunQueue`] says, with these differences where one node can't know of the others:
//!
//! - [`RunQueue::list`] and [`RunQueue::depth`] know the leases and delays of this node; those of others count as waiting. Both read all
//!   hints there are: they are for operators.
//! - `deliveries` also counts hand-overs to nodes that had no use for the hint yet.
//!
//! # How
//!
//! ```text
//! offer ──▶ one message for each run ──▶ consumer of its bucket ──pull──▶ node ── first of its session? ─┬ yes: lease
//!           (a second is refused: known)                                                                └ no: held until it is
//! ```
//!
//! A message leaves the stream when its run is done or buried, so the stream itself says which run of a session is the first one.
//! A node tells the server again and again that it still holds what it holds; what a node held that died is delivered
//! to another after `ack_wait_ms`.
//!
//! # Failure
//!
//! | what | the caller sees | who repairs it |
//! |---|---|---|
//! | a worker that is silent | its lease ends, the hint goes to the next one | this queue |
//! | a node that dies | its hints are delivered again after `ack_wait_ms` | the server |
//! | servers that are away | `Unavailable`, or a `take` that waits on | the cluster |
//! | a notice that is lost | a second or a few later | this queue looks again |

mod call;
mod config;
mod fetch;
mod hands;
mod inspect;
mod layout;
mod migrate;
mod queue;

pub use config::JetStreamRunQueueConfig;
pub use inspect::{InspectError, QueueFinding, QueueReport, inspect};
pub use layout::LayoutError;
pub use migrate::{IdentityError, MigrateError, migrate};
pub use queue::{JetStreamRunQueue, OpenError};

#[cfg(doc)]
use crate::port::RunQueue;
