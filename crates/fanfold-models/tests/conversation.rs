//! What a model is given to answer: which messages, in which shape, and what the budget leaves out.
//!
//! `FANFOLD_GOLDEN=write cargo test -p fanfold-models --test conversation` writes the golden requests anew.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::path::Path;

use fanfold_fold::{
    Citation, FileRef, FinishReason, Message, MessageId, Part, Reasoning, Role, Run, RunId, RunStatus, Steering, Step, ToolCall,
    ToolStatus, View,
};
use fanfold_models::{Content, Conversation, DialectName, ToolSpec, Turn, request_body};
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
    let conversation = Conversation::of(&everything(), &run(), 100_000).unwrap();
    assert_eq!(conversation.left_out, 0);
    let fields = json!({ "temperature": 0.5 });
    let bare = Conversation::new("", vec![Turn::Assistant { text: "How can I help?".into(), calls: vec![] }, Turn::user("Hi")]);
    for (dialect, name) in
        [(DialectName::ChatCompletions, "chat"), (DialectName::Responses, "responses"), (DialectName::Messages, "messages")]
    {
        let body = request_body(dialect, "model-1", &conversation, &[weather()], fields.as_object().unwrap());
        golden(&format!("request-{name}.json"), &body);
        // Calls in the history, but no tool any more.
        golden(&format!("request-{name}-no-tools.json"), &request_body(dialect, "model-1", &conversation, &[], &Map::new()));
        golden(&format!("request-{name}-bare.json"), &request_body(dialect, "model-1", &bare, &[], &Map::new()));
    }
}

#[test]
fn fields_of_the_endpoint_win() {
    let fields = json!({ "max_tokens": 8192, "stream_options": {}, "model": "other" });
    let body =
        request_body(DialectName::Messages, "m", &Conversation::new("", vec![]), &[weather()], fields.as_object().unwrap());
    assert_eq!((&body["max_tokens"], &body["model"], &body["stream"]), (&json!(8192), &json!("other"), &json!(true)));
}

#[test]
fn a_run_that_is_not_there_has_no_conversation() {
    assert_eq!(Conversation::of(&everything(), &RunId::new("nobody").unwrap(), 1_000), None);
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
        Turn::Assistant { text, calls } if calls.is_empty() => format!("assistant {}", text.split(' ').next().unwrap()),
        Turn::Assistant { calls, .. } => format!("call {} {}", calls[0].id, calls[0].result.len()),
    };
    conversation.turns.iter().map(turn).collect()
}

#[test]
fn the_budget_leaves_out_the_oldest_first() {
    let check = |tokens_max: u64, left_out: usize, expected: &[&str]| {
        let conversation = Conversation::of(&long(), &run(), tokens_max).unwrap();
        assert_eq!(conversation.system.len(), 400, "the system text stays");
        assert_eq!(
            (conversation.left_out, outline(&conversation)),
            (left_out, expected.iter().map(|&line| line.into()).collect())
        );
        conversation.tokens()
    };
    let all = Conversation::of(&long(), &run(), u64::MAX).unwrap().tokens();
    let whole = Conversation::of(&long(), &run(), all).unwrap();
    assert_eq!((whole.left_out, whole.turns.len()), (0, 24), "a budget that is just met leaves nothing out");
    let less = Conversation::of(&long(), &run(), all - 1).unwrap();
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
    let conversation = Conversation::of(&view(messages, "edit", "again"), &run(), 1_000).unwrap();
    assert_eq!(conversation, Conversation::new("Be brief.", vec![Turn::user("Asked anew.")]));
}
