//! A run from its request to its one end: attempts, output, tools, waiting, steering.

use fanfold_fold::{ATTEMPTS_REMEMBERED, Action, Command, Event, Op, Record, Refusal, State, Verdict};

use crate::script::*;

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
fn an_attempt_that_was_overtaken_does_not_come_back() {
    let overtaken = "start r1 t2\nstart r1 t1 => Refused(Fenced)\nout t1 1 text:x => Refused(Fenced)\nout t2 1 text:new";
    let begun = "open\nmsg m1 - hi\nask r1 m1 a1 max=9\nstart r1 t1\n";
    check(&format!("{begun}{overtaken}"), "Open\nm1 <- hi\na1 <m1 new\nr1 Running t2 2/9");
    check(&format!("{begun}lost r1 t1\n{overtaken}"), "Open\nm1 <- hi\na1 <m1 new\nr1 Running t2 2/9");
    let later = "lost r1 t2\nstart r1 t1 => Refused(Fenced)\nstart r1 t3\nstart r1 t2 => Refused(Fenced)";
    check(&format!("{begun}{overtaken}\n{later}"), "Open\nm1 <- hi\na1 <m1\nr1 Running t3 3/9");
    // Another run may have it: ids of attempts are its own.
    check(
        &format!("{begun}cancel r1\nask r2 m1 a2\nstart r2 t1"),
        "Open\nm1 <- hi\na1 <m1\na2 <m1\nr1 Cancelled t1 1/9\nr2 Running t1 1/3",
    );
}

#[test]
fn so_many_overtaken_attempts_are_remembered() {
    let starts: String = (0..=ATTEMPTS_REMEMBERED + 1).map(|number| format!("start r1 t{number}\n")).collect();
    let admitted = ATTEMPTS_REMEMBERED + 3;
    check(
        &format!("open\nmsg m1 - hi\nask r1 m1 a1 max=999\n{starts}start r1 t1 => Refused(Fenced)\nstart r1 t0"),
        &format!("Open\nm1 <- hi\na1 <m1\nr1 Running t0 {admitted}/999"),
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

/// Whoever reads along has it all already.
#[test]
fn an_attempt_that_drops_nothing_has_nothing_sent_again() {
    let resets = |script: &str| {
        let mut state = State::default();
        let deltas: Vec<_> = lines(script).map(|line| state.apply(&record(line)).1).collect();
        deltas.last().unwrap().ops.iter().any(|op| matches!(op, Op::MessageReset { .. }))
    };
    let step = format!("{STARTED}out t1 1 text:a call?:c ready:c step wait:c\n");
    for more in ["", "steer r1 psst\n", "steer r1 psst\nsteer r1 hush\n"] {
        assert!(!resets(&format!("{step}{more}allow a1 c\nresume r1 t2")), "{more:?}");
        assert!(resets(&format!("{step}{more}allow a1 c\nstart r1 t2")), "{more:?}");
    }
    assert!(!resets(&format!("{STARTED}steer r1 psst\nlost r1 t1\nstart r1 t2")));
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
