//! `POST /v1/messages`

use serde_json::{Map, Value, json};

use super::{BEGIN, Recipient, is_image, link, object, sealed};
use crate::conversation::Piece;
use crate::{Call, Content, Conversation, Thought, ToolSpec, Turn};

/// Tokens of an answer. The dialect demands a number; this one every model allows.
const OUTPUT_TOKENS: u64 = 4_096;

pub(super) fn body(to: &Recipient<'_>, conversation: &Conversation, tools: &[ToolSpec]) -> Map<String, Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    if !matches!(conversation.turns.first(), Some(Turn::User(_))) {
        messages.push(("user", vec![text(BEGIN)]));
    }
    conversation.turns.iter().for_each(|turn| add(to, turn, &mut messages));
    let messages: Vec<Value> = messages.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
    let mut body = object(json!({ "messages": messages, "max_tokens": OUTPUT_TOKENS }));
    if !conversation.system.is_empty() {
        body.insert("system".into(), conversation.system.as_str().into());
    }
    offer(conversation, tools, &mut body);
    body
}

/// Tools on offer. Where there are none, those of the history are declared all the same, as calls may not stand without.
fn offer(conversation: &Conversation, tools: &[ToolSpec], body: &mut Map<String, Value>) {
    let called = conversation.called();
    if !tools.is_empty() {
        body.insert("tools".into(), tools.iter().map(tool).collect());
    } else if !called.is_empty() {
        let declared = called.into_iter().map(|name| json!({ "name": name, "input_schema": { "type": "object" } })).collect();
        body.insert("tools".into(), declared);
        body.insert("tool_choice".into(), json!({ "type": "none" }));
    }
}

/// A turn; results of tools are the user's here, and what the user says next stands behind them.
fn add(to: &Recipient<'_>, turn: &Turn, messages: &mut Vec<(&str, Vec<Value>)>) {
    match turn {
        Turn::User(said) => push("user", said.iter().map(part), messages),
        Turn::Assistant { calls, .. } => {
            let said = turn.pieces().into_iter().filter_map(|piece| match piece {
                Piece::Thought(thought) => thinking(to, thought),
                Piece::Text(said) => Some(text(said)),
                Piece::Call(one) => Some(call(one)),
            });
            push("assistant", said, messages);
            if !calls.is_empty() {
                push("user", calls.iter().map(result), messages);
            }
        }
    }
}

/// A block of thinking. Its text stands beside the seal, unless the provider kept it to itself.
fn thinking(to: &Recipient<'_>, thought: &Thought) -> Option<Value> {
    let mut block = sealed(to, thought)?;
    if block.get("type").is_some_and(|kind| kind == "thinking") {
        block.entry("thinking").or_insert_with(|| thought.text.as_str().into());
    }
    Some(Value::Object(block))
}

fn push<'a>(role: &'a str, content: impl Iterator<Item = Value>, messages: &mut Vec<(&'a str, Vec<Value>)>) {
    match messages.last_mut() {
        Some((last, said)) if *last == role => said.extend(content),
        Some(_) | None => messages.push((role, content.collect())),
    }
}

fn part(content: &Content) -> Value {
    match content {
        Content::Text(said) => text(said),
        Content::File { url, media_type, .. } if is_image(media_type) => json!({ "type": "image", "source": source(url) }),
        Content::File { url, media_type, .. } if media_type == "application/pdf" => {
            json!({ "type": "document", "source": source(url) })
        }
        Content::File { url, media_type, name } => text(&link(url, media_type, name.as_deref())),
    }
}

/// Where a file is: an address, or the file itself where the address holds it.
fn source(url: &str) -> Value {
    match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None => json!({ "type": "url", "url": url }),
    }
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn call(call: &Call) -> Value {
    let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
}

fn result(call: &Call) -> Value {
    let mut block = json!({ "type": "tool_result", "tool_use_id": call.id, "content": call.result });
    if call.is_error {
        block["is_error"] = true.into();
    }
    block
}

fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    json!({ "name": name, "description": description, "input_schema": parameters })
}
