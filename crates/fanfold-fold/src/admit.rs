//! Whether a record's events may happen in a state: the rules that `decide` asks early and `apply` asks for good.

use std::collections::BTreeSet;

use crate::event::{Custom, MessageAdded, RunRequested, RunStarted, RunSteered, ToolDecided};
use crate::output::REPLY_PARTS_MAX;
use crate::state::{CONTENT_BYTES_MAX, MESSAGES_MAX};
use crate::view::{Run, RunStatus, SessionStatus};
use crate::{Event, MessageId, Part, Record, Refusal, RunId, State, ToolStatus};

/// Bytes of a title, a reason, a name, a code, a kind or a media type.
pub const NAME_BYTES_MAX: usize = 1024;

/// Parts of a message that is added whole.
pub const PARTS_MAX: usize = 256;

/// Kinds of custom events that a session keeps the newest of.
pub const CUSTOM_KINDS_MAX: usize = 256;

/// Runs that may wait in one session.
pub const OPEN_RUNS_MAX: usize = 64;

/// What the events of one record bring along for those after them.
#[derive(Default)]
struct Brought<'a> {
    opened: bool,
    closed: bool,
    /// Every run that was open before the record has ended.
    interrupted: bool,
    messages: BTreeSet<&'a MessageId>,
    runs: BTreeSet<&'a RunId>,
    /// Runs that were started, lost or ended: a record does so to a run once.
    settled: BTreeSet<&'a RunId>,
    decided: BTreeSet<(&'a MessageId, &'a str)>,
    kinds: BTreeSet<&'a str>,
    steerings: usize,
    content_bytes: usize,
}

impl State {
    /// All of a record's events or none. Output isn't judged here: it is skipped piece by piece.
    pub(crate) fn admit(&self, record: &Record) -> Result<(), Refusal> {
        // Nothing stands beside an erasure: it would stay.
        if record.events.len() > 1 && record.events.iter().any(|event| matches!(event, Event::SessionErased(_))) {
            return Err(Refusal::Limit);
        }
        // A record is a command or output: beside output, what a command was admitted for may no longer hold.
        let output = record.events.iter().any(|event| matches!(event, Event::Output(_)));
        if output && record.events.iter().any(|event| !matches!(event, Event::Output(_) | Event::Unknown { .. })) {
            return Err(Refusal::Limit);
        }
        let mut brought = Brought::default();
        record.events.iter().try_for_each(|event| self.admit_event(event, &mut brought))
    }

    fn admit_event<'a>(&self, event: &'a Event, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        match event {
            Event::SessionOpened(opened) => {
                match self.view.session.status {
                    SessionStatus::Absent if !brought.opened => brought.opened = true,
                    SessionStatus::Erased => return Err(Refusal::SessionErased),
                    SessionStatus::Absent | SessionStatus::Open | SessionStatus::Closed(_) => return Err(Refusal::SessionExists),
                }
                name(opened.title.as_deref().unwrap_or_default())?;
                name(opened.user.as_deref().unwrap_or_default())
            }
            Event::SessionErased(_) => match self.view.session.status {
                SessionStatus::Absent => Err(Refusal::SessionNotFound),
                SessionStatus::Erased => Err(Refusal::SessionErased),
                SessionStatus::Open | SessionStatus::Closed(_) => Ok(()),
            },
            // Kept, never interpreted.
            Event::Output(_) | Event::Unknown { .. } => Ok(()),
            Event::SessionTitled(titled) => self.open(brought).and_then(|()| name(&titled.title)),
            Event::SessionClosed(closed) => {
                self.open(brought)?;
                brought.closed = true;
                brought.interrupted = true;
                name(&closed.reason)
            }
            Event::MessageAdded(added) => self.open(brought).and_then(|()| self.admit_message(added, brought)),
            Event::RunRequested(requested) => self.open(brought).and_then(|()| self.admit_request(requested, brought)),
            Event::RunStarted(started) => self.open(brought).and_then(|()| self.admit_start(started, brought)),
            Event::AttemptLost(lost) => {
                let run = self.settle(&lost.run, brought)?;
                match &run.attempt {
                    Some(attempt) if *attempt == lost.attempt && run.status == RunStatus::Running => Ok(()),
                    Some(_) | None => Err(Refusal::Fenced),
                }
            }
            Event::RunCancelled(cancelled) => self.settle(&cancelled.run, brought).and_then(|_| name(&cancelled.reason)),
            Event::RunFailed(failed) => {
                self.settle(&failed.run, brought).and_then(|_| name(&failed.code)).and_then(|()| name(&failed.message))
            }
            Event::RunSteered(steered) => self.admit_steering(steered, brought),
            Event::ToolDecided(decided) => self.open(brought).and_then(|()| self.admit_decision(decided, brought)),
            Event::Custom(custom) => self.open(brought).and_then(|()| self.admit_custom(custom, brought)),
        }
    }

    fn open(&self, brought: &Brought<'_>) -> Result<(), Refusal> {
        if brought.closed {
            return Err(Refusal::SessionClosed);
        }
        match self.view.session.status {
            SessionStatus::Absent if brought.opened => Ok(()),
            SessionStatus::Absent => Err(Refusal::SessionNotFound),
            SessionStatus::Open => Ok(()),
            SessionStatus::Closed(_) => Err(Refusal::SessionClosed),
            SessionStatus::Erased => Err(Refusal::SessionErased),
        }
    }

    fn admit_message<'a>(&self, added: &'a MessageAdded, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        if let Some(parent) = &added.parent {
            self.message_exists(parent, brought)?;
        }
        if added.parts.is_empty() || added.parts.len() > PARTS_MAX {
            return Err(Refusal::Limit);
        }
        name(added.author.as_deref().unwrap_or_default())?;
        self.message_is_new(&added.message, brought)?;
        self.bring(added.parts.iter().map(Part::bytes).sum(), brought)
    }

    fn admit_request<'a>(&self, requested: &'a RunRequested, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        self.message_exists(&requested.prompt, brought)?;
        if self.view.run(&requested.run).is_some() || !brought.runs.insert(&requested.run) {
            return Err(Refusal::RunExists);
        }
        brought.interrupted |= requested.interrupt;
        let open = if brought.interrupted { 0 } else { self.view.open_runs().count() };
        if open + brought.runs.len() > OPEN_RUNS_MAX {
            return Err(Refusal::SessionFull);
        }
        name(requested.model.as_deref().unwrap_or_default())?;
        self.message_is_new(&requested.reply, brought)
    }

    fn admit_start<'a>(&self, started: &'a RunStarted, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        let run = self.settle(&started.run, brought)?;
        let again = run.attempt.as_ref() == Some(&started.attempt);
        // An attempt that was lost, failed or overtaken doesn't come back: the next one has an id of its own.
        if (again && run.status != RunStatus::Running) || self.was_overtaken(&run.id, &started.attempt) {
            return Err(Refusal::Fenced);
        }
        if run.attempts >= run.attempts_max && !again && !goes_on(run, started) {
            return Err(Refusal::AttemptsExhausted);
        }
        match self.view.open_runs().next() {
            Some(first) if first.id == run.id => {}
            Some(_) | None => return Err(Refusal::RunNotNext),
        }
        name(&started.worker)?;
        name(started.model.as_deref().unwrap_or_default())
    }

    fn admit_steering(&self, steered: &RunSteered, brought: &mut Brought<'_>) -> Result<(), Refusal> {
        let run = self.unended(&steered.run, brought)?;
        let begun = matches!(run.status, RunStatus::Running | RunStatus::Waiting);
        if !begun || brought.settled.contains(&steered.run) {
            return Err(Refusal::RunNotStarted);
        }
        let reply = self.view.messages.get(&run.reply).ok_or(Refusal::MessageNotFound)?;
        if reply.parts.len() + brought.steerings >= REPLY_PARTS_MAX {
            return Err(Refusal::SessionFull);
        }
        brought.steerings += 1;
        self.bring(steered.text.len(), brought)
    }

    fn admit_decision<'a>(&self, decided: &'a ToolDecided, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        name(&decided.reason)?;
        let message = self.view.messages.get(&decided.message).ok_or(Refusal::MessageNotFound)?;
        let call = message.parts.iter().rev().find_map(|part| match part {
            Part::ToolCall(call) if call.call == decided.call => Some(call),
            _ => None,
        });
        let call = call.ok_or(Refusal::ToolCallNotFound)?;
        if !brought.decided.insert((&decided.message, &decided.call)) {
            return Err(Refusal::ToolCallSettled);
        }
        match call.status {
            ToolStatus::AwaitingApproval => self.bring(decided.reason.len(), brought),
            ToolStatus::Writing
            | ToolStatus::WritingForApproval
            | ToolStatus::Ready
            | ToolStatus::Refused
            | ToolStatus::Done
            | ToolStatus::Failed => Err(Refusal::ToolCallSettled),
        }
    }

    fn admit_custom<'a>(&self, custom: &'a Custom, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        if custom.kind.is_empty() {
            return Err(Refusal::Limit);
        }
        name(&custom.kind)?;
        name(&custom.content_type)?;
        if !self.view.custom.contains_key(&custom.kind) {
            brought.kinds.insert(&custom.kind);
        }
        if self.view.custom.len() + brought.kinds.len() > CUSTOM_KINDS_MAX && brought.kinds.contains(custom.kind.as_str()) {
            return Err(Refusal::SessionFull);
        }
        self.bring(custom.payload.len(), brought)
    }

    /// A run that this event may start, give up or end.
    fn settle<'a>(&self, run: &'a RunId, brought: &mut Brought<'a>) -> Result<&Run, Refusal> {
        let known = self.unended(run, brought)?;
        if brought.settled.insert(run) { Ok(known) } else { Err(Refusal::Limit) }
    }

    fn unended(&self, run: &RunId, brought: &Brought<'_>) -> Result<&Run, Refusal> {
        match self.view.session.status {
            SessionStatus::Absent => return Err(Refusal::SessionNotFound),
            SessionStatus::Erased => return Err(Refusal::SessionErased),
            // A closed session's run may still end.
            SessionStatus::Open | SessionStatus::Closed(_) => {}
        }
        let run = self.view.run(run).ok_or(Refusal::RunNotFound)?;
        if run.status.is_final() || brought.interrupted { Err(Refusal::RunEnded) } else { Ok(run) }
    }

    fn message_exists(&self, id: &MessageId, brought: &Brought<'_>) -> Result<(), Refusal> {
        let known = brought.messages.contains(id) || self.view.messages.get(id).is_some();
        if known { Ok(()) } else { Err(Refusal::MessageNotFound) }
    }

    fn message_is_new<'a>(&self, id: &'a MessageId, brought: &mut Brought<'a>) -> Result<(), Refusal> {
        if self.view.messages.get(id).is_some() || !brought.messages.insert(id) {
            return Err(Refusal::MessageExists);
        }
        if self.view.messages.len() + brought.messages.len() > MESSAGES_MAX {
            return Err(Refusal::SessionFull);
        }
        Ok(())
    }

    /// Whether a record's content still fits with so many more bytes.
    fn bring(&self, bytes: usize, brought: &mut Brought<'_>) -> Result<(), Refusal> {
        brought.content_bytes += bytes;
        self.room(brought.content_bytes)
    }

    /// Whether so many more bytes of content fit.
    pub(crate) fn room(&self, bytes: usize) -> Result<(), Refusal> {
        if self.content_bytes + bytes as u64 > CONTENT_BYTES_MAX { Err(Refusal::SessionFull) } else { Ok(()) }
    }
}

/// Whether this takes up an attempt that was put down. It is none of the attempts that a run may take.
pub(crate) fn goes_on(run: &Run, started: &RunStarted) -> bool {
    started.resume && run.waiting.is_some()
}

fn name(text: &str) -> Result<(), Refusal> {
    if text.len() > NAME_BYTES_MAX { Err(Refusal::Limit) } else { Ok(()) }
}
