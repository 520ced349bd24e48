//! Real answers of real providers: what we make of them against a plain concatenation of what stands in them.
//!
//! The recordings folder is named by `FANFOLD_TEST_STREAMS`, or is `shared/streams` beside the workspace. Without it these tests
//! say that they did not run. Files that are not in the list below must play to exactly one end, no more is known of them.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fanfold_models::{FinishReason, ModelEvent, Recording, RecordingError, Usage};
use serde_json::Value;
use support::recordings;

/// What a recording says, put together.
#[derive(Debug, Default, PartialEq)]
struct Whole {
    text: String,
    reasoning: String,
    /// Name and arguments of each call by id.
    calls: BTreeMap<String, (String, String)>,
    results: Vec<String>,
    citations: usize,
    steps: usize,
    /// Input and output tokens.
    usage: Option<(u64, u64)>,
    /// The reason's word, or the failure's code.
    end: String,
}

fn played(recording: &Recording) -> Whole {
    let mut whole = Whole::default();
    for event in recording.play().flatten() {
        match event {
            ModelEvent::Model(_) | ModelEvent::ToolCallReady { .. } | ModelEvent::Sealed { .. } => {}
            ModelEvent::Text(text) => whole.text += &text,
            ModelEvent::Reasoning(text) => whole.reasoning += &text,
            ModelEvent::ToolCallStarted { call, name, .. } => assert_eq!(whole.calls.insert(call, (name, String::new())), None),
            ModelEvent::ToolCallArguments { call, text } => whole.calls.get_mut(&call).expect("a call").1 += &text,
            ModelEvent::ToolResult { content, .. } => whole.results.push(content),
            ModelEvent::Citation(_) => whole.citations += 1,
            ModelEvent::StepFinished(_) => whole.steps += 1,
            ModelEvent::Usage(Usage { input, output, .. }) => assert_eq!(whole.usage.replace((input, output)), None, "once"),
            ModelEvent::Finished(reason) => whole.end += word(&reason),
            ModelEvent::Failed(failure) => whole.end += &failure.code,
        }
    }
    whole
}

fn word(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}

/// The chunks as plain JSON, read without the crate.
fn chunks(content: &str) -> Vec<Value> {
    let json = content.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line).trim());
    json.filter(|line| !line.is_empty() && *line != "[DONE]").map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn chat(chunks: &[Value]) -> Whole {
    let mut whole = Whole::default();
    let mut by_index: BTreeMap<u64, String> = BTreeMap::new();
    let mut sources: Vec<&Value> = Vec::new();
    for chunk in chunks {
        let delta = &chunk["choices"][0]["delta"];
        whole.text += delta["content"].as_str().unwrap_or("");
        whole.reasoning += delta["reasoning_content"].as_str().or(delta["reasoning"].as_str()).unwrap_or("");
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap_or(0);
            if let Some(name) = call["function"]["name"].as_str().filter(|name| !name.is_empty()) {
                let id = call["id"].as_str().expect("an id beside the name").to_owned();
                by_index.insert(index, id.clone());
                whole.calls.insert(id, (name.to_owned(), String::new()));
            }
            let call_in = whole.calls.get_mut(&by_index[&index]).expect("begun");
            call_in.1 += call["function"]["arguments"].as_str().unwrap_or("");
        }
        for source in chunk["citations"].as_array().into_iter().flatten() {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        if let Some(input) = chunk["usage"]["prompt_tokens"].as_u64() {
            whole.usage = Some((input, chunk["usage"]["completion_tokens"].as_u64().expect("both")));
        }
        if let Some(reason) = chunk["choices"][0]["finish_reason"].as_str() {
            reason.clone_into(&mut whole.end);
        }
    }
    whole.citations = sources.len();
    whole
}

fn responses(chunks: &[Value]) -> Whole {
    let mut whole = Whole::default();
    for event in chunks {
        match event["type"].as_str().expect("a type") {
            "response.output_text.delta" => whole.text += event["delta"].as_str().expect("text"),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                whole.reasoning += event["delta"].as_str().expect("text");
            }
            "response.output_item.done" => response_item(&event["item"], &mut whole),
            "response.output_text.annotation.added" => whole.citations += 1,
            "response.created" => whole.steps += 1,
            "response.completed" => {
                let output = event["response"]["output"].as_array().expect("items");
                let calls = output.iter().any(|item| item["type"] == "function_call");
                whole.end = if calls { "tool_calls" } else { "stop" }.to_owned();
                let usage = &event["response"]["usage"];
                let (input, output) = whole.usage.unwrap_or((0, 0));
                let more = |name: &str| usage[name].as_u64().expect("usage");
                whole.usage = Some((input + more("input_tokens"), output + more("output_tokens")));
            }
            "response.incomplete" => whole.end = "length".to_owned(),
            "error" => {
                whole.end = event["error"]["code"].as_str().expect("a code").to_owned();
                break;
            }
            _ => {}
        }
    }
    whole.steps -= 1;
    whole
}

fn response_item(item: &Value, whole: &mut Whole) {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    match item["type"].as_str().expect("a type") {
        "function_call" => {
            whole.calls.insert(text("call_id"), (text("name"), text("arguments")));
        }
        "file_search_call" => {
            let queries = serde_json::json!({"queries": item["queries"]}).to_string();
            whole.calls.insert(text("id"), ("file_search".to_owned(), queries));
            whole.results.push(if item["results"].is_null() { String::new() } else { item["results"].to_string() });
        }
        _ => {}
    }
}

fn messages(chunks: &[Value]) -> Whole {
    let mut whole = Whole::default();
    let mut blocks: BTreeMap<u64, String> = BTreeMap::new();
    let mut input = 0;
    for event in chunks {
        let (block, delta) = (&event["content_block"], &event["delta"]);
        match event["type"].as_str().expect("a type") {
            "message_start" => input = event["message"]["usage"]["input_tokens"].as_u64().expect("usage"),
            "content_block_start" if block["id"].is_string() => {
                let id = block["id"].as_str().expect("an id").to_owned();
                blocks.insert(event["index"].as_u64().expect("an index"), id.clone());
                whole.calls.insert(id, (block["name"].as_str().expect("a name").to_owned(), String::new()));
            }
            "content_block_start" if block["tool_use_id"].is_string() => whole.results.push(block["content"].to_string()),
            "content_block_delta" => {
                whole.text += delta["text"].as_str().unwrap_or("");
                whole.reasoning += delta["thinking"].as_str().unwrap_or("");
                whole.citations += usize::from(delta["citation"].is_object());
                if let Some(text) = delta["partial_json"].as_str() {
                    let id = &blocks[&event["index"].as_u64().expect("an index")];
                    whole.calls.get_mut(id).expect("begun").1 += text;
                }
            }
            "message_delta" => {
                let reason = delta["stop_reason"].as_str().expect("a reason");
                whole.end = reason.replace("end_turn", "stop").replace("tool_use", "tool_calls").replace("max_tokens", "length");
                let usage = &event["usage"];
                whole.usage =
                    Some((usage["input_tokens"].as_u64().unwrap_or(input), usage["output_tokens"].as_u64().expect("usage")));
            }
            _ => {}
        }
    }
    whole
}

/// What is known of a recording by looking at it, so that a mistake made twice doesn't go unnoticed.
struct Look {
    name: &'static str,
    end: &'static str,
    usage: Option<(u64, u64)>,
    tools: &'static [&'static str],
    citations: usize,
    steps: usize,
}

const PLAIN: Look = Look { name: "", end: "stop", usage: None, tools: &[], citations: 0, steps: 0 };

const LOOKS: [Look; 13] = [
    Look { name: "alibaba-tool-call", end: "tool_calls", usage: Some((295, 22)), tools: &["weather"], ..PLAIN },
    Look { name: "anthropic-text", usage: Some((12, 30)), ..PLAIN },
    Look { name: "anthropic-web-fetch-tool.1", usage: Some((4230, 446)), tools: &["web_fetch"], ..PLAIN },
    Look { name: "azure-model-router.1", usage: Some((15, 78)), ..PLAIN },
    Look { name: "deepseek-reasoning", usage: Some((18, 219)), ..PLAIN },
    Look { name: "deepseek-text", end: "length", usage: Some((13, 400)), ..PLAIN },
    Look { name: "deepseek-tool-call", end: "tool_calls", usage: Some((339, 83)), tools: &["weather"], ..PLAIN },
    Look { name: "groq-text", usage: Some((45, 662)), ..PLAIN },
    Look { name: "mistral-incremental-tool-call", end: "tool_calls", usage: Some((171, 14)), tools: &["webSearchTool"], ..PLAIN },
    Look { name: "openai-error.1", end: "insufficient_quota", ..PLAIN },
    Look { name: "openai-file-search-tool.1", usage: Some((3737, 621)), tools: &["file_search"], citations: 2, ..PLAIN },
    Look { name: "openai-reasoning-encrypted-content.1", usage: Some((914, 92)), tools: &["calculator"; 3], steps: 3, ..PLAIN },
    Look { name: "perplexity-citations", usage: Some((10, 336)), citations: 7, ..PLAIN },
];

/// The recordings that are in the list, opened.
fn known(test: &str) -> Vec<(&'static Look, PathBuf, Recording)> {
    let known = |file: PathBuf| {
        let look = LOOKS.iter().find(|look| file.file_stem().is_some_and(|name| name == look.name))?;
        let recording = Recording::open(&file).unwrap_or_else(|error| panic!("{error}"));
        Some((look, file, recording))
    };
    recordings(test).into_iter().filter_map(known).collect()
}

#[test]
fn recordings_say_what_stands_in_them() {
    for (look, file, recording) in known("recordings_say_what_stands_in_them") {
        let chunks = chunks(&fs::read_to_string(&file).expect("text"));
        let kind = chunks.iter().find_map(|chunk| chunk["type"].as_str()).unwrap_or("chat");
        let expected = match kind {
            "chat" => chat(&chunks),
            kind if kind.starts_with("response.") => responses(&chunks),
            _ => messages(&chunks),
        };
        assert_eq!(played(&recording), expected, "{}", look.name);
        assert_eq!(recording.ignored(), 0, "{}: every kind of event is known", look.name);
    }
}

#[test]
fn recordings_are_as_they_look() {
    for (look, _, recording) in known("recordings_are_as_they_look") {
        let whole = played(&recording);
        let names: Vec<&str> = whole.calls.values().map(|(name, _)| name.as_str()).collect();
        let said = (whole.end.as_str(), whole.usage, &names[..], whole.citations, whole.steps);
        assert_eq!(said, (look.end, look.usage, look.tools, look.citations, look.steps), "{}", look.name);
    }
}

#[test]
fn every_recording_has_one_end() {
    for file in recordings("every_recording_has_one_end") {
        let recording = match Recording::open(&file) {
            Err(RecordingError::UnknownFormat { .. }) => continue,
            opened => opened.unwrap_or_else(|error| panic!("{error}")),
        };
        let events: Vec<ModelEvent> = recording.play().flatten().collect();
        let ends = events.iter().filter(|event| event.is_terminal()).count();
        assert!(ends == 1 && events.last().is_some_and(ModelEvent::is_terminal), "{}: {ends} ends", file.display());
    }
}

#[test]
fn arguments_of_recorded_calls_are_json() {
    for (look, _, recording) in known("arguments_of_recorded_calls_are_json") {
        let events: Vec<ModelEvent> = recording.play().flatten().collect();
        for (call, (_, arguments)) in played(&recording).calls {
            serde_json::from_str::<Value>(&arguments).unwrap_or_else(|error| panic!("{}: {error}: {arguments}", look.name));
            let ready = ModelEvent::ToolCallReady { call };
            assert_eq!(events.iter().filter(|event| **event == ready).count(), 1, "{}: {ready:?}", look.name);
        }
    }
}
