//! OpenAI's responses, in streams of our own making.

mod support;

use fanfold_models::DialectName;
use serde_json::{Value, json};

fn check(events: &[Value], expected: &[&str]) {
    let chunks: Vec<String> = events.iter().map(Value::to_string).collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    support::check(DialectName::Responses, &chunks, expected);
}

/// An event of the item at place 0.
fn event(kind: &str, fields: Value) -> Value {
    let mut event = json!({"type": format!("response.{kind}"), "item_id": "i", "output_index": 0});
    if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
        event.extend(fields);
    }
    event
}

fn text(text: &str) -> Value {
    event("output_text.delta", json!({"content_index": 0, "delta": text}))
}

fn added(item: Value) -> Value {
    event("output_item.added", json!({ "item": item }))
}

fn done(item: Value) -> Value {
    event("output_item.done", json!({ "item": item }))
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "output": []}})
}

#[test]
fn text_is_said_once() {
    let part = json!({"type": "output_text", "text": "ab", "annotations": []});
    let message = json!({"type": "message", "id": "i", "content": [part]});
    let whole = json!({"type": "response.completed", "response": {"status": "completed", "output": [message]}});
    let text_done = event("output_text.done", json!({"content_index": 0, "text": "ab"}));
    let part_done = event("content_part.done", json!({"content_index": 0, "part": part}));
    let once = ["text ab", "finished stop"];
    let streamed = [text("a"), text("b"), text_done.clone(), part_done.clone(), done(message.clone()), whole.clone()];
    check(&streamed, &["text a", "text b", "finished stop"]);
    check(&[text_done, part_done.clone(), done(message.clone()), whole.clone()], &once);
    check(&[part_done, done(message.clone()), whole.clone()], &once);
    check(&[done(message), whole.clone()], &once);
    check(&[whole], &once);
    let refusal = event("refusal.delta", json!({"content_index": 0, "delta": "No"}));
    check(&[refusal, event("refusal.done", json!({"refusal": "No"})), completed()], &["text No", "finished stop"]);
}

#[test]
fn parts_without_a_place() {
    let delta = |index: u64| json!({"type": "response.output_text.delta", "content_index": index, "delta": "a"});
    let done = |index: u64| json!({"type": "response.output_text.done", "content_index": index, "text": "a"});
    check(&[delta(0), done(0), done(1), delta(2), done(2), completed()], &["text a", "text a", "text a", "finished stop"]);
}

#[test]
fn reasoning() {
    let summary = |word: &str, fields: Value| event(&format!("reasoning_summary_text.{word}"), fields);
    let item = json!({"type": "reasoning", "id": "i", "summary": [{"text": "Hm"}, {"text": "Ah"}], "encrypted_content": "x"});
    let sealed = r#"sealed {"encrypted_content":"x","id":"i","summary":[{"text":"Hm"},{"text":"Ah"}],"type":"reasoning"}"#;
    check(
        &[
            event("reasoning_summary_part.added", json!({"summary_index": 0, "part": {"text": ""}})),
            summary("delta", json!({"summary_index": 0, "delta": "Hm"})),
            summary("done", json!({"summary_index": 0, "text": "Hm"})),
            summary("done", json!({"summary_index": 1, "text": "Ah"})),
            done(item.clone()),
            completed(),
        ],
        &["reasoning Hm", "reasoning Ah", sealed, "finished stop"],
    );
    check(&[done(item), completed()], &["reasoning Hm", "reasoning Ah", sealed, "finished stop"]);
    let open = [event("reasoning_text.delta", json!({"content_index": 0, "delta": "Hm"})), completed()];
    check(&open, &["reasoning Hm", "finished stop"]);
}

#[test]
fn function_calls() {
    let item = |arguments: &str| json!({"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": arguments});
    let delta = |text: &str| event("function_call_arguments.delta", json!({ "delta": text }));
    let all = event("function_call_arguments.done", json!({"arguments": "[1]"}));
    let streamed = ["call c f", "arguments c [1", "arguments c ]", "ready c", "finished tool calls"];
    check(&[added(item("")), delta("[1"), delta("]"), all.clone(), done(item("[1]")), completed()], &streamed);
    let whole = ["call c f", "arguments c [1]", "ready c", "finished tool calls"];
    check(&[added(item("")), all, done(item("[1]")), completed()], &whole);
    check(&[done(item("[1]")), completed()], &whole);
    check(&[done(item("")), completed()], &["call c f", "ready c", "finished tool calls"]);
    let incomplete = json!({"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
    check(&[added(item("")), delta("[1"), incomplete], &["call c f", "arguments c [1", "finished length"]);
    let custom = json!({"type": "custom_tool_call", "id": "i", "call_id": "c", "name": "f", "input": "free text"});
    check(&[done(custom), completed()], &["call c f", "arguments c free text", "ready c", "finished tool calls"]);
}

#[test]
fn ids_may_change_on_the_way() {
    let item = json!({"type": "function_call", "id": "other", "call_id": "c", "name": "f", "arguments": "[]"});
    let delta = json!({"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "third", "delta": "[]"});
    check(
        &[added(item.clone()), delta, done(item), completed()],
        &["call c f", "arguments c []", "ready c", "finished tool calls"],
    );
}

#[test]
fn tools_that_the_provider_runs() {
    let item = |kind: &str, fields: Value| {
        let mut item = json!({"type": kind, "id": "i", "status": "completed"});
        item.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        item
    };
    let search = item("file_search_call", json!({"queries": ["q"], "results": null}));
    check(
        &[
            added(item("file_search_call", json!({"queries": []}))),
            event("file_search_call.searching", json!({})),
            done(search),
            completed(),
        ],
        &["provider's call i file_search", "arguments i {\"queries\":[\"q\"]}", "ready i", "result i ", "finished stop"],
    );
    let web = item("web_search_call", json!({"action": {"type": "search", "query": "q"}}));
    let web_said = [
        "provider's call i web_search",
        "arguments i {\"query\":\"q\",\"type\":\"search\"}",
        "ready i",
        "result i ",
        "finished stop",
    ];
    check(&[added(item("web_search_call", json!({}))), done(web), completed()], &web_said);
    let code = item("code_interpreter_call", json!({"code": "a\n\"b\"", "outputs": [1]}));
    let more = |text: &str| event("code_interpreter_call_code.delta", json!({ "delta": text }));
    check(
        &[added(item("code_interpreter_call", json!({}))), more("a\n"), more("\"b\""), done(code.clone()), completed()],
        &[
            "provider's call i code_interpreter",
            "arguments i {\"code\":\"a\\n",
            "arguments i \\\"b\\\"",
            "arguments i \"}",
            "ready i",
            "result i [1]",
            "finished stop",
        ],
    );
    check(
        &[done(code), completed()],
        &[
            "provider's call i code_interpreter",
            "arguments i {\"code\":\"a\\n\\\"b\\\"\"}",
            "ready i",
            "result i [1]",
            "finished stop",
        ],
    );
    let remote = item("mcp_call", json!({"name": "f", "arguments": "{}", "error": "No", "output": null}));
    check(
        &[done(remote), completed()],
        &["provider's call i f", "arguments i {}", "ready i", "error result i No", "finished stop"],
    );
}

#[test]
fn annotations() {
    let url = json!({"type": "url_citation", "url": "u", "title": "T"});
    let file = json!({"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 3});
    let part = json!({"type": "output_text", "text": "a", "annotations": [url, file]});
    let said = ["text a", "citation u | T | - | -", "citation - | a.pdf | f | -", "finished stop"];
    let add = |annotation: &Value| event("output_text.annotation.added", json!({"content_index": 0, "annotation": annotation}));
    let part_done = event("content_part.done", json!({"content_index": 0, "part": part}));
    let item = done(json!({"type": "message", "content": [part]}));
    check(&[text("a"), add(&url), add(&file), part_done.clone(), item.clone(), completed()], &said);
    check(&[text("a"), part_done, item, completed()], &said);
}

#[test]
fn usage_and_endings() {
    let end = |kind: &str, fields: Value| json!({"type": format!("response.{kind}"), "response": fields});
    let usage = json!({
        "input_tokens": 9, "output_tokens": 8, "input_tokens_details": {"cached_tokens": 7}, "output_tokens_details": {"reasoning_tokens": 6},
    });
    check(&[text("a"), end("completed", json!({ "usage": usage }))], &["text a", "usage 9 8 6 7", "finished stop"]);
    check(&[end("incomplete", json!({"incomplete_details": {"reason": "content_filter"}}))], &["finished content filter"]);
    check(&[end("cancelled", json!({"status": "cancelled"}))], &["finished other cancelled"]);
    let error = json!({"code": "rate_limit_exceeded", "message": "Slow"});
    check(
        &[text("a"), end("failed", json!({ "error": error })), text("b")],
        &["text a", "failed again rate_limit_exceeded: Slow"],
    );
    let flat = json!({"type": "error", "code": null, "message": "Oh", "sequence_number": 3});
    check(&[flat, end("failed", json!({ "error": error }))], &["failed for good error: Oh"]);
    check(&[json!({"type": "error", "error": error})], &["failed again rate_limit_exceeded: Slow"]);
}

#[test]
fn several_responses_are_steps() {
    let created = json!({"type": "response.created", "sequence_number": 0, "response": {"model": "m"}});
    let usage = json!({"type": "response.completed", "response": {"usage": {"input_tokens": 2}}});
    check(
        &[
            created.clone(),
            done(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"})),
            usage.clone(),
            created.clone(),
            text("a"),
            event("output_text.done", json!({"content_index": 0, "text": "a"})),
            usage,
        ],
        &["model m", "call c f", "arguments c []", "ready c", "step tool calls", "text a", "usage 4 0 0 0", "finished stop"],
    );
    check(
        &[created.clone(), text("a"), created, text("b"), completed()],
        &["model m", "text a", "step other unfinished", "text b", "finished stop"],
    );
}

#[test]
fn unknown_events_are_counted() {
    let mut parser = DialectName::Responses.parser();
    let mut said = Vec::new();
    for event in [json!({}), event("new.thing", json!({})), added(json!({"type": "new"}))] {
        parser.chunk(&event.to_string(), &mut said).expect("readable");
    }
    assert_eq!((parser.ignored(), said.len()), (3, 0));
}
