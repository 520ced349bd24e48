//! Whatever is merged, cut or lagged behind: who reads the typed view has the answer.

use std::collections::BTreeMap;

use fanfold_fold::{Cursor, Delta, Epoch, FOLD_VERSION, Merger, Offset, SessionKey, State, TenantId};
use proptest::prelude::*;
use proptest::sample::Index;

use self::history::{Plan, history, plans};
use super::*;

#[path = "../../../../../crates/fanfold-fold/tests/support/mod.rs"]
mod history;

/// The README's page, with reasoning and tool calls besides.
#[derive(Debug, Default)]
struct Page {
    answer: String,
    shown: String,
    reasoning: String,
    calls: BTreeMap<String, (String, String)>,
    errors: usize,
    ended: Vec<String>,
    last_id: String,
}

impl Page {
    fn take(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data: Value = serde_json::from_str(field("data").unwrap()).unwrap();
        let text = data["text"].as_str().unwrap_or_default();
        match field("event").unwrap() {
            "reset" => {
                (self.answer, self.shown) = (text.into(), text.into());
                self.reasoning.clear();
                self.calls.clear();
            }
            "token" => {
                self.answer.push_str(text);
                self.shown.clone_from(&self.answer);
            }
            "reasoning" => self.reasoning.push_str(text),
            "tool_call" => {
                let word = |name: &str| data[name].as_str().unwrap().to_owned();
                self.calls.insert(word("call"), (word("arguments"), word("status")));
            }
            "final" => {
                self.shown = text.into();
                self.ended.push(data["message"].as_str().unwrap().to_owned());
            }
            "error" => self.errors += 1,
            other => panic!("{other}"),
        }
        if let Some(id) = field("id") {
            self.last_id = id.to_owned();
        }
    }

    #[track_caller]
    fn check(&self, view: &View) {
        let reply = shown(view).map(|run| parts(view, &run.reply)).unwrap_or_default();
        let of = |name: &str| -> String {
            reply.iter().filter_map(spoken).filter(|(event, _)| *event == name).map(|(_, text)| text).collect()
        };
        assert_eq!((&self.shown, &self.reasoning), (&of("token"), &of("reasoning")));
        let calls = reply.iter().filter_map(|part| match part {
            Part::ToolCall(call) => {
                let status = match call.status {
                    ToolStatus::Ready => "ready",
                    ToolStatus::Done => "done",
                    ToolStatus::Failed => "failed",
                    _ => return None,
                };
                Some((call.call.clone(), (call.arguments.clone(), status.to_owned())))
            }
            _ => None,
        });
        assert_eq!(self.calls, calls.collect());
    }
}

fn events(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes).unwrap().split_terminator("\n\n").collect()
}

fn cursor(at: usize) -> Cursor {
    let key = SessionKey::new(TenantId::default(), history::id("s"));
    Cursor::new(&key, Epoch(uuid::Uuid::from_u128(7)), FOLD_VERSION, Offset(at as u64))
}

/// What leads from one state to another, however many records lie between.
fn frame(deltas: &[Delta], from: usize, upto: usize, view: &View, again: bool) -> Vec<u8> {
    let mut merger = Merger::default();
    deltas[from..upto].iter().cloned().for_each(|delta| merger.push(delta));
    let (session, delta) = (history::id("s"), merger.finish());
    let mut bytes = Vec::new();
    let frame =
        DeltaFrame { session: &session, after: cursor(from), cursor: cursor(upto), delta: &delta, view: Some(view), again };
    super::delta(&frame, &mut bytes);
    bytes
}

fn begin(view: &View, at: usize) -> Vec<u8> {
    let session = history::id("s");
    let mut bytes = Vec::new();
    snapshot(&SnapshotFrame { session: &session, cursor: cursor(at), view, older: 0 }, &mut bytes);
    bytes
}

#[derive(Debug, Clone)]
struct Step {
    /// Records that come as one frame.
    merged: usize,
    /// Where in the frame the connection is cut, if it is, and how many records later the reader is back.
    cut: Option<(Index, usize)>,
    /// Too late for a merged delta.
    too_late: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (1usize..6, prop::option::weighted(0.4, (any::<Index>(), 0usize..4)), prop::bool::weighted(0.2));
    prop::collection::vec(step.prop_map(|(merged, cut, too_late)| Step { merged, cut, too_late }), 1..40)
}

fn read(plans: &[Plan], steps: &[Step]) {
    let (mut state, mut views, mut deltas) = (State::default(), vec![View::default()], Vec::new());
    for record in history(plans) {
        deltas.push(state.apply(&record).1);
        views.push(state.view().clone());
    }
    let mut page = Page::default();
    events(&begin(&views[0], 0)).into_iter().for_each(|event| page.take(event));
    let (mut at, mut turns) = (0, steps.iter().cycle());
    while at < deltas.len() {
        let Step { merged, cut, too_late } = turns.next().unwrap();
        let mut upto = (at + merged).min(deltas.len());
        let bytes = frame(&deltas, at, upto, &views[upto], false);
        let told = events(&bytes);
        let Some((cut, away)) = cut else {
            told.into_iter().for_each(|event| page.take(event));
            page.check(&views[upto]);
            at = upto;
            continue;
        };
        told[..cut.index(told.len() + 1)].iter().for_each(|event| page.take(event));
        // Its id is all that it comes back with.
        let back = (0..=upto).rev().find(|at| cursor(*at).to_string() == page.last_id).unwrap();
        upto = (upto + away).min(deltas.len());
        let bytes = if *too_late { begin(&views[upto], upto) } else { frame(&deltas, back, upto, &views[upto], true) };
        events(&bytes).into_iter().for_each(|event| page.take(event));
        assert_eq!(page.last_id, cursor(upto).to_string());
        page.check(&views[upto]);
        at = upto;
    }
    if steps.iter().all(|step| !step.too_late) {
        let ended = |run: &&Run| matches!(run.status, RunStatus::Completed | RunStatus::Cancelled);
        for run in state.view().runs.iter().filter(ended) {
            assert!(page.ended.contains(&run.reply.to_string()), "its end was told");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_cut_and_any_merge_shows_the_same_answer(plans in plans(40), steps in steps()) {
        read(&plans, &steps);
    }
}
