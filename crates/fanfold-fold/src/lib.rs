//! What a session is: a pure, total function from its records to its state, and from state to state as deltas.
//!
//! **fold** ← wire, log, store, runs, models ← session ← services
//!
//! # Contract
//!
//! - [`State::decide`] answers early what is surely wrong and says which record to append.
//! - [`State::apply`] judges a record at its offset: [`Verdict`] for its sender, [`Delta`] for its readers. It is total: no
//!   record stops it, unknown events are kept and change nothing.
//! - [`View::apply`] of that delta leads a reader's view to the node's; [`Delta::merge`] makes many deltas one.
//! - [`Record::encode`] and [`State::encode`] are frozen formats with a version and golden files.
//!
//! # Invariants
//!
//! I3 pure fold: no clock, randomness, I/O or map order in here; two nodes of one [`FOLD_VERSION`] encode equal states to
//! equal bytes. I4 no locks: what counts is decided here, in log order. I5 bounded: a session has limits on content,
//! messages, open runs and custom kinds, and says `session_full`. I8 every run ends: one function ends a run, and asserts it.
//!
//! # Not here
//!
//! Offsets in the state (they stand beside it), presence and typing (never logged), encodings for readers (`fanfold-wire`).
//!
//! # Failure
//!
//! Bytes that are no record are a [`RecordError`]: the session marks itself degraded at that offset and goes on. A delta that
//! doesn't fit a view is a [`DeltaError`]: the reader asks for a snapshot.
//!
//! # Example
//!
//! ```
//! use fanfold_fold::{Action, Command, SessionOpened, State, Verdict};
//!
//! let mut state = State::default();
//! let open = Command { id: "c1".parse()?, at_ms: 0, by: None, action: Action::Open(SessionOpened::default()) };
//! let record = state.decide(&open).expect("an empty session can be opened");
//! let (verdict, delta) = state.apply(&record);
//! assert_eq!(verdict, Verdict::Applied);
//!
//! let mut reader = fanfold_fold::View::default();
//! reader.apply(&delta)?;
//! assert_eq!(&reader, state.view());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admit;
mod apply;
mod command;
mod content;
mod delta;
mod event;
mod id;
mod merge;
mod next;
mod output;
mod position;
mod record;
mod state;
mod tagged;
mod verdict;
mod view;

pub use admit::{CUSTOM_KINDS_MAX, NAME_BYTES_MAX, OPEN_RUNS_MAX, PARTS_MAX};
pub use command::{Action, Answer, Command, Parent, Send};
pub use content::{
    Citation, FileRef, FinishReason, Part, Reasoning, Role, Sealed, Steering, Step, Text, ToolCall, ToolStatus, Usage, Waiting,
};
pub use delta::{Delta, DeltaError, Op};
pub use event::{
    ATTEMPTS_DEFAULT, AttemptLost, Completed, Custom, Event, Failed, MessageAdded, Output, ReasoningDelta, RunCancelled,
    RunFailed, RunRequested, RunStarted, RunSteered, Said, SessionClosed, SessionErased, SessionOpened, SessionTitled,
    StepFinished, TextDelta, ToolArguments, ToolCallStarted, ToolDecided, ToolReady, ToolResult,
};
pub use id::{AttemptId, CommandId, ID_CHARS_MAX, IdError, MessageId, RunId, SessionId, SessionKey, TenantId};
pub use merge::Merger;
pub use output::REPLY_PARTS_MAX;
pub use position::{CURSOR_CHARS, Cursor, CursorError, Epoch, FoldVersion, Offset};
pub use record::{RECORD_BYTES_MAX, RECORD_VERSION, Record, RecordError};
pub use state::{ATTEMPTS_REMEMBERED, COMMANDS_REMEMBERED, CONTENT_BYTES_MAX, FOLD_VERSION, MESSAGES_MAX, State, StateError};
pub use verdict::{Refusal, Settled, Verdict};
pub use view::{CustomValue, Message, Messages, Run, RunError, RunStatus, Session, SessionStatus, THOUGHTS_MAX, Thought, View};
