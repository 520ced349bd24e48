//! What is too much, and what becomes of it.

use fanfold_fold::{
    CONTENT_BYTES_MAX, CUSTOM_KINDS_MAX, Custom, Failed, FinishReason, MessageAdded, NAME_BYTES_MAX, OPEN_RUNS_MAX, Output,
    PARTS_MAX, Part, REPLY_PARTS_MAX, Record, Refusal, Role, Said, SessionTitled, State, StepFinished, Verdict,
};

use crate::script::*;

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
