//! What a session does, told as scripts: a line is a record, what is expected of it stands behind the arrow.
//!
//! `#c1` before a line names its command, ` + ` joins events of one record, no arrow means that it is applied.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use fanfold_fold::{
    Action, AttemptLost, CONTENT_BYTES_MAX, CUSTOM_KINDS_MAX, Citation, Command, Completed, Custom, Event, Failed, FinishReason,
    Merger, MessageAdded, NAME_BYTES_MAX, OPEN_RUNS_MAX, Op, Output, PARTS_MAX, Part, REPLY_PARTS_MAX, ReasoningDelta, Record,
    Refusal, Role, RunCancelled, RunFailed, RunRequested, RunStarted, RunSteered, Said, Sealed, SessionClosed, SessionErased,
    SessionOpened, SessionTitled, State, StepFinished, TextDelta, ToolArguments, ToolCallStarted, ToolDecided, ToolReady,
    ToolResult, Usage, Verdict, View, Waiting,
};

/// Runs a script, then compares the readable state with `expected`, line by line without indentation.
#[track_caller]
fn check(script: &str, expected: &str) {
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

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn record(line: &str) -> Record {
    let (command, events) = match line.strip_prefix('#') {
        Some(rest) => rest.split_once(' ').map(|(id, events)| (Some(id.parse().unwrap()), events)).unwrap(),
        None => (None, line),
    };
    Record { command, at_ms: 7, by: Some("eve".into()), events: events.split(" + ").map(event).collect() }
}

fn event(text: &str) -> Event {
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

fn said(word: &str) -> Said {
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

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// The view in a few words.
fn told(view: &View) -> String {
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

fn part(part: &Part) -> String {
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

const ASKED: &str = "open\nmsg m1 - hi\nask r1 m1 a1 max=2\n";
const STARTED: &str = "open\nmsg m1 - hi\nask r1 m1 a1 max=2\nstart r1 t1\n";

/// [`check`] of a script that goes on from a running run.
#[track_caller]
fn check_run(script: &str, reply: &str, run: &str) {
    check(&format!("{STARTED}{script}"), &format!("Open\nm1 <- hi\na1 <m1 {reply}\n{run}"));
}

#[test]
fn a_session_is_opened_once_and_closed_for_good() {
    check("open => Applied\nopen => Refused(SessionExists)\nopen + open => Refused(SessionExists)", "Open");
    check("title x => Refused(SessionNotFound)\nopen + title x\ntitle y", "Open y");
    check("open + open => Refused(SessionExists)", "Absent");
    check("open + close so => Applied\ntitle x => Refused(SessionClosed)\nclose => Refused(SessionClosed)", "Closed(\"so\")");
    check("open\nclose + title x => Refused(SessionClosed)\nclose + msg m - x => Refused(SessionClosed)", "Open");
    check(&format!("{ASKED}close"), "Closed(\"\")\nm1 <- hi\na1 <m1\nr1 Cancelled - 0/2");
    check(&format!("{STARTED}close + cancel r1 => Refused(RunEnded)"), "Open\nm1 <- hi\na1 <m1\nr1 Running t1 1/2");
}

#[test]
fn the_first_words_of_a_person_are_the_title_unless_there_is_one() {
    let title = |opened: Option<&str>, roles_and_texts: &[(Role, &str)]| {
        let mut state = State::default();
        let open = SessionOpened { title: opened.map(str::to_owned), user: None };
        let actions = roles_and_texts.iter().map(|(role, text)| {
            let (parent, parts) = (Default::default(), vec![Part::text(*text)]);
            Action::Send(fanfold_fold::Send {
                message: id(&format!("m{}", text.len())),
                parent,
                role: *role,
                parts,
                answer: None,
            })
        });
        for (number, action) in std::iter::once(Action::Open(open)).chain(actions).enumerate() {
            let command = Command { id: id(&format!("c{number}")), at_ms: 0, by: None, action };
            let record = state.decide(&command).unwrap();
            assert_eq!(state.apply(&record).0, Verdict::Applied);
        }
        state.view().session.title.clone()
    };
    fn user(text: &str) -> (Role, &str) {
        (Role::User, text)
    }
    assert_eq!(title(None, &[user("  What is\n a log? ")]).as_deref(), Some("What is a log?"));
    assert_eq!(title(None, &[(Role::System, "Be brief."), user("Hello"), user("And more")]).as_deref(), Some("Hello"));
    assert_eq!(title(Some("Mine"), &[user("Hello")]).as_deref(), Some("Mine"));
    assert_eq!(title(None, &[user(" \n "), user("Later")]), None, "it said nothing, and was the first");
    let long = title(None, &[user(&"words and ".repeat(20))]).unwrap();
    assert!(long.ends_with("words and…") && long.chars().count() <= 61, "{long:?}");
    assert_eq!(title(None, &[user(&"é".repeat(100))]), Some("é".repeat(60) + "…"));
}

#[test]
fn a_title_that_a_person_gave_stays() {
    check("open\ntitle? words\ntitle? better\ntitle mine\ntitle? worse => Applied", "Open mine");
    check("open + title mine\ntitle? worse\ntitle yours", "Open yours");
}

#[test]
fn an_erased_session_is_nothing_but_erased() {
    check(
        &format!("{STARTED}custom k v\nerase\nopen => Refused(SessionErased)\nout t1 1 text:x => Refused(Fenced)\n???"),
        "Erased",
    );
    check("erase => Refused(SessionNotFound)\nopen\nerase + title x => Refused(Limit)", "Open");
}

#[test]
fn one_run_at_a_time_and_later_ones_wait_in_order() {
    check(
        "open\nmsg m1 - hi\nask r1 m1 a1\nask r2 m1 a2\nask r3 m1 a3\nstart r2 t2 => Refused(RunNotNext)\nstart r1 t1
         start r2 t2 => Refused(RunNotNext)\ncancel r2\nout t1 1 text:x done\nstart r3 t3",
        "Open\nm1 <- hi\na1 <m1 x\na2 <m1\na3 <m1\nr1 Completed t1 1/3 Stop\nr2 Cancelled - 0/3\nr3 Running t3 1/3",
    );
}

#[test]
fn an_interrupting_run_ends_those_before_it() {
    let ended = "Open\nm1 <- hi\na1 <m1 half\na2 <m1\nr1 Cancelled t1 1/2\nr2 Running t2 1/3";
    check(
        &format!("{STARTED}out t1 1 text:half\nask r2 m1 a2 interrupt\nout t1 2 text:x => Refused(RunEnded)\nstart r2 t2"),
        ended,
    );
    let unchanged = "Open\nm1 <- hi\na1 <m1\nr1 Running t1 1/2";
    check(&format!("{STARTED}ask r2 m1 a2 interrupt + start r1 t9 => Refused(RunEnded)"), unchanged);
}

#[test]
fn a_cancel_is_terminal_before_and_after_the_start() {
    let never = "Open\nm1 <- hi\na1 <m1\nr1 Cancelled - 0/2 cancelled";
    check(&format!("{ASKED}cancel r1 halt\nstart r1 t1 => Refused(RunEnded)\ncancel r1 => Refused(RunEnded)"), never);
    check_run(
        "out t1 1 text:half\ncancel r1\nout t1 2 text:x => Refused(RunEnded)\nout t1 1 text:half => Repeated(Applied)
         lost r1 t1 => Refused(RunEnded)\nfail r1 => Refused(RunEnded)\nsteer r1 x => Refused(RunEnded)",
        "half",
        "r1 Cancelled t1 1/2",
    );
    // What it cost comes later; the words beside it don't count.
    check_run(
        "cancel r1\nout t1 1 text:x usage:9\nout t1 1 text:x usage:9 => Repeated(Applied)",
        "",
        "r1 Cancelled t1 1/2 usage 9",
    );
}

#[test]
fn a_record_settles_a_run_once() {
    for settled in ["cancel r1 + start r1 t2", "start r1 t2 + start r1 t3", "lost r1 t1 + lost r1 t1", "fail r1 + lost r1 t1"] {
        check_run(&format!("{settled} => Refused(Limit)"), "", "r1 Running t1 1/2");
    }
    check_run("cancel r1 + out t1 1 text:x => Refused(Limit)", "", "r1 Running t1 1/2");
    check_run("start r1 t2 + steer r1 x => Refused(RunNotStarted)", "", "r1 Running t1 1/2");
    check_run("out t1 1 text:x + ??? + out t1 2 text:y done", "xy", "r1 Completed t1 1/2 Stop");
}

#[test]
fn a_failure_that_may_pass_leads_to_another_attempt() {
    check_run("out t1 1 text:half retry text:no", "half", "r1 Queued t1 1/2 busy");
    check_run(
        "out t1 1 text:half retry\nout t1 3 text:no => Refused(Fenced)\nstart r1 t2\nout t2 1 text:new",
        "new",
        "r1 Running t2 2/2",
    );
    check_run("out t1 1 retry\nstart r1 t2\nout t2 1 retry\nstart r1 t3 => Refused(RunEnded)", "", "r1 Failed t2 2/2 busy");
    check_run("out t1 1 text:half fail", "half", "r1 Failed t1 1/2 bad");
    check_run("lost r1 t1\nstart r1 t1 => Refused(Fenced)\nlost r1 t1 => Refused(Fenced)", "", "r1 Queued t1 1/2 worker_lost");
    check_run("lost r1 t1\nstart r1 t2\nlost r1 t1 => Refused(Fenced)\nlost r1 t2", "", "r1 Orphaned t2 2/2 worker_lost");
    check(&format!("{ASKED}fail r1"), "Open\nm1 <- hi\na1 <m1\nr1 Failed - 0/2 no_worker");
}

#[test]
fn a_later_attempt_fences_an_earlier_one() {
    check_run(
        "out t1 1 text:old\nsteer r1 kürzer\nstart r1 t2\nout t1 2 text:x => Refused(Fenced)\nout t2 1 text:new
         start r1 t3 => Refused(AttemptsExhausted)\nstart r1 t2",
        "!kürzer by eve | new",
        "r1 Running t2 2/2",
    );
}

#[test]
fn output_counts_once() {
    check_run(
        "out t1 1 text:a text:b\nout t1 1 text:a text:b => Repeated(Applied)\nout t1 2 text:b text:c\nout t1 9 text:d
         out t1 3 text:x => Repeated(Applied)\nout t1 10 => Repeated(Applied)\nout t1 0 text:x => Refused(Limit)
         out t1 18446744073709551615 text:x => Refused(Limit)\nout t1 10 text:a text:a",
        "abcdaa",
        "r1 Running t1 1/2",
    );
    check_run("out t1 1 text:a done text:x\nout t1 1 text:a done text:x => Repeated(Applied)", "a", "r1 Completed t1 1/2 Stop");
    check_run("out t1 1 text:a\nout t1 1 text:a + out t9 1 text:x => Refused(Fenced)", "a", "r1 Running t1 1/2");
    check_run("out t1 1 text:a\nout t9 1 text:x + out t1 1 text:a => Refused(Fenced)", "a", "r1 Running t1 1/2");
}

#[test]
fn text_is_split_by_everything_but_citations() {
    check_run(
        "out t1 1 think:hm think:m text:a cite:q text:b step text:c text:",
        "(hmm) | ab | [q] | ToolCalls | c",
        "r1 Running t1 1/2",
    );
    check_run(
        "out t1 1 text:a\nsteer r1 psst\nout t1 2 text:b done\nsteer r1 x => Refused(RunEnded)",
        "a | !psst by eve | b",
        "r1 Completed t1 1/2 Stop",
    );
}

#[test]
fn a_run_that_waits_for_a_person_has_no_worker_and_is_taken_up_again() {
    let waits = "out t1 1 text:a call?:c ready:c call:d ready:d step result:d:ok wait:c text:no\n";
    let reply = |call: &str| format!("a | {call} | d Done ok | ToolCalls");
    check_run(waits, &reply("c AwaitingApproval -"), "r1 Waiting t1 1/2 waits for c");
    check_run(
        &format!("{waits}out t1 10 text:x => Refused(Fenced)\nlost r1 t1 => Refused(Fenced)\nstart r1 t1 => Refused(Fenced)"),
        &reply("c AwaitingApproval -"),
        "r1 Waiting t1 1/2 waits for c",
    );
    check_run(&format!("{waits}allow a1 c"), &reply("c Ready -"), "r1 Queued t1 1/2 waits for c");
    check_run(&format!("{waits}refuse a1 c no"), &reply("c Refused no"), "r1 Queued t1 1/2 waits for c");
    check_run(&format!("{waits}cancel r1"), &reply("c AwaitingApproval -"), "r1 Cancelled t1 1/2");
    // It goes on where it was, and that is none of its attempts; anew it is one.
    check_run(
        &format!("{waits}allow a1 c\nresume r1 t2\nout t2 1 result:c:yes text:b done"),
        &format!("{} | b", reply("c Done yes")),
        "r1 Completed t2 1/2 Stop",
    );
    check_run(&format!("{waits}allow a1 c\nstart r1 t2\nout t2 1 text:b"), "b", "r1 Running t2 2/2");
    // What is added meanwhile is there for the next attempt.
    check_run(
        &format!("{waits}steer r1 psst\nallow a1 c\nresume r1 t2"),
        &format!("{} | !psst by eve", reply("c Ready -")),
        "r1 Running t2 1/2",
    );
}

#[test]
fn an_attempt_waits_only_for_calls_that_nobody_has_decided() {
    for wait in ["wait:", "wait:z", "wait:c,z"] {
        check_run(&format!("out t1 1 call?:c ready:c {wait} text:b"), "c AwaitingApproval - | b", "r1 Running t1 1/2");
    }
    check_run("out t1 1 call?:c ready:c\nallow a1 c\nout t1 3 wait:c text:b", "c Ready - | b", "r1 Running t1 1/2");
    let two = "out t1 1 call?:c ready:c call?:d ready:d wait:c,d\n";
    check_run(&format!("{two}allow a1 d"), "c AwaitingApproval - | d Ready -", "r1 Queued t1 1/2 waits for c,d");
    check_run(
        &format!("{two}allow a1 d\nallow a1 c => Applied\nallow a1 c => Refused(ToolCallSettled)"),
        "c Ready - | d Ready -",
        "r1 Queued t1 1/2 waits for c,d",
    );
}

#[test]
fn an_attempt_may_go_on_after_the_last_finished_step() {
    let step = "out t1 1 think:h sealed:s text:a call:c ready:c step result:c:ok usage:5 text:half\n";
    check_run(
        &format!("{step}steer r1 psst\nlost r1 t1\nresume r1 t2\nout t2 1 text:b"),
        "(h) | <s> | a | c Done ok | ToolCalls | !psst by eve | b",
        "r1 Running t2 2/2 usage 5",
    );
    check_run(&format!("{step}lost r1 t1\nstart r1 t2\nout t2 1 text:b"), "b", "r1 Running t2 2/2");
    // Without a finished step there is nothing to go on from.
    check_run("out t1 1 text:half\nlost r1 t1\nresume r1 t2\nout t2 1 text:b", "b", "r1 Running t2 2/2");
    check_run(
        &format!("{step}lost r1 t1\nresume r1 t2\nlost r1 t2"),
        "(h) | <s> | a | c Done ok | ToolCalls",
        "r1 Orphaned t2 2/2 worker_lost usage 5",
    );
}

#[test]
fn what_was_added_before_the_end_is_read_or_the_run_goes_on() {
    check_run(
        "steer r1 psst\nout t1 1 text:a done:0 text:b done:1 text:x",
        "!psst by eve | a | Stop | b",
        "r1 Completed t1 1/2 Stop",
    );
    check_run("steer r1 psst\nout t1 1 text:a done", "!psst by eve | a", "r1 Completed t1 1/2 Stop");
    check_run("out t1 1 text:a done:0\nsteer r1 psst => Refused(RunEnded)", "a", "r1 Completed t1 1/2 Stop");
}

#[test]
fn tools_wait_for_people_where_they_must() {
    let run = "r1 Running t1 1/2";
    check_run("out t1 1 call:c call:c args:c:{ args:c:{ args:z:x ready:c args:c:x", "c{{ Ready -", run);
    check_run("out t1 1 call:c ready:c result:c:ok result:z:x ready:c", "c Done ok", run);
    check_run("out t1 1 call?:c ready:c ready:c", "c AwaitingApproval -", run);
    check_run(
        "out t1 1 call?:c\nallow a1 c => Refused(ToolCallSettled)\nout t1 2 ready:c\nallow a1 c\nrefuse a1 c => Refused(ToolCallSettled)",
        "c Ready -",
        run,
    );
    check_run("out t1 1 call?:c ready:c\nrefuse a1 c nein\nout t1 3 ready:c", "c Refused nein", run);
    check_run("out t1 1 call?:c ready:c\nrefuse a1 c nein\nstart r1 t2", "", "r1 Running t2 2/2");
    check_run("out t1 1 call?:c ready:c\nallow a1 c + refuse a1 c => Refused(ToolCallSettled)", "c AwaitingApproval -", run);
    check_run(
        "allow a1 c => Refused(ToolCallNotFound)\nallow m9 c => Refused(MessageNotFound)\nout t1 1 call:c error:c:weh",
        "c Failed weh",
        run,
    );
}

#[test]
fn edits_and_further_answers_are_siblings() {
    check(
        "open\nmsg m1 - hi\nask r1 m1 a1\ncancel r1\nask r2 m1 a2\nmsg m2 - hello\nmsg m1 - x => Refused(MessageExists)
         msg m3 m9 x => Refused(MessageNotFound)\nmsg m4 m4 x => Refused(MessageNotFound)\nmsg m5 - a + msg m6 m5 b
         ask r2 m1 a9 => Refused(RunExists)\nask r3 m1 m1 => Refused(MessageExists)\nask r3 m9 a9 => Refused(MessageNotFound)",
        "Open\nm1 <- hi\na1 <m1\na2 <m1\nm2 <- hello\nm5 <- a\nm6 <m5 b\nr1 Cancelled - 0/3\nr2 Queued - 0/3",
    );
}

#[test]
fn the_newest_custom_event_of_a_kind_wins() {
    check("open\ncustom k old\ncustom a x\ncustom k new + custom k newer", "Open\na=x\nk=newer");
}

#[test]
fn a_command_is_remembered_with_its_verdict() {
    check(
        "#c1 open\n#c1 open => Repeated(Applied)\n#c2 open => Refused(SessionExists)\n#c2 title x => Repeated(Refused(SessionExists))
         #c3 msg m - hi + ask r m9 a => Refused(MessageNotFound)\n#c4 ???\n#c4 title x => Repeated(Applied)",
        "Open",
    );
}

fn state_of(script: &str) -> State {
    let mut state = State::default();
    for line in lines(script) {
        assert_eq!(state.apply(&record(line)).0, Verdict::Applied, "of {line:?}");
    }
    state
}

fn verdict_of(state: &mut State, event: impl Into<Event>) -> Verdict {
    state.apply(&Record { command: None, at_ms: 0, by: None, events: vec![event.into()] }).0
}

#[test]
fn a_branch_leads_from_the_root_to_its_leaf() {
    let state = state_of("open\nmsg m1 - a\nmsg m2 m1 b\nmsg m3 m1 c\nmsg m4 m2 d");
    let branch = |leaf| state.view().branch(&id(leaf)).iter().map(|message| message.id.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!([branch("m4"), branch("m3"), branch("m9")], ["m1 m2 m4", "m1 m3", ""]);
    // A view from elsewhere may go in circles.
    let circle =
        r#"{"messages": [{"id": "a", "parent": "a", "role": "user", "author": null, "at_ms": 0, "run": null, "parts": []}]}"#;
    let view: View = serde_json::from_str(circle).unwrap();
    assert_eq!(view.branch(&id("a")).len(), 1);
}

#[test]
fn a_window_shows_the_newest_messages_and_what_writes_them() {
    let state = state_of("open\nmsg m1 - a\nask r1 m1 a1\ncancel r1\nask r2 m1 a2\nmsg m2 - b\nmsg m3 - c\ncustom k v");
    let window = |max| {
        let (view, older) = state.view().window(max);
        (told(&view).lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>().join(" "), older)
    };
    assert_eq!(window(2), ("Open m2 m3 r2 k=v".into(), 3));
    assert_eq!(window(0), ("Open r2 k=v".into(), 5));
    assert_eq!(window(4), ("Open a1 a2 m2 m3 r1 r2 k=v".into(), 1));
    assert_eq!(window(100).1, 0);
}

/// Fills a session but for so many bytes.
fn fill(state: &mut State, bytes_left: u64) {
    const PAYLOAD: u64 = 1 << 20;
    for at in 0.. {
        let bytes = (CONTENT_BYTES_MAX - bytes_left - state.content_bytes()).min(PAYLOAD);
        if bytes == 0 {
            return;
        }
        let (kind, content_type, payload) = (format!("fill-{at}"), "a/b".into(), vec![0; bytes as usize]);
        assert_eq!(verdict_of(state, Custom { kind, content_type, payload }), Verdict::Applied);
    }
}

#[test]
fn a_full_session_says_so_and_its_run_ends() {
    let mut state = state_of(STARTED);
    fill(&mut state, 3);
    let full = Verdict::Refused(Refusal::SessionFull);
    assert_eq!(state.apply(&record("msg m2 - long")).0, full);
    assert_eq!(state.apply(&record("msg m2 - ab + msg m3 - cd")).0, full, "together they are too long");
    assert_eq!(state.apply(&record("steer r1 long")).0, full);
    assert_eq!(state.apply(&record("custom new long")).0, full);
    let (verdict, _) = state.apply(&record("out t1 1 text:ab text:cd text:e usage:5"));
    assert_eq!(verdict, Verdict::Applied);
    let (run, reply) = (&state.view().runs[0], state.view().messages.last().unwrap());
    assert_eq!(run.error.as_ref().unwrap().code, "session_full");
    assert_eq!((reply.parts.as_slice(), run.usage.unwrap().output), ([Part::text("ab")].as_slice(), 5), "no hole, but the bill");
    assert_eq!(state.apply(&record("msg m2 - c")).0, Verdict::Applied, "one byte is left");
}

#[test]
fn an_answer_has_so_many_parts() {
    let mut state = state_of(STARTED);
    let step = Said::from(StepFinished { reason: FinishReason::ToolCalls });
    let said = vec![step; REPLY_PARTS_MAX];
    assert_eq!(verdict_of(&mut state, Output { attempt: id("t1"), seq: 1, said }), Verdict::Applied);
    assert_eq!(state.view().messages.last().unwrap().parts.len(), REPLY_PARTS_MAX);
    assert_eq!(state.apply(&record("steer r1 x")).0, Verdict::Refused(Refusal::SessionFull));
    state.apply(&record("out t1 20000 text:x"));
    assert_eq!(state.view().runs[0].error.as_ref().unwrap().code, "session_full");
}

#[test]
fn limits_of_a_record_are_named() {
    let limit = Verdict::Refused(Refusal::Limit);
    let mut state = state_of("open");
    let title = |length| SessionTitled { title: "x".repeat(length), automatic: false };
    assert_eq!(verdict_of(&mut state, title(NAME_BYTES_MAX)), Verdict::Applied);
    assert_eq!(verdict_of(&mut state, title(NAME_BYTES_MAX + 1)), limit);
    let message = |at: &str, parts| MessageAdded {
        message: id(at),
        parent: None,
        role: Role::Tool,
        author: None,
        parts: vec![Part::text(""); parts],
    };
    assert_eq!(verdict_of(&mut state, message("a", 0)), limit);
    assert_eq!(verdict_of(&mut state, message("a", PARTS_MAX)), Verdict::Applied);
    assert_eq!(verdict_of(&mut state, message("b", PARTS_MAX + 1)), limit);
    let custom = |kind: String| Custom { kind, content_type: String::new(), payload: Vec::new() };
    assert_eq!(verdict_of(&mut state, custom(String::new())), limit);
    let events = (0..=CUSTOM_KINDS_MAX).map(|at| custom(format!("k{at}")).into()).collect();
    let together = Record { command: None, at_ms: 0, by: None, events };
    assert_eq!(state.apply(&together).0, Verdict::Refused(Refusal::SessionFull));
    assert!(state.view().custom.is_empty(), "all or none");
}

#[test]
fn so_many_runs_may_wait() {
    let mut state = state_of("open\nmsg m - hi");
    for at in 0..OPEN_RUNS_MAX {
        assert_eq!(state.apply(&record(&format!("ask r{at} m a{at}"))).0, Verdict::Applied);
    }
    assert_eq!(state.apply(&record("ask x m ax")).0, Verdict::Refused(Refusal::SessionFull));
    // One that ended amid them makes room for one.
    assert_eq!(state.apply(&record("cancel r60")).0, Verdict::Applied);
    assert_eq!(state.apply(&record("ask x m ax + ask y m ay")).0, Verdict::Refused(Refusal::SessionFull));
    assert_eq!(state.apply(&record("ask x m ax")).0, Verdict::Applied);
    assert_eq!(state.apply(&record("ask y m ay interrupt")).0, Verdict::Applied, "nothing waits beside it");
    assert_eq!(state.view().open_runs().count(), 1);
}

#[test]
fn what_a_producer_says_of_itself_is_cut() {
    let mut state = state_of(STARTED);
    let failed = Failed { code: "c".into(), message: "ü".repeat(NAME_BYTES_MAX), retryable: false };
    let output = Output { attempt: id("t1"), seq: 1, said: vec![failed.into()] };
    assert_eq!(verdict_of(&mut state, output), Verdict::Applied);
    assert_eq!(state.view().runs[0].error.as_ref().unwrap().message, "ü".repeat(NAME_BYTES_MAX / 2));
}

#[test]
fn what_a_state_knows_of_its_commands_is_bounded() {
    let mut state = state_of("#first open");
    for at in 0..fanfold_fold::COMMANDS_REMEMBERED {
        state.apply(&record(&format!("#c{at} title {at}")));
    }
    assert_eq!(state.remembered(&id("first")), None);
    assert_eq!(state.apply(&record("#c0 title x")).0, Verdict::Repeated(fanfold_fold::Settled::Applied));
}

#[test]
fn merged_deltas_say_each_thing_once() {
    let merged = |script: &str| {
        let (mut state, mut merger) = (state_of(STARTED), Merger::default());
        lines(script).for_each(|line| merger.push(state.apply(&record(line)).1));
        let kinds = merger.finish().ops.into_iter().map(|op| match op {
            Op::SessionChanged(_) => "session".to_owned(),
            Op::MessageAdded(message) => format!("added {}", message.parts.iter().map(part).collect::<Vec<_>>().join("|")),
            Op::MessageReset { .. } => "reset".into(),
            Op::PartAppended { text, .. } => format!("append {text}"),
            Op::PartSet { value, .. } => format!("set {}", part(&value)),
            Op::ToolCallChanged { .. } => "tool".into(),
            Op::RunChanged(_) => "run".into(),
            Op::Custom { .. } => "custom".into(),
        });
        kinds.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(merged("out t1 1 text:a\nout t1 2 text:b text:c usage:1\nout t1 5 usage:2 text:d"), "set abcd, run");
    assert_eq!(merged("out t1 1 text:a step text:b\nstart r1 t2\nout t2 1 text:c"), "reset, run, set c");
    assert_eq!(merged("out t1 1 call:c args:c:{\nout t1 3 args:c:} ready:c result:c:ok"), "set c{} Done ok");
    assert_eq!(
        merged("title a\nask r2 m1 a2\ncustom k a\nout t1 1 done\nstart r2 t2\nout t2 1 text:x\ncustom k b\ntitle b"),
        "session, added x, run, custom, run"
    );
    assert_eq!(merged("title a\ncustom k v\nout t1 1 text:a\nerase"), "session");
}

#[test]
fn a_cancel_that_names_no_run_means_all() {
    let state = state_of("open\nmsg m - hi\nask r1 m a1\nask r2 m a2");
    let cancel = |id: &str| Command {
        id: id.parse().unwrap(),
        at_ms: 0,
        by: None,
        action: Action::Cancel { run: None, reason: String::new() },
    };
    let record = state.decide(&cancel("x")).unwrap();
    assert_eq!(record.events.len(), 2);
    let mut ended = state.clone();
    ended.apply(&record);
    assert_eq!(ended.decide(&cancel("y")), Err(Verdict::Refused(Refusal::NothingToCancel)));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut state = state_of(STARTED);
    state.apply(&record("out t1 1 text:x"));
    let bytes = state.encode();
    assert_eq!(State::decode(&bytes).unwrap(), state);
    let text = bytes.windows(2).position(|pair| pair == [0xa1, b'x']).unwrap();
    let mut longer = bytes.clone();
    longer.splice(text..text + 2, [0xa2, b'x', b'y']);
    assert!(State::decode(&longer).is_err(), "its bytes are not counted");
    assert!(State::decode(&[&[2], &bytes[1..]].concat()).is_err());
}

/// By the times of the records, whatever stands between; anew with each attempt.
#[test]
fn reasoning_is_timed() {
    let mut state = State::default();
    let mut at_ms = 0;
    let mut say = |state: &mut State, event: Event| {
        at_ms += 10;
        let (verdict, delta) = state.apply(&Record { command: None, at_ms, by: None, events: vec![event] });
        assert_eq!(verdict, Verdict::Applied);
        delta
    };
    let times = |state: &State| {
        let thoughts = state.view().runs[0].thoughts.iter();
        thoughts.map(|thought| (thought.part, thought.from_ms, thought.upto_ms)).collect::<Vec<_>>()
    };
    for line in ["open", "msg m1 - hello", "ask r1 m1 a1", "start r1 t1"] {
        say(&mut state, event(line));
    }
    let began = say(&mut state, event("out t1 1 think:so"));
    assert!(began.ops.iter().any(|op| matches!(op, Op::RunChanged(run) if run.thoughts.len() == 1)), "readers are told at once");
    assert_eq!(times(&state), [(0, 50, None)]);
    let goes_on = say(&mut state, event("out t1 2 think:_and cite:q think:_so"));
    assert!(goes_on.ops.iter().all(|op| !matches!(op, Op::RunChanged(_))), "what goes on costs nothing");
    say(&mut state, event("out t1 5 text:Yes."));
    assert_eq!(times(&state), [(0, 50, Some(70))]);
    say(&mut state, event("out t1 6 think:hm text:No. think:well"));
    assert_eq!(times(&state), [(0, 50, Some(70)), (3, 80, Some(80)), (5, 80, None)]);
    say(&mut state, event("out t1 9 retry"));
    assert_eq!(times(&state)[2], (5, 80, Some(90)), "it ends with the attempt");
    say(&mut state, event("start r1 t2"));
    assert_eq!(times(&state), []);
    say(&mut state, event("out t2 1 think:again"));
    say(&mut state, event("cancel r1"));
    assert_eq!(times(&state), [(0, 110, Some(120))]);
    let round = State::decode(&state.encode()).unwrap();
    assert_eq!(round, state);
}
