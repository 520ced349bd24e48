//! What a model is given to answer: which messages, in which shape, and what the budget leaves out.
//!
//! `FANFOLD_GOLDEN=write cargo test -p fanfold-models --test conversation` writes the golden requests anew.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::path::Path;

use fanfold_fold::{
    Citation, FileRef, FinishReason, Message, MessageId, Part, Reasoning, Role, Run, RunId, RunStatus, Sealed, Steering, Step,
    ToolCall, ToolStatus, View,
};
use fanfold_models::{Content, Conversation, DialectName, Recipient, ToolSpec, Turn, request_body};
use serde_json::{Map, Value, json};

fn message(id: &str, parent: Option<&str>, role: Role, parts: Vec<Part>) -> Message {
    let id = MessageId::new(id).unwrap();
    let parent = parent.map(|parent| MessageId::new(parent).unwrap());
    Message { id, parent, role, author: None, at_ms: 0, run: None, parts }
}

/// A view whose run `r` answers `prompt` in `reply`.
fn view(messages: Vec<Message>, prompt: &str, reply: &str) -> View {
    let run = Run {
        id: run(),
        prompt: MessageId::new(prompt).unwrap(),
        reply: MessageId::new(reply).unwrap(),
        status: RunStatus::Running,
        model: None,
        attempt: None,
        attempts: 1,
        attempts_max: 3,
        worker: None,
        finish: None,
        error: None,
        usage: None,
        waiting: None,
        requested_at_ms: 0,
        started_at_ms: None,
        ended_at_ms: None,
        thoughts: Vec::new(),
    };
    View { messages: messages.into(), runs: vec![run], ..View::default() }
}

fn run() -> RunId {
    RunId::new("r").unwrap()
}

fn call(id: &str, arguments: &str, status: ToolStatus, result: Option<&str>) -> Part {
    let result = result.map(str::to_owned);
    Part::ToolCall(ToolCall { call: id.into(), name: "weather".into(), arguments: arguments.into(), status, result })
}

fn step() -> Part {
    Part::Step(Step { reason: FinishReason::ToolCalls })
}

fn steering(text: &str) -> Part {
    Part::Steering(Steering { text: text.into(), author: None })
}

fn file(url: &str, media_type: &str, name: Option<&str>) -> Part {
    Part::File(FileRef { url: url.into(), media_type: media_type.into(), name: name.map(str::to_owned) })
}

/// A session with everything in it: branches, files, an earlier answer with tools, and a run in the middle of its work.
fn everything() -> View {
    let user = Role::User;
    let images = vec![
        Part::text("What is on these?"),
        file("https://files.example/cat.png", "image/png", None),
        file("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "image/gif", Some("dot.gif")),
        file("https://files.example/report.pdf", "application/pdf", Some("report.pdf")),
        file("https://files.example/table.csv", "text/csv", Some("table.csv")),
    ];
    let answered = vec![
        Part::Reasoning(Reasoning { text: "Let me look.".into() }),
        Part::text("I look it up."),
        call("toolu_1", r#"{"city":"Oslo"}"#, ToolStatus::Done, Some("4 °C")),
        call("toolu_1.2", "", ToolStatus::Failed, Some("no city")),
        step(),
        Part::text("A cat and a dot."),
        Part::Citation(Citation { url: Some("https://cats.example".into()), ..Citation::default() }),
        Part::text("And cold weather."),
    ];
    let working = vec![
        steering("In Celsius, please."),
        Part::text("Looking."),
        call("a", r#"{"city":"Rome"}"#, ToolStatus::Done, Some("21 °C")),
        steering("And Paris."),
        call("b", "not JSON", ToolStatus::Refused, Some("too costly")),
        call("c", "{}", ToolStatus::Ready, None),
        call("d", r#"{"ci"#, ToolStatus::Writing, None),
        step(),
    ];
    view(
        vec![
            message("m0", None, Role::System, vec![Part::text("Be brief.")]),
            message("m1", Some("m0"), user, images),
            message("other", Some("m1"), Role::Assistant, vec![Part::text("Another branch.")]),
            message("m2", Some("m1"), Role::Assistant, answered),
            message("m3", Some("m2"), Role::System, vec![Part::text("Answer in English.")]),
            message("m4", Some("m3"), Role::Tool, vec![Part::text("The user is in Rome.")]),
            message("m5", Some("m4"), user, vec![Part::text("And here?")]),
            message("m6", Some("m5"), Role::Assistant, working),
        ],
        "m5",
        "m6",
    )
}

fn weather() -> ToolSpec {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    ToolSpec { name: "weather".into(), description: "The weather in a city.".into(), parameters }
}

fn to<'a>(dialect: DialectName, fields: &'a Map<String, Value>) -> Recipient<'a> {
    Recipient { dialect, model: "model-1", seals: "one/model-1", reasoning_field: None, fields }
}

fn golden(name: &str, body: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let written = serde_json::to_string_pretty(body).unwrap() + "\n";
    if std::env::var("FANFOLD_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, &written).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written, "{}", path.display());
}

#[test]
fn each_dialect_writes_the_same_conversation_its_own_way() {
    let conversation = Conversation::of(&everything(), &run(), 100_000, false).unwrap();
    assert_eq!(conversation.left_out, 0);
    let fields = json!({ "temperature": 0.5 });
    let bare = Conversation::new(
        "",
        vec![Turn::Assistant { thoughts: vec![], text: "How can I help?".into(), calls: vec![] }, Turn::user("Hi")],
    );
    for (dialect, name) in
        [(DialectName::ChatCompletions, "chat"), (DialectName::Responses, "responses"), (DialectName::Messages, "messages")]
    {
        let body = request_body(&to(dialect, fields.as_object().unwrap()), &conversation, &[weather()]);
        golden(&format!("request-{name}.json"), &body);
        // Calls in the history, but no tool any more.
        let none = Map::new();
        let to = to(dialect, &none);
        golden(&format!("request-{name}-no-tools.json"), &request_body(&to, &conversation, &[]));
        golden(&format!("request-{name}-bare.json"), &request_body(&to, &bare, &[]));
    }
}

#[test]
fn fields_of_the_endpoint_win() {
    let fields = json!({ "max_tokens": 8192, "stream_options": {}, "model": "other" });
    let to = to(DialectName::Messages, fields.as_object().unwrap());
    let body = request_body(&to, &Conversation::new("", vec![]), &[weather()]);
    assert_eq!((&body["max_tokens"], &body["model"], &body["stream"]), (&json!(8192), &json!("other"), &json!(true)));
}

#[test]
fn a_run_that_is_not_there_has_no_conversation() {
    assert_eq!(Conversation::of(&everything(), &RunId::new("nobody").unwrap(), 1_000, false), None);
}

/// Ten exchanges of about 100 tokens, a prompt, and a run with three steps whose results are 1,000 tokens each.
fn long() -> View {
    let mut messages = vec![message("system", None, Role::System, vec![Part::text("s".repeat(400))])];
    let mut parent = "system".to_owned();
    for number in 0..10 {
        let (ask, reply) = (format!("u{number}"), format!("a{number}"));
        messages.push(message(&ask, Some(&parent), Role::User, vec![Part::text(format!("{ask} {}", "q".repeat(200)))]));
        messages.push(message(&reply, Some(&ask), Role::Assistant, vec![Part::text(format!("{reply} {}", "r".repeat(200)))]));
        parent = reply;
    }
    messages.push(message("prompt", Some(&parent), Role::User, vec![Part::text("the prompt")]));
    let result = "x".repeat(4_000);
    let steps = ["one", "two", "three"].map(|id| [call(id, "{}", ToolStatus::Done, Some(&result)), step()]);
    messages.push(message("reply", Some("prompt"), Role::Assistant, steps.concat()));
    view(messages, "prompt", "reply")
}

/// The first words of each turn; results by their length.
fn outline(conversation: &Conversation) -> Vec<String> {
    let turn = |turn: &Turn| match turn {
        Turn::User(said) => match &said[0] {
            Content::Text(text) => format!("user {}", text.split(' ').next().unwrap()),
            Content::File { .. } => "user file".to_owned(),
        },
        Turn::Assistant { text, calls, .. } if calls.is_empty() => format!("assistant {}", text.split(' ').next().unwrap()),
        Turn::Assistant { calls, .. } => format!("call {} {}", calls[0].id, calls[0].result.len()),
    };
    conversation.turns.iter().map(turn).collect()
}

#[test]
fn the_budget_leaves_out_the_oldest_first() {
    let check = |tokens_max: u64, left_out: usize, expected: &[&str]| {
        let conversation = Conversation::of(&long(), &run(), tokens_max, false).unwrap();
        assert_eq!(conversation.system.len(), 400, "the system text stays");
        assert_eq!(
            (conversation.left_out, outline(&conversation)),
            (left_out, expected.iter().map(|&line| line.into()).collect())
        );
        conversation.tokens()
    };
    let all = Conversation::of(&long(), &run(), u64::MAX, false).unwrap().tokens();
    let whole = Conversation::of(&long(), &run(), all, false).unwrap();
    assert_eq!((whole.left_out, whole.turns.len()), (0, 24), "a budget that is just met leaves nothing out");
    let less = Conversation::of(&long(), &run(), all - 1, false).unwrap();
    assert_eq!(less.left_out, 2, "an answer doesn't stay without its question");
    assert_eq!(outline(&less)[0], "user u1");

    let tokens = check(
        3_400,
        16,
        &[
            "user u8",
            "assistant a8",
            "user u9",
            "assistant a9",
            "user the",
            "call call00001 4000",
            "call call00002 4000",
            "call call00003 4000",
        ],
    );
    assert!(tokens <= 3_400, "{tokens}");
    let tokens = check(2_400, 20, &["user the", "call call00001 40", "call call00002 4000", "call call00003 4000"]);
    assert!(tokens <= 2_400, "{tokens}");
    check(1, 20, &["user the", "call call00001 40", "call call00002 40", "call call00003 4000"]);
}

#[test]
fn a_run_sees_its_own_branch_only() {
    let mut messages: Vec<Message> = Vec::from(everything().messages);
    messages.push(message("edit", Some("m0"), Role::User, vec![Part::text("Asked anew.")]));
    messages.push(message("again", Some("edit"), Role::Assistant, vec![]));
    let conversation = Conversation::of(&view(messages, "edit", "again"), &run(), 1_000, false).unwrap();
    assert_eq!(conversation, Conversation::new("Be brief.", vec![Turn::user("Asked anew.")]));
}

fn sealed(by: &str, data: Value) -> Part {
    Part::Sealed(Sealed { by: by.into(), data: data.to_string() })
}

/// A run in the middle of its tools: a step of thoughts, words and calls, after an answer that is over.
fn thoughtful(by: &str, thinking: Value, redacted: Value) -> View {
    let thought = |text: &str| Part::Reasoning(Reasoning { text: text.into() });
    let call = |id: &str| {
        let (call, name, arguments, result) = (id.into(), "weather".into(), "{}".into(), Some("4 °C".into()));
        Part::ToolCall(ToolCall { call, name, arguments, status: ToolStatus::Done, result })
    };
    let step = || Part::Step(Step { reason: FinishReason::ToolCalls });
    let before = vec![thought("old"), sealed(by, json!({ "type": "thinking", "signature": "old" })), Part::text("Hello.")];
    let now = vec![
        thought("h"),
        sealed(by, thinking.clone()),
        sealed(by, redacted),
        Part::text("One moment."),
        call("c1"),
        thought("m"),
        sealed(by, thinking),
        call("c2"),
        step(),
        thought("unsealed"),
        Part::text("And?"),
        step(),
    ];
    let messages = vec![
        message("m1", None, Role::User, vec![Part::text("Hi")]),
        message("a1", Some("m1"), Role::Assistant, before),
        message("m2", Some("a1"), Role::User, vec![Part::text("The weather?")]),
        message("a2", Some("m2"), Role::Assistant, now),
    ];
    view(messages, "m2", "a2")
}

#[test]
fn messages_get_their_thoughts_back_as_they_were_while_the_run_goes_on() {
    let redacted = json!({ "type": "redacted_thinking", "data": "xyz" });
    let view = thoughtful("one/model-1", json!({ "type": "thinking", "signature": "s" }), redacted.clone());
    let conversation = Conversation::of(&view, &run(), 10_000, false).unwrap();
    let none = Map::new();
    let body = request_body(&to(DialectName::Messages, &none), &conversation, &[weather()]);
    let called = |id: &str| json!({ "type": "tool_use", "id": id, "name": "weather", "input": {} });
    assert_eq!(body["messages"][1]["content"], json!([{ "type": "text", "text": "Hello." }]), "what is over needs none");
    assert_eq!(
        body["messages"][3]["content"],
        json!([
            { "type": "thinking", "signature": "s", "thinking": "h" },
            redacted,
            { "type": "text", "text": "One moment." },
            called("call00001"),
            { "type": "thinking", "signature": "s", "thinking": "m" },
            called("call00002"),
        ])
    );
    assert_eq!(body["messages"][5]["content"], json!([{ "type": "text", "text": "And?" }]), "nothing that isn't sealed");
    // Another endpoint, or another model, can't open them.
    let other = Recipient { seals: "two/model-1", ..to(DialectName::Messages, &none) };
    let body = request_body(&other, &conversation, &[weather()]);
    assert!(!body.to_string().contains("thinking"), "{body}");
    assert!(
        conversation.tokens() > Conversation::of(&thoughtful("", json!(0), json!(0)), &run(), 10_000, false).unwrap().tokens()
    );
}

#[test]
fn responses_get_their_reasoning_items_back_and_are_asked_for_them() {
    let item = json!({ "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "h" }], "encrypted_content": "e" });
    let view = thoughtful("one/model-1", item.clone(), item.clone());
    let conversation = Conversation::of(&view, &run(), 10_000, false).unwrap();
    let fields = json!({ "reasoning": { "effort": "low" } });
    let body = request_body(&to(DialectName::Responses, fields.as_object().unwrap()), &conversation, &[weather()]);
    let kinds: Vec<&str> = body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    let step = ["reasoning", "reasoning", "message", "function_call", "reasoning", "function_call"];
    let results = ["function_call_output", "function_call_output", "message"];
    assert_eq!(kinds, [&["message"; 3][..], &step, &results].concat());
    assert_eq!(body["input"][3], item);
    assert_eq!((&body["include"], &body["store"]), (&json!(["reasoning.encrypted_content"]), &json!(false)));
    let none = Map::new();
    let body = request_body(&to(DialectName::Responses, &none), &conversation, &[]);
    assert_eq!(body.get("include"), None, "a model that doesn't reason refuses it");
}

#[test]
fn chat_completions_get_reasoning_back_where_the_endpoint_says_so_and_then_everywhere() {
    let view = thoughtful("one/model-1", json!({}), json!({}));
    let none = Map::new();
    let plain = to(DialectName::ChatCompletions, &none);
    let conversation = Conversation::of(&view, &run(), 10_000, false).unwrap();
    let body = request_body(&plain, &conversation, &[weather()]);
    assert!(!body.to_string().contains("reasoning"), "{body}");
    let conversation = Conversation::of(&view, &run(), 10_000, true).unwrap();
    let body = request_body(&Recipient { reasoning_field: Some("reasoning_content"), ..plain }, &conversation, &[weather()]);
    let messages = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "assistant");
    let thoughts: Vec<&Value> = messages.map(|message| &message["reasoning_content"]).collect();
    assert_eq!(thoughts, [&json!("old"), &json!("hm"), &json!("unsealed")]);
    let bare = Conversation::new("", vec![Turn::Assistant { thoughts: vec![], text: "Hi".into(), calls: vec![] }]);
    let body = request_body(&Recipient { reasoning_field: Some("reasoning_content"), ..plain }, &bare, &[]);
    assert_eq!(body["messages"][0]["reasoning_content"], "", "it misses the field in any message");
}
