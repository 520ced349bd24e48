//! What a body is, whatever it is called: a stream of events, or an answer in one piece.
//!
//! Servers mislabel both, so the first bytes decide and the declared type doesn't.

use serde_json::{Value, json};

use super::sse::{Event, Sse, SseError};
use super::{CallError, whole};
use crate::{DialectName, LINE_BYTES_MAX, json};

/// Fields that an event may begin with.
const FIELDS: [&[u8]; 5] = [b"data", b"event", b"id", b"retry", b":"];

/// A body as it comes.
pub(super) struct Body {
    dialect: DialectName,
    kind: Kind,
    done: bool,
}

enum Kind {
    /// Not enough has come to tell.
    Unknown(Vec<u8>),
    Events(Sse),
    Whole(Vec<u8>),
}

impl Body {
    pub(super) fn new(dialect: DialectName) -> Self {
        Self { dialect, kind: Kind::Unknown(Vec::new()), done: false }
    }

    /// Whether `[DONE]` has come: nothing counts behind it.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the next bytes and gives the chunks that they complete.
    pub(super) fn read(&mut self, bytes: &[u8], chunks: &mut Vec<String>) -> Result<(), CallError> {
        match &mut self.kind {
            Kind::Unknown(begin) => {
                begin.extend_from_slice(bytes);
                let begin = std::mem::take(begin);
                self.kind = match told(&begin)? {
                    None => Kind::Unknown(begin),
                    Some(Told::Whole) => Kind::Whole(begin),
                    Some(Told::Events) => {
                        self.kind = Kind::Events(Sse::new(LINE_BYTES_MAX));
                        return self.read(&begin, chunks);
                    }
                };
                Ok(())
            }
            Kind::Events(sse) => {
                let mut events = Vec::new();
                let read = sse.read(bytes, &mut events);
                self.gather(events, chunks);
                read.map_err(unread)
            }
            Kind::Whole(answer) if answer.len() + bytes.len() > LINE_BYTES_MAX => Err(CallError::EventTooLarge(LINE_BYTES_MAX)),
            Kind::Whole(answer) => {
                answer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The body ended as it should: gives the chunks that were waiting for that.
    pub(super) fn end(&mut self, chunks: &mut Vec<String>) -> Result<(), CallError> {
        match &mut self.kind {
            Kind::Unknown(_) => Err(CallError::NotAnAnswer),
            Kind::Events(sse) => {
                let mut events = Vec::new();
                let read = sse.end(&mut events);
                // Half an event may stand here: a stream that was cut without its transport noticing.
                events.retain(|event| serde_json::from_str::<Value>(&event.data).is_ok());
                self.gather(events, chunks);
                read.map_err(unread)
            }
            Kind::Whole(answer) => {
                let answer: Value = serde_json::from_slice(answer).map_err(|_| CallError::NotAnAnswer)?;
                let written = whole::chunks(self.dialect, answer);
                chunks.extend(written.iter().map(Value::to_string));
                // Counts only if these chunks are no answer either.
                Err(CallError::NotAnAnswer)
            }
        }
    }

    fn gather(&mut self, events: Vec<Event>, chunks: &mut Vec<String>) {
        for event in events {
            self.done |= event.data.trim() == "[DONE]";
            if self.done {
                return;
            }
            chunks.push(if event.name == "error" { error(event.data) } else { event.data });
        }
    }
}

fn unread(error: SseError) -> CallError {
    match error {
        SseError::TooLarge => CallError::EventTooLarge(LINE_BYTES_MAX),
        SseError::NotUtf8 => CallError::BadChunk,
    }
}

/// An event that calls itself an error, in a shape that every parser knows for one.
fn error(data: String) -> String {
    match serde_json::from_str::<Value>(&data) {
        Ok(said) if json::some(&said, "error").is_some() || !json::text(&said, "type").is_empty() => data,
        Ok(said) => json!({ "type": "error", "error": said }).to_string(),
        Err(_) => json!({ "type": "error", "error": data }).to_string(),
    }
}

enum Told {
    Events,
    Whole,
}

/// Tells by the first bytes; nothing if they could still be anything.
fn told(begin: &[u8]) -> Result<Option<Told>, CallError> {
    let text = begin.strip_prefix("\u{feff}".as_bytes()).unwrap_or(begin).trim_ascii_start();
    let could_be = |field: &&[u8]| field.starts_with(text) || text.starts_with(field);
    match text.first() {
        // A byte order mark may be under way, or nothing but blank lines.
        None if begin.len() > 1_024 => Err(CallError::NotAnAnswer),
        None => Ok(None),
        Some(b'{') => Ok(Some(Told::Whole)),
        Some(_) if FIELDS.iter().any(|field| text.starts_with(field)) => Ok(Some(Told::Events)),
        Some(_) if FIELDS.iter().any(could_be) || "\u{feff}".as_bytes().starts_with(text) => Ok(None),
        Some(_) => Err(CallError::NotAnAnswer),
    }
}
