//! One frame of every kind, with every variant of what it holds.

use fanfold_wire::v1;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::op::Op;
use fanfold_wire::v1::part::Part;
use fanfold_wire::v1::server_frame::Frame as Out;

/// Characters as a cursor has; what they say matters to nobody but the node.
pub const CURSOR: &str = "AYEjRWeJq83vvzYHQQABAAAAAAAAAAc";
/// The one before.
pub const BEFORE: &str = "AYEjRWeJq83vvzYHQQABAAAAAAAAAAY";

fn part(part: Part) -> v1::Part {
    v1::Part { part: Some(part) }
}

fn text(text: &str) -> v1::Text {
    v1::Text { text: text.into() }
}

/// Every kind of part, and one that this release doesn't know.
pub fn parts() -> Vec<v1::Part> {
    let call = v1::ToolCall {
        call: "call_1".into(),
        name: "weather".into(),
        arguments: r#"{"city":"Zürich"}"#.into(),
        status: v1::ToolStatus::AwaitingApproval.into(),
        result: None,
    };
    vec![
        part(Part::Text(text("Grüße \u{1f44b} from\na \"line\""))),
        part(Part::Reasoning(text("first, …"))),
        part(Part::ToolCall(call)),
        part(Part::Citation(v1::Citation {
            url: Some("https://a.example/".into()),
            title: Some("A".into()),
            source: Some("doc-1".into()),
            quote: Some("words".into()),
        })),
        part(Part::File(v1::FileRef {
            url: "https://a.example/b.png".into(),
            media_type: "image/png".into(),
            name: Some("b".into()),
        })),
        part(Part::Steering(v1::Steering { text: "shorter".into(), author: Some("ann".into()) })),
        part(Part::Step(v1::Step { reason: Some(finish(v1::FinishKind::ToolCalls)) })),
        v1::Part { part: None },
    ]
}

fn finish(kind: v1::FinishKind) -> v1::FinishReason {
    v1::FinishReason { kind: kind.into(), other: String::new() }
}

fn message() -> v1::Message {
    v1::Message {
        id: "m-1".into(),
        parent: Some("m-0".into()),
        role: v1::Role::Assistant.into(),
        author: Some("ann".into()),
        at_ms: 1_767_225_600_000,
        run: Some("r-1".into()),
        parts: parts(),
    }
}

fn run() -> v1::Run {
    v1::Run {
        id: "r-1".into(),
        prompt: "m-0".into(),
        reply: "m-1".into(),
        status: v1::RunStatus::Failed.into(),
        model: Some("demo".into()),
        attempt: Some("t-1".into()),
        attempts: 2,
        attempts_max: 3,
        worker: Some("w".into()),
        finish: Some(v1::FinishReason { kind: v1::FinishKind::Other.into(), other: "pause".into() }),
        error: Some(v1::RunError { code: "rate_limited".into(), message: "Later.".into() }),
        usage: Some(v1::Usage { input: 10, output: u64::MAX, reasoning: 3, cached_input: 4 }),
        waiting: Some(v1::Waiting { calls: vec!["t-1".into()], until_ms: 4 }),
        requested_at_ms: 1,
        started_at_ms: Some(2),
        ended_at_ms: Some(3),
        thoughts: None,
    }
}

fn session() -> v1::Session {
    v1::Session {
        title: Some("A title".into()),
        title_automatic: true,
        user: Some("ann".into()),
        status: v1::SessionStatus::Closed.into(),
        reason: "done".into(),
        opened_at_ms: 1_767_225_600_000,
    }
}

fn custom() -> v1::CustomValue {
    v1::CustomValue { content_type: "application/octet-stream".into(), payload: vec![0, 1, 254, 255] }
}

/// Every operation, and one that this release doesn't know.
pub fn ops() -> Vec<v1::Op> {
    let m = || "m-1".to_owned();
    let ops = [
        Op::SessionChanged(session()),
        Op::MessageAdded(message()),
        Op::MessageReset(v1::MessageReset { message: m() }),
        Op::PartAppended(v1::PartAppended { message: m(), part: 0, at: 0, text: "é".into() }),
        Op::PartSet(v1::PartSet { message: m(), part: 0, value: Some(part(Part::Text(text("")))) }),
        Op::ToolCallChanged(v1::ToolCallChanged {
            message: m(),
            part: 2,
            status: v1::ToolStatus::Done.into(),
            result: Some("18 °C".into()),
        }),
        Op::RunChanged(run()),
        Op::CustomSet(v1::CustomSet { kind: "theme".into(), value: Some(custom()) }),
    ];
    let mut ops: Vec<_> = ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect();
    ops.push(v1::Op { op: None });
    ops
}

fn view() -> v1::View {
    v1::View {
        session: Some(session()),
        messages: vec![message(), v1::Message { id: "m-2".into(), role: v1::Role::User.into(), ..v1::Message::default() }],
        runs: vec![run()],
        custom: [("theme".to_owned(), custom())].into(),
    }
}

/// The name of a kind. It has no wildcard: a new kind needs a name here and a frame in [`server`].
pub fn server_name(frame: &Out) -> &'static str {
    match frame {
        Out::Welcome(_) => "welcome",
        Out::Subscribed(_) => "subscribed",
        Out::Delta(_) => "delta",
        Out::Snapshot(_) => "snapshot",
        Out::CaughtUp(_) => "caught_up",
        Out::Ping(_) => "ping",
        Out::Closed(_) => "closed",
        Out::Receipt(_) => "receipt",
        Out::Error(_) => "error",
        Out::Presence(_) => "presence",
        Out::Draining(_) => "draining",
        Out::Listed(_) => "listed",
        Out::SnapshotPart(_) => "snapshot_part",
    }
}

/// Kinds of a server's frame.
pub const SERVER_KINDS: usize = 13;

/// One of each, in the order of the schema.
pub fn server() -> Vec<Out> {
    let s = || "s-1".to_owned();
    vec![
        Out::Welcome(v1::Welcome {
            node: "node-1".into(),
            ping_interval_ms: 15_000,
            protocol: 1,
            limits: Some(v1::ConnectionLimits { request_bytes_max: 1 << 20, sessions_max: 100, commands_in_flight_max: 64 }),
        }),
        Out::Subscribed(v1::Subscribed {
            session: s(),
            how: v1::How::Snapshot.into(),
            recovered: false,
            reset_reason: v1::ResetReason::TooOld.into(),
            cursor: CURSOR.into(),
            epoch: "01234567-89ab-4def-8123-456789abcdef".into(),
            offset: 7,
            head: 9,
        }),
        Out::Delta(v1::Delta { session: s(), after: BEFORE.into(), cursor: CURSOR.into(), offset: 7, ops: ops() }),
        Out::Snapshot(v1::Snapshot { session: s(), cursor: CURSOR.into(), offset: 7, view: Some(view()), older_messages: 3 }),
        Out::CaughtUp(v1::CaughtUp { session: s(), cursor: CURSOR.into() }),
        Out::Ping(v1::Ping { positions: vec![v1::Position { session: s(), cursor: CURSOR.into(), head: 9 }], log_away: false }),
        Out::Closed(v1::Closed { session: s(), code: "closed".into(), reason: "done".into(), cursor: CURSOR.into() }),
        Out::Receipt(v1::Receipt {
            command: "c-1".into(),
            session: s(),
            verdict: v1::Verdict::Repeated.into(),
            refusal: "run_ended".into(),
            first_applied: false,
            cursor: CURSOR.into(),
            offset: 7,
            message: "m-1".into(),
            run: "r-1".into(),
            reply: "a-1".into(),
        }),
        Out::Error(v1::Error {
            code: "busy".into(),
            message: "The node is busy.".into(),
            session: s(),
            command: "c-1".into(),
            retry_after_ms: 1000,
            outcome: "not_applied".into(),
            request: "q-1".into(),
            list: None,
        }),
        Out::Presence(v1::Presence { session: s(), present: vec![v1::Present { who: "ann".into(), doing: "typing".into() }] }),
        Out::Draining(v1::Draining { reconnect_after_ms: 1234 }),
        Out::Listed(v1::Listed {
            rows: vec![
                v1::SessionRow {
                    session: "s-1".into(),
                    user: Some("ann".into()),
                    title: Some("Trains".into()),
                    status: "open".into(),
                    opened_at_ms: 1_773_000_000_000,
                    active_at_ms: 1_773_000_100_000,
                    offset: 7,
                    open_runs: 1,
                },
                v1::SessionRow { session: "s-2".into(), status: "closed".into(), ..v1::SessionRow::default() },
            ],
            reset: true,
            next_page: Some("1773000000000.s-2".into()),
        }),
        Out::SnapshotPart(v1::SnapshotPart { session: s(), bytes: vec![10, 3, 255], last: true }),
    ]
}

/// The name of a kind; of a command with its action. It has no wildcard, as [`server_name`].
pub fn client_name(frame: &In) -> &'static str {
    match frame {
        In::Hello(_) => "hello",
        In::Subscribe(_) => "subscribe",
        In::Unsubscribe(_) => "unsubscribe",
        In::Presence(_) => "presence",
        In::Watch(_) => "watch",
        In::Unwatch(_) => "unwatch",
        In::Refresh(_) => "refresh",
        In::Command(command) => match command.action {
            None => "command",
            Some(Action::Open(_)) => "command_open",
            Some(Action::SetTitle(_)) => "command_set_title",
            Some(Action::Close(_)) => "command_close",
            Some(Action::Erase(_)) => "command_erase",
            Some(Action::Send(_)) => "command_send",
            Some(Action::RequestRun(_)) => "command_request_run",
            Some(Action::Cancel(_)) => "command_cancel",
            Some(Action::Steer(_)) => "command_steer",
            Some(Action::DecideTool(_)) => "command_decide_tool",
            Some(Action::Custom(_)) => "command_custom",
            Some(Action::StartRun(_)) => "command_start_run",
            Some(Action::LoseAttempt(_)) => "command_lose_attempt",
        },
    }
}

/// Kinds of a client's frame, every action of a command counted, and a command without any.
pub const CLIENT_KINDS: usize = 20;

/// One of each.
pub fn client() -> Vec<In> {
    let mut frames = vec![
        In::Hello(v1::Hello { token: "a.b.c".into(), client: "test 1.0".into() }),
        In::Subscribe(v1::Subscribe {
            session: "s-1".into(),
            cursor: Some(CURSOR.into()),
            mode: v1::Mode::Full.into(),
            window: 20,
            replay: Some(0),
        }),
        In::Unsubscribe(v1::Unsubscribe { session: "s-1".into() }),
        In::Presence(v1::PresenceSet { session: "s-1".into(), doing: "typing".into() }),
        In::Watch(v1::Watch { user: Some("ann".into()), limit: 20 }),
        In::Unwatch(v1::Unwatch {}),
        In::Refresh(v1::Refresh { token: "d.e.f".into() }),
        In::Command(v1::Command { id: "c-1".into(), session: "s-1".into(), ..v1::Command::default() }),
    ];
    let command = |action| {
        In::Command(v1::Command {
            id: "c-1".into(),
            session: "s-1".into(),
            if_last: Some(CURSOR.into()),
            at_least: Some(BEFORE.into()),
            action: Some(action),
        })
    };
    frames.extend(actions().into_iter().map(command));
    frames
}

fn actions() -> Vec<Action> {
    let answer = v1::Answer { run: "r-1".into(), reply: "a-1".into(), model: Some("demo".into()), interrupt: true };
    let send = v1::Send {
        message: "m-1".into(),
        parent: Some("m-0".into()),
        root: false,
        role: v1::Role::User.into(),
        parts: vec![part(Part::Text(text("Hello, wörld")))],
        answer: Some(answer),
    };
    let request = v1::RunRequested {
        run: "r-1".into(),
        reply: "a-1".into(),
        prompt: "m-1".into(),
        model: Some("demo".into()),
        interrupt: true,
        attempts_max: 5,
    };
    let decided = v1::ToolDecided { message: "a-1".into(), call: "call_1".into(), approved: false, reason: "no".into() };
    let started = v1::RunStarted {
        run: "r-1".into(),
        attempt: "t-1".into(),
        worker: "w".into(),
        model: Some("demo".into()),
        resume: false,
    };
    vec![
        Action::Open(v1::SessionOpened { title: Some("A title".into()), user: Some("ann".into()) }),
        Action::SetTitle(v1::SessionTitled { title: "Another".into(), automatic: false }),
        Action::Close(v1::SessionClosed { reason: "done".into() }),
        Action::Erase(v1::SessionErased {}),
        Action::Send(send),
        Action::RequestRun(request),
        Action::Cancel(v1::Cancel { run: Some("r-1".into()), reason: "enough".into() }),
        Action::Steer(v1::RunSteered { run: "r-1".into(), text: "shorter".into() }),
        Action::DecideTool(decided),
        Action::Custom(v1::Custom { kind: "theme".into(), content_type: "text/plain".into(), payload: b"dark".to_vec() }),
        Action::StartRun(started),
        Action::LoseAttempt(v1::AttemptLost { run: "r-1".into(), attempt: "t-1".into() }),
    ]
}
