//! Models of any provider: a session's history goes out as a request, and what the model says comes back in one vocabulary.
//!
//! fold's view → **[`Conversation`] → [`Router`] → HTTP → [`Dialect`] → [`ModelEvent`]s** → worker, which appends them to the log
//!
//! # Contract
//!
//! - A [`Dialect`] reads one stream chunk by chunk and is pure: the same chunks give the same [`ModelEvent`]s.
//! - A stream gives exactly one terminal event, [`ModelEvent::Finished`] or [`ModelEvent::Failed`], and nothing after it, however
//!   it breaks off: I8 every run ends begins here.
//! - Texts arrive whole at code points and in order; text that a provider repeats as a summary is said once.
//! - Ids of tool calls are unique in a stream, also where a provider leaves them out or uses one twice; [`Answer`] gives none that
//!   the conversation's reply has already.
//! - [`ModelEvent::Usage`] comes at most once, right before the terminal event, and counts all responses of the stream.
//! - [`Router::answer`] tries again and elsewhere until the first token, never after it: no token is said twice. Dropping an
//!   [`Answer`], or the wait for one, closes the connection.
//! - [`Recording::open`] accepts a file that plays to its end, and names file and line of one that doesn't.
//!
//! # Invariants
//!
//! I5 bounded: one event, one answer, one error and one tool's result have limits in bytes; connecting, the first token, silence and the
//! whole answer in time; endpoints in answers at a time; a request in tries and in what it waits. I7 leaving is not cancelling: only the
//! worker, which knows of cancels, drops an answer.
//!
//! # Not here
//!
//! Pace: players have one. Sessions, runs and the log: the worker knows them, loops over steps, asks people for approval and puts the
//! [`Route`] into the run's events. Keys in configuration: they come from the environment or a file, and are never printed.
//!
//! # Failure
//!
//! A chunk that can't be read → [`ChunkError`], and the stream can go on or be failed by its reader. An error that the provider
//! reports → [`ModelEvent::Failed`] with its code and whether another attempt may help. A kind of event nobody knew of → passed
//! over and counted, see [`Dialect::ignored`]. A call that fails before its first token → [`NoAnswer`], after every endpoint that might
//! go better has been tried; after it → [`ModelEvent::Failed`] with the code of a [`CallError`], and the run may be attempted again. A
//! tool that fails → a sentence for the model, which goes on.
//!
//! # Example
//!
//! ```
//! use fanfold_models::{Conversation, EndpointConfig, ModelEvent, ModelsConfig, Router, Turn};
//! # use fanfold_models::fault::{FaultServer, Reply, Say};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! # let server = FaultServer::replies(vec![Reply::says(Say::words("Hello, world."))]).await?;
//! # let url = server.url();
//! let endpoint = EndpointConfig { model: "small".into(), url, ..EndpointConfig::default() };
//! let router = Router::new(&ModelsConfig { endpoints: vec![endpoint], ..ModelsConfig::default() })?;
//! let conversation = Conversation::new("Be brief.", vec![Turn::user("Hello?")]);
//! let mut answer = router.answer("small", &conversation, &[]).await?;
//! let mut text = String::new();
//! while let Some(event) = answer.next().await {
//!     if let ModelEvent::Text(more) = event { text += &more; }
//! }
//! assert_eq!(text, "Hello, world.");
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
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

pub use bridge::{CallError, retry_after};
pub use chat::ChatCompletions;
pub use config::{ConfigError, EndpointConfig, ModelsConfig, PriceConfig, TitleConfig, ToolConfig};
pub use conversation::{Call, Content, Conversation, Thought, ToolSpec, Turn};
pub use dialect::{ChunkError, Dialect, DialectName};
pub use event::{Citation, FinishReason, ModelEvent, Usage};
pub use failure::Failure;
pub use messages::Messages;
pub use metric::describe_metrics;
pub use recording::{FILE_BYTES_MAX, LINE_BYTES_MAX, Recording, RecordingError};
pub use request::{Recipient, request_body};
pub use responses::Responses;
pub use router::{Answer, Because, Chosen, CircuitState, Cost, Health, NoAnswer, Passed, Route, Router, Unanswered, Why};
pub use scribe::Scribe;
pub use tools::{ToolAnswer, Tools};
