//! A client of Fanfold: follows sessions through reconnects, sends commands, appends what a model says.
//!
//! # Contract
//!
//! - [`Follow`] yields every change once and in order, whatever happens to its connection: it comes back with its cursor, over the
//!   same transport, with exponential back-off and full jitter that is reset only by progress.
//! - It ends when the session has ended for its readers, or when the node refuses for good; never because a connection was lost.
//! - [`Client::submit`] is safe to repeat with the same command id.
//!
//! # Example
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use fanfold_client::{Client, ClientConfig, FollowOptions, Update};
//!
//! let client = Client::new(ClientConfig::default())?;
//! let mut follow = client.follow("s1", FollowOptions::default())?;
//! while let Update::Changed { .. } | Update::Subscribed { .. } = follow.next().await? {
//!     println!("{} messages", follow.view().messages.len());
//! }
//! # Ok(())
//! # }
//! ```

mod append;
mod backoff;
mod client;
mod follow;
mod link;

pub use append::{Append, AppendEnd, AppendError};
pub use backoff::Backoff;
pub use client::{Client, ClientConfig, ClientError, RequestError};
pub use follow::{Follow, FollowError, FollowOptions, Start, Update};
pub use link::Transport;
