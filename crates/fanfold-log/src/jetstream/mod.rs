//! The log of many nodes: NATS JetStream, one stream for each shard of the sessions.
//!
//! # Contract
//!
//! What [`EventLog`] says, and:
//!
//! - I9: an append acknowledged by the stream's leader survives what the servers' configuration claims; with three replicas and
//!   `sync_interval: always` that is the loss of any one server and of power everywhere. [`inspect()`] says what is configured.
//! - A session's shard is a hash of its name; the number of shards is fixed by the first [`migrate`].
//! - One epoch for each shard, minted by [`migrate`] and changed by [`new_epoch`] only. Offsets grow over epochs.
//! - Sessions of one shard are trimmed together.
//!
//! # How
//!
//! ```text
//! append ─────────▶ stream of the shard ──republish──▶ live subject ──▶ tail       at most once
//!                        │ leader: last of the session                             the truth, one small queue
//!                        └ any replica: records from an offset on                  may be behind: read until the leader's last
//! ```
//!
//! A tail may lose records: the chain shows a gap within, and whoever follows asks [`EventLog::last_of`] every few seconds
//! for the last one ([`EventLog::tail_may_lose`]).
//!
//! # Failure
//!
//! | what | the caller sees | who repairs it |
//! |---|---|---|
//! | a leader that is gone | appends take longer, at most `append_ms_max`; then `Unknown`, or `Overloaded` where none was stored | the cluster |
//! | a full stream, too many appends under way | `Overloaded`, not stored | the archiver, later |
//! | a lost connection | reads are `Unavailable`, tails have gaps | it is restored |
//! | a stream that issues offsets a second time | `Closed`, reads `Unavailable`, for that shard | an operator, by [`new_epoch`] |

mod alive;
mod append;
mod config;
mod consumer;
mod erase;
mod inspect;
mod inventory;
mod layout;
mod log;
mod migrate;
mod read;
mod servers;
mod shard;
mod tail;

pub use config::JetStreamLogConfig;
pub use consumer::JetStreamConsumer;
pub use inspect::{Finding, InspectError, Report, ServerReport, Severity, ShardReport, inspect};
pub use inventory::ClosedShard;
pub use layout::LayoutError;
pub use log::{JetStreamLog, OpenError};
pub use migrate::{BegunEpochs, IdentityError, MigrateError, Migrated, migrate, new_epoch};

#[cfg(doc)]
use crate::EventLog;
