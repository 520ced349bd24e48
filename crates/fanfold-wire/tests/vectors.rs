//! What clients in other languages must make of deltas, as files that their tests read: operations one by one, and histories
//! as the fold tells them, each by each, merged, and through a window.
//!
//! A changed file is a changed protocol, or a changed generator. To write them: `FANFOLD_BLESS=1 cargo test`.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[path = "../../fanfold-fold/tests/support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::ops::Range;
use std::path::Path;

use fanfold_fold::{
    Citation, CustomValue, Delta, FileRef, FinishReason, Merger, Message, MessageId, Op, Part, Reasoning, Role, Run, RunError,
    RunStatus, Session, SessionStatus, State, Steering, Step, Thought, ToolCall, ToolStatus, Usage, View, Waiting,
};
use fanfold_wire::v1;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::{history, id, plans};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/typescript/test/vectors");

const HISTORIES: usize = 32;

const RECORDS_MAX: usize = 24;

/// Messages of the window that a history is also read through.
const WINDOW: usize = 1;

/// Compares the lines with the file, or writes it.
fn check(name: &str, cases: &[Value]) {
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    let path = Path::new(FOLDER).join(name);
    if std::env::var_os("FANFOLD_BLESS").is_some() {
        std::fs::create_dir_all(FOLDER).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (ours, golden) in text.lines().zip(golden.lines()) {
        assert_eq!(ours, golden, "{name}");
    }
    assert_eq!(text.len(), golden.len(), "{name}");
}

fn view_json(view: &View) -> Value {
    serde_json::to_value(v1::View::from(view)).unwrap()
}

fn ops_json(ops: &[Op]) -> Value {
    ops.iter().map(|op| serde_json::to_value(v1::Op::from(op)).unwrap()).collect()
}

fn message(name: &str, parent: Option<&str>, parts: Vec<Part>) -> Message {
    Message { id: id(name), parent: parent.map(id), role: Role::Assistant, author: None, at_ms: 7, run: Some(id("r")), parts }
}

fn call(arguments: &str, result: Option<&str>) -> Part {
    let (call, name, result) = ("c".into(), "weather".into(), result.map(str::to_owned));
    Part::ToolCall(ToolCall { call, name, arguments: arguments.into(), status: ToolStatus::Writing, result })
}

fn run(name: &str, status: RunStatus) -> Run {
    Run {
        id: id(name),
        prompt: id("m"),
        reply: id("a"),
        status,
        model: Some("scribe".into()),
        attempt: Some(id("t")),
        attempts: 1,
        attempts_max: 3,
        worker: Some("w".into()),
        finish: status.is_final().then(|| FinishReason::Other("pause".into())),
        error: status.is_final().then(|| RunError { code: "late".into(), message: "Später.".into() }),
        usage: Some(Usage { input: 1, output: 2, reasoning: 3, cached_input: 4 }),
        waiting: (status == RunStatus::Waiting).then(|| Waiting { calls: vec!["c".into()], until_ms: 9 }),
        requested_at_ms: 1,
        started_at_ms: Some(2),
        ended_at_ms: status.is_final().then_some(3),
        thoughts: vec![Thought { part: 0, from_ms: 2, upto_ms: status.is_final().then_some(3) }],
    }
}

/// A state with something of everything.
fn rich() -> View {
    let parts = vec![
        Part::text("Zürich 👩‍👩‍👧‍👦"),
        Part::Reasoning(Reasoning { text: "日本".into() }),
        call("{\"city\":\"Zü", None),
        Part::Citation(Citation { url: Some("u".into()), ..Citation::default() }),
        Part::File(FileRef { url: "u".into(), media_type: "image/png".into(), name: None }),
        Part::Steering(Steering { text: "kürzer".into(), author: Some("ann".into()) }),
        Part::Step(Step { reason: FinishReason::ToolCalls }),
        Part::Unknown { kind: "hologram".into(), body: rmpv::Value::from(7) },
    ];
    let mut view = View::default();
    let session = Session { title: Some("A talk".into()), opened_at_ms: 5, status: SessionStatus::Open, ..Session::default() };
    let question =
        Message { role: Role::User, author: Some("ann".into()), run: None, ..message("m", None, vec![Part::text("?")]) };
    let ops = vec![
        Op::SessionChanged(session),
        Op::MessageAdded(question),
        Op::MessageAdded(message("a", Some("m"), parts)),
        Op::RunChanged(Box::new(run("r", RunStatus::Running))),
        Op::RunChanged(Box::new(run("q", RunStatus::Queued))),
        Op::Custom { kind: "theme".into(), value: CustomValue { content_type: "a/b".into(), payload: vec![0, 255, 13] } },
    ];
    view.apply(&Delta { ops }).unwrap();
    view
}

fn append(name: &str, part: u32, at: u32, text: &str) -> Op {
    Op::PartAppended { message: id(name), part, at, text: text.into() }
}

fn set(name: &str, part: u32, value: Part) -> Op {
    Op::PartSet { message: id(name), part, value }
}

fn tool(part: u32, status: ToolStatus, result: Option<&str>) -> Op {
    Op::ToolCallChanged { message: id("a"), part, status, result: result.map(str::to_owned) }
}

/// Every operation where it fits, and every way in which it doesn't.
fn operations() -> Vec<(&'static str, Vec<Op>)> {
    let session = |status| Op::SessionChanged(Session { status, ..Session::default() });
    let family = "Zürich 👩‍👩‍👧‍👦".len() as u32;
    vec![
        ("nothing", vec![]),
        ("the session is renamed", vec![Op::SessionChanged(Session { title: Some("Ü".into()), ..Session::default() })]),
        ("the session is closed", vec![session(SessionStatus::Closed("genug".into()))]),
        ("the session is erased", vec![session(SessionStatus::Erased)]),
        ("erased, and written to afterwards", vec![session(SessionStatus::Erased), Op::MessageAdded(message("a", None, vec![]))]),
        ("a message is added", vec![Op::MessageAdded(message("b", Some("m"), vec![Part::text("")]))]),
        ("a message is added twice", vec![Op::MessageAdded(message("a", None, vec![]))]),
        ("a message is reset", vec![Op::MessageReset { message: id("a") }, set("a", 0, Part::text("again"))]),
        ("a message that isn't there is reset", vec![Op::MessageReset { message: id("x") }]),
        ("text is appended", vec![append("a", 0, family, " e\u{301}"), append("a", 0, family + 4, "!")]),
        ("nothing is appended", vec![append("a", 0, family, "")]),
        ("reasoning is appended", vec![append("a", 1, 6, "語")]),
        ("arguments are appended", vec![append("a", 2, 12, "rich\"}")]),
        ("appended at UTF-16 units", vec![append("a", 0, 18, "x")]),
        ("appended too far", vec![append("a", 0, family + 1, "x")]),
        ("appended too early", vec![append("a", 0, 0, "x")]),
        ("appended to what takes no text", vec![append("a", 5, 7, "x")]),
        ("appended to a part of a later release", vec![append("a", 7, 0, "x")]),
        ("appended to a part that isn't there", vec![append("a", 8, 0, "x")]),
        ("appended to a message that isn't there", vec![append("x", 0, 0, "x")]),
        ("a part is replaced and appended to", vec![set("a", 0, Part::text("ß")), append("a", 0, 2, "!")]),
        ("a part is added and appended to", vec![set("a", 8, Part::text("€")), append("a", 8, 3, "5")]),
        ("a part is set past the end", vec![set("a", 9, Part::text(""))]),
        ("a tool call is done", vec![tool(2, ToolStatus::Done, Some("18 °C"))]),
        (
            "a tool call loses its result, and is appended to",
            vec![set("a", 2, call("ü", Some("old"))), tool(2, ToolStatus::Ready, None), append("a", 2, 2, "!")],
        ),
        ("a tool call that is none", vec![tool(0, ToolStatus::Ready, None)]),
        ("a tool call that isn't there", vec![tool(9, ToolStatus::Ready, None)]),
        ("a run ends", vec![Op::RunChanged(Box::new(run("r", RunStatus::Failed)))]),
        ("a run is put down", vec![Op::RunChanged(Box::new(run("r", RunStatus::Waiting)))]),
        ("a run is new", vec![Op::RunChanged(Box::new(run("s", RunStatus::Queued)))]),
        (
            "values are set",
            vec![
                Op::Custom { kind: "theme".into(), value: CustomValue { content_type: "t".into(), payload: vec![] } },
                Op::Custom { kind: "__proto__".into(), value: CustomValue { content_type: "t".into(), payload: vec![1] } },
            ],
        ),
    ]
}

#[test]
fn operations_are_as_in_their_vectors() {
    let before = rich();
    // The first line is what all the others begin with.
    let mut cases = vec![view_json(&before)];
    let mut misfits = 0;
    for (name, ops) in operations() {
        let mut after = before.clone();
        let fits = after.apply(&Delta { ops: ops.clone() }).is_ok();
        misfits += usize::from(!fits);
        let after = if fits { view_json(&after) } else { Value::Null };
        cases.push(json!({ "name": name, "ops": ops_json(&ops), "after": after }));
    }
    // What the fold can't say, as a later release would write it.
    for (name, op) in [("an operation without a field", json!({})), ("an operation of a later release", json!({ "later": {} }))] {
        cases.push(json!({ "name": name, "ops": [op], "after": null }));
    }
    assert_eq!(misfits, 12, "a file that says of everything that it fits shows nothing");
    check("operations.json", &cases);
}

fn merged(deltas: &[Delta], range: Range<usize>) -> Vec<Op> {
    let mut merger = Merger::default();
    deltas[range].iter().for_each(|delta| merger.push(delta.clone()));
    merger.finish().ops
}

/// The protocol's rule for readers of a window: operations on messages that they don't have are skipped.
fn apply_to_window(view: &mut View, older: usize, delta: &Delta) {
    for op in &delta.ops {
        let named: Option<&MessageId> = match op {
            Op::MessageReset { message }
            | Op::PartAppended { message, .. }
            | Op::PartSet { message, .. }
            | Op::ToolCallChanged { message, .. } => Some(message),
            Op::SessionChanged(_) | Op::MessageAdded(_) | Op::RunChanged(_) | Op::Custom { .. } => None,
        };
        if older > 0 && named.is_some_and(|id| view.messages.get(id).is_none()) {
            continue;
        }
        view.apply(&Delta { ops: vec![op.clone()] }).unwrap();
    }
}

#[test]
fn histories_are_as_in_their_vectors() {
    let mut runner = TestRunner::deterministic();
    let plans = plans(RECORDS_MAX);
    let (mut cases, mut windows) = (Vec::new(), 0);
    for _ in 0..HISTORIES {
        let records = history(&plans.new_tree(&mut runner).unwrap().current());
        let mut state = State::default();
        let (mut views, mut deltas) = (vec![View::default()], Vec::new());
        for record in &records {
            deltas.push(state.apply(record).1);
            views.push(state.view().clone());
        }
        let end = deltas.len();
        let (first, second) = (end / 3, end * 2 / 3);
        let ranges = [0..first, first..second, second..end, 0..second, first..end, 0..end];
        let (mut window, older) = views[first].window(WINDOW);
        let start = view_json(&window);
        deltas[first..].iter().for_each(|delta| apply_to_window(&mut window, older, delta));
        windows += usize::from(older > 0);
        let at = |at: usize| json!({ "at": at, "view": view_json(&views[at]) });
        cases.push(json!({
            "deltas": deltas.iter().map(|delta| ops_json(&delta.ops)).collect::<Value>(),
            "views": [at(0), at(first), at(second), at(end)],
            "merged": ranges.map(|range| json!({ "from": range.start, "to": range.end, "ops": ops_json(&merged(&deltas, range)) })),
            "window": { "from": first, "older": older, "view": start, "end": view_json(&window) },
        }));
    }
    assert!(windows > HISTORIES / 8, "{windows} histories begin outside their window");
    check("histories.json", &cases);
}
