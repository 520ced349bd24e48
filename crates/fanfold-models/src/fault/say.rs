//! What a model says, as each dialect writes it.

use serde_json::{Value, json};

use crate::DialectName;

/// One thing that the pretended model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// A piece of text.
    Text(String),
    /// A piece of reasoning.
    Reasoning(String),
    /// A tool call with its arguments in pieces.
    Call {
        /// Its id.
        id: String,
        /// Which tool.
        name: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Input and output tokens.
    Usage(u64, u64),
    /// It stops for lack of tokens, and not because it has said everything.
    CutOff,
    /// The provider fails, with this code and sentence, and nothing comes behind it.
    Error(String, String),
}

impl Say {
    /// Words as pieces of text, one each.
    pub fn words(text: &str) -> Vec<Self> {
        text.split_inclusive(' ').map(|word| Self::Text(word.to_owned())).collect()
    }

    /// A whole tool call.
    pub fn call(id: &str, name: &str, arguments: &str) -> Self {
        Self::Call { id: id.to_owned(), name: name.to_owned(), arguments: vec![arguments.to_owned()] }
    }
}

/// The chunks of a whole stream.
pub(super) fn chunks(dialect: DialectName, said: &[Say]) -> Vec<String> {
    let chunks = match dialect {
        DialectName::ChatCompletions => chat(said),
        DialectName::Responses => responses(said),
        DialectName::Messages => messages(said),
    };
    chunks.iter().map(Value::to_string).collect()
}

/// Why it stops.
enum Stop {
    Said,
    Calls,
    CutOff,
}

fn stop(said: &[Say]) -> Stop {
    if said.contains(&Say::CutOff) {
        Stop::CutOff
    } else if said.iter().any(|say| matches!(say, Say::Call { .. })) {
        Stop::Calls
    } else {
        Stop::Said
    }
}

fn usage(said: &[Say]) -> Option<(u64, u64)> {
    said.iter().rev().find_map(|say| if let Say::Usage(input, output) = say { Some((*input, *output)) } else { None })
}

fn chat(said: &[Say]) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "pretended", "choices": [choice] })
    };
    let mut chunks = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
    let mut calls = 0;
    for say in said {
        match say {
            Say::Text(text) => chunks.push(chunk(json!({ "content": text }), Value::Null)),
            Say::Reasoning(text) => chunks.push(chunk(json!({ "reasoning_content": text, "content": null }), Value::Null)),
            Say::Call { id, name, arguments } => {
                let begun =
                    json!({ "index": calls, "id": id, "type": "function", "function": { "name": name, "arguments": "" } });
                chunks.push(chunk(json!({ "tool_calls": [begun] }), Value::Null));
                for piece in arguments {
                    let more = json!({ "index": calls, "function": { "arguments": piece } });
                    chunks.push(chunk(json!({ "tool_calls": [more] }), Value::Null));
                }
                calls += 1;
            }
            Say::Usage(..) | Say::CutOff => {}
            Say::Error(code, message) => {
                chunks.push(json!({ "error": { "code": code, "message": message } }));
                return chunks;
            }
        }
    }
    let word = match stop(said) {
        Stop::Said => "stop",
        Stop::Calls => "tool_calls",
        Stop::CutOff => "length",
    };
    chunks.push(chunk(json!({}), word.into()));
    if let Some((input, output)) = usage(said) {
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output });
        chunks.push(json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": usage }));
    }
    chunks
}

fn responses(said: &[Say]) -> Vec<Value> {
    let mut chunks = vec![json!({ "type": "response.created", "response": { "id": "resp_1", "model": "pretended" } })];
    for (say, place) in said.iter().zip(0..) {
        match say {
            Say::Text(text) => {
                chunks.push(
                    json!({ "type": "response.output_text.delta", "output_index": place, "content_index": 0, "delta": text }),
                );
            }
            Say::Reasoning(text) => chunks.push(json!({
                "type": "response.reasoning_summary_text.delta", "output_index": place, "summary_index": 0, "delta": text
            })),
            Say::Call { id, name, arguments } => {
                let mut item =
                    json!({ "type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": "" });
                chunks.push(json!({ "type": "response.output_item.added", "output_index": place, "item": item }));
                chunks.extend(arguments.iter().map(
                    |piece| json!({ "type": "response.function_call_arguments.delta", "output_index": place, "delta": piece }),
                ));
                item["arguments"] = arguments.concat().into();
                chunks.push(json!({ "type": "response.output_item.done", "output_index": place, "item": item }));
            }
            Say::Usage(..) | Say::CutOff => {}
            Say::Error(code, message) => {
                chunks.push(json!({ "type": "error", "code": code, "message": message, "sequence_number": place }));
                return chunks;
            }
        }
    }
    let usage = usage(said).map(|(input, output)| json!({ "input_tokens": input, "output_tokens": output }));
    let (kind, details) = match stop(said) {
        Stop::Said | Stop::Calls => ("completed", Value::Null),
        Stop::CutOff => ("incomplete", json!({ "reason": "max_output_tokens" })),
    };
    let response = json!({ "id": "resp_1", "status": kind, "incomplete_details": details, "usage": usage });
    chunks.push(json!({ "type": format!("response.{kind}"), "response": response }));
    chunks
}

fn messages(said: &[Say]) -> Vec<Value> {
    let used = usage(said);
    let read = used.map(|(input, _)| json!({ "input_tokens": input }));
    let message = json!({ "id": "msg_1", "role": "assistant", "model": "pretended", "usage": read });
    let mut chunks = vec![json!({ "type": "message_start", "message": message })];
    for (say, place) in said.iter().zip(0..) {
        let (block, deltas) = match say {
            Say::Text(text) => (json!({ "type": "text", "text": "" }), vec![json!({ "type": "text_delta", "text": text })]),
            Say::Reasoning(text) => {
                (json!({ "type": "thinking", "thinking": "" }), vec![json!({ "type": "thinking_delta", "thinking": text })])
            }
            Say::Call { id, name, arguments } => {
                let delta = |piece: &String| json!({ "type": "input_json_delta", "partial_json": piece });
                (json!({ "type": "tool_use", "id": id, "name": name, "input": {} }), arguments.iter().map(delta).collect())
            }
            Say::Usage(..) | Say::CutOff => continue,
            Say::Error(code, message) => {
                chunks.push(json!({ "type": "error", "error": { "type": code, "message": message } }));
                return chunks;
            }
        };
        chunks.push(json!({ "type": "content_block_start", "index": place, "content_block": block }));
        chunks.extend(deltas.into_iter().map(|delta| json!({ "type": "content_block_delta", "index": place, "delta": delta })));
        chunks.push(json!({ "type": "content_block_stop", "index": place }));
    }
    let word = match stop(said) {
        Stop::Said => "end_turn",
        Stop::Calls => "tool_use",
        Stop::CutOff => "max_tokens",
    };
    let written = used.map(|(_, output)| json!({ "output_tokens": output }));
    chunks.push(json!({ "type": "message_delta", "delta": { "stop_reason": word }, "usage": written }));
    chunks.push(json!({ "type": "message_stop" }));
    chunks
}
