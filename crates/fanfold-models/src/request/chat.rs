//! `POST /v1/chat/completions`

use serde_json::{Map, Value, json};

use super::{Recipient, is_image, link, object, only_words};
use crate::{Call, Content, Conversation, Thought, ToolSpec, Turn};

pub(super) fn body(to: &Recipient<'_>, conversation: &Conversation, tools: &[ToolSpec]) -> Map<String, Value> {
    let mut messages = Vec::new();
    if !conversation.system.is_empty() {
        messages.push(json!({ "role": "system", "content": conversation.system }));
    }
    conversation.turns.iter().for_each(|turn| add(to, turn, &mut messages));
    let mut body = object(json!({ "messages": messages, "stream_options": { "include_usage": true } }));
    // Some servers refuse an empty list.
    if !tools.is_empty() {
        body.insert("tools".into(), tools.iter().map(tool).collect());
    }
    body
}

fn add(to: &Recipient<'_>, turn: &Turn, messages: &mut Vec<Value>) {
    match turn {
        Turn::User(said) => {
            // Plain text where it can be: smaller servers take nothing else.
            let content = only_words(said).map_or_else(|| said.iter().map(part).collect(), Value::from);
            messages.push(json!({ "role": "user", "content": content }));
        }
        Turn::Assistant { thoughts, text, calls } => {
            let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.as_str().into() };
            let mut message = json!({ "role": "assistant", "content": content });
            if !calls.is_empty() {
                message["tool_calls"] = calls.iter().map(call).collect();
            }
            // Who wants it misses it in any message where it isn't, if only as an empty text.
            if let Some(field) = to.reasoning_field {
                message[field] = thoughts.iter().map(|Thought { text, .. }| text.as_str()).collect::<String>().into();
            }
            messages.push(message);
            let result = |call: &Call| json!({ "role": "tool", "tool_call_id": call.id, "content": call.result });
            messages.extend(calls.iter().map(result));
        }
    }
}

fn part(content: &Content) -> Value {
    match content {
        Content::Text(text) => json!({ "type": "text", "text": text }),
        Content::File { url, media_type, .. } if is_image(media_type) => {
            json!({ "type": "image_url", "image_url": { "url": url } })
        }
        Content::File { url, media_type, name } => json!({ "type": "text", "text": link(url, media_type, name.as_deref()) }),
    }
}

fn call(call: &Call) -> Value {
    json!({ "type": "function", "id": call.id, "function": { "name": call.name, "arguments": call.arguments } })
}

fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    json!({ "type": "function", "function": { "name": name, "description": description, "parameters": parameters } })
}
