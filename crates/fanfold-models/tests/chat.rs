//! Chat completions as different providers serve them, in streams of our own making.

mod support;

use fanfold_models::{DialectName, FinishReason, ModelEvent};
use serde_json::{Value, json};

/// Wraps a delta as a chunk.
fn delta(delta: Value) -> String {
    json!({"id": "r1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        .to_string()
}

fn finish(reason: &str) -> String {
    json!({"id": "r1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
}

fn check(chunks: &[String], expected: &[&str]) {
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    support::check(DialectName::ChatCompletions, &chunks, expected);
}

/// One item of `tool_calls`.
fn call(index: Value, id: Value, name: Value, arguments: Value) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn calls(items: &[Value]) -> String {
    delta(json!({ "tool_calls": items }))
}

const NONE: Value = Value::Null;

#[test]
fn text_and_empty_deltas() {
    check(
        &[
            json!({"choices": [], "id": "", "model": "", "prompt_filter_results": []}).to_string(),
            json!({"id": "r1", "model": "m-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
                .to_string(),
            delta(json!({"content": "Grüß"})),
            delta(json!({"content": null})),
            json!({"id": "r1", "choices": [{"index": 0, "delta": null}]}).to_string(),
            json!({"id": "r1", "choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": "length"}]})
                .to_string(),
            delta(json!({"content": " Gott 👋"})),
            String::new(),
            finish("stop"),
            "[DONE]".to_owned(),
        ],
        &["model m-1", "text Grüß", "text  Gott 👋", "finished stop"],
    );
}

#[test]
fn reasoning_under_its_names() {
    for name in ["reasoning_content", "reasoning", "reasoning_text", "thinking"] {
        let chunks = [delta(json!({name: "Hm", "content": null})), delta(json!({name: null, "content": "A"})), finish("stop")];
        check(&chunks, &["reasoning Hm", "text A", "finished stop"]);
    }
    let details = json!([{"type": "reasoning.text", "text": "Hm"}, {"type": "reasoning.encrypted", "data": "x"}]);
    check(&[delta(json!({"reasoning": "Hm", "reasoning_details": details})), finish("stop")], &["reasoning Hm", "finished stop"]);
    check(&[delta(json!({"reasoning_details": details})), finish("stop")], &["reasoning Hm", "finished stop"]);
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "A"}]);
    check(&[delta(json!({"content": parts})), finish("stop")], &["reasoning Hm", "text A", "finished stop"]);
}

#[test]
fn tool_calls_in_fragments() {
    let expected = ["call a weather", "arguments a {\"x\":", "arguments a 1}", "ready a", "finished tool calls"];
    for (id, name) in [(json!(""), json!("")), (NONE, NONE), (json!("a"), json!("weather")), (json!("new-each-time"), NONE)] {
        let fragment = |text: &str| call(json!(0), id.clone(), name.clone(), json!(text));
        let begin = calls(&[call(json!(0), json!("a"), json!("weather"), json!(""))]);
        check(&[begin, calls(&[fragment("{\"x\":")]), calls(&[fragment("1}")]), finish("tool_calls")], &expected);
    }
    let begin = calls(&[call(json!(0), json!("a"), NONE, NONE)]);
    let named = calls(&[call(json!(0), NONE, json!("weather"), json!("{\"x\":"))]);
    check(&[begin, named, calls(&[call(json!(0), NONE, NONE, json!("1}"))]), finish("tool_calls")], &expected);
}

#[test]
fn several_tool_calls() {
    let fragment = |index: u64, text: &str| call(json!(index), NONE, NONE, json!(text));
    check(
        &[
            calls(&[call(json!(0), json!("a"), json!("f"), json!("")), call(json!(1), json!("b"), json!("g"), json!("["))]),
            calls(&[fragment(1, "1"), fragment(0, "[")]),
            calls(&[fragment(0, "]"), fragment(1, "]")]),
            finish("tool_calls"),
        ],
        &[
            "call a f",
            "call b g",
            "arguments b [",
            "arguments b 1",
            "arguments a [",
            "arguments a ]",
            "arguments b ]",
            "ready a",
            "ready b",
            "finished tool calls",
        ],
    );
}

#[test]
fn whole_tool_calls() {
    let expected = ["call a f", "arguments a {}", "call b f", "arguments b {}", "ready a", "ready b", "finished stop"];
    for index in [json!(0), NONE] {
        let whole = |id: &str| call(index.clone(), json!(id), json!("f"), json!("{}"));
        check(&[calls(&[whole("a"), whole("b")]), finish("stop")], &expected);
        check(&[calls(&[whole("a")]), calls(&[whole("b")]), finish("stop")], &expected);
    }
    let nameless = call(NONE, NONE, json!("f"), json!({"x": [1]}));
    check(
        &[calls(&[nameless.clone(), nameless]), finish("tool_calls")],
        &[
            "call call_1 f",
            "arguments call_1 {\"x\":[1]}",
            "call call_2 f",
            "arguments call_2 {\"x\":[1]}",
            "ready call_1",
            "ready call_2",
            "finished tool calls",
        ],
    );
    let old =
        [delta(json!({"function_call": {"name": "f", "arguments": "{"}})), delta(json!({"function_call": {"arguments": "}"}}))];
    let [first, second] = old;
    check(
        &[first, second, finish("function_call")],
        &["call call_1 f", "arguments call_1 {", "arguments call_1 }", "ready call_1", "finished tool calls"],
    );
}

#[test]
fn calls_with_one_id_are_told_apart() {
    let both = [call(json!(0), json!("x"), json!("f"), json!("{}")), call(json!(1), json!("x"), json!("g"), json!("{}"))];
    check(
        &[calls(&both), finish("tool_calls")],
        &["call x f", "arguments x {}", "call x.2 g", "arguments x.2 {}", "ready x", "ready x.2", "finished tool calls"],
    );
}

#[test]
fn a_call_that_was_cut_off_is_not_ready() {
    let whole = call(json!(0), json!("a"), json!("f"), json!("{\"s\":\"}\"}"));
    let cut = call(json!(1), json!("b"), json!("f"), json!("{\"s\":\"}"));
    check(
        &[calls(&[whole, cut]), finish("length")],
        &["call a f", "arguments a {\"s\":\"}\"}", "call b f", "arguments b {\"s\":\"}", "ready a", "finished length"],
    );
}

#[test]
fn usage_is_said_once() {
    let usage = |input: u64, output: u64| json!({"prompt_tokens": input, "completion_tokens": output});
    let with =
        |usage: Value| json!({"id": "r1", "choices": [{"index": 0, "delta": {"content": "a"}}], "usage": usage}).to_string();
    let alone = |usage: Value| json!({"id": "r1", "choices": [], "usage": usage}).to_string();
    let said = ["text a", "text a", "usage 3 2 0 0", "finished stop"];
    check(&[with(usage(3, 1)), with(usage(3, 2)), finish("stop")], &said);
    check(&[with(NONE), with(NONE), finish("stop"), alone(usage(3, 2))], &said);
    let details = json!({
        "prompt_tokens": 30, "completion_tokens": 20.0, "prompt_tokens_details": {"cached_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": null},
    });
    check(&[finish("stop"), alone(details)], &["usage 30 20 5 7", "finished stop"]);
    check(
        &[finish("stop"), alone(json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 8}))],
        &["usage 9 0 0 8", "finished stop"],
    );
    let groq = json!({"choices": [], "x_groq": {"usage": {"prompt_tokens": 4}}}).to_string();
    check(&[finish("stop"), groq], &["usage 4 0 0 0", "finished stop"]);
    check(
        &[with(usage(3, 1))],
        &["text a", "usage 3 1 0 0", "failed again stream_ended: The model's stream ended before its answer did."],
    );
}

#[test]
fn sources_are_named_once() {
    let with =
        |citations: Value| json!({"id": "r1", "citations": citations, "choices": [{"delta": {"content": "a"}}]}).to_string();
    check(
        &[with(json!(["u1", "u2"])), with(json!(["u1", "u2", "u3"])), with(NONE), finish("stop")],
        &[
            "citation u1 | - | - | -",
            "citation u2 | - | - | -",
            "text a",
            "citation u3 | - | - | -",
            "text a",
            "text a",
            "finished stop",
        ],
    );
    let titled = json!({"citations": ["u1", "u2"], "search_results": [{"url": "u1", "title": "One"}], "choices": []}).to_string();
    check(&[titled.clone(), titled, finish("stop")], &["citation u1 | One | - | -", "citation u2 | - | - | -", "finished stop"]);
    let annotation =
        json!({"type": "url_citation", "url_citation": {"url": "u1", "title": "One", "content": "q", "start_index": 0}});
    let annotated = delta(json!({"annotations": [annotation]}));
    check(
        &[annotated.clone(), annotated, with(json!(["u1"])), finish("stop")],
        &["citation u1 | One | - | q", "text a", "finished stop"],
    );
}

#[test]
fn finish_reasons() {
    let check = |word: &str, expected: &str| check(&[delta(json!({"content": "a"})), finish(word)], &["text a", expected]);
    check("stop", "finished stop");
    check("STOP", "finished stop");
    check("max_tokens", "finished length");
    check("function_call", "finished tool calls");
    check("content_filter", "finished content filter");
    check("new_word", "finished other new_word");
    check("error", "failed again error: The provider reported an error while the model answered.");
    check("", "failed again stream_ended: The model's stream ended before its answer did.");
}

#[test]
fn errors_in_mid_stream_are_the_end() {
    let text = || delta(json!({"content": "a"}));
    let check = |error: Value, expected: &str| check(&[text(), error.to_string(), text(), finish("stop")], &["text a", expected]);
    check(json!({"error": {"code": "server_error", "message": "Oh"}}), "failed again server_error: Oh");
    check(
        json!({"error": {"code": 402, "message": "Pay"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}),
        "failed for good 402: Pay",
    );
    check(json!({"object": "error", "type": "BadRequest", "code": 400, "message": "No"}), "failed for good 400: No");
    check(json!({"error": "broken"}), "failed for good error: broken");
}

#[test]
fn a_refusal_is_what_the_model_says() {
    check(&[delta(json!({"content": null, "refusal": "I won't."})), finish("stop")], &["text I won't.", "finished stop"]);
}

#[test]
fn a_whole_message_is_read_once() {
    let whole =
        json!({"object": "chat.completion", "choices": [{"message": {"content": "All"}, "finish_reason": "stop"}]}).to_string();
    check(&[whole], &["text All", "finished stop"]);
    let summary = json!({"id": "r1", "choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}).to_string();
    check(&[delta(json!({"content": "ab"})), summary], &["text ab", "finished stop"]);
}

#[test]
fn another_response_is_another_step() {
    let second =
        json!({"id": "r2", "choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}});
    let usage = json!({"id": "r1", "choices": [], "usage": {"prompt_tokens": 3}}).to_string();
    check(
        &[calls(&[call(json!(0), json!("a"), json!("f"), json!("{}"))]), finish("tool_calls"), usage, second.to_string()],
        &["call a f", "arguments a {}", "ready a", "step tool calls", "text b", "usage 8 0 0 0", "finished stop"],
    );
}

#[test]
fn halves_of_characters_are_joined() {
    let chunk = |field: &str, text: &str| format!(r#"{{"choices":[{{"delta":{{"{field}":"{text}"}}}}]}}"#);
    check(
        &[
            chunk("content", r"a\ud83d"),
            chunk("reasoning", "hm"),
            chunk("content", r"\ude00b"),
            chunk("content", r"\ud83d"),
            finish("stop"),
        ],
        &["text a", "reasoning hm", "text 😀b", "text \u{FFFD}", "finished stop"],
    );
    let arguments = |text: &str| {
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{text}"}}}}]}}}}]}}"#
        )
    };
    check(
        &[arguments(r"[\ud83d"), arguments(r"\ude00]"), finish("stop")],
        &["call a f", "arguments a [", "arguments a 😀]", "ready a", "finished stop"],
    );
}

#[test]
fn broken_chunks_leave_the_stream_as_it_was() {
    let mut parser = DialectName::ChatCompletions.parser();
    let mut said = Vec::new();
    for broken in ["{", "[]", "null", "7", "\"text\"", &"[".repeat(10_000)] {
        parser.chunk(broken, &mut said).expect_err("no chunk");
    }
    parser.chunk(r#"{"whatever":1}"#, &mut said).expect("unknown, but an object");
    assert_eq!((parser.ignored(), said.len()), (1, 0));
    parser.chunk(&finish("stop"), &mut said).expect("a chunk");
    parser.end(&mut said);
    parser.end(&mut said);
    assert_eq!(said, [ModelEvent::Finished(FinishReason::Stop)]);
}
