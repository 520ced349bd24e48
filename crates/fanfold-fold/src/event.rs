//! The facts that a session consists of.

use serde::{Deserialize, Serialize};

use crate::tagged::tagged;
use crate::{AttemptId, Citation, FinishReason, MessageId, Part, Role, RunId, Sealed, Usage, Waiting};

tagged! {
    /// An immutable fact. What it means is decided by the fold, at its offset.
    pub enum Event {
        /// The session's first event.
        "session_opened" => SessionOpened(SessionOpened),
        /// It has a (new) title.
        "session_titled" => SessionTitled(SessionTitled),
        /// Nothing more is to be said in it. What is there stays readable.
        "session_closed" => SessionClosed(SessionClosed),
        /// Its content is gone and its id stays taken.
        "session_erased" => SessionErased(SessionErased),
        /// Somebody said something.
        "message_added" => MessageAdded(MessageAdded),
        /// An answer is wanted.
        "run_requested" => RunRequested(RunRequested),
        /// A worker has begun an attempt at a run. The last admitted one is current and fences the others.
        "run_started" => RunStarted(RunStarted),
        /// What the current attempt says.
        "output" => Output(Output),
        /// An attempt's worker is gone: the run is attempted again or, after its last attempt, ends as orphaned.
        "attempt_lost" => AttemptLost(AttemptLost),
        /// Somebody stopped a run. Ends it, whether it has started or not; what it said stays.
        "run_cancelled" => RunCancelled(RunCancelled),
        /// A node ends a run that no worker took in time.
        "run_failed" => RunFailed(RunFailed),
        /// A person adds to what a running run was asked.
        "run_steered" => RunSteered(RunSteered),
        /// A person has allowed or refused a tool call that waited for it.
        "tool_decided" => ToolDecided(ToolDecided),
        /// A fact of the application's own.
        "custom" => Custom(Custom),
    }
}

/// See [`Event::SessionOpened`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionOpened {
    /// Its first title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whose it is, as the application names people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// See [`Event::SessionTitled`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionTitled {
    /// The new title.
    pub title: String,
    /// Whether a program made it up. It replaces no title that a person gave.
    #[serde(default, skip_serializing_if = "is_false")]
    pub automatic: bool,
}

/// See [`Event::SessionClosed`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionClosed {
    /// Why, for readers.
    pub reason: String,
}

/// See [`Event::SessionErased`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionErased {}

/// See [`Event::MessageAdded`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageAdded {
    /// Its id, minted by the writer.
    pub message: MessageId,
    /// What it follows. Two messages with one parent are branches: an edit or another answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<MessageId>,
    /// In which role it speaks.
    pub role: Role,
    /// Who wrote it, as the application names people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it says.
    pub parts: Vec<Part>,
}

/// See [`Event::RunRequested`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequested {
    /// Its id, minted by who asks.
    pub run: RunId,
    /// The id of the message that the answer becomes.
    pub reply: MessageId,
    /// The message to answer, hence the reply's parent.
    pub prompt: MessageId,
    /// Which model is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether runs that are open now are cancelled instead of waited for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub interrupt: bool,
    /// How many attempts it may take in all; 0 stands for [`ATTEMPTS_DEFAULT`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts_max: u32,
}

/// Attempts of a run that doesn't say how many it may take.
pub const ATTEMPTS_DEFAULT: u32 = 3;

/// See [`Event::RunStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Which run.
    pub run: RunId,
    /// The attempt's id, minted by who appends this.
    pub attempt: AttemptId,
    /// Who works on it.
    pub worker: String,
    /// The model that answers, if that is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether it goes on after the last step that the attempt before it has finished. Else it begins anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resume: bool,
}

/// See [`Event::Output`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Whose words these are.
    pub attempt: AttemptId,
    /// The producer's sequence number of the first of `said`, from 1; the others follow one by one.
    /// The fold skips what is at or below the attempt's last number: a repetition is harmless.
    pub seq: u64,
    /// What was said, in order. Nothing is a sign of life: the number only tells it from another one, and the fold does nothing with it.
    pub said: Vec<Said>,
}

/// See [`Event::AttemptLost`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptLost {
    /// Which run.
    pub run: RunId,
    /// Which attempt.
    pub attempt: AttemptId,
}

/// See [`Event::RunCancelled`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCancelled {
    /// Which run.
    pub run: RunId,
    /// Why, for readers.
    #[serde(default)]
    pub reason: String,
}

/// See [`Event::RunFailed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFailed {
    /// Which run.
    pub run: RunId,
    /// A word for programs, such as `no_worker`.
    pub code: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
}

/// See [`Event::RunSteered`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSteered {
    /// Which run.
    pub run: RunId,
    /// What the person adds.
    pub text: String,
}

/// See [`Event::ToolDecided`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolDecided {
    /// The message that holds the call.
    pub message: MessageId,
    /// Which call.
    pub call: String,
    /// Allowed or refused.
    pub approved: bool,
    /// Why, for the model and for readers.
    #[serde(default)]
    pub reason: String,
}

/// See [`Event::Custom`]. The state keeps the newest of each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// The application's word for it.
    pub kind: String,
    /// How to read the payload, as a media type.
    pub content_type: String,
    /// The application's bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

tagged! {
    /// One thing that an attempt says.
    pub enum Said {
        /// More of the answer.
        "text" => Text(TextDelta),
        /// More of the reasoning before it.
        "reasoning" => Reasoning(ReasoningDelta),
        /// The model calls a tool.
        "tool_call" => ToolCall(ToolCallStarted),
        /// More of a call's arguments, as JSON text.
        "tool_arguments" => ToolArguments(ToolArguments),
        /// A call's arguments are complete.
        "tool_ready" => ToolReady(ToolReady),
        /// What a tool gave back.
        "tool_result" => ToolResult(ToolResult),
        /// A source of the answer.
        "citation" => Citation(Citation),
        /// The model has stopped for now; tool results or a further step follow.
        "step_finished" => StepFinished(StepFinished),
        /// What a provider wants back of its reasoning.
        "sealed" => Sealed(Sealed),
        /// The attempt is put down until a person has decided about these calls; then the run waits for a worker again.
        "waiting" => Waiting(Waiting),
        /// What the run has cost so far, in all: a later one replaces an earlier one.
        "usage" => Usage(Usage),
        /// Terminal: the answer is complete.
        "completed" => Completed(Completed),
        /// The attempt failed: the run is attempted again if that may help and an attempt is left, else it ends.
        "failed" => Failed(Failed),
    }
}

/// See [`Said::Text`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextDelta {
    /// The text to append.
    pub text: String,
}

/// See [`Said::Reasoning`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasoningDelta {
    /// The text to append.
    pub text: String,
}

/// See [`Said::ToolCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallStarted {
    /// The model's id of the call, unique within the message.
    pub call: String,
    /// Which tool.
    pub name: String,
    /// Whether a person must allow it first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_approval: bool,
}

/// See [`Said::ToolArguments`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolArguments {
    /// Which call.
    pub call: String,
    /// The text to append.
    pub text: String,
}

/// See [`Said::ToolReady`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolReady {
    /// Which call.
    pub call: String,
}

/// See [`Said::ToolResult`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Which call.
    pub call: String,
    /// What it gave back, as the model gets it.
    pub content: String,
    /// Whether that is an error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_error: bool,
}

/// See [`Said::StepFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFinished {
    /// Why the model stopped.
    pub reason: FinishReason,
}

/// See [`Said::Completed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// Why the model stopped.
    pub reason: FinishReason,
    /// How many of the steering texts the model has read. Where the reply has more by now, this is a step's end and not the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steered: Option<u32>,
}

/// See [`Said::Failed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Whether another attempt may go better.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retryable: bool,
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}
