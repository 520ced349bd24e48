//! The language of the scripts.
//!
//! A line is a record, what is expected of it stands behind the arrow: `#c1` before a line names its command, ` + ` joins events of
//! one record, no arrow means that it is applied.

use fanfold_fold::{
    AttemptLost, Citation, Completed, Custom, Event, Failed, FinishReason, MessageAdded, Output, Part, ReasoningDelta, Record,
    Role, RunCancelled, RunFailed, RunRequested, RunStarted, RunSteered, Said, Sealed, SessionClosed, SessionErased,
    SessionOpened, SessionTitled, State, StepFinished, TextDelta, ToolArguments, ToolCallStarted, ToolDecided, ToolReady,
    ToolResult, Usage, Verdict, View, Waiting,
};

/// Runs a script, then compares the readable state with `expected`, line by line without indentation.
#[track_caller]
pub(crate) fn check(script: &str, expected: &str) {
    let (mut state, mut reader) = (State::default(), View::default());
    for line in lines(script) {
        let (events, verdict) = line.split_once(" => ").unwrap_or((line, "Applied"));
        let (got, delta) = state.apply(&record(events));
        assert_eq!(format!("{got:?}"), verdict.trim(), "of {line:?}");
        reader.apply(&delta).unwrap_or_else(|error| panic!("{error} at {line:?}"));
        assert_eq!(&reader, state.view(), "after {line:?}");
    }
    assert_eq!(told(state.view()), lines(expected).collect::<Vec<_>>().join("\n"));
}

pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

pub(crate) fn record(line: &str) -> Record {
    let (command, events) = match line.strip_prefix('#') {
        Some(rest) => rest.split_once(' ').map(|(id, events)| (Some(id.parse().unwrap()), events)).unwrap(),
        None => (None, line),
    };
    Record { command, at_ms: 7, by: Some("eve".into()), events: events.split(" + ").map(event).collect() }
}

pub(crate) fn event(text: &str) -> Event {
    let words: Vec<&str> = text.split_whitespace().collect();
    let rest = |from: usize| words[from.min(words.len())..].join(" ");
    match words[0] {
        "open" => SessionOpened::default().into(),
        "title" => SessionTitled { title: rest(1), automatic: false }.into(),
        "title?" => SessionTitled { title: rest(1), automatic: true }.into(),
        "close" => SessionClosed { reason: rest(1) }.into(),
        "erase" => SessionErased {}.into(),
        "msg" => {
            let parent = (words[2] != "-").then(|| id(words[2]));
            let (role, author) = (Role::User, None);
            MessageAdded { message: id(words[1]), parent, role, author, parts: vec![Part::text(rest(3))] }.into()
        }
        "ask" => RunRequested {
            run: id(words[1]),
            prompt: id(words[2]),
            reply: id(words[3]),
            model: None,
            interrupt: words.contains(&"interrupt"),
            attempts_max: words.iter().find_map(|word| word.strip_prefix("max=")).map_or(0, |max| max.parse().unwrap()),
        }
        .into(),
        "start" | "resume" => {
            let (run, attempt, resume) = (id(words[1]), id(words[2]), words[0] == "resume");
            RunStarted { run, attempt, worker: "w".into(), model: None, resume }.into()
        }
        "lost" => AttemptLost { run: id(words[1]), attempt: id(words[2]) }.into(),
        "cancel" => RunCancelled { run: id(words[1]), reason: rest(2) }.into(),
        "fail" => RunFailed { run: id(words[1]), code: "no_worker".into(), message: String::new() }.into(),
        "steer" => RunSteered { run: id(words[1]), text: rest(2) }.into(),
        "allow" | "refuse" => {
            let (message, call) = (id(words[1]), words[2].into());
            ToolDecided { message, call, approved: words[0] == "allow", reason: rest(3) }.into()
        }
        "custom" => Custom { kind: words[1].into(), content_type: "text/plain".into(), payload: rest(2).into_bytes() }.into(),
        "out" => {
            let said = words[3..].iter().map(|word| said(word)).collect();
            Output { attempt: id(words[1]), seq: words[2].parse().unwrap(), said }.into()
        }
        "???" => Event::Unknown { kind: "???".into(), body: rmpv::Value::Nil },
        other => panic!("no event {other:?}"),
    }
}

pub(crate) fn said(word: &str) -> Said {
    let (what, rest) = word.split_once(':').unwrap_or((word, ""));
    let (call, text) = rest.split_once(':').unwrap_or((rest, ""));
    let (call, text) = (call.to_owned(), text.to_owned());
    match what {
        "text" => TextDelta { text: rest.into() }.into(),
        "think" => ReasoningDelta { text: rest.into() }.into(),
        "call" => ToolCallStarted { call, name: "n".into(), needs_approval: false }.into(),
        "call?" => ToolCallStarted { call, name: "n".into(), needs_approval: true }.into(),
        "args" => ToolArguments { call, text }.into(),
        "ready" => ToolReady { call }.into(),
        "result" => ToolResult { call, content: text, is_error: false }.into(),
        "error" => ToolResult { call, content: text, is_error: true }.into(),
        "cite" => Citation { quote: Some(rest.into()), ..Citation::default() }.into(),
        "step" => StepFinished { reason: FinishReason::ToolCalls }.into(),
        "usage" => Usage { output: rest.parse().unwrap(), ..Usage::default() }.into(),
        "sealed" => Sealed { by: "p".into(), data: rest.into() }.into(),
        "wait" => Waiting { calls: rest.split_terminator(',').map(str::to_owned).collect(), until_ms: 9 }.into(),
        "done" => Completed { reason: FinishReason::Stop, steered: rest.parse().ok() }.into(),
        "fail" => Failed { code: "bad".into(), message: String::new(), retryable: false }.into(),
        "retry" => Failed { code: "busy".into(), message: String::new(), retryable: true }.into(),
        other => panic!("nobody says {other:?}"),
    }
}

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// The view in a few words.
pub(crate) fn told(view: &View) -> String {
    let session = format!("{:?}", view.session.status);
    let mut lines = vec![match &view.session.title {
        Some(title) => format!("{session} {title}"),
        None => session,
    }];
    for message in &view.messages {
        let parent = message.parent.as_ref().map_or("-", |parent| parent.as_str());
        let parts: Vec<_> = message.parts.iter().map(part).collect();
        lines.push(format!("{} <{parent} {}", message.id, parts.join(" | ")).trim_end().to_owned());
    }
    for run in &view.runs {
        let attempt = run.attempt.as_ref().map_or("-", |attempt| attempt.as_str());
        let mut line = format!("{} {:?} {attempt} {}/{}", run.id, run.status, run.attempts, run.attempts_max);
        line += &run.waiting.as_ref().map(|waiting| format!(" waits for {}", waiting.calls.join(","))).unwrap_or_default();
        line += &run.finish.as_ref().map(|finish| format!(" {finish:?}")).unwrap_or_default();
        line += &run.error.as_ref().map(|error| format!(" {}", error.code)).unwrap_or_default();
        line += &run.usage.as_ref().map(|usage| format!(" usage {}", usage.output)).unwrap_or_default();
        lines.push(line);
    }
    lines.extend(view.custom.iter().map(|(kind, value)| format!("{kind}={}", String::from_utf8_lossy(&value.payload))));
    lines.join("\n")
}

pub(crate) fn part(part: &Part) -> String {
    match part {
        Part::Text(part) => part.text.clone(),
        Part::Reasoning(part) => format!("({})", part.text),
        Part::ToolCall(call) => {
            format!("{}{} {:?} {}", call.call, call.arguments, call.status, call.result.as_deref().unwrap_or("-"))
        }
        Part::Citation(cited) => format!("[{}]", cited.quote.as_deref().unwrap_or_default()),
        Part::File(file) => file.url.clone(),
        Part::Steering(steering) => format!("!{} by {}", steering.text, steering.author.as_deref().unwrap_or("-")),
        Part::Step(step) => format!("{:?}", step.reason),
        Part::Sealed(sealed) => format!("<{}>", sealed.data),
        Part::Unknown { kind, .. } => format!("?{kind}"),
    }
}

pub(crate) const ASKED: &str = "open\nmsg m1 - hi\nask r1 m1 a1 max=2\n";
pub(crate) const STARTED: &str = "open\nmsg m1 - hi\nask r1 m1 a1 max=2\nstart r1 t1\n";

/// [`check`] of a script that goes on from a running run.
#[track_caller]
pub(crate) fn check_run(script: &str, reply: &str, run: &str) {
    check(&format!("{STARTED}{script}"), &format!("Open\nm1 <- hi\na1 <m1 {reply}\n{run}"));
}

pub(crate) fn state_of(script: &str) -> State {
    let mut state = State::default();
    for line in lines(script) {
        assert_eq!(state.apply(&record(line)).0, Verdict::Applied, "of {line:?}");
    }
    state
}

pub(crate) fn verdict_of(state: &mut State, event: impl Into<Event>) -> Verdict {
    state.apply(&Record { command: None, at_ms: 0, by: None, events: vec![event.into()] }).0
}
