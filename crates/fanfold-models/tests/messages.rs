//! Anthropic's messages, in streams of our own making.

mod support;

use fanfold_models::DialectName;
use serde_json::{Value, json};

fn check(events: &[Value], expected: &[&str]) {
    let chunks: Vec<String> = events.iter().map(Value::to_string).collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    support::check(DialectName::Messages, &chunks, expected);
}

fn start(model: &str, usage: Value) -> Value {
    json!({"type": "message_start", "message": {"model": model, "content": [], "usage": usage}})
}

fn open(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn close(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn stop(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}})
}

fn input(index: u64, text: &str) -> Value {
    delta(index, json!({"type": "input_json_delta", "partial_json": text}))
}

#[test]
fn text_and_thoughts() {
    check(
        &[
            start(
                "m-1",
                json!({"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}),
            ),
            open(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "Hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
            close(0),
            open(1, json!({"type": "redacted_thinking", "data": "x"})),
            close(1),
            json!({"type": "ping"}),
            open(2, json!({"type": "text", "text": ""})),
            delta(2, json!({"type": "text_delta", "text": "Grüß"})),
            delta(2, json!({"type": "text_delta", "text": " Gott 👋"})),
            close(2),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ],
        &[
            "model m-1",
            "reasoning Hm",
            r#"sealed {"signature":"c2ln","type":"thinking"}"#,
            r#"sealed {"data":"x","type":"redacted_thinking"}"#,
            "text Grüß",
            "text  Gott 👋",
            "usage 17 9 0 5",
            "finished stop",
        ],
    );
}

#[test]
fn tool_calls() {
    let tool = |input: Value| json!({"type": "tool_use", "id": "a", "name": "f", "input": input});
    let expected = ["call a f", "arguments a {\"x\":", "arguments a 1}", "ready a", "finished tool calls"];
    let pieces = [open(0, tool(json!({}))), input(0, ""), input(0, "{\"x\":"), input(0, "1}"), close(0), stop("tool_use")];
    check(&pieces, &expected);
    let whole = ["call a f", "arguments a {\"x\":1}", "ready a", "finished tool calls"];
    check(&[open(0, tool(json!({"x": 1}))), close(0), stop("tool_use")], &whole);
    check(&[open(0, tool(json!({"x": 1}))), input(0, "{\"x\":1}"), close(0), stop("tool_use")], &whole);
    let empty = ["call a f", "arguments a {}", "ready a", "finished tool calls"];
    check(&[open(0, tool(json!({}))), input(0, ""), close(0), stop("tool_use")], &empty);
    let cut = ["call a f", "arguments a {\"x\":", "finished length"];
    check(&[open(0, tool(json!({}))), input(0, "{\"x\":"), close(0), stop("max_tokens")], &cut);
}

#[test]
fn tools_that_the_provider_runs() {
    let call = |id: &str| open(0, json!({"type": "server_tool_use", "id": id, "name": "web_fetch", "input": {}}));
    let result = |content: Value| open(1, json!({"type": "web_fetch_tool_result", "tool_use_id": "s", "content": content}));
    check(
        &[call("s"), input(0, "{}"), close(0), result(json!({"type": "web_fetch_result"})), close(1), stop("end_turn")],
        &[
            "provider's call s web_fetch",
            "arguments s {}",
            "ready s",
            "result s {\"type\":\"web_fetch_result\"}",
            "finished stop",
        ],
    );
    let error = json!({"type": "web_fetch_tool_result_error"});
    check(
        &[call("s"), close(0), result(error), stop("end_turn")],
        &[
            "provider's call s web_fetch",
            "arguments s {}",
            "ready s",
            "error result s {\"type\":\"web_fetch_tool_result_error\"}",
            "finished stop",
        ],
    );
    let remote = json!({"type": "mcp_tool_result", "tool_use_id": "s", "is_error": true, "content": "No"});
    check(
        &[
            open(0, json!({"type": "mcp_tool_use", "id": "s", "name": "f", "input": {}})),
            close(0),
            open(1, remote),
            stop("end_turn"),
        ],
        &["provider's call s f", "arguments s {}", "ready s", "error result s No", "finished stop"],
    );
}

#[test]
fn citations() {
    let cite = |citation: Value| delta(0, json!({"type": "citations_delta", "citation": citation}));
    check(
        &[
            cite(json!({"type": "web_search_result_location", "url": "u", "title": "T", "cited_text": "q"})),
            cite(json!({"type": "char_location", "document_title": "D", "file_id": "f", "cited_text": "q"})),
            cite(json!({"type": "search_result_location", "source": "s", "title": null})),
            stop("end_turn"),
        ],
        &["citation u | T | - | q", "citation - | D | f | q", "citation - | - | s | -", "finished stop"],
    );
}

#[test]
fn stop_reasons() {
    let check = |word: &str, expected: &str| check(&[stop(word)], &[expected]);
    check("end_turn", "finished stop");
    check("stop_sequence", "finished stop");
    check("max_tokens", "finished length");
    check("tool_use", "finished tool calls");
    check("refusal", "finished content filter");
    check("pause_turn", "finished other pause_turn");
}

#[test]
fn errors_are_the_end() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}});
    let text = || delta(0, json!({"type": "text_delta", "text": "a"}));
    check(&[text(), error, text(), stop("end_turn")], &["text a", "failed again overloaded_error: Busy"]);
    check(&[text()], &["text a", "failed again stream_ended: The model's stream ended before its answer did."]);
}

#[test]
fn several_messages_are_steps() {
    let call = |id: &str| open(0, json!({"type": "tool_use", "id": id, "name": "f", "input": {}}));
    check(
        &[
            start("m", json!({"input_tokens": 1, "output_tokens": 1})),
            call("a"),
            close(0),
            stop("tool_use"),
            start("m", json!({"input_tokens": 2, "output_tokens": 1})),
            call("a"),
            close(0),
            stop("tool_use"),
        ],
        &[
            "model m",
            "call a f",
            "arguments a {}",
            "ready a",
            "step tool calls",
            "call a.2 f",
            "arguments a.2 {}",
            "ready a.2",
            "usage 3 2 0 0",
            "finished tool calls",
        ],
    );
}

#[test]
fn unknown_events_are_counted() {
    let mut parser = DialectName::Messages.parser();
    let mut said = Vec::new();
    for event in
        [json!({}), json!({"type": "new"}), open(0, json!({"type": "new"})), delta(0, json!({"type": "new"})), input(7, "x")]
    {
        parser.chunk(&event.to_string(), &mut said).expect("readable");
    }
    assert_eq!((parser.ignored(), said.len()), (5, 0));
}
