//! A conversation as the body of a request, in each dialect.
//!
//! Every request asks for a stream, with usage. What a dialect can't say is said in words: a document of another type as a link.

mod chat;
mod messages;
mod responses;

use serde_json::{Map, Value};

use crate::{Content, Conversation, DialectName, Thought, ToolSpec};

/// Stands where a provider insists that the user begins, and nobody did.
const BEGIN: &str = "(The conversation begins.)";

/// Whom a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// How it is spoken to.
    pub dialect: DialectName,
    /// What it calls the model.
    pub model: &'a str,
    /// Whose seals it can open; those of others are left out, with their thoughts.
    pub seals: &'a str,
    /// In which field it reads what it has thought.
    pub reasoning_field: Option<&'a str>,
    /// Its own fields: they are added, and win over what stands there.
    pub fields: &'a Map<String, Value>,
}

/// The body of a request.
pub fn request_body(to: &Recipient<'_>, conversation: &Conversation, tools: &[ToolSpec]) -> Value {
    let mut body = match to.dialect {
        DialectName::ChatCompletions => chat::body(to, conversation, tools),
        DialectName::Responses => responses::body(to, conversation, tools),
        DialectName::Messages => messages::body(to, conversation, tools),
    };
    body.insert("model".into(), to.model.into());
    body.insert("stream".into(), true.into());
    body.extend(to.fields.clone());
    Value::Object(body)
}

/// A thought as its provider gave it, if this is the one.
fn sealed(to: &Recipient<'_>, thought: &Thought) -> Option<Map<String, Value>> {
    let (by, data) = thought.seal.as_ref()?;
    let sealed = (by == to.seals).then(|| serde_json::from_str(data).ok())?;
    sealed.map(object).filter(|sealed| !sealed.is_empty())
}

/// A file as a link, where only words can stand.
fn link(url: &str, media_type: &str, name: Option<&str>) -> String {
    format!("[{}]({url})", name.unwrap_or(media_type))
}

fn is_image(media_type: &str) -> bool {
    media_type.starts_with("image/")
}

/// Everything as one text, if there are only words.
fn only_words(said: &[Content]) -> Option<String> {
    let words: Option<Vec<&str>> =
        said.iter().map(|piece| if let Content::Text(text) = piece { Some(&**text) } else { None }).collect();
    words.map(|words| words.join("\n\n"))
}

/// An object of JSON that a macro has written.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
