//! What a recorded chat completion says, read straight from its JSON: a second opinion on the parser.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

#[derive(Debug, Default, PartialEq)]
pub struct Expected {
    pub text: String,
    pub reasoning: String,
    /// Name and arguments by the call's place.
    pub tools: BTreeMap<u64, (String, String)>,
    pub finish: String,
}

/// `None` if it is no recording of chat completions.
pub fn expected(file: &Path) -> Option<Expected> {
    let mut expected = Expected::default();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let chunk: Value = serde_json::from_str(line).unwrap();
        let choices = chunk.get("choices")?.as_array()?;
        for choice in choices {
            let delta = &choice["delta"];
            expected.text.push_str(delta["content"].as_str().unwrap_or(""));
            expected.reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or(""));
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let tool = expected.tools.entry(call["index"].as_u64().unwrap()).or_default();
                let name = call["function"]["name"].as_str().unwrap_or("");
                if tool.0.is_empty() {
                    tool.0 = name.to_owned();
                }
                tool.1.push_str(call["function"]["arguments"].as_str().unwrap_or(""));
            }
            if let Some(finish) = choice["finish_reason"].as_str() {
                expected.finish = finish.to_owned();
            }
        }
    }
    Some(expected)
}
