//! The fold: what a record makes of a state.

use crate::admit::goes_on;
use crate::delta::{Delta, Op};
use crate::event::{
    ATTEMPTS_DEFAULT, AttemptLost, Custom, MessageAdded, RunCancelled, RunFailed, RunRequested, RunStarted, RunSteered,
    SessionOpened, SessionTitled, ToolDecided,
};
use crate::output::end_thought;
use crate::state::Attempt;
use crate::view::{CustomValue, Message, Run, RunError, RunStatus, SessionStatus};
use crate::{Event, Part, Record, Role, RunId, Settled, State, Steering, ToolStatus, Verdict};

impl State {
    /// Judges a record at its offset and carries it out. Total: every record has a verdict and none stops the fold (I3).
    ///
    /// A command's events happen all or none. A producer's output is skipped piece by piece where it was there before or comes
    /// from an attempt that isn't current.
    pub fn apply(&mut self, record: &Record) -> (Verdict, Delta) {
        let mut delta = Delta::default();
        if let Some(first) = record.command.as_ref().and_then(|id| self.remembered(id)) {
            return (Verdict::Repeated(first), delta);
        }
        let verdict = match self.admit(record) {
            Ok(()) => self.carry_out(record, &mut delta.ops),
            Err(refusal) => Verdict::Refused(refusal),
        };
        if let Some(id) = &record.command {
            let settled = match verdict {
                Verdict::Applied => Settled::Applied,
                Verdict::Repeated(settled) => settled,
                Verdict::Refused(refusal) => Settled::Refused(refusal),
            };
            self.remember(id.clone(), settled);
        }
        (verdict, delta)
    }

    fn carry_out(&mut self, record: &Record, ops: &mut Vec<Op>) -> Verdict {
        // Some of the output being new makes the record applied. Else a refusal counts, for its producer must stop.
        let mut output = None;
        for event in &record.events {
            match event {
                Event::Output(said) => match (&output, self.say(said, record.at_ms, ops)) {
                    (Some(Verdict::Applied), _) | (Some(Verdict::Refused(_)), Verdict::Repeated(_)) => {}
                    (_, verdict) => output = Some(verdict),
                },
                other => self.happen(other, record, ops),
            }
        }
        match output {
            Some(verdict) if record.events.iter().all(|event| matches!(event, Event::Output(_))) => verdict,
            Some(_) | None => Verdict::Applied,
        }
    }

    fn happen(&mut self, event: &Event, record: &Record, ops: &mut Vec<Op>) {
        match event {
            Event::SessionOpened(opened) => self.open_session(opened, record.at_ms, ops),
            Event::SessionTitled(titled) => self.title_session(titled, ops),
            Event::SessionClosed(closed) => {
                self.cancel_open_runs(record.at_ms, ops);
                self.end_session(SessionStatus::Closed(closed.reason.clone()), ops);
            }
            Event::SessionErased(_) => self.erase(ops),
            Event::MessageAdded(added) => self.add_message(added, record.at_ms, ops),
            Event::RunRequested(requested) => self.request_run(requested, record.at_ms, ops),
            Event::RunStarted(started) => self.start_run(started, record.at_ms, ops),
            Event::AttemptLost(lost) => self.lose_attempt(lost, record.at_ms, ops),
            Event::RunCancelled(cancelled) => self.cancel_run(cancelled, record.at_ms, ops),
            Event::RunFailed(failed) => self.fail_run(failed, record.at_ms, ops),
            Event::RunSteered(steered) => self.steer_run(steered, record.by.as_deref(), ops),
            Event::ToolDecided(decided) => self.decide_tool(decided, ops),
            Event::Custom(custom) => self.keep_custom(custom, ops),
            Event::Output(_) | Event::Unknown { .. } => {}
        }
    }

    fn open_session(&mut self, opened: &SessionOpened, at_ms: u64, ops: &mut Vec<Op>) {
        let session = &mut self.view.session;
        session.title.clone_from(&opened.title);
        session.user.clone_from(&opened.user);
        session.status = SessionStatus::Open;
        session.opened_at_ms = at_ms;
        ops.push(Op::SessionChanged(session.clone()));
    }

    /// What a person called it stays, whatever programs make up.
    fn title_session(&mut self, titled: &SessionTitled, ops: &mut Vec<Op>) {
        let session = &mut self.view.session;
        if titled.automatic && session.title.is_some() && !session.title_automatic {
            return;
        }
        session.title = Some(titled.title.clone());
        session.title_automatic = titled.automatic;
        ops.push(Op::SessionChanged(session.clone()));
    }

    fn end_session(&mut self, status: SessionStatus, ops: &mut Vec<Op>) {
        self.view.session.status = status;
        ops.push(Op::SessionChanged(self.view.session.clone()));
    }

    /// Nothing stays but the fact. Readers are closed and never see a delta across it.
    fn erase(&mut self, ops: &mut Vec<Op>) {
        let opened_at_ms = self.view.session.opened_at_ms;
        self.view = Default::default();
        self.view.session.opened_at_ms = opened_at_ms;
        self.attempt = None;
        self.content_bytes = 0;
        self.end_session(SessionStatus::Erased, ops);
    }

    fn add_message(&mut self, added: &MessageAdded, at_ms: u64, ops: &mut Vec<Op>) {
        self.content_bytes += added.parts.iter().map(Part::bytes).sum::<usize>() as u64;
        let message = Message {
            id: added.message.clone(),
            parent: added.parent.clone(),
            role: added.role,
            author: added.author.clone(),
            at_ms,
            run: None,
            parts: added.parts.clone(),
        };
        ops.push(Op::MessageAdded(message.clone()));
        self.view.messages.push(message);
    }

    fn request_run(&mut self, requested: &RunRequested, at_ms: u64, ops: &mut Vec<Op>) {
        if requested.interrupt {
            self.cancel_open_runs(at_ms, ops);
        }
        let reply = Message {
            id: requested.reply.clone(),
            parent: Some(requested.prompt.clone()),
            role: Role::Assistant,
            author: None,
            at_ms,
            run: Some(requested.run.clone()),
            parts: Vec::new(),
        };
        ops.push(Op::MessageAdded(reply.clone()));
        self.view.messages.push(reply);
        let run = Run {
            id: requested.run.clone(),
            prompt: requested.prompt.clone(),
            reply: requested.reply.clone(),
            status: RunStatus::Queued,
            model: requested.model.clone(),
            attempt: None,
            attempts: 0,
            attempts_max: if requested.attempts_max == 0 { ATTEMPTS_DEFAULT } else { requested.attempts_max },
            worker: None,
            finish: None,
            error: None,
            usage: None,
            waiting: None,
            requested_at_ms: at_ms,
            started_at_ms: None,
            ended_at_ms: None,
            thoughts: Vec::new(),
        };
        ops.push(Op::RunChanged(Box::new(run.clone())));
        self.view.runs.push(run);
    }

    /// Takes the run over: an earlier attempt's words are dropped, or those after its last finished step, and those still to come are
    /// fenced.
    fn start_run(&mut self, started: &RunStarted, at_ms: u64, ops: &mut Vec<Op>) {
        let Some(at) = self.run_position(&started.run) else { return };
        let run = &mut self.view.runs[at];
        if run.attempt.as_ref() == Some(&started.attempt) || run.status.is_final() {
            return;
        }
        run.attempts += u32::from(!goes_on(run, started));
        run.status = RunStatus::Running;
        run.attempt = Some(started.attempt.clone());
        run.worker = Some(started.worker.clone());
        run.error = None;
        run.waiting = None;
        run.usage = run.usage.filter(|_| started.resume);
        run.started_at_ms = Some(at_ms);
        if started.model.is_some() {
            run.model.clone_from(&started.model);
        }
        let Some(reply) = self.view.messages.position(&run.reply) else { return };
        let before = self.attempt.take().filter(|attempt| attempt.run == at).map(Attempt::overtaken).unwrap_or_default();
        self.attempt = Some(Attempt { id: started.attempt.clone(), run: at, reply, seq: 0, current: true, before });
        let kept = self.reset_message(reply, started.resume, ops);
        let run = &mut self.view.runs[at];
        run.thoughts.retain(|thought| (thought.part as usize) < kept);
        end_thought(run, at_ms);
        ops.push(Op::RunChanged(Box::new(run.clone())));
    }

    /// Drops what an attempt has written, or what it has written since its last finished step. What a person added meanwhile stays: the
    /// next attempt is to heed it too. Says how many parts stay where they are.
    fn reset_message(&mut self, at: usize, resume: bool, ops: &mut Vec<Op>) -> usize {
        let message = self.view.messages.at_mut(at);
        let kept = kept_parts(&message.parts, resume);
        if message.parts[kept..].iter().all(|part| matches!(part, Part::Steering(_))) {
            return kept;
        }
        let parts = std::mem::take(&mut message.parts);
        self.content_bytes -= parts.iter().map(Part::bytes).sum::<usize>() as u64;
        ops.push(Op::MessageReset { message: message.id.clone() });
        let stays = |(part_at, part): &(usize, Part)| *part_at < kept || matches!(part, Part::Steering(_));
        for (_, part) in parts.into_iter().enumerate().filter(stays) {
            let _ = self.push_part(at, part, ops); // It fitted before.
        }
        kept
    }

    fn lose_attempt(&mut self, lost: &AttemptLost, at_ms: u64, ops: &mut Vec<Op>) {
        let error = RunError { code: "worker_lost".into(), message: "The worker of this attempt is gone.".into() };
        self.end_attempt(&lost.run, error, true, RunStatus::Orphaned, at_ms, ops);
    }

    /// An attempt didn't work out: the run waits for the next one if that may help and one is left, else it ends.
    pub(crate) fn end_attempt(
        &mut self,
        run: &RunId,
        error: RunError,
        retryable: bool,
        last: RunStatus,
        at_ms: u64,
        ops: &mut Vec<Op>,
    ) {
        let Some(at) = self.run_position(run) else { return };
        let known = &mut self.view.runs[at];
        // I8 every run ends, once.
        if known.status.is_final() {
            return;
        }
        if !retryable || known.attempts >= known.attempts_max {
            self.end_run(run, last, Some(error), at_ms, ops);
            return;
        }
        known.status = RunStatus::Queued;
        known.error = Some(error);
        end_thought(known, at_ms);
        ops.push(Op::RunChanged(Box::new(known.clone())));
        self.silence(at);
    }

    fn cancel_run(&mut self, cancelled: &RunCancelled, at_ms: u64, ops: &mut Vec<Op>) {
        let error =
            (!cancelled.reason.is_empty()).then(|| RunError { code: "cancelled".into(), message: cancelled.reason.clone() });
        self.end_run(&cancelled.run, RunStatus::Cancelled, error, at_ms, ops);
    }

    fn cancel_open_runs(&mut self, at_ms: u64, ops: &mut Vec<Op>) {
        let open: Vec<RunId> = self.view.open_runs().map(|run| run.id.clone()).collect();
        open.iter().for_each(|run| self.end_run(run, RunStatus::Cancelled, None, at_ms, ops));
    }

    fn fail_run(&mut self, failed: &RunFailed, at_ms: u64, ops: &mut Vec<Op>) {
        let error = RunError { code: failed.code.clone(), message: failed.message.clone() };
        self.end_run(&failed.run, RunStatus::Failed, Some(error), at_ms, ops);
    }

    /// The one way a run ends (I8). What it said stays.
    pub(crate) fn end_run(&mut self, run: &RunId, status: RunStatus, error: Option<RunError>, at_ms: u64, ops: &mut Vec<Op>) {
        let Some(at) = self.run_position(run) else { return };
        let run = &mut self.view.runs[at];
        assert!(status.is_final(), "I8 every run ends: not with {status:?}");
        // Another event of the same record may have ended it: the first one wins.
        if run.status.is_final() {
            return;
        }
        run.status = status;
        run.error = error;
        run.waiting = None;
        run.ended_at_ms = Some(at_ms);
        end_thought(run, at_ms);
        ops.push(Op::RunChanged(Box::new(run.clone())));
        self.silence(at);
    }

    /// The words of the run's attempt no longer count.
    pub(crate) fn silence(&mut self, run: usize) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.run == run) {
            attempt.current = false;
        }
    }

    fn steer_run(&mut self, steered: &RunSteered, by: Option<&str>, ops: &mut Vec<Op>) {
        let Some(reply) = self.view.run(&steered.run).map(|run| run.reply.clone()) else { return };
        let Some(reply) = self.view.messages.position(&reply) else { return };
        let steering = Steering { text: steered.text.clone(), author: by.map(str::to_owned) };
        let _ = self.push_part(reply, Part::Steering(steering), ops); // There is room, or it weren't admitted.
    }

    fn decide_tool(&mut self, decided: &ToolDecided, ops: &mut Vec<Op>) {
        let Some(message) = self.view.messages.position(&decided.message) else { return };
        let status = if decided.approved { ToolStatus::Ready } else { ToolStatus::Refused };
        let result = (!decided.approved).then(|| decided.reason.clone());
        self.change_tool(message, &decided.call, status, result, ops);
        self.take_up(message, &decided.call, ops);
    }

    /// A run that waited for this call waits for a worker again.
    fn take_up(&mut self, message: usize, call: &str, ops: &mut Vec<Op>) {
        let run = self.view.messages.at_mut(message).run.clone();
        let Some(at) = run.and_then(|run| self.run_position(&run)) else { return };
        let run = &mut self.view.runs[at];
        let waited = run.waiting.as_ref().is_some_and(|waiting| waiting.calls.iter().any(|waited| waited == call));
        if run.status == RunStatus::Waiting && waited {
            run.status = RunStatus::Queued;
            ops.push(Op::RunChanged(Box::new(run.clone())));
        }
    }

    fn keep_custom(&mut self, custom: &Custom, ops: &mut Vec<Op>) {
        let value = CustomValue { content_type: custom.content_type.clone(), payload: custom.payload.clone() };
        ops.push(Op::Custom { kind: custom.kind.clone(), value: value.clone() });
        self.content_bytes += value.payload.len() as u64;
        if let Some(old) = self.view.custom.insert(custom.kind.clone(), value) {
            self.content_bytes -= old.payload.len() as u64;
        }
    }

    fn run_position(&self, run: &RunId) -> Option<usize> {
        self.view.runs.iter().rposition(|known| known.id == *run)
    }
}

/// Parts that the next attempt goes on after: none, or those up to its last finished step.
fn kept_parts(parts: &[Part], resume: bool) -> usize {
    let step = parts.iter().rposition(|part| matches!(part, Part::Step(_))).filter(|_| resume);
    step.map_or(0, |step| step + 1)
}
