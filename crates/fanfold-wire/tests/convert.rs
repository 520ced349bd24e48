//! What goes from the fold to the wire comes back the same, through every encoding.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::collections::BTreeMap;

use fanfold_fold::{
    Citation, Completed, CustomValue, Delta, Failed, FileRef, FinishReason, Message, Op, Output, Part, Reasoning, ReasoningDelta,
    Role, Run, RunError, RunStatus, Said, Sealed, Session, SessionStatus, Steering, Step, StepFinished, TextDelta, Thought,
    ToolArguments, ToolCall, ToolCallStarted, ToolReady, ToolResult, ToolStatus, Usage, View, Waiting,
};
use fanfold_wire::{Format, convert, v1};

const FORMATS: [Format; 3] = [Format::Json, Format::Msgpack, Format::Proto];

const TOOL_STATUSES: [ToolStatus; 7] = [
    ToolStatus::Writing,
    ToolStatus::WritingForApproval,
    ToolStatus::AwaitingApproval,
    ToolStatus::Ready,
    ToolStatus::Refused,
    ToolStatus::Done,
    ToolStatus::Failed,
];

fn reasons() -> Vec<FinishReason> {
    let other = FinishReason::Other("pause_turn".into());
    vec![FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls, FinishReason::ContentFilter, other]
}

fn citations() -> [Citation; 2] {
    let whole = Citation { url: Some("u".into()), title: Some("t".into()), source: Some("s".into()), quote: Some(String::new()) };
    [Citation::default(), whole]
}

fn parts() -> Vec<Part> {
    let mut parts = vec![
        Part::text(""),
        Part::text("Zürich \u{1f3d4} \"\n\u{0}"),
        Part::Reasoning(Reasoning { text: "hm".into() }),
        Part::File(FileRef { url: "u".into(), media_type: "image/png".into(), name: None }),
        Part::File(FileRef { url: "u".into(), media_type: "text/plain".into(), name: Some("n".into()) }),
        Part::Steering(Steering { text: "more".into(), author: None }),
        Part::Steering(Steering { text: "less".into(), author: Some("ann".into()) }),
    ];
    parts.push(Part::Sealed(Sealed { by: "one".into(), data: "{}".into() }));
    parts.extend(citations().map(Part::Citation));
    parts.extend(reasons().into_iter().map(|reason| Part::Step(Step { reason })));
    parts.extend(TOOL_STATUSES.iter().enumerate().map(|(at, status)| {
        let result = (at % 2 == 0).then(|| "18 °C".to_owned());
        Part::ToolCall(ToolCall { call: "c".into(), name: "n".into(), arguments: "{}".into(), status: *status, result })
    }));
    parts
}

fn messages() -> Vec<Message> {
    let roles = [Role::System, Role::User, Role::Assistant, Role::Tool];
    let message = |(at, role): (usize, Role)| Message {
        id: format!("m-{at}").parse().unwrap(),
        parent: (at > 0).then(|| format!("m-{}", at - 1).parse().unwrap()),
        role,
        author: (at == 1).then(|| "ann".into()),
        at_ms: u64::MAX - at as u64,
        run: (at == 2).then(|| "r-2".parse().unwrap()),
        parts: if at == 0 { Vec::new() } else { parts() },
    };
    roles.into_iter().enumerate().map(message).collect()
}

fn runs() -> Vec<Run> {
    let statuses = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Completed,
        RunStatus::Cancelled,
        RunStatus::Failed,
        RunStatus::Orphaned,
    ];
    let run = |(at, status): (usize, RunStatus)| {
        let full = at % 2 == 1;
        Run {
            id: format!("r-{at}").parse().unwrap(),
            prompt: "m-1".parse().unwrap(),
            reply: "m-2".parse().unwrap(),
            status,
            model: full.then(|| "demo".into()),
            attempt: full.then(|| "t-1".parse().unwrap()),
            attempts: at as u32,
            attempts_max: 3,
            worker: full.then(|| "w".into()),
            finish: full.then_some(FinishReason::Length),
            error: full.then(|| RunError { code: "c".into(), message: "m".into() }),
            waiting: full.then(|| Waiting { calls: vec!["c".into()], until_ms: u64::MAX }),
            usage: full.then_some(Usage { input: 1, output: 2, reasoning: 3, cached_input: u64::MAX }),
            requested_at_ms: 1,
            started_at_ms: full.then_some(2),
            ended_at_ms: full.then_some(3),
            thoughts: if full {
                vec![Thought { part: 1, from_ms: 2, upto_ms: Some(3) }, Thought { part: 4, from_ms: 5, upto_ms: None }]
            } else {
                Vec::new()
            },
        }
    };
    statuses.into_iter().enumerate().map(run).collect()
}

fn sessions() -> Vec<Session> {
    let statuses = [
        SessionStatus::Absent,
        SessionStatus::Open,
        SessionStatus::Closed(String::new()),
        SessionStatus::Closed("done".into()),
        SessionStatus::Erased,
    ];
    let session = |status: SessionStatus| {
        let title_automatic = status == SessionStatus::Open;
        Session { title: Some("t".into()), title_automatic, user: None, status, opened_at_ms: 7 }
    };
    statuses.into_iter().map(session).collect()
}

fn value() -> CustomValue {
    CustomValue { content_type: "application/x".into(), payload: (0..=255).collect() }
}

/// Through an encoding and back.
fn through(format: Format, frame: v1::server_frame::Frame) -> v1::server_frame::Frame {
    let mut bytes = Vec::new();
    format.encode(&frame.into(), &mut bytes);
    format.decode_server(&bytes).unwrap().frame.unwrap()
}

#[test]
fn views_come_back() {
    for session in sessions() {
        let custom =
            BTreeMap::from([("theme".to_owned(), value()), (String::new(), CustomValue { payload: Vec::new(), ..value() })]);
        let view = View { session, messages: messages().into(), runs: runs(), custom };
        for format in FORMATS {
            let snapshot = v1::Snapshot { view: Some((&view).into()), ..v1::Snapshot::default() };
            let v1::server_frame::Frame::Snapshot(back) = through(format, v1::server_frame::Frame::Snapshot(snapshot)) else {
                panic!("another frame came back");
            };
            assert_eq!(View::try_from(back.view.unwrap()).unwrap(), view, "{format:?}");
        }
    }
}

#[test]
fn operations_come_back() {
    let message = || "m-1".parse().unwrap();
    let mut ops: Vec<Op> = sessions().into_iter().map(Op::SessionChanged).collect();
    ops.extend(messages().into_iter().map(Op::MessageAdded));
    ops.extend(runs().into_iter().map(|run| Op::RunChanged(Box::new(run))));
    ops.extend(parts().into_iter().zip(0..).map(|(value, part)| Op::PartSet { message: message(), part, value }));
    ops.extend(TOOL_STATUSES.map(|status| Op::ToolCallChanged {
        message: message(),
        part: 3,
        status,
        result: Some(String::new()),
    }));
    ops.push(Op::ToolCallChanged { message: message(), part: 0, status: ToolStatus::Ready, result: None });
    ops.push(Op::MessageReset { message: message() });
    ops.push(Op::PartAppended { message: message(), part: u32::MAX, at: u32::MAX, text: "é".into() });
    ops.push(Op::PartAppended { message: message(), part: 0, at: 0, text: String::new() });
    ops.push(Op::Custom { kind: "theme".into(), value: value() });
    let delta = Delta { ops };
    for format in FORMATS {
        let frame = v1::Delta { ops: delta.ops.iter().map(Into::into).collect(), ..v1::Delta::default() };
        let v1::server_frame::Frame::Delta(back) = through(format, v1::server_frame::Frame::Delta(frame)) else {
            panic!("another frame came back");
        };
        assert_eq!(convert::delta(back.ops).unwrap(), delta, "{format:?}");
    }
}

fn said() -> Vec<Said> {
    let mut said: Vec<Said> = vec![
        TextDelta { text: "é".into() }.into(),
        ReasoningDelta { text: String::new() }.into(),
        ToolCallStarted { call: "c".into(), name: "n".into(), needs_approval: true }.into(),
        ToolCallStarted { call: "d".into(), name: "n".into(), needs_approval: false }.into(),
        ToolArguments { call: "c".into(), text: "{".into() }.into(),
        ToolReady { call: "c".into() }.into(),
        ToolResult { call: "c".into(), content: "r".into(), is_error: true }.into(),
        ToolResult { call: "d".into(), content: String::new(), is_error: false }.into(),
        Usage { input: 1, output: 2, reasoning: 3, cached_input: 4 }.into(),
        Failed { code: "c".into(), message: "m".into(), retryable: true }.into(),
    ];
    said.extend(citations().map(Said::Citation));
    said.extend(reasons().into_iter().map(|reason| StepFinished { reason }.into()));
    said.extend(reasons().into_iter().map(|reason| Completed { reason, steered: None }.into()));
    said.push(Completed { reason: FinishReason::Stop, steered: Some(2) }.into());
    said.push(Sealed { by: "one".into(), data: "{}".into() }.into());
    said.push(Waiting { calls: vec!["c".into()], until_ms: u64::MAX }.into());
    said
}

#[test]
fn what_a_model_says_comes_back() {
    let output = Output { attempt: "t-1".parse().unwrap(), seq: 9, said: said() };
    let wire = v1::Output::from(&output);
    assert_eq!(Output::try_from(wire.clone()).unwrap(), output);
    let json = serde_json::to_string(&wire).unwrap();
    assert_eq!(Output::try_from(serde_json::from_str::<v1::Output>(&json).unwrap()).unwrap(), output);
    let bytes = prost::Message::encode_to_vec(&wire);
    let back: v1::Output = prost::Message::decode(bytes.as_slice()).unwrap();
    assert_eq!(Output::try_from(back).unwrap(), output);
}

/// Every record that is listed can be told over the wire, those of a later release too.
#[test]
fn what_a_later_release_says_is_shown_and_not_taken() {
    let later = BTreeMap::from([("hologram", BTreeMap::from([("depth", 3)]))]);
    let stored = rmp_serde::to_vec_named(&later).unwrap();
    let part: Part = rmp_serde::from_slice(&stored).unwrap();
    assert_eq!(part.kind(), "hologram");
    assert_eq!(v1::Part::from(&part), v1::Part { part: None });
    let said: Said = rmp_serde::from_slice(&stored).unwrap();
    let wire = v1::Said::from(&said);
    let Some(v1::said::Said::Unknown(unknown)) = &wire.said else { panic!("{wire:?}") };
    assert_eq!(unknown.kind, "hologram");
    assert_eq!(rmp_serde::from_slice::<BTreeMap<String, u32>>(&unknown.body).unwrap(), BTreeMap::from([("depth".into(), 3)]));
    Said::try_from(wire).unwrap_err();
}

/// Fields that are missing, or hold what they must not, are told by name.
#[test]
fn what_comes_from_outside_is_checked() {
    let op = |op| v1::Op { op: Some(op) };
    let reset = |message: &str| op(v1::op::Op::MessageReset(v1::MessageReset { message: message.into() }));
    let run = |run: v1::Run| op(v1::op::Op::RunChanged(run));
    let good = v1::Run::from(&runs()[0]);
    let rows: Vec<(v1::Op, &str)> = vec![
        (v1::Op { op: None }, "field op: is missing"),
        (reset(""), "field op.message: an id has 1 to 64 characters, this has 0"),
        (reset(&"a".repeat(65)), "field op.message: an id has 1 to 64 characters, this has 65"),
        (reset("a.b"), "field op.message: an id consists of A-Z, a-z, 0-9, '_' and '-', this has '.'"),
        (op(v1::op::Op::PartSet(v1::PartSet { message: "m".into(), part: 0, value: None })), "field op.value: is missing"),
        (op(v1::op::Op::CustomSet(v1::CustomSet { kind: "k".into(), value: None })), "field op.value: is missing"),
        (run(v1::Run { status: 0, ..good.clone() }), "field run.status: is not a known value"),
        (run(v1::Run { status: 99, ..good }), "field run.status: is not a known value"),
    ];
    for (op, expected) in rows {
        assert_eq!(convert::delta(vec![op]).unwrap_err().to_string(), expected);
    }
    assert!(convert::delta(vec![reset(&"a".repeat(64))]).is_ok());
}
