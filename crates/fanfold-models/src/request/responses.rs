//! `POST /v1/responses`

use serde_json::{Map, Value, json};

use super::{Recipient, is_image, object, sealed};
use crate::conversation::Piece;
use crate::{Call, Content, Conversation, ToolSpec, Turn};

pub(super) fn body(to: &Recipient<'_>, conversation: &Conversation, tools: &[ToolSpec]) -> Map<String, Value> {
    let mut input = Vec::new();
    conversation.turns.iter().for_each(|turn| add(to, turn, &mut input));
    // The session's history is in its log: the provider need not keep another.
    let mut body = object(json!({ "input": input, "store": false }));
    // What it keeps nowhere it must get back while it waits for results. A model that doesn't reason refuses to be asked for it.
    if to.fields.contains_key("reasoning") {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    }
    if !conversation.system.is_empty() {
        body.insert("instructions".into(), conversation.system.as_str().into());
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.iter().map(tool).collect());
    }
    body
}

fn add(to: &Recipient<'_>, turn: &Turn, input: &mut Vec<Value>) {
    match turn {
        Turn::User(said) => {
            let content: Vec<Value> = said.iter().map(part).collect();
            input.push(json!({ "type": "message", "role": "user", "content": content }));
        }
        Turn::Assistant { calls, .. } => {
            input.extend(turn.pieces().into_iter().filter_map(|piece| match piece {
                Piece::Thought(thought) => sealed(to, thought).map(Value::Object),
                Piece::Text(text) => {
                    let content = json!([{ "type": "output_text", "text": text }]);
                    Some(json!({ "type": "message", "role": "assistant", "content": content }))
                }
                Piece::Call(one) => Some(call(one)),
            }));
            input.extend(
                calls.iter().map(|call| json!({ "type": "function_call_output", "call_id": call.id, "output": call.result })),
            );
        }
    }
}

fn part(content: &Content) -> Value {
    match content {
        Content::Text(text) => json!({ "type": "input_text", "text": text }),
        Content::File { url, media_type, .. } if is_image(media_type) => json!({ "type": "input_image", "image_url": url }),
        Content::File { url, .. } => json!({ "type": "input_file", "file_url": url }),
    }
}

fn call(call: &Call) -> Value {
    json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments })
}

fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    // Strict is the default here, and refuses most schemas.
    json!({ "type": "function", "name": name, "description": description, "parameters": parameters, "strict": false })
}
