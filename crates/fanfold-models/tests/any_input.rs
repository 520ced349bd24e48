//! Whatever arrives: no parser panics, one terminal event comes, and text doesn't depend on how it was cut.

mod support;

use fanfold_models::{DialectName, ModelEvent};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DIALECTS: [DialectName; 3] = [DialectName::ChatCompletions, DialectName::Responses, DialectName::Messages];

/// Words that mean something to some dialect, so that arbitrary JSON gets beyond the first look.
const KEYS: [&str; 32] = [
    "type",
    "choices",
    "delta",
    "content",
    "index",
    "tool_calls",
    "function",
    "arguments",
    "id",
    "name",
    "finish_reason",
    "usage",
    "error",
    "item",
    "item_id",
    "output_index",
    "content_index",
    "response",
    "output",
    "text",
    "part",
    "annotations",
    "annotation",
    "content_block",
    "input",
    "partial_json",
    "message",
    "citation",
    "citations",
    "reasoning",
    "prompt_tokens",
    "code",
];

const WORDS: [&str; 27] = [
    "",
    "stop",
    "error",
    "tool_use",
    "server_tool_use",
    "web_fetch_tool_result",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "text_delta",
    "input_json_delta",
    "citations_delta",
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.function_call_arguments.delta",
    "response.code_interpreter_call_code.delta",
    "response.completed",
    "response.failed",
    "function_call",
    "code_interpreter_call",
    "file_search_call",
    "👋\u{10F801}",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u64..3).prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        let key = prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8).prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// The JSON of a chunk, now and then with half a character in a text.
fn any_chunk() -> impl Strategy<Value = String> {
    let typed = (prop::sample::select(&WORDS[..]), any_json()).prop_map(|(word, mut json)| {
        if let Some(fields) = json.as_object_mut() {
            fields.insert("type".into(), word.into());
        }
        json.to_string()
    });
    prop_oneof![
        4 => typed,
        2 => any_json().prop_map(|json| json.to_string()),
        1 => any_json().prop_map(|json| json.to_string().replace("stop", r"\ud83d").replace("text", r"\ude00")),
        1 => any::<String>(),
    ]
}

/// A text cut at code points.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof![any::<String>(), "[a-z👋ü\"\\\\]{0,6}"], 1..12)
}

/// What a stream of pieces is in a dialect.
fn stream(dialect: DialectName, pieces: &[String]) -> Vec<String> {
    let chunk = |text: &String| match dialect {
        DialectName::ChatCompletions => json!({"choices": [{"delta": {"content": text}}]}),
        DialectName::Responses => json!({"type": "response.output_text.delta", "delta": text}),
        DialectName::Messages => json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}),
    };
    pieces.iter().map(|text| chunk(text).to_string()).collect()
}

/// Writes JSON like a provider that thinks in UTF-16, then cuts its texts anywhere, also within a character.
fn halves(text: &str, every: usize) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let escaped = |units: &[u16]| units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    units.chunks(every).map(|units| format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, escaped(units))).collect()
}

fn text(events: &[ModelEvent]) -> String {
    events.iter().filter_map(|event| if let ModelEvent::Text(text) = event { Some(text.as_str()) } else { None }).collect()
}

proptest! {
    #[test]
    fn nothing_panics_and_everything_ends(chunks in prop::collection::vec(any_chunk(), 0..24)) {
        for dialect in DIALECTS {
            let mut parser = dialect.parser();
            let mut said = Vec::new();
            for chunk in &chunks {
                // A chunk that can't be read is its sender's fault; the stream goes on.
                let _ = parser.chunk(chunk, &mut said);
            }
            parser.end(&mut said);
            parser.end(&mut said);
            prop_assert_eq!(said.iter().filter(|event| event.is_terminal()).count(), 1);
            prop_assert!(said.last().is_some_and(ModelEvent::is_terminal));
            let started = said.iter().filter_map(|event| match event {
                ModelEvent::ToolCallStarted { call, .. } => Some(call),
                _ => None,
            });
            let mut calls: Vec<&String> = started.collect();
            let count = calls.len();
            calls.sort();
            calls.dedup();
            prop_assert_eq!(calls.len(), count, "ids of calls are unique");
        }
    }

    #[test]
    fn text_does_not_depend_on_its_cuts(pieces in pieces()) {
        for dialect in DIALECTS {
            let chunks = stream(dialect, &pieces);
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let said = support::read(dialect, &chunks).expect("readable chunks");
            prop_assert_eq!(text(&said), pieces.concat());
        }
    }

    #[test]
    fn cut_characters_are_whole_again(text_in in "[a-z👋🚶ü€]{0,20}", every in 1usize..5) {
        let chunks = halves(&text_in, every);
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let said = support::read(DialectName::ChatCompletions, &chunks).expect("readable chunks");
        prop_assert_eq!(text(&said), text_in);
    }

    #[test]
    fn any_prompt_gets_an_answer(prompt in any::<String>(), seed in any::<u64>()) {
        let said: Vec<ModelEvent> = fanfold_models::Scribe::seeded(&prompt, seed).collect();
        prop_assert!(said.last().is_some_and(ModelEvent::is_terminal));
        prop_assert!(text(&said).len() > 500);
    }
}
