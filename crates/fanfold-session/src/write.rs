//! How commands and output get into the log, and how their senders get the fold's verdict.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{Action, AttemptId, Event, Offset, Output, RECORD_BYTES_MAX, Record, Said, Settled, Verdict};
use fanfold_log::{AppendError, Expect};
use tokio::time::Instant;

use crate::config::SessionConfig;
use crate::error::{HostError, SubmitError};
use crate::live::Live;
use crate::message::{Msg, PendingKey, Produce, Receipt, Reply, Submit};

/// Bytes of output that go into one record.
const GROUP_BYTES_MAX: usize = RECORD_BYTES_MAX / 2;

/// Appends on their way, and output that waits for the one before it.
#[derive(Default)]
pub(crate) struct Writes {
    pending: HashMap<PendingKey, Pending>,
    /// Commands on their way, by the order in which they came.
    commands: BTreeSet<u64>,
    commands_seen: u64,
    /// Commands whose append begins when the one before them is done: the log gets them in the order in which they came.
    command_queue: VecDeque<Append>,
    command_in_flight: Option<PendingKey>,
    queue: VecDeque<Queued>,
    /// One append of output at a time: what comes meanwhile shares the next record.
    output_in_flight: bool,
    /// The first output of an attempt that was missed. What follows it waits for its repetition.
    missed: Option<(AttemptId, u64)>,
    /// Of all that waits here.
    bytes: usize,
}

/// Output whose append has not begun.
struct Queued {
    deadline: Instant,
    bytes: usize,
    produce: Box<Produce>,
}

struct Append {
    key: PendingKey,
    id: String,
    bytes: Bytes,
    expect: Expect,
}

struct Pending {
    deadline: Instant,
    command: Option<u64>,
    bytes: usize,
    replies: Vec<Reply<Receipt, SubmitError>>,
}

impl Writes {
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.queue.len()
    }

    /// Whether so many more bytes may wait. One always may, or what is large would never be taken.
    fn has_room(&self, bytes: usize, config: &SessionConfig) -> bool {
        let waiting = self.waiting();
        waiting == 0 || (waiting < config.waiting_max && self.bytes + bytes <= config.waiting_bytes_max)
    }

    /// The newest command on its way; a later one is judged well only after it.
    pub(crate) fn last_command(&self) -> Option<u64> {
        self.commands.last().copied()
    }

    /// Whether this command and all before it have their verdict.
    pub(crate) fn has_settled(&self, command: u64) -> bool {
        self.commands.first().is_none_or(|first| *first > command)
    }

    /// Gives every caller that waits for this append its answer.
    pub(crate) fn settle(&mut self, key: &PendingKey, result: &Result<Receipt, SubmitError>) {
        let Some(pending) = self.pending.remove(key) else { return };
        self.forget(&pending);
        if let (PendingKey::Output(attempt, seq), Err(_)) = (key, result) {
            self.turn_away(attempt, *seq);
        }
        let mut replies = pending.replies.into_iter();
        // A caller that has left needs no answer.
        replies.next().map(|reply| reply.send(result.clone()));
        let result = match (key, result) {
            // Their commands were not looked at: the first of this id was judged.
            (PendingKey::Command(_), Ok(receipt)) => Ok(receipt.repeated()),
            (PendingKey::Command(_) | PendingKey::Output(..), result) => result.clone(),
        };
        replies.for_each(|reply| drop(reply.send(result.clone())));
    }

    fn forget(&mut self, pending: &Pending) {
        self.bytes -= pending.bytes;
        if let Some(command) = pending.command {
            self.commands.remove(&command);
        }
    }

    fn ticket(&mut self, key: &PendingKey) -> Option<u64> {
        match key {
            PendingKey::Command(_) => {
                self.commands_seen += 1;
                self.commands.insert(self.commands_seen);
                Some(self.commands_seen)
            }
            PendingKey::Output(..) => None,
        }
    }

    /// Answers those who have waited long enough. An append that the log never confirmed may yet be stored. One that has not begun never
    /// will be: nobody meets a command later that its sender has given up.
    pub(crate) fn expire(&mut self, now: Instant) {
        let overdue: Vec<_> = self.pending.extract_if(|_, pending| pending.deadline <= now).collect();
        let mut not_begun = HashSet::new();
        self.command_queue.retain(|append| {
            let waits = self.pending.contains_key(&append.key);
            if !waits && self.command_in_flight.as_ref() != Some(&append.key) {
                not_begun.insert(append.key.clone());
            }
            waits
        });
        for (key, pending) in overdue {
            self.forget(&pending);
            let error = if not_begun.contains(&key) { SubmitError::Host(HostError::Busy) } else { SubmitError::Unknown };
            pending.replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            if let PendingKey::Output(attempt, seq) = key {
                self.turn_away(&attempt, seq);
            }
        }
        while let Some((attempt, seq)) = self.queue.front().filter(|first| first.deadline <= now).map(Queued::name) {
            self.turn_away(&attempt, seq);
        }
    }

    /// An attempt's output of this number was not taken, or may not have been. What follows would overtake its repetition, which the fold
    /// would then skip.
    pub(crate) fn missed(&mut self, attempt: &AttemptId, seq: u64) {
        self.missed = match self.missed.take() {
            Some((known, first)) if known == *attempt => Some((known, first.min(seq))),
            Some(_) | None => Some((attempt.clone(), seq)),
        };
    }

    /// The same, with what waits behind it.
    fn turn_away(&mut self, attempt: &AttemptId, seq: u64) {
        self.missed(attempt, seq);
        let is_behind = |output: &Output| output.attempt == *attempt && output.seq >= seq;
        let (behind, others) = std::mem::take(&mut self.queue).into_iter().partition(|queued| is_behind(&queued.produce.output));
        self.queue = others;
        for queued in Vec::from(behind) {
            self.bytes -= queued.bytes;
            let _ = queued.produce.reply.send(Err(SubmitError::Host(HostError::Busy)));
        }
    }

    /// Whether something that comes before this was missed, and has not come again.
    fn overtakes(&mut self, output: &Output) -> bool {
        let behind = self.missed.as_ref().is_some_and(|(attempt, first)| *attempt == output.attempt && *first < output.seq);
        if !behind {
            self.missed.take_if(|(attempt, _)| *attempt == output.attempt);
        }
        behind
    }

    fn push(&mut self, queued: Queued) {
        self.bytes += queued.bytes;
        self.queue.push_back(queued);
    }

    /// The oldest output that waits, if `fits` says so of it and its size.
    fn pop_if(&mut self, fits: impl FnOnce(&Produce, usize) -> bool) -> Option<(Box<Produce>, usize)> {
        let Queued { bytes, produce, .. } = self.queue.pop_front_if(|first| fits(&first.produce, first.bytes))?;
        self.bytes -= bytes;
        Some((produce, bytes))
    }
}

impl Queued {
    fn name(&self) -> (AttemptId, u64) {
        (self.produce.output.attempt.clone(), self.produce.output.seq)
    }
}

impl Live {
    pub(crate) fn on_submit(&mut self, submit: Box<Submit>) {
        self.birth.feed.touch();
        if !submit.sure && submit.at_least > self.folded.offset {
            return self.defer(Msg::Submit(submit));
        }
        // A log that was trimmed can't tell which record was a session's last. A repetition hears of the first.
        let is_known = self.folded.state.remembered(&submit.command.id).is_some();
        if !is_known && submit.if_last.is_some_and(|last| last < self.folded.offset) {
            let _ = submit.reply.send(Err(SubmitError::Conflict { last: self.folded.offset }));
            return;
        }
        match self.folded.state.decide(&submit.command) {
            Ok(record) => {
                let expect = match (&submit.command.action, submit.if_last) {
                    (Action::Open(_), _) => Expect::Empty,
                    (_, Some(last)) => Expect::Last(last),
                    (_, None) => Expect::Any,
                };
                let key = PendingKey::Command(submit.command.id.clone());
                self.append(&record, expect, key, vec![submit.reply]);
            }
            Err(Verdict::Refused(refusal)) if refusal.may_be_lag() && !submit.sure => self.defer(Msg::Submit(submit)),
            Err(verdict) => self.answer(submit.reply, verdict),
        }
    }

    /// The early answer: nothing was appended.
    fn answer(&self, reply: Reply<Receipt, SubmitError>, verdict: Verdict) {
        let offset = self.folded.offset;
        let _ = reply.send(Ok(Receipt { verdict, offset, cursor: self.cursor(offset) }));
    }

    fn append(&mut self, record: &Record, expect: Expect, key: PendingKey, replies: Vec<Reply<Receipt, SubmitError>>) {
        let bytes = Bytes::from(record.encode());
        if let Some(error) = self.no_room(&key, bytes.len()) {
            replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            if let PendingKey::Output(..) = key {
                self.append_done(&key);
            }
            return;
        }
        let deadline = Instant::now() + self.birth.node.config.wait_max;
        match (self.writes.pending.get_mut(&key), &key) {
            // It is on its way already.
            (Some(pending), PendingKey::Command(_)) => return pending.replies.extend(replies),
            // It may say more than the one on its way.
            (Some(pending), PendingKey::Output(..)) => pending.replies.extend(replies),
            (None, _) => {
                let command = self.writes.ticket(&key);
                self.writes.bytes += bytes.len();
                self.writes.pending.insert(key.clone(), Pending { deadline, command, bytes: bytes.len(), replies });
            }
        }
        let append = Append { id: append_id(&key, record), key, bytes, expect };
        match append.key {
            PendingKey::Command(_) => {
                self.writes.command_queue.push_back(append);
                self.append_command();
            }
            PendingKey::Output(..) => self.start(append),
        }
    }

    /// Why a record can't be taken. Output has found its room when it came.
    fn no_room(&self, key: &PendingKey, bytes: usize) -> Option<SubmitError> {
        let config = &self.birth.node.config;
        let has_room = match (key, self.writes.pending.get(key)) {
            (PendingKey::Output(..), _) => true,
            (PendingKey::Command(_), Some(pending)) => pending.replies.len() < config.waiting_max,
            (PendingKey::Command(_), None) => self.writes.has_room(bytes, config),
        };
        match (bytes > RECORD_BYTES_MAX, has_room) {
            (true, _) => Some(SubmitError::TooLarge { bytes }),
            (false, false) => Some(SubmitError::Host(HostError::Busy)),
            (false, true) => None,
        }
    }

    fn append_command(&mut self) {
        if self.writes.command_in_flight.is_some() {
            return;
        }
        while let Some(next) = self.writes.command_queue.pop_front() {
            // The tail may have brought its verdict: it was in the log from before.
            if self.writes.pending.contains_key(&next.key) {
                self.writes.command_in_flight = Some(next.key.clone());
                return self.start(next);
            }
        }
    }

    fn start(&self, append: Append) {
        let (node, session, myself) = (Arc::clone(&self.birth.node), self.key().clone(), self.myself.clone());
        tokio::spawn(async move {
            let Append { key, id, bytes, expect } = append;
            let result = node.ports.log.append(&session, bytes, expect, Some(&id)).await;
            let _ = myself.send_message(Msg::Appended(key, result));
        });
    }

    pub(crate) fn on_appended(&mut self, key: PendingKey, result: Result<Offset, AppendError>) {
        match result {
            Ok(offset) if offset > self.folded.offset => {
                // The tail brings it, as a rule before this; if it is late, the log has it.
                self.on_wake();
                if offset > self.folded.offset {
                    self.fill();
                }
            }
            // Still waited for although folded: the log knew it from before and stored nothing.
            Ok(_) => self.settle_repeated(&key),
            Err(AppendError::Conflict { last }) => {
                if last > self.folded.offset {
                    self.fill();
                }
                self.writes.settle(&key, &Err(SubmitError::Conflict { last }));
            }
            Err(AppendError::TooLarge { bytes }) => self.writes.settle(&key, &Err(SubmitError::TooLarge { bytes })),
            Err(AppendError::Overloaded) => self.writes.settle(&key, &Err(SubmitError::Overloaded)),
            Err(AppendError::Closed) => self.writes.settle(&key, &Err(SubmitError::Host(HostError::Draining))),
            Err(error @ AppendError::Unknown(_)) => {
                tracing::warn!(session = %self.key(), error = &error as &dyn std::error::Error, "append not confirmed");
                metrics::counter!("fanfold_session_appends_unknown_total").increment(1);
                self.writes.settle(&key, &Err(SubmitError::Unknown));
            }
        }
        self.append_done(&key);
        self.retry_deferred();
    }

    fn settle_repeated(&mut self, key: &PendingKey) {
        let settled = match key {
            PendingKey::Command(id) => self.folded.state.remembered(id).unwrap_or(Settled::Applied),
            PendingKey::Output(..) => Settled::Applied,
        };
        let offset = self.folded.offset;
        let receipt = Receipt { verdict: Verdict::Repeated(settled), offset, cursor: self.cursor(offset) };
        self.writes.settle(key, &Ok(receipt));
    }

    pub(crate) fn on_produce(&mut self, produce: Box<Produce>) {
        self.birth.feed.touch();
        let current = self.folded.state.current_attempt().is_some_and(|(attempt, _)| *attempt == produce.output.attempt);
        if !produce.sure && (!current || self.defers_output_of(&produce.output.attempt)) {
            return self.defer(Msg::Produce(produce));
        }
        let (config, bytes) = (&self.birth.node.config, said_bytes(&produce.output));
        if self.writes.overtakes(&produce.output) || !self.writes.has_room(bytes, config) {
            return self.turn_down(Msg::Produce(produce), &HostError::Busy);
        }
        let deadline = Instant::now() + config.wait_max;
        self.writes.push(Queued { deadline, bytes, produce });
        self.append_output();
    }

    /// Appends the oldest output that waits, with all that follows on from it.
    fn append_output(&mut self) {
        if self.writes.output_in_flight {
            return;
        }
        let Some((first, mut bytes)) = self.writes.pop_if(|_, _| true) else { return };
        let Produce { mut output, at_ms, by, reply, .. } = *first;
        let mut replies = vec![reply];
        let fits = |output: &Output, bytes: usize, next: &Produce, more: usize| {
            follows(output, &next.output) && next.by == by && bytes + more <= GROUP_BYTES_MAX
        };
        while let Some((next, more)) = self.writes.pop_if(|next, more| fits(&output, bytes, next, more)) {
            bytes += more;
            output.said.extend(next.output.said);
            replies.push(next.reply);
        }
        self.writes.output_in_flight = true;
        let key = PendingKey::Output(output.attempt.clone(), output.seq);
        let record = Record { command: None, at_ms, by, events: vec![Event::Output(output)] };
        self.append(&record, Expect::Any, key, replies);
    }

    /// The next one of its kind may go.
    fn append_done(&mut self, key: &PendingKey) {
        match key {
            PendingKey::Command(_) => {
                self.writes.command_in_flight = None;
                self.append_command();
            }
            PendingKey::Output(..) => {
                self.writes.output_in_flight = false;
                self.append_output();
            }
        }
    }
}

/// Whether `next` goes on where `output` ends.
fn follows(output: &Output, next: &Output) -> bool {
    next.attempt == output.attempt && Some(next.seq) == output.seq.checked_add(output.said.len() as u64)
}

/// About how many bytes it takes in a record.
pub(crate) fn said_bytes(output: &Output) -> usize {
    const FRAME: usize = 24;
    let said = output.said.iter().map(|said| match said {
        Said::Text(delta) => delta.text.len(),
        Said::Reasoning(delta) => delta.text.len(),
        Said::ToolArguments(delta) => delta.text.len(),
        Said::ToolResult(result) => result.content.len(),
        Said::Sealed(sealed) => sealed.data.len(),
        Said::Waiting(waiting) => waiting.calls.iter().map(String::len).sum(),
        Said::ToolCall(_)
        | Said::ToolReady(_)
        | Said::Citation(_)
        | Said::StepFinished(_)
        | Said::Usage(_)
        | Said::Completed(_)
        | Said::Failed(_)
        | Said::Unknown { .. } => 1024,
    });
    said.map(|bytes| bytes + FRAME).sum()
}

/// Names the append, so that a repetition within the log's window is stored once. Output that begins at the same sequence and says more
/// is no repetition: the fold skips what it knows of it.
fn append_id(key: &PendingKey, record: &Record) -> String {
    match key {
        PendingKey::Command(id) => id.to_string(),
        PendingKey::Output(attempt, seq) => {
            let said = record.events.iter().map(|event| if let Event::Output(output) = event { output.said.len() } else { 0 });
            format!("{attempt}.{seq}.{}", said.sum::<usize>())
        }
    }
}
