//! Stored bytes: what was ever written is read the same way for ever.
//!
//! `FANFOLD_GOLDEN=write cargo test -p fanfold-fold --test golden` writes the files anew. Never for a record version that a
//! release has written; for a state only together with a higher `FOLD_VERSION`.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::collections::BTreeSet;
use std::path::Path;

use fanfold_fold::{
    AttemptLost, Citation, Completed, Custom, Event, FOLD_VERSION, Failed, FileRef, FinishReason, MessageAdded, Output, Part,
    RECORD_VERSION, Reasoning, ReasoningDelta, Record, Refusal, Role, RunCancelled, RunFailed, RunRequested, RunStarted,
    RunStatus, RunSteered, Said, Sealed, SessionClosed, SessionErased, SessionOpened, SessionStatus, SessionTitled, Settled,
    State, Steering, Step, StepFinished, TextDelta, ToolArguments, ToolCall, ToolCallStarted, ToolDecided, ToolReady, ToolResult,
    ToolStatus, Usage, Verdict, Waiting,
};
use rmpv::Value;

/// Says that `values` has every variant: one that is missing in the list doesn't compile, one missing in `values` fails.
macro_rules! assert_covers {
    ($name:ident, $values:expr, [$($variant:ident),+ $(,)?]) => {{
        fn name(value: &$name) -> &'static str {
            match value { $( $name::$variant { .. } => stringify!($variant), )+ }
        }
        let seen: BTreeSet<_> = $values.iter().map(name).collect();
        assert_eq!(seen, BTreeSet::from([$( stringify!($variant) ),+]), "golden values of {}", stringify!($name));
    }};
}

/// Compares with a committed file, or writes it when asked.
#[track_caller]
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FANFOLD_GOLDEN").is_some_and(|wish| wish == "write") {
        std::fs::write(&path, bytes).unwrap();
    }
    let stored = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(stored == bytes, "{name}: this build writes {} bytes that differ from the {} stored", bytes.len(), stored.len());
    stored
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn record(command: Option<&str>, events: Vec<Event>) -> Record {
    Record { command: command.map(id), at_ms: 1_700_000_000_123, by: Some("ada@example.org".into()), events }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn parts() -> Vec<Part> {
    let (url, title, source, quote) = (some("https://x.example"), some("Titel"), some("doc-1"), some("»so«"));
    let reasons = [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls, FinishReason::ContentFilter];
    let mut parts = vec![
        Part::text("Grüezi 👋"),
        Reasoning { text: "hm".into() }.into(),
        Citation { url, title, source, quote }.into(),
        FileRef { url: "https://x.example/a.png".into(), media_type: "image/png".into(), name: some("a.png") }.into(),
        Steering { text: "kürzer".into(), author: some("ada") }.into(),
        Step { reason: FinishReason::Other("tired".into()) }.into(),
        Sealed { by: "one".into(), data: "{}".into() }.into(),
        Part::Unknown { kind: "hologram".into(), body: Value::Map(vec![("depth".into(), 3.into())]) },
    ];
    parts.extend(reasons.map(|reason| Part::from(Step { reason })));
    let results = [None, some("{\"ok\":true}")];
    parts.extend(tool_statuses().into_iter().zip(results.into_iter().cycle()).map(|(status, result)| {
        Part::from(ToolCall { call: "t1".into(), name: "weather".into(), arguments: "{\"at\":".into(), status, result })
    }));
    assert_covers!(Part, parts, [Text, Reasoning, ToolCall, Citation, File, Steering, Step, Sealed, Unknown]);
    parts
}

fn tool_statuses() -> [ToolStatus; 7] {
    use ToolStatus::{AwaitingApproval, Done, Failed, Ready, Refused, Writing, WritingForApproval};
    let all = [Writing, WritingForApproval, AwaitingApproval, Ready, Refused, Done, Failed];
    assert_covers!(ToolStatus, all, [Writing, WritingForApproval, AwaitingApproval, Ready, Refused, Done, Failed]);
    all
}

fn said() -> Vec<Said> {
    let call = || "t1".to_owned();
    let said: Vec<Said> = vec![
        ReasoningDelta { text: "hm".into() }.into(),
        TextDelta { text: "Grüezi 👋".into() }.into(),
        ToolCallStarted { call: call(), name: "weather".into(), needs_approval: true }.into(),
        ToolCallStarted { call: "t2".into(), name: "time".into(), needs_approval: false }.into(),
        ToolArguments { call: call(), text: "{\"at\":".into() }.into(),
        ToolReady { call: call() }.into(),
        ToolResult { call: "t2".into(), content: "12:00".into(), is_error: false }.into(),
        ToolResult { call: "t3".into(), content: "no".into(), is_error: true }.into(),
        Citation { url: some("https://x.example"), ..Citation::default() }.into(),
        StepFinished { reason: FinishReason::ToolCalls }.into(),
        Sealed { by: "one".into(), data: "{}".into() }.into(),
        Waiting { calls: vec![call(), "t2".into()], until_ms: 7 }.into(),
        Usage { input: 1, output: u64::MAX, reasoning: 3, cached_input: 300 }.into(),
        Said::Unknown { kind: "humming".into(), body: Value::Map(vec![("notes".into(), Value::from("la"))]) },
        Failed { code: "busy".into(), message: "later".into(), retryable: true }.into(),
        Completed { reason: FinishReason::Stop, steered: Some(2) }.into(),
        Completed { reason: FinishReason::Stop, steered: None }.into(),
    ];
    assert_covers!(
        Said,
        said,
        [
            Text,
            Reasoning,
            ToolCall,
            ToolArguments,
            ToolReady,
            ToolResult,
            Citation,
            StepFinished,
            Sealed,
            Waiting,
            Usage,
            Completed,
            Failed,
            Unknown
        ]
    );
    said
}

fn events() -> Vec<Event> {
    let request = |interrupt, attempts_max| {
        let (run, reply, prompt) = (id("r1"), id("a1"), id("m1"));
        RunRequested { run, reply, prompt, model: some("small"), interrupt, attempts_max }
    };
    let message = |role, parts| MessageAdded { message: id("m1"), parent: Some(id("m0")), role, author: some("ada"), parts };
    let events: Vec<Event> = vec![
        SessionOpened { title: some("Titel"), user: some("ada") }.into(),
        SessionOpened::default().into(),
        SessionTitled { title: "Neuer Titel".into(), automatic: false }.into(),
        SessionTitled { title: "Neuer".into(), automatic: true }.into(),
        message(Role::User, parts()).into(),
        message(Role::System, Vec::new()).into(),
        message(Role::Assistant, Vec::new()).into(),
        message(Role::Tool, Vec::new()).into(),
        request(false, 0).into(),
        request(true, 7).into(),
        RunStarted { run: id("r1"), attempt: id("t1"), worker: "w1".into(), model: some("small-2"), resume: false }.into(),
        RunStarted { run: id("r1"), attempt: id("t2"), worker: "w1".into(), model: None, resume: true }.into(),
        Output { attempt: id("t1"), seq: 1 << 40, said: said() }.into(),
        AttemptLost { run: id("r1"), attempt: id("t1") }.into(),
        RunCancelled { run: id("r1"), reason: "enough".into() }.into(),
        RunFailed { run: id("r1"), code: "no_worker".into(), message: "Nobody came.".into() }.into(),
        RunSteered { run: id("r1"), text: "kürzer".into() }.into(),
        ToolDecided { message: id("a1"), call: "t1".into(), approved: true, reason: "fine".into() }.into(),
        Custom { kind: "cursor".into(), content_type: "application/octet-stream".into(), payload: vec![0, 255, 0x80] }.into(),
        SessionClosed { reason: "done".into() }.into(),
        SessionErased {}.into(),
        Event::Unknown { kind: "eclipse".into(), body: Value::Map(vec![("total".into(), true.into())]) },
    ];
    assert_covers!(
        Event,
        events,
        [
            SessionOpened,
            SessionTitled,
            SessionClosed,
            SessionErased,
            MessageAdded,
            RunRequested,
            RunStarted,
            Output,
            AttemptLost,
            RunCancelled,
            RunFailed,
            RunSteered,
            ToolDecided,
            Custom,
            Unknown
        ]
    );
    let roles: Vec<Role> =
        events.iter().filter_map(|event| if let Event::MessageAdded(added) = event { Some(added.role) } else { None }).collect();
    assert_covers!(Role, roles, [System, User, Assistant, Tool]);
    let reasons: Vec<FinishReason> =
        parts().iter().filter_map(|part| if let Part::Step(step) = part { Some(step.reason.clone()) } else { None }).collect();
    assert_covers!(FinishReason, reasons, [Stop, Length, ToolCalls, ContentFilter, Other]);
    events
}

#[test]
fn a_record_of_version_1_has_these_bytes() {
    assert_eq!(RECORD_VERSION, 1, "keep the older version's file, add one for the new");
    let every = record(Some("c1"), events());
    let stored = golden("record-1.bin", &every.encode());
    assert_eq!(Record::decode(&stored).unwrap(), every);
    let bare = Record { command: None, at_ms: 0, by: None, events: Vec::new() };
    assert_eq!(Record::decode(&golden("record-1-bare.bin", &bare.encode())).unwrap(), bare);
}

/// What a release after this one might write within record version 1.
fn later() -> Vec<u8> {
    let map = |entries: Vec<(&str, Value)>| Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect());
    let kind = |kind: &str, body: Value| Value::Map(vec![(kind.into(), body)]);
    let opened =
        map(vec![("title", "Titel".into()), ("colour", "blue".into()), ("tags", Value::Array(vec!["a".into(), Value::Nil]))]);
    let hologram = map(vec![("depth", Value::F32(0.5)), ("layers", Value::Array(vec![Value::Binary(vec![1]), (-7).into()]))]);
    let added = map(vec![
        ("message", "m1".into()),
        ("role", "user".into()),
        ("mood", map(vec![("sunny", true.into())])),
        (
            "parts",
            Value::Array(vec![kind("hologram", hologram), kind("text", map(vec![("text", "hi".into()), ("lang", "en".into())]))]),
        ),
    ]);
    let output = map(vec![
        ("attempt", "t1".into()),
        ("seq", 1.into()),
        ("said", Value::Array(vec![kind("humming", map(vec![("notes", "la".into())]))])),
    ]);
    let eclipse = map(vec![("total", true.into()), ("when", Value::Ext(-1, vec![0, 0, 0, 1]))]);
    let events = vec![kind("session_opened", opened), kind("message_added", added), kind("eclipse", eclipse)];
    let record =
        |events| map(vec![("trace", "0af7".into()), ("id", "c1".into()), ("at", 5.into()), ("ev", Value::Array(events))]);
    let mut bytes = Vec::new();
    for record in [record(events), record(vec![kind("output", output), kind("eclipse", Value::Nil)])] {
        let mut body = vec![1, 0];
        rmpv::encode::write_value(&mut body, &record).unwrap();
        bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

#[test]
fn what_a_later_release_wrote_is_kept() {
    let stored = golden("record-1-later.bin", &later());
    let mut rest = &stored[..];
    let mut records = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (body, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        records.push(Record::decode(body).unwrap());
        rest = after;
    }
    let mut state = State::default();
    assert_eq!(state.apply(&records[0]).0, Verdict::Applied);
    let message = &state.view().messages.iter().next().unwrap().parts;
    assert!(matches!(&message[0], Part::Unknown { kind, .. } if kind == "hologram") && message[1] == Part::text("hi"));
    assert_eq!(State::decode(&state.encode()).unwrap(), state);

    // Reading and writing keeps every kind that isn't known, with all its fields.
    let body = |record: &Record| rmpv::decode::read_value(&mut &record.encode()[2..]).unwrap();
    let [first, second] = [0, 1].map(|at| body(&records[at]).to_string());
    let kept =
        [r#"{"hologram": {"depth": 0.5, "layers": [[1], -7]}}"#, r#"{"eclipse": {"total": true, "when": [-1, [0, 0, 0, 1]]}}"#];
    kept.iter().for_each(|kept| assert!(first.contains(kept), "{kept} in {first}"));
    assert!(second.contains(r#"{"humming": {"notes": "la"}}"#) && second.contains(r#"{"eclipse": nil}"#), "{second}");
    records.iter().for_each(|record| assert_eq!(&Record::decode(&record.encode()).unwrap(), record));
}

/// A history in which everything that a state can hold comes about.
fn history() -> Vec<Record> {
    let ask = |run: &str, reply: &str, max| {
        let (run, reply, prompt) = (id(run), id(reply), id("m1"));
        Event::from(RunRequested { run, reply, prompt, model: some("small"), interrupt: false, attempts_max: max })
    };
    let start = |run: &str, attempt: &str| {
        let (run, attempt, worker, model) = (id(run), id(attempt), "w1".into(), some("small-2"));
        Event::from(RunStarted { run, attempt, worker, model, resume: false })
    };
    let output = |attempt: &str, said: Vec<Said>| Event::from(Output { attempt: id(attempt), seq: 1, said });
    let message = MessageAdded { message: id("m1"), parent: None, role: Role::User, author: some("ada"), parts: parts() };
    let mut talk = said();
    talk.retain(|said| !matches!(said, Said::Failed(_)));
    let failed = Failed { code: "bad".into(), message: "No.".into(), retryable: false };
    let commands = vec![
        vec![SessionOpened { title: some("Titel"), user: some("ada") }.into()],
        vec![
            message.into(),
            ask("r1", "a1", 0),
            ask("r2", "a2", 1),
            ask("r3", "a3", 1),
            ask("r4", "a4", 0),
            ask("r5", "a5", 0),
            ask("r6", "a6", 0),
        ],
        vec![start("r1", "t1")],
        vec![output("t1", talk)],
        vec![start("r2", "t2")],
        vec![AttemptLost { run: id("r2"), attempt: id("t2") }.into()],
        vec![start("r3", "t3")],
        vec![output("t3", vec![failed.into()])],
        vec![RunCancelled { run: id("r4"), reason: "enough".into() }.into()],
        vec![start("r5", "t4")],
        vec![start("r5", "t5")],
        vec![RunSteered { run: id("r5"), text: "kürzer".into() }.into()],
        vec![ToolDecided { message: id("a1"), call: "t1".into(), approved: false, reason: "nein".into() }.into()],
        vec![Custom { kind: "cursor".into(), content_type: "a/b".into(), payload: vec![0, 255] }.into()],
        vec![SessionTitled { title: "Neu".into(), automatic: true }.into()],
        vec![RunFailed { run: id("r9"), code: String::new(), message: String::new() }.into()],
        vec![output("t5", vec![TextDelta { text: "…".into() }.into()])],
    ];
    commands.into_iter().enumerate().map(|(at, events)| record(Some(&format!("c{at}")), events)).collect()
}

#[test]
fn a_state_of_this_fold_version_has_these_bytes() {
    let mut state = State::default();
    history().iter().for_each(|record| drop(state.apply(record)));
    let mut statuses: Vec<RunStatus> = state.view().runs.iter().map(|run| run.status).collect();
    let stored = golden(&format!("state-{}.bin", FOLD_VERSION.0), &state.encode());
    assert_eq!(State::decode(&stored).unwrap(), state);
    // A run that waits for a person.
    let mut waits = state.clone();
    let call = ToolCallStarted { call: "t9".into(), name: "weather".into(), needs_approval: true };
    let waiting = Waiting { calls: vec!["t9".into()], until_ms: 1_700_000_600_000 };
    let said: Vec<Said> = vec![call.into(), ToolReady { call: "t9".into() }.into(), waiting.into()];
    let output = Output { attempt: id("t5"), seq: 2, said };
    assert_eq!(waits.apply(&record(None, vec![output.into()])).0, Verdict::Applied);
    statuses.extend(waits.view().runs.iter().map(|run| run.status));
    assert_covers!(RunStatus, statuses, [Queued, Running, Waiting, Completed, Cancelled, Failed, Orphaned]);
    let stored = golden(&format!("state-{}-waiting.bin", FOLD_VERSION.0), &waits.encode());
    assert_eq!(State::decode(&stored).unwrap(), waits);
    // Also the ends of a session.
    for (name, end) in [("closed", Event::from(SessionClosed { reason: "so".into() })), ("erased", SessionErased {}.into())] {
        let mut ended = state.clone();
        assert_eq!(ended.apply(&record(Some("end"), vec![end])).0, Verdict::Applied);
        let stored = golden(&format!("state-{}-{name}.bin", FOLD_VERSION.0), &ended.encode());
        assert_eq!(State::decode(&stored).unwrap(), ended);
    }
}

#[test]
fn words_in_states_stay() {
    let statuses = [SessionStatus::Absent, SessionStatus::Open, SessionStatus::Closed("so".into()), SessionStatus::Erased];
    assert_covers!(SessionStatus, statuses, [Absent, Open, Closed, Erased]);
    use Refusal::*;
    let refusals = [
        SessionNotFound,
        SessionExists,
        SessionClosed,
        SessionErased,
        SessionFull,
        MessageNotFound,
        MessageExists,
        RunNotFound,
        RunExists,
        RunEnded,
        RunNotStarted,
        RunNotNext,
        AttemptsExhausted,
        Fenced,
        ToolCallNotFound,
        ToolCallSettled,
        NothingToCancel,
        Limit,
    ];
    assert_covers!(
        Refusal,
        refusals,
        [
            SessionNotFound,
            SessionExists,
            SessionClosed,
            SessionErased,
            SessionFull,
            MessageNotFound,
            MessageExists,
            RunNotFound,
            RunExists,
            RunEnded,
            RunNotStarted,
            RunNotNext,
            AttemptsExhausted,
            Fenced,
            ToolCallNotFound,
            ToolCallSettled,
            NothingToCancel,
            Limit
        ]
    );
    let settled: Vec<Settled> = refusals.map(Settled::Refused).into_iter().chain([Settled::Applied]).collect();
    assert_covers!(Settled, settled, [Applied, Refused]);
    let text = serde_json::to_string_pretty(&(&statuses, &settled)).unwrap() + "\n";
    let stored = golden("words.json", text.as_bytes());
    assert_eq!(serde_json::from_slice::<([SessionStatus; 4], Vec<Settled>)>(&stored).unwrap(), (statuses, settled));
}
