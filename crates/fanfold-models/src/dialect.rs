//! The contract of a parser for one provider's stream, and which parser a stream needs.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;
use crate::surrogate::Ambiguous;
use crate::{ChatCompletions, Failure, Messages, ModelEvent, Responses};

/// Reads one stream of one provider, chunk by chunk.
///
/// ```text
/// chunk chunk … chunk  end          a response ends → Finished when the stream does, StepFinished when another begins
/// chunk … error ·      end          the provider's error → Failed at once
/// chunk …              end          no response ended → Failed("stream_ended")
/// chunk …              fail         the connection broke → Failed(what the caller says)
/// ```
///
/// After the terminal event nothing more is said, whatever comes; chunks are still checked for being JSON.
/// A chunk that is no JSON object leaves the parser as it was: the next chunk may come, or [`Dialect::fail`].
pub trait Dialect: Send {
    /// Reads the next chunk, the JSON of one event. `[DONE]` and blank text are passed over.
    fn chunk(&mut self, json: &str, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError>;

    /// The stream is over.
    fn end(&mut self, out: &mut Vec<ModelEvent>);

    /// The stream broke, as its reader knows.
    fn fail(&mut self, failure: Failure, out: &mut Vec<ModelEvent>);

    /// Whether the response at hand has ended: only usage or another response can follow. A stream that breaks off here is
    /// complete, so its reader says [`Dialect::end`] and not [`Dialect::fail`].
    fn is_finished(&self) -> bool;

    /// Events passed over so far because their kind is not known.
    fn ignored(&self) -> u64;
}

/// Why a chunk can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// No JSON, or nested too deeply.
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no event.
    #[error("not a JSON object")]
    NotObject,
    /// Half of a character, next to characters that such halves are told apart by. No provider is known to write this.
    #[error("half of a UTF-16 surrogate pair next to characters above U+10F800")]
    HalfCharacter,
    /// More in one response than any model says: tool calls or pieces of content.
    #[error("more than {limit} {what} in one stream")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

impl From<Ambiguous> for ChunkError {
    fn from(_: Ambiguous) -> Self {
        Self::HalfCharacter
    }
}

/// Which dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialectName {
    /// OpenAI's chat completions, and what many others serve like them.
    ChatCompletions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

impl DialectName {
    /// Guesses from one chunk; nothing where it could be several or none.
    pub fn detect(chunk: &Value) -> Option<Self> {
        match json::text(chunk, "type") {
            kind if kind.starts_with("response.") => return Some(Self::Responses),
            "message_start" | "message_delta" | "message_stop" | "ping" => return Some(Self::Messages),
            "content_block_start" | "content_block_delta" | "content_block_stop" => return Some(Self::Messages),
            _ => {}
        }
        let chat = json::text(chunk, "object").starts_with("chat.completion");
        if chat || json::some(chunk, "choices").is_some_and(Value::is_array) {
            return Some(Self::ChatCompletions);
        }
        None
    }

    /// What the errors of a provider look like that said nothing else: several dialects write them alike.
    pub(crate) fn guess_error(chunk: &Value) -> Option<Self> {
        let error = json::some(chunk, "error");
        match (json::text(chunk, "type"), error) {
            ("error", _) if json::some(chunk, "sequence_number").is_some() => Some(Self::Responses),
            ("error", Some(error)) if json::some(error, "code").is_none() => Some(Self::Messages),
            ("error", _) => Some(Self::Responses),
            (_, error) => error.map(|_| Self::ChatCompletions),
        }
    }

    /// A parser for one stream.
    pub fn parser(self) -> Box<dyn Dialect> {
        match self {
            Self::ChatCompletions => Box::new(ChatCompletions::default()),
            Self::Responses => Box::new(Responses::default()),
            Self::Messages => Box::new(Messages::default()),
        }
    }
}

impl fmt::Display for DialectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChatCompletions => "chat completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
        })
    }
}
