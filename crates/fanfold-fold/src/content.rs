//! What messages consist of.

use serde::{Deserialize, Serialize};

use crate::tagged::tagged;

/// In which role a message speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// A tool, where the application keeps its results as messages.
    Tool,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It ran into the limit of tokens.
    Length,
    /// It wants tools to be run.
    ToolCalls,
    /// Its provider withheld the rest.
    ContentFilter,
    /// Another word of its provider's.
    Other(String),
}

tagged! {
    /// A piece of a message.
    pub enum Part {
        /// Text, as Markdown where a model wrote it.
        "text" => Text(Text),
        /// What the model thought before it answered.
        "reasoning" => Reasoning(Reasoning),
        /// A tool call with all that became of it.
        "tool_call" => ToolCall(ToolCall),
        /// A source. Doesn't interrupt the text around it.
        "citation" => Citation(Citation),
        /// An image or file by reference.
        "file" => File(FileRef),
        /// What a person added while the run went on.
        "steering" => Steering(Steering),
        /// The model stopped here and went on afterwards.
        "step" => Step(Step),
        /// What a provider wants back of its reasoning while the run goes on. Nobody else can read it.
        "sealed" => Sealed(Sealed),
    }
}

/// See [`Part::Text`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Text {
    /// The text so far.
    pub text: String,
}

/// See [`Part::Reasoning`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reasoning {
    /// The text so far.
    pub text: String,
}

/// See [`Part::ToolCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The model's id of the call.
    pub call: String,
    /// Which tool.
    pub name: String,
    /// The arguments so far, as JSON text.
    pub arguments: String,
    /// How far it has come.
    pub status: ToolStatus,
    /// What it gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// How far a tool call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// Its arguments are being written.
    Writing,
    /// Its arguments are being written; a person must allow it afterwards.
    WritingForApproval,
    /// A person must allow it.
    AwaitingApproval,
    /// It may be run.
    Ready,
    /// A person refused it.
    Refused,
    /// It gave a result.
    Done,
    /// It gave an error.
    Failed,
}

/// A source that an answer rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Citation {
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Which document it is, where it has no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The words it rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// See [`Part::File`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRef {
    /// Where it is. Fanfold keeps no files.
    pub url: String,
    /// Its media type; `image/…` is shown as an image.
    pub media_type: String,
    /// What to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// See [`Part::Steering`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// What was added.
    pub text: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// See [`Part::Step`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Why the model stopped.
    pub reason: FinishReason,
}

/// See [`Part::Sealed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Whose it is, in the words of who will send it back.
    pub by: String,
    /// As the provider gave it. Where it seals a text, that is the reasoning right before it.
    pub data: String,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Waiting {
    /// Tool calls of its reply that a person must allow.
    pub calls: Vec<String>,
    /// Milliseconds since 1970 when nobody waits any longer: then a node refuses them.
    pub until_ms: u64,
}

/// Tokens of a run, as its provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Tokens written, reasoning included.
    pub output: u64,
    /// Tokens of reasoning.
    pub reasoning: u64,
    /// Tokens read from the provider's cache.
    pub cached_input: u64,
}

impl Part {
    /// A part of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into() })
    }

    /// The text that appends go to, if this part has one.
    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::Text(part) => Some(&part.text),
            Self::Reasoning(part) => Some(&part.text),
            Self::ToolCall(part) => Some(&part.arguments),
            Self::Citation(_) | Self::File(_) | Self::Steering(_) | Self::Step(_) | Self::Sealed(_) => None,
            Self::Unknown { .. } => None,
        }
    }

    /// The same, to append to.
    pub(crate) fn stream_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(part) => Some(&mut part.text),
            Self::Reasoning(part) => Some(&mut part.text),
            Self::ToolCall(part) => Some(&mut part.arguments),
            Self::Citation(_) | Self::File(_) | Self::Steering(_) | Self::Step(_) | Self::Sealed(_) => None,
            Self::Unknown { .. } => None,
        }
    }

    /// Bytes of content, as counted against a session's limit.
    pub fn bytes(&self) -> usize {
        let held = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Self::Text(part) => part.text.len(),
            Self::Reasoning(part) => part.text.len(),
            Self::ToolCall(part) => part.call.len() + part.name.len() + part.arguments.len() + held(&part.result),
            Self::Citation(part) => held(&part.url) + held(&part.title) + held(&part.source) + held(&part.quote),
            Self::File(part) => part.url.len() + part.media_type.len() + held(&part.name),
            Self::Steering(part) => part.text.len() + held(&part.author),
            Self::Step(part) => match &part.reason {
                FinishReason::Other(word) => word.len(),
                FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls | FinishReason::ContentFilter => 0,
            },
            Self::Sealed(part) => part.by.len() + part.data.len(),
            Self::Unknown { kind, body } => kind.len() + unknown_bytes(body),
        }
    }
}

/// What a later release's fields weigh: their texts, and eight bytes for whatever else there is.
fn unknown_bytes(value: &rmpv::Value) -> usize {
    use rmpv::Value;
    8 + match value {
        Value::String(text) => text.as_bytes().len(),
        Value::Binary(bytes) | Value::Ext(_, bytes) => bytes.len(),
        Value::Array(values) => values.iter().map(unknown_bytes).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| unknown_bytes(key) + unknown_bytes(value)).sum(),
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::F32(_) | Value::F64(_) => 0,
    }
}
