//! What a model says, whoever serves it.

use crate::Failure;

/// One thing that a model says. Plain data, free of any provider's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelEvent {
    /// Which model answers, as its provider calls it. Said when it is first known, and again if it changes.
    Model(String),
    /// More of the answer; never empty.
    Text(String),
    /// More of the reasoning before it; never empty.
    Reasoning(String),
    /// What the provider wants back of its reasoning before it gets results of tools: opaque, and nobody's to read. Where it seals a text,
    /// that is the reasoning said since the last event of another kind.
    Sealed {
        /// Which endpoint and model it came from. Empty where it came from none, as in a recording.
        by: String,
        /// As the provider gave it, as JSON text.
        data: String,
    },
    /// The model calls a tool.
    ToolCallStarted {
        /// The call's id, unique in the stream.
        call: String,
        /// Which tool. Empty where the provider never said.
        name: String,
        /// Whether the provider runs the tool itself; then a result follows in the same stream.
        by_provider: bool,
    },
    /// More of a call's arguments, as JSON text (as free text for tools that take such); never empty.
    ToolCallArguments {
        /// Which call.
        call: String,
        /// The text to append.
        text: String,
    },
    /// A call's arguments are complete. Never said of a call that a limit of tokens cut off.
    ToolCallReady {
        /// Which call.
        call: String,
    },
    /// What a tool gave back that the provider ran.
    ToolResult {
        /// Which call.
        call: String,
        /// What it gave back: text, or JSON as text. Empty where the provider keeps it to itself.
        content: String,
        /// Whether that is an error.
        is_error: bool,
    },
    /// A source of the answer.
    Citation(Citation),
    /// The model has stopped for now, and another response follows in the same stream.
    StepFinished(FinishReason),
    /// What the stream has cost in all. At most once, right before the terminal event.
    Usage(Usage),
    /// Terminal: the answer is complete.
    Finished(FinishReason),
    /// Terminal: the answer broke off.
    Failed(Failure),
}

impl ModelEvent {
    /// Whether nothing can follow.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Finished(_) | Self::Failed(_) => true,
            Self::Model(_) | Self::Text(_) | Self::Reasoning(_) | Self::Sealed { .. } | Self::Citation(_) => false,
            Self::ToolCallStarted { .. } | Self::ToolCallArguments { .. } => false,
            Self::ToolCallReady { .. } | Self::ToolResult { .. } => false,
            Self::StepFinished(_) | Self::Usage(_) => false,
        }
    }
}

/// A source that an answer rests on. At least one field is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Citation {
    /// Where it is.
    pub url: Option<String>,
    /// What it is called: a title, or a file's name.
    pub title: Option<String>,
    /// Which document it is, where it has no address.
    pub source: Option<String>,
    /// The words it rests on.
    pub quote: Option<String>,
}

/// Tokens, as the provider counts them. What it doesn't say is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Tokens written, reasoning included.
    pub output: u64,
    /// Tokens of reasoning.
    pub reasoning: u64,
    /// Tokens read from a cache.
    pub cached_input: u64,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It ran into the limit of tokens.
    Length,
    /// It wants tools to be run.
    ToolCalls,
    /// Its provider withheld the rest, or it refused.
    ContentFilter,
    /// Another word of its provider's.
    Other(String),
}

impl FinishReason {
    /// Reads the words that providers use in chat completions and messages, in any case of letters.
    pub(crate) fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "stop" | "end_turn" | "stop_sequence" | "eos" | "complete" | "completed" => Self::Stop,
            "length" | "max_tokens" | "max_output_tokens" | "model_length" | "model_context_window_exceeded" => Self::Length,
            "tool_calls" | "tool_call" | "tool_use" | "function_call" => Self::ToolCalls,
            "content_filter" | "refusal" | "safety" | "sensitive" => Self::ContentFilter,
            _ => Self::Other(word.to_owned()),
        }
    }

    /// Whether the answer was cut off where it stood, so that its last tool call may be half written.
    pub(crate) fn cuts_off(&self) -> bool {
        match self {
            Self::Length | Self::ContentFilter => true,
            Self::Stop | Self::ToolCalls | Self::Other(_) => false,
        }
    }
}
