//! The log of one node: a local store, fsync by group commit, and a loud start-up.
//!
//! # Contract
//!
//! What [`EventLog`] says, and:
//!
//! - I9: an acknowledged append survives the death of the process and the loss of power, as far as the disk keeps what it has synced.
//! - One epoch per directory, minted when the directory is made; a new one by [`EmbeddedLog::accept_loss`] and
//!   [`EmbeddedLog::new_epoch`] only.
//! - A repetition of an append id is found among the last `duplicate_window_records` records, also after a restart.
//! - After a full trim a session keeps its last offset.
//!
//! # Failure
//!
//! | what | the caller sees | who repairs it |
//! |---|---|---|
//! | more appends than the disk takes | `Overloaded`, not stored | the caller, later |
//! | records that can't be archived, up to `bytes_max` | `Overloaded`, not stored | the archiver, when its store is back |
//! | a failed write or sync | `Unknown` for that commit, `Closed` from then on; reads go on | whoever restarts the node |
//! | a damaged record or table | [`crate::ReadError::Damaged`], never a shorter history | archive or backup |
//! | a damaged, cut or deleted journal | [`OpenError::Lost`] with what is lost | backup, or `accept_loss` |
//! | a damaged or deleted mark or store | another [`OpenError`] | backup, or `accept_loss` |
//!
//! A few damaged bytes (a length, a version in a manifest) make fjall abort the process instead of refusing: loud, but without
//! an [`OpenError`]. And fjall cuts a damaged journal where the damage begins when it is opened: whoever wants to get more out
//! of a damaged directory copies it before starting a second time.
//!
//! # Not here
//!
//! A directory that was replaced as a whole by an older copy looks sound: only those who remember later offsets (the
//! store of snapshots, the clients' cursors) can tell.

mod committer;
mod compact;
mod config;
mod consumer;
mod disk;
mod epoch;
mod error;
mod group;
mod identity;
mod layout;
mod ledger;
mod log;
mod loss;
mod mark;
mod queue;
mod store;
mod tails;
mod verify;

pub use config::EmbeddedLogConfig;
pub use consumer::EmbeddedConsumer;
pub use epoch::BegunEpoch;
pub use error::{LOSS_SESSIONS_MAX, Loss, OpenError};
pub use identity::LostRange;
pub use log::{APPEND_ID_BYTES_MAX, EmbeddedLog};
pub use loss::AcceptedLoss;

#[cfg(doc)]
use crate::EventLog;
