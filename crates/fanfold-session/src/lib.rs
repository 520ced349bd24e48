//! Sessions in memory: each folds its log once and feeds any number of readers, who leave and come back where they were.
//!
//! log, store → **session** → services (which write to sockets)
//!
//! # Contract
//!
//! - [`Sessions::submit`] and [`Sessions::produce`] answer with the fold's verdict once the log has made the record durable.
//! - [`Sessions::subscribe`] always answers: resumed exactly after the cursor, or with a snapshot and the reason.
//! - [`Subscription::fill`] gives whole frames that cover the session's offsets without gap or overlap, at the pace of whoever
//!   calls it. A reader that doesn't call costs the others nothing.
//! - An [`Inbox`] with an [`Outlet`] that is lent gets the same frames in the same order without a call, as long as the outlet takes
//!   them at once and the reader is up to date.
//!
//! # Invariants
//!
//! I1 truth: only what came out of the log's tail or a read is folded and published. I2 contiguous: the chain of `previous`
//! is checked at each record, and a reader's position moves from border to border. I5 bounded: rings in bytes, requests and
//! presence in count, sessions in count and bytes; see [`SessionConfig`]. I6 any node: nothing here is owned, the log judges.
//! I7: dropping a [`Subscription`] ends nothing.
//!
//! # Not here
//!
//! Sockets, wire formats (given as [`FrameCodec`]), who may (the caller has been authorised), leases of workers.
//!
//! # Failure
//!
//! A gap or lost tail is read again from the log. A record that can't be decoded is passed over and the session marked
//! degraded. An actor that fails is rebuilt from the log; its readers attach again. A store that is away costs hydration time
//! later, nothing else.

mod actor;
mod codec;
mod config;
mod directory;
mod error;
mod feed;
mod guard;
mod hydrate;
mod inbox;
mod keep;
mod live;
mod message;
mod neighbours;
mod node;
mod park;
mod presence;
mod read;
mod readers;
mod ring;
mod sessions;
mod stash;
mod subscription;
mod supervisor;
mod waiting;
mod write;
mod writer;

pub use codec::{DeltaFrame, FormatId, FrameCodec, Present, SnapshotFrame};
pub use config::{SessionConfig, SnapshotPolicy};
pub use error::{HostError, SharedCause, SubmitError, SubscribeError};
pub use feed::Ended;
pub use inbox::{Inbox, Outlet};
pub use message::{How, Looked, Mode, Receipt, Reset, Start};
pub use neighbours::{Alone, Appearance, Hear, Heard, Neighbour, Neighbours};
pub use node::{Clock, Observer, Ports};
pub use sessions::{Sessions, Stats, StoredRecord};
pub use subscription::{Filled, Subscribe, Subscribed, Subscription};
