//! What models say, in one vocabulary: the streams of their providers, recordings of such streams, and a generator of our own.
//!
//! provider's chunks → **models** → worker (which appends it to the log)
//!
//! # Contract
//!
//! - A [`Dialect`] reads one stream chunk by chunk and is pure: the same chunks give the same [`ModelEvent`]s.
//! - A stream gives exactly one terminal event, [`ModelEvent::Finished`] or [`ModelEvent::Failed`], and nothing after it, however
//!   it breaks off: I8 every run ends begins here.
//! - Texts arrive whole at code points and in order; text that a provider repeats as a summary is said once.
//! - Ids of tool calls are unique in a stream, also where a provider leaves them out or uses one twice.
//! - [`ModelEvent::Usage`] comes at most once, right before the terminal event, and counts all responses of the stream.
//! - [`Recording::open`] accepts a file that plays to its end, and names file and line of one that doesn't.
//!
//! # Not here
//!
//! HTTP: a bridge reads a provider's stream, hands each `data:` to a [`Dialect`], ends it with [`Dialect::end`], or with
//! [`Dialect::fail`] when the connection breaks. Pace: players have one. Sessions, runs and the log: the worker knows them.
//!
//! # Failure
//!
//! A chunk that can't be read → [`ChunkError`], and the stream can go on or be failed by its reader. An error that the provider
//! reports → [`ModelEvent::Failed`] with its code and whether another attempt may help. A kind of event nobody knew of → passed
//! over and counted, see [`Dialect::ignored`].
//!
//! # Example
//!
//! ```
//! use fanfold_models::{DialectName, FinishReason, ModelEvent};
//!
//! let mut dialect = DialectName::ChatCompletions.parser();
//! let mut said = Vec::new();
//! dialect.chunk(r#"{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}"#, &mut said)?;
//! dialect.end(&mut said);
//! assert_eq!(said, [ModelEvent::Text("Hello".into()), ModelEvent::Finished(FinishReason::Stop)]);
//! # Ok::<(), fanfold_models::ChunkError>(())
//! ```

mod bridge;
mod chat;
mod config;
mod conversation;
mod dialect;
mod event;
mod failure;
#[cfg(any(test, feature = "fault-server"))]
pub mod fault;
mod json;
mod key;
mod messages;
mod metric;
mod recording;
mod request;
mod responses;
mod router;
mod scribe;
mod speech;
mod surrogate;
mod tools;

pub use bridge::CallError;
pub use chat::ChatCompletions;
pub use config::{ConfigError, EndpointConfig, ModelsConfig, PriceConfig, ToolConfig};
pub use conversation::{Call, Content, Conversation, ToolSpec, Turn};
pub use dialect::{ChunkError, Dialect, DialectName};
pub use event::{Citation, FinishReason, ModelEvent, Usage};
pub use failure::Failure;
pub use messages::Messages;
pub use metric::describe_metrics;
pub use recording::{FILE_BYTES_MAX, LINE_BYTES_MAX, Recording, RecordingError};
pub use request::request_body;
pub use responses::Responses;
pub use router::{Answer, Because, Chosen, CircuitState, Cost, Health, NoAnswer, Passed, Route, Router, Unanswered, Why};
pub use scribe::Scribe;
pub use tools::{ToolAnswer, Tools};
