//! Histories for tests: plausible ones, hostile ones, and everything between.
#![allow(unreachable_pub)]

use fanfold_fold::{
    AttemptId, AttemptLost, Citation, Completed, Custom, Event, Failed, FileRef, FinishReason, MessageAdded, MessageId, Output,
    Part, ReasoningDelta, Record, Role, RunCancelled, RunFailed, RunId, RunRequested, RunStarted, RunSteered, Said, Sealed,
    SessionClosed, SessionErased, SessionOpened, SessionTitled, State, StepFinished, TextDelta, ToolArguments, ToolCall,
    ToolCallStarted, ToolDecided, ToolReady, ToolResult, ToolStatus, Usage, Waiting,
};
use proptest::prelude::*;

/// What to put into one record. Numbers become ids when the state before it is known.
#[derive(Debug, Clone)]
pub struct Plan {
    pub command: Option<u8>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Open,
    Title,
    Close,
    Erase,
    Message { pick: u8, parent: Option<u8>, parts: Vec<Part> },
    Request { pick: u8, prompt: u8, interrupt: bool, attempts_max: u32 },
    Start { run: u8, attempt: u8 },
    Lose { run: u8, attempt: u8 },
    Cancel { run: u8 },
    Fail { run: u8 },
    Steer { run: u8, text: String },
    Decide { message: u8, call: u8, approved: bool },
    Say { attempt: u8, seq: i8, said: Vec<Said> },
    Custom { kind: u8, payload: Vec<u8> },
    Unknown(u8),
}

pub fn plans(records_max: usize) -> impl Strategy<Value = Vec<Plan>> {
    prop::collection::vec(plan(), 0..records_max)
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let steps = prop_oneof![8 => prop::collection::vec(step(), 1..2), 2 => prop::collection::vec(step(), 0..4)];
    (prop::option::weighted(0.4, any::<u8>()), steps).prop_map(|(command, steps)| Plan { command, steps })
}

fn step() -> impl Strategy<Value = Step> {
    let run = any::<u8>();
    let attempt = any::<u8>();
    prop_oneof![
        1 => Just(Step::Open),
        1 => Just(Step::Title),
        1 => prop::bool::weighted(0.1).prop_map(|really| if really { Step::Close } else { Step::Title }),
        1 => prop::bool::weighted(0.05).prop_map(|really| if really { Step::Erase } else { Step::Title }),
        6 => (any::<u8>(), prop::option::of(any::<u8>()), prop::collection::vec(part(), 0..4))
            .prop_map(|(pick, parent, parts)| Step::Message { pick, parent, parts }),
        6 => (any::<u8>(), any::<u8>(), prop::bool::weighted(0.2), 0u32..4)
            .prop_map(|(pick, prompt, interrupt, attempts_max)| Step::Request { pick, prompt, interrupt, attempts_max }),
        8 => (run, attempt).prop_map(|(run, attempt)| Step::Start { run, attempt }),
        2 => (run, attempt).prop_map(|(run, attempt)| Step::Lose { run, attempt }),
        1 => run.prop_map(|run| Step::Cancel { run }),
        1 => run.prop_map(|run| Step::Fail { run }),
        2 => (run, text()).prop_map(|(run, text)| Step::Steer { run, text }),
        3 => (any::<u8>(), 0u8..3, any::<bool>())
            .prop_map(|(message, call, approved)| Step::Decide { message, call, approved }),
        24 => (attempt, prop_oneof![8 => Just(0i8), 2 => any::<i8>()], prop::collection::vec(said(), 0..6))
            .prop_map(|(attempt, seq, said)| Step::Say { attempt, seq, said }),
        2 => (0u8..4, prop::collection::vec(any::<u8>(), 0..8)).prop_map(|(kind, payload)| Step::Custom { kind, payload }),
        1 => any::<u8>().prop_map(Step::Unknown),
    ]
}

pub fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab ", "Häuser ", "日本語", "👩‍👩‍👧‍👦", "🇨🇭", "{\"x\":", "\u{0}", "e\u{301}"])
        .prop_map(str::to_owned)
}

fn reason() -> impl Strategy<Value = FinishReason> {
    prop_oneof![Just(FinishReason::Stop), Just(FinishReason::ToolCalls), text().prop_map(FinishReason::Other)]
}

fn call() -> impl Strategy<Value = String> {
    (0u8..3).prop_map(|call| format!("t{call}"))
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        10 => text().prop_map(|text| TextDelta { text }.into()),
        3 => text().prop_map(|text| ReasoningDelta { text }.into()),
        4 => (call(), any::<bool>())
            .prop_map(|(call, needs_approval)| ToolCallStarted { call, name: "wetter".into(), needs_approval }.into()),
        4 => (call(), text()).prop_map(|(call, text)| ToolArguments { call, text }.into()),
        3 => call().prop_map(|call| ToolReady { call }.into()),
        3 => (call(), text(), any::<bool>())
            .prop_map(|(call, content, is_error)| ToolResult { call, content, is_error }.into()),
        2 => text().prop_map(|quote| Citation { quote: Some(quote), ..Citation::default() }.into()),
        1 => reason().prop_map(|reason| StepFinished { reason }.into()),
        1 => any::<u64>().prop_map(|output| Usage { output, ..Usage::default() }.into()),
        1 => text().prop_map(|data| Sealed { by: "p".into(), data }.into()),
        2 => prop::collection::vec(call(), 0..3).prop_map(|calls| Waiting { calls, until_ms: 9 }.into()),
        1 => (reason(), prop::option::of(0u32..2)).prop_map(|(reason, steered)| Completed { reason, steered }.into()),
        1 => any::<bool>()
            .prop_map(|retryable| Failed { code: "rate_limited".into(), message: "später".into(), retryable }.into()),
        1 => Just(Said::Unknown { kind: "humming".into(), body: rmpv::Value::from("la") }),
    ]
}

pub fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        6 => text().prop_map(Part::text),
        1 => text().prop_map(|url| FileRef { url, media_type: "image/png".into(), name: None }.into()),
        2 => (call(), text(), prop::option::of(text()), any::<bool>()).prop_map(|(call, arguments, result, waits)| {
            let status = if waits { ToolStatus::AwaitingApproval } else { ToolStatus::Writing };
            ToolCall { call, name: "n".into(), arguments, status, result }.into()
        }),
        1 => text().prop_map(|text| {
            let body = rmpv::Value::Map(vec![(rmpv::Value::from("tief"), rmpv::Value::Array(vec![text.into(), 7.into()]))]);
            Part::Unknown { kind: "hologram".into(), body }
        }),
    ]
}

/// An id that names something there is, mostly, and sometimes anything.
fn pick<'a>(number: u8, there: impl DoubleEndedIterator<Item = &'a str> + Clone, other: &str) -> String {
    let found = match number % 8 {
        0..4 => there.clone().next_back(),
        4..7 => there.clone().nth(usize::from(number) % there.clone().count().max(1)),
        _ => None,
    };
    found.map_or_else(|| format!("{other}{}", number / 8), str::to_owned)
}

impl Step {
    fn event(&self, state: &State, at: usize) -> Event {
        let view = state.view();
        let message = |number| {
            let text = pick(number, view.messages.iter().map(|message| message.id.as_str()), "m");
            MessageId::new(&text).unwrap()
        };
        let run = |number: u8| {
            let open: Vec<_> = view.open_runs().map(|run| run.id.as_str()).rev_if(number.is_multiple_of(2));
            RunId::new(&pick(number, open.into_iter(), "r")).unwrap()
        };
        let attempt = |number: u8| {
            let current = state.current_attempt().map(|(attempt, _)| attempt.as_str());
            AttemptId::new(&pick(number, current.into_iter(), "a")).unwrap()
        };
        match self {
            Self::Open => SessionOpened { title: Some("Titel".into()), user: None }.into(),
            Self::Title => SessionTitled { title: format!("T{at}"), automatic: at.is_multiple_of(2) }.into(),
            Self::Close => SessionClosed { reason: "genug".into() }.into(),
            Self::Erase => SessionErased {}.into(),
            Self::Message { pick, parent, parts } => MessageAdded {
                message: if pick % 8 == 7 { message(*pick) } else { format!("x{at}-{pick}").parse().unwrap() },
                parent: parent.map(message),
                role: Role::User,
                author: Some("ada".into()),
                parts: parts.clone(),
            }
            .into(),
            Self::Request { pick, prompt, interrupt, attempts_max } => RunRequested {
                run: if pick % 8 == 7 { run(*pick) } else { format!("y{at}-{pick}").parse().unwrap() },
                reply: if pick % 16 == 3 { message(*pick) } else { format!("z{at}-{pick}").parse().unwrap() },
                prompt: message(*prompt),
                model: None,
                interrupt: *interrupt,
                attempts_max: *attempts_max,
            }
            .into(),
            Self::Start { run: number, attempt } => {
                let (run, attempt, resume) = (run(*number), id(&format!("a{}", attempt % 32)), attempt.is_multiple_of(2));
                RunStarted { run, attempt, worker: "w".into(), model: None, resume }.into()
            }
            Self::Lose { run: number, attempt: lost } => AttemptLost { run: run(*number), attempt: attempt(*lost) }.into(),
            Self::Cancel { run: number } => RunCancelled { run: run(*number), reason: "halt".into() }.into(),
            Self::Fail { run: number } => {
                RunFailed { run: run(*number), code: "no_worker".into(), message: String::new() }.into()
            }
            Self::Steer { run: number, text } => RunSteered { run: run(*number), text: text.clone() }.into(),
            Self::Decide { message: number, call, approved } => {
                let decided = ToolDecided {
                    message: message(*number),
                    call: format!("t{call}"),
                    approved: *approved,
                    reason: "weil ü".into(),
                };
                decided.into()
            }
            Self::Say { attempt: number, seq, said } => {
                let last = state.current_attempt().map_or(0, |(_, seq)| seq);
                let seq = match *seq {
                    i8::MAX => u64::MAX,
                    seq => last.saturating_add(1).saturating_add_signed(i64::from(seq) / 16),
                };
                Output { attempt: attempt(*number), seq, said: said.clone() }.into()
            }
            Self::Custom { kind, payload } => {
                Custom { kind: format!("k{kind}"), content_type: "a/b".into(), payload: payload.clone() }.into()
            }
            Self::Unknown(number) => Event::Unknown { kind: "eclipse".into(), body: rmpv::Value::from(*number) },
        }
    }
}

trait ReversedIf<'a> {
    fn rev_if(self, really: bool) -> Vec<&'a str>;
}

impl<'a, I: Iterator<Item = &'a str>> ReversedIf<'a> for I {
    /// With the oldest last, where `pick` looks first.
    fn rev_if(self, really: bool) -> Vec<&'a str> {
        let mut all: Vec<_> = self.collect();
        if really {
            all.reverse();
        }
        all
    }
}

/// The record of a plan, in this state.
pub fn record(plan: &Plan, state: &State, at: usize) -> Record {
    Record {
        command: plan.command.map(|command| match command % 4 {
            0 => id(&format!("c{}", command / 4)),
            _ => id(&format!("c{at}-{command}")),
        }),
        at_ms: 1_000 + at as u64,
        by: Some("ada".into()),
        events: plan.steps.iter().map(|step| step.event(state, at)).collect(),
    }
}

/// The records of plans; most histories are opened first and have something to say.
pub fn history(plans: &[Plan]) -> Vec<Record> {
    let mut state = State::default();
    let start = Plan {
        command: Some(1),
        steps: vec![Step::Open, Step::Message { pick: 0, parent: None, parts: vec![Part::text("Grüezi")] }],
    };
    let opened = plans.first().is_none_or(|plan| plan.steps.len() % 5 != 0);
    let plans = opened.then_some(&start).into_iter().chain(plans);
    let records = plans.enumerate().map(|(at, plan)| {
        let record = record(plan, &state, at);
        state.apply(&record);
        record
    });
    records.collect()
}

pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}
