//! An answer that came as one JSON document, though a stream was asked for: as the events of a stream.

use serde_json::{Value, json};

use crate::{DialectName, json};

/// The chunks that a stream would have had.
pub(super) fn chunks(dialect: DialectName, answer: Value) -> Vec<Value> {
    let error = json::some(&answer, "error").cloned();
    match (dialect, error) {
        // The parser reads whole answers too.
        (DialectName::ChatCompletions, _) => vec![answer],
        (DialectName::Responses, Some(error)) if json::some(&answer, "output").is_none() => {
            vec![json!({ "type": "error", "error": error })]
        }
        (DialectName::Responses, _) if json::text(&answer, "status") == "failed" => {
            vec![json!({ "type": "response.failed", "response": answer })]
        }
        (DialectName::Responses, _) if json::text(&answer, "object") == "response" => {
            vec![json!({ "type": "response.completed", "response": answer })]
        }
        (DialectName::Messages, None) if json::text(&answer, "type") == "message" => message(&answer),
        (DialectName::Messages, Some(error)) => vec![json!({ "type": "error", "error": error })],
        (DialectName::Responses | DialectName::Messages, _) => Vec::new(),
    }
}

fn message(answer: &Value) -> Vec<Value> {
    let mut chunks = vec![json!({ "type": "message_start", "message": answer })];
    for (block, index) in json::items(answer, "content").iter().zip(0..) {
        chunks.push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        chunks.push(json!({ "type": "content_block_stop", "index": index }));
    }
    chunks.push(json!({ "type": "message_delta", "delta": { "stop_reason": answer["stop_reason"] }, "usage": answer["usage"] }));
    chunks
}
