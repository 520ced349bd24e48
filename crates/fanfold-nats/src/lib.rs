//! One connection to NATS, and questions to JetStream whose failures say what became of them.
//!
//! log, runs, the node's presence → **nats** → server
//!
//! What they share, and nothing else: which streams and subjects there are is theirs to know.
//!
//! # Contract
//!
//! - [`Nats::connect`] gives a connection to a server that is new enough, which is restored for as long as the process lives.
//! - Each question has an end: an answer, a refusal of the server, or a [`RequestError`] that says whether the server may have acted.
//!
//! # Failure
//!
//! A lost connection is restored with its subscriptions; what was published to them meanwhile is lost without a word, which those who
//! subscribe must expect. A subscription that isn't read in time loses its newest message: counted as
//! `fanfold_nats_slow_subscriptions_total`, and for its reader to notice.

mod allowed;
mod ask;
mod connect;
mod metric;
mod options;
mod passing;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;

pub use allowed::Needs;
pub use ask::{ApiError, Gathered, RequestError};
pub use connect::{ConnectError, Limits, Nats, VERSION_MIN};
pub use metric::describe_metrics;
pub use options::{NatsOptions, OptionsError, TlsOptions};
pub use passing::Hearing;
