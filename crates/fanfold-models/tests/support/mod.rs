//! How the tests of dialects write down what was said.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use fanfold_models::{
    Answer, ChunkError, Citation, Conversation, DialectName, EndpointConfig, FinishReason, ModelEvent, ModelsConfig, Router, Turn,
};

/// The recordings, or nothing after saying so.
pub(crate) fn recordings(test: &str) -> Vec<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/streams");
    let folder = std::env::var_os("FANFOLD_TEST_STREAMS").map_or(beside, PathBuf::from);
    let files = fs::read_dir(&folder).map(|files| files.filter_map(|file| Some(file.ok()?.path())).collect());
    let mut files: Vec<PathBuf> = files.unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    if files.is_empty() {
        // Also in CI: a fresh clone has none. Past the test harness, which would keep it to itself.
        let line = format!("NOT RUN: {test}: no recordings in {}; set FANFOLD_TEST_STREAMS\n", folder.display());
        std::io::stderr().write_all(line.as_bytes()).expect("stderr");
        // The test command lists it at its end.
        if let Some(list) = std::env::var_os("FANFOLD_NOT_RUN") {
            let mut list = fs::OpenOptions::new().create(true).append(true).open(list).expect("the list");
            list.write_all(line.trim_start_matches("NOT RUN: ").as_bytes()).expect("the list");
        }
    }
    files
}

/// A question.
pub(crate) fn question() -> Conversation {
    Conversation::new("Be brief.", vec![Turn::user("Hello?")])
}

/// An endpoint of the model `m` with time-outs that a test can wait for.
pub(crate) fn endpoint(url: &str, dialect: DialectName) -> EndpointConfig {
    EndpointConfig {
        model: "m".into(),
        url: url.into(),
        dialect,
        connect_ms_max: 10_000,
        first_token_ms_max: 10_000,
        idle_ms_max: 10_000,
        total_ms_max: 20_000,
        ..EndpointConfig::default()
    }
}

/// A router whose back-offs take no time.
pub(crate) fn router(endpoints: Vec<EndpointConfig>) -> Router {
    Router::with_jitter(&ModelsConfig { endpoints, ..ModelsConfig::default() }, || 0.0).expect("a configuration")
}

/// Reads an answer to its end.
pub(crate) async fn read_answer(mut answer: Answer) -> Vec<ModelEvent> {
    let mut events = Vec::new();
    while let Some(event) = answer.next().await {
        events.push(event);
    }
    events
}

/// Reads a stream to its end.
pub(crate) fn read(dialect: DialectName, chunks: &[&str]) -> Result<Vec<ModelEvent>, ChunkError> {
    let mut parser = dialect.parser();
    let mut said = Vec::new();
    for chunk in chunks {
        parser.chunk(chunk, &mut said)?;
    }
    parser.end(&mut said);
    Ok(said)
}

/// Compares what a stream says with lines such as `text Hello`, after checking what holds for every stream.
pub(crate) fn check(dialect: DialectName, chunks: &[&str], expected: &[&str]) {
    let said = read(dialect, chunks).expect("readable chunks");
    let (last, before) = said.split_last().expect("a stream says something");
    assert!(last.is_terminal(), "the last event is terminal: {said:?}");
    assert!(!before.iter().any(ModelEvent::is_terminal), "there is one terminal event: {said:?}");
    let lines: Vec<String> = said.iter().map(line).collect();
    assert_eq!(lines, expected, "{chunks:#?}");
}

/// An event as a line.
pub(crate) fn line(event: &ModelEvent) -> String {
    match event {
        ModelEvent::Model(name) => format!("model {name}"),
        ModelEvent::Text(text) => format!("text {text}"),
        ModelEvent::Reasoning(text) => format!("reasoning {text}"),
        ModelEvent::Sealed { data, .. } => format!("sealed {data}"),
        ModelEvent::ToolCallStarted { call, name, by_provider: false } => format!("call {call} {name}"),
        ModelEvent::ToolCallStarted { call, name, by_provider: true } => format!("provider's call {call} {name}"),
        ModelEvent::ToolCallArguments { call, text } => format!("arguments {call} {text}"),
        ModelEvent::ToolCallReady { call } => format!("ready {call}"),
        ModelEvent::ToolResult { call, content, is_error: false } => format!("result {call} {content}"),
        ModelEvent::ToolResult { call, content, is_error: true } => format!("error result {call} {content}"),
        ModelEvent::Citation(Citation { url, title, source, quote }) => {
            let fields = [url, title, source, quote].map(|field| field.clone().unwrap_or_else(|| "-".into()));
            format!("citation {}", fields.join(" | "))
        }
        ModelEvent::StepFinished(reason) => format!("step {}", word(reason)),
        ModelEvent::Usage(usage) => {
            format!("usage {} {} {} {}", usage.input, usage.output, usage.reasoning, usage.cached_input)
        }
        ModelEvent::Finished(reason) => format!("finished {}", word(reason)),
        ModelEvent::Failed(failure) => {
            let again = if failure.retryable { "again" } else { "for good" };
            format!("failed {again} {}: {}", failure.code, failure.message)
        }
    }
}

fn word(reason: &FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop".into(),
        FinishReason::Length => "length".into(),
        FinishReason::ToolCalls => "tool calls".into(),
        FinishReason::ContentFilter => "content filter".into(),
        FinishReason::Other(word) => format!("other {word}"),
    }
}
