//! The laws of the fold, over histories that workers, people and attackers might write.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use fanfold_fold::{
    Action, Command, CustomValue, Delta, Event, Merger, Message, MessageId, Op, Part, Record, Role, RunStatus, Session,
    SessionErased, SessionStatus, Settled, State, THOUGHTS_MAX, Thought, ToolCall, ToolStatus, Verdict, View,
};
use proptest::prelude::*;
use support::{history, id, part, plan, plans, record, text};

const RECORDS_MAX: usize = 30;

/// Every state of a history, the empty one first, and the deltas between them.
fn states(records: &[Record]) -> (Vec<State>, Vec<Delta>) {
    let mut states = vec![State::default()];
    let mut deltas = Vec::new();
    for record in records {
        let mut state = states.last().unwrap().clone();
        deltas.push(state.apply(record).1);
        states.push(state);
    }
    (states, deltas)
}

fn applied(view: &View, delta: &Delta) -> View {
    let mut view = view.clone();
    view.apply(delta).unwrap_or_else(|error| panic!("{error}: {delta:#?}"));
    view
}

fn merged<'a>(deltas: impl IntoIterator<Item = &'a Delta>) -> Delta {
    let mut merger = Merger::default();
    deltas.into_iter().for_each(|delta| merger.push(delta.clone()));
    merger.finish()
}

/// Counted without the fold's help.
fn content_bytes(view: &View) -> usize {
    fn unknown(value: &rmpv::Value) -> usize {
        8 + match value {
            rmpv::Value::Array(values) => values.iter().map(unknown).sum(),
            rmpv::Value::Map(pairs) => pairs.iter().map(|(key, value)| unknown(key) + unknown(value)).sum(),
            rmpv::Value::String(text) => text.as_bytes().len(),
            _ => 0,
        }
    }
    let parts = view.messages.iter().flat_map(|message| &message.parts).map(|part| match part {
        Part::Text(part) => part.text.len(),
        Part::Reasoning(part) => part.text.len(),
        Part::ToolCall(call) => {
            [&call.call, &call.name, &call.arguments].map(String::len).iter().sum::<usize>()
                + call.result.as_ref().map_or(0, String::len)
        }
        Part::Citation(cited) => {
            [&cited.url, &cited.title, &cited.source, &cited.quote].into_iter().flatten().map(String::len).sum()
        }
        Part::File(file) => file.url.len() + file.media_type.len() + file.name.as_ref().map_or(0, String::len),
        Part::Steering(part) => part.text.len() + part.author.as_ref().map_or(0, String::len),
        Part::Step(step) => match &step.reason {
            fanfold_fold::FinishReason::Other(word) => word.len(),
            _ => 0,
        },
        Part::Sealed(sealed) => sealed.by.len() + sealed.data.len(),
        Part::Unknown { kind, body } => kind.len() + unknown(body),
    });
    parts.sum::<usize>() + view.custom.values().map(|value| value.payload.len()).sum::<usize>()
}

proptest! {
    /// I3: what a node knows doesn't depend on where it began to fold.
    #[test]
    fn a_snapshot_and_the_rest_are_all(plans in plans(RECORDS_MAX), at in any::<prop::sample::Index>()) {
        let records = history(&plans);
        let at = at.index(records.len() + 1);
        let (mut whole, mut early) = (State::default(), State::default());
        records[..at].iter().for_each(|record| drop((whole.apply(record), early.apply(record))));
        let mut resumed = State::decode(&early.encode()).unwrap();
        prop_assert_eq!(&resumed, &whole);
        for record in &records[at..] {
            let stored = Record::decode(&record.encode()).unwrap();
            prop_assert_eq!(&stored, record);
            prop_assert_eq!(whole.apply(record), resumed.apply(&stored));
        }
        prop_assert_eq!(whole.encode(), resumed.encode());
    }

    #[test]
    fn a_delta_leads_a_reader_to_the_nodes_view(plans in plans(RECORDS_MAX)) {
        let mut state = State::default();
        let (mut reader, mut simple) = (View::default(), View::default());
        for record in history(&plans) {
            let (_, delta) = state.apply(&record);
            reader = applied(&reader, &delta);
            prop_assert_eq!(&reader, state.view());
            let full = delta.full(state.view());
            let appends = full.ops.iter().filter(|op| matches!(op, Op::PartAppended { .. })).count();
            prop_assert_eq!(appends, 0);
            simple = applied(&simple, &full);
            prop_assert_eq!(&simple, state.view());
        }
    }

    #[test]
    fn merged_deltas_lead_where_each_by_each_leads(
        plans in plans(RECORDS_MAX), cuts in prop::array::uniform4(any::<prop::sample::Index>()),
    ) {
        let records = history(&plans);
        let (states, deltas) = states(&records);
        let mut cuts = cuts.map(|cut| cut.index(records.len() + 1));
        cuts.sort_unstable();
        let [from, second, third, to] = cuts;
        let (start, end) = (states[from].view(), states[to].view());
        let whole = merged(&deltas[from..to]);
        prop_assert_eq!(&applied(start, &whole), end);
        prop_assert_eq!(&applied(start, &whole.full(end)), end);
        let [a, b, c] = [from..second, second..third, third..to].map(|range| merged(&deltas[range]));
        let left = a.clone().merge(b.clone()).merge(c.clone());
        let right = a.merge(b.merge(c));
        prop_assert_eq!(&applied(start, &left), end);
        prop_assert_eq!(&applied(start, &right), end);
    }

    /// Not only deltas that this fold makes: a later one may make others.
    #[test]
    fn any_two_deltas_merge(
        choices in prop::collection::vec(op_choice(), 0..60), cuts in prop::array::uniform2(any::<prop::sample::Index>()),
    ) {
        let mut cuts = cuts.map(|cut| cut.index(choices.len() + 1));
        cuts.sort_unstable();
        let mut view = View::default();
        let mut start = View::default();
        let mut deltas = [Delta::default(), Delta::default(), Delta::default()];
        for (at, choice) in choices.iter().enumerate() {
            let Some(op) = choice.op(&view) else { continue };
            let delta = usize::from(at >= cuts[0]) + usize::from(at >= cuts[1]);
            view.apply(&Delta { ops: vec![op.clone()] }).unwrap();
            if delta == 0 {
                start = view.clone();
            }
            deltas[delta].ops.push(op);
        }
        let [_, first, second] = deltas;
        let merged = first.merge(second);
        prop_assert_eq!(&applied(&start, &merged), &view);
        prop_assert_eq!(&applied(&start, &merged.full(&view)), &view);
    }

    #[test]
    fn what_holds_at_every_offset(plans in plans(RECORDS_MAX)) {
        let mut state = State::default();
        for record in history(&plans) {
            let before = state.clone();
            let (verdict, delta) = state.apply(&record);
            hold(&before, &state)?;
            if verdict != Verdict::Applied {
                prop_assert_eq!(before.view(), state.view());
                prop_assert_eq!(before.current_attempt(), state.current_attempt());
            }
            prop_assert!(verdict == Verdict::Applied || delta.is_empty());
        }
    }

    #[test]
    fn a_repetition_changes_nothing(plans in plans(RECORDS_MAX)) {
        let mut state = State::default();
        for record in history(&plans) {
            let (first, _) = state.apply(&record);
            let before = state.encode();
            let (second, delta) = state.clone().apply(&record);
            if record.command.is_some() {
                let settled = match first {
                    Verdict::Applied => Settled::Applied,
                    Verdict::Refused(refusal) => Settled::Refused(refusal),
                    Verdict::Repeated(settled) => settled,
                };
                prop_assert_eq!(second, Verdict::Repeated(settled));
                prop_assert!(delta.is_empty());
            } else if let [Event::Output(_)] = &record.events[..] {
                let expected = if first == Verdict::Applied { Verdict::Repeated(Settled::Applied) } else { first };
                prop_assert_eq!(second, expected);
                prop_assert!(delta.is_empty());
            } else {
                continue;
            }
            state.apply(&record);
            prop_assert_eq!(before, state.encode());
        }
    }

    #[test]
    fn what_decide_lets_through_is_applied(plans in plans(RECORDS_MAX), wish in plan(), at in 0u64..9) {
        let mut state = State::default();
        history(&plans).iter().for_each(|record| drop(state.apply(record)));
        for event in record(&wish, &state, plans.len() + 1).events {
            let Some(action) = action(event) else { continue };
            let command = Command { id: id("wish"), at_ms: at, by: Some("eve".into()), action };
            let mut next = state.clone();
            match state.decide(&command) {
                Ok(record) => prop_assert_eq!(next.apply(&record).0, Verdict::Applied),
                Err(verdict) => prop_assert!(matches!(verdict, Verdict::Refused(_)), "{:?}", verdict),
            }
            prop_assert!(matches!(next.decide(&command), Err(Verdict::Repeated(_))) == (next != state));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Record::decode(&body), State::decode(&body));
        let bytes = [&[1, 0][..], &body].concat();
        if let Ok(record) = Record::decode(&bytes) {
            State::default().apply(&record);
        }
        let _ = State::decode(&bytes);
    }

    /// Bytes that are nearly right get further.
    #[test]
    fn damaged_bytes_are_read_or_refused(
        plans in plans(RECORDS_MAX), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let damaged = |mut bytes: Vec<u8>| {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        };
        let records = history(&plans);
        let (states, _) = states(&records);
        let mut state = State::decode(&damaged(states[records.len() / 2].encode())).unwrap_or_default();
        for record in &records {
            let Ok(record) = Record::decode(&damaged(record.encode())) else { continue };
            state.apply(&record);
            let _ = state.encode();
        }
    }
}

/// What a record must leave as it was, and what must hold after it.
fn hold(before: &State, after: &State) -> Result<(), TestCaseError> {
    let (old, new) = (before.view(), after.view());
    prop_assert_eq!(after.content_bytes(), content_bytes(new) as u64);
    prop_assert!(new.open_runs().filter(|run| run.status == RunStatus::Running).count() <= 1);
    prop_assert!(new.open_runs().skip(1).all(|run| run.status == RunStatus::Queued), "runs wait in order");
    prop_assert!(new.runs.iter().all(|run| run.attempts <= run.attempts_max));
    prop_assert!(new.runs.iter().all(|run| run.status.is_final() == run.ended_at_ms.is_some()));
    for run in &new.runs {
        let parts = new.messages.get(&run.reply).map_or(&[][..], |reply| &reply.parts[..]);
        let reasons = |thought: &Thought| matches!(parts.get(thought.part as usize), Some(Part::Reasoning(_)));
        prop_assert!(run.thoughts.len() <= THOUGHTS_MAX && run.thoughts.iter().all(reasons), "times are of reasoning");
        let open = run.thoughts.iter().filter(|thought| thought.upto_ms.is_none()).count();
        prop_assert!(open <= usize::from(run.status == RunStatus::Running), "a thought ends with its attempt");
    }
    let running = new.open_runs().find(|run| run.status == RunStatus::Running).map(|run| &run.id);
    prop_assert_eq!(after.current_run(), running, "a running run has the current attempt");
    if new.session.status == SessionStatus::Erased {
        prop_assert!(new.messages.is_empty() && new.runs.is_empty() && new.custom.is_empty() && new.session.title.is_none());
        return Ok(());
    }
    prop_assert!(new.session.status == SessionStatus::Open || new.open_runs().next().is_none());
    prop_assert!(old.messages.len() <= new.messages.len() && old.runs.len() <= new.runs.len());
    for (old, new) in old.runs.iter().zip(&new.runs) {
        prop_assert!(old.id == new.id && old.attempts <= new.attempts);
        // I8 every run ends, and nothing becomes of it afterwards but its bill.
        if old.status.is_final() {
            let mut billed = old.clone();
            billed.usage = new.usage;
            prop_assert_eq!(&billed, new);
        }
    }
    for (old, new) in old.messages.iter().zip(&new.messages) {
        prop_assert!(old.id == new.id && old.parent == new.parent);
        prop_assert!(new.parent.as_ref().is_none_or(|parent| after.view().messages.get(parent).is_some()));
    }
    if let (Some((old, old_seq)), Some((new, new_seq))) = (before.current_attempt(), after.current_attempt()) {
        prop_assert!(old != new || old_seq <= new_seq);
    }
    Ok(())
}

fn action(event: Event) -> Option<Action> {
    Some(match event {
        Event::SessionOpened(event) => Action::Open(event),
        Event::SessionTitled(event) => Action::SetTitle(event),
        Event::SessionClosed(event) => Action::Close(event),
        Event::SessionErased(SessionErased {}) => Action::Erase,
        Event::MessageAdded(event) => Action::Send(fanfold_fold::Send {
            answer: event.parent.is_some().then(|| fanfold_fold::Answer {
                run: id("wished-run"),
                reply: if event.parts.len() > 1 { id("wished-reply") } else { event.message.clone() },
                model: None,
                interrupt: event.parts.len() > 2,
            }),
            message: event.message,
            parent: event.parent.map_or(fanfold_fold::Parent::Newest, fanfold_fold::Parent::Message),
            role: event.role,
            parts: event.parts,
        }),
        Event::RunRequested(event) => Action::RequestRun(event),
        Event::RunStarted(event) => Action::StartRun(event),
        Event::AttemptLost(event) => Action::LoseAttempt(event),
        Event::RunCancelled(event) => {
            Action::Cancel { run: event.run.as_str().contains('-').then_some(event.run), reason: event.reason }
        }
        Event::RunFailed(event) => Action::FailRun(event),
        Event::RunSteered(event) => Action::Steer(event),
        Event::ToolDecided(event) => Action::DecideTool(event),
        Event::Custom(event) => Action::Custom(event),
        Event::Output(_) | Event::Unknown { .. } => return None,
    })
}

/// An operation to be, once the view is known that it has to fit.
#[derive(Debug, Clone)]
struct OpChoice {
    what: u8,
    message: u8,
    part: prop::sample::Index,
    text: String,
    value: Part,
}

fn op_choice() -> impl Strategy<Value = OpChoice> {
    (0u8..30, 0u8..3, any::<prop::sample::Index>(), text(), part()).prop_map(|(what, message, part, text, value)| OpChoice {
        what,
        message,
        part,
        text,
        value,
    })
}

impl OpChoice {
    fn op(&self, view: &View) -> Option<Op> {
        let message: MessageId = id(&format!("m{}", self.message));
        let session = |status| Op::SessionChanged(Session { title: Some(self.text.clone()), status, ..Session::default() });
        match self.what {
            0 => return Some(session(SessionStatus::Erased)),
            1 | 2 => return Some(session(SessionStatus::Open)),
            3 | 4 => {
                let value = CustomValue { content_type: "t".into(), payload: self.text.clone().into_bytes() };
                return Some(Op::Custom { kind: message.to_string(), value });
            }
            _ => {}
        }
        let Some(known) = view.messages.get(&message) else {
            let parts = if self.what.is_multiple_of(2) { vec![self.value.clone()] } else { Vec::new() };
            let (role, author, at_ms) = (Role::Tool, None, 0);
            return Some(Op::MessageAdded(Message { id: message, parent: None, role, author, at_ms, run: None, parts }));
        };
        let at = self.part.index(known.parts.len() + 1);
        let part = at as u32;
        match (self.what, known.parts.get(at)) {
            (5 | 6, _) => Some(Op::MessageReset { message }),
            (7..14, _) | (_, None) => Some(Op::PartSet { message, part, value: self.value.clone() }),
            (14..24, Some(Part::ToolCall(ToolCall { .. }))) => {
                let result = (self.what > 17).then(|| self.text.clone());
                Some(Op::ToolCallChanged { message, part, status: ToolStatus::Ready, result })
            }
            (_, Some(there)) => {
                let at = there.stream()?.len() as u32;
                Some(Op::PartAppended { message, part, at, text: self.text.clone() })
            }
        }
    }
}

/// A record nests as deep as its decoder allows: what it lets in must get out and in again, on a thread's small stack.
#[test]
fn deep_values_are_kept_or_refused() {
    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = vec![1, 0, 0x82, 0xa2, b'a', b't', 0, 0xa2, b'e', b'v', 0x92];
        bytes.extend([0x81, 0xae]);
        bytes.extend(b"session_opened");
        bytes.push(0x80);
        let mut message = vec![0x81, 0xad];
        message.extend(b"message_added");
        message.push(0x83);
        message.extend([0xa7]);
        message.extend(b"message");
        message.extend([0xa1, b'm', 0xa4]);
        message.extend(b"role");
        message.extend([0xa4]);
        message.extend(b"user");
        message.extend([0xa5]);
        message.extend(b"parts");
        message.extend([0x91, 0x81, 0xa1, b'u']);
        bytes.extend(message);
        bytes.extend(vec![0x91; levels]);
        bytes.push(0xc0);
        bytes
    }
    let run = || {
        let mut kept = 0;
        for levels in (1..1100).step_by(7).chain([100_000]) {
            let Ok(record) = Record::decode(&nested(levels)) else { continue };
            kept = levels;
            let mut state = State::default();
            assert_eq!(state.apply(&record).0, Verdict::Applied);
            assert_eq!(State::decode(&state.encode()).unwrap(), state, "at {levels} levels");
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
        kept
    };
    let kept = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    assert!(kept >= 64, "unknown fields may nest {kept} levels deep only");
}
