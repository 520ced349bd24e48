//! A conversation as the body of a request, in each dialect.
//!
//! Every request asks for a stream, with usage. What a dialect can't say is said in words: a document of another type as a link.

mod chat;
mod messages;
mod responses;

use serde_json::{Map, Value};

use crate::{Content, Conversation, DialectName, ToolSpec};

/// Stands where a provider insists that the user begins, and nobody did.
const BEGIN: &str = "(The conversation begins.)";

/// The body of a request to `model`. `fields` are the endpoint's own: they are added, and win over what stands here.
pub fn request_body(
    dialect: DialectName,
    model: &str,
    conversation: &Conversation,
    tools: &[ToolSpec],
    fields: &Map<String, Value>,
) -> Value {
    let mut body = match dialect {
        DialectName::ChatCompletions => chat::body(conversation, tools),
        DialectName::Responses => responses::body(conversation, tools),
        DialectName::Messages => messages::body(conversation, tools),
    };
    body.insert("model".into(), model.into());
    body.insert("stream".into(), true.into());
    body.extend(fields.clone());
    Value::Object(body)
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
