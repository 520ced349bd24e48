//! How a model's words become parts of a message.

use crate::admit::NAME_BYTES_MAX;
use crate::delta::Op;
use crate::event::{Completed, Failed, Output, Said, ToolCallStarted};
use crate::next;
use crate::view::{Run, RunError, RunStatus, THOUGHTS_MAX, Thought};
use crate::{FinishReason, Part, Reasoning, Refusal, Settled, State, Step, Text, ToolCall, ToolStatus, Verdict, Waiting};

/// Parts that an answer may consist of. What would begin another ends the run with `session_full`.
pub const REPLY_PARTS_MAX: usize = 10_000;

/// Which of the two streams of text is meant.
#[derive(Clone, Copy)]
enum Stream {
    Text,
    Reasoning,
}

impl State {
    /// Takes in what is new of an attempt's output.
    pub(crate) fn say(&mut self, output: &Output, at_ms: u64, ops: &mut Vec<Op>) -> Verdict {
        let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.id == output.attempt) else {
            return Verdict::Refused(Refusal::Fenced);
        };
        let (run, reply, seq) = (attempt.run, attempt.reply, attempt.seq);
        let end = output.seq.checked_add(output.said.len() as u64).filter(|_| output.seq > 0);
        let Some(end) = end else { return Verdict::Refused(Refusal::Limit) };
        if output.said.is_empty() || end - 1 <= seq {
            return Verdict::Repeated(Settled::Applied);
        }
        let known = usize::try_from((seq + 1).saturating_sub(output.seq)).unwrap_or(usize::MAX);
        let ended = self.view.runs[run].status.is_final();
        let mut verdict = Verdict::Refused(if ended { Refusal::RunEnded } else { Refusal::Fenced });
        for said in output.said.iter().skip(known) {
            // Usage that a provider reports after a cancel still counts: somebody pays for it.
            let current = self.attempt.as_ref().is_some_and(|attempt| attempt.current);
            if !current && !matches!(said, Said::Usage(_)) {
                continue;
            }
            match self.say_one(said, run, reply, at_ms, ops) {
                Ok(()) => self.time_thoughts(run, reply, at_ms, ops),
                Err(_) => self.overflow(run, at_ms, ops),
            }
            verdict = Verdict::Applied;
        }
        if let Some(attempt) = self.attempt.as_mut().filter(|_| verdict == Verdict::Applied) {
            attempt.seq = end - 1;
        }
        verdict
    }

    /// Notes when reasoning begins, and when something else does.
    fn time_thoughts(&mut self, run: usize, reply: usize, at_ms: u64, ops: &mut Vec<Op>) {
        let parts = &self.view.messages.at_mut(reply).parts;
        let last = parts.iter().rposition(|part| !matches!(part, Part::Citation(_)));
        let open = last.filter(|at| matches!(parts[*at], Part::Reasoning(_))).map(index);
        let run = &mut self.view.runs[run];
        let known = run.thoughts.last().copied();
        let (full, begun) = (run.thoughts.len() >= THOUGHTS_MAX, known.is_some_and(|known| Some(known.part) == open));
        let goes_on = known.is_some_and(|known| known.upto_ms.is_none());
        if run.status.is_final() || begun || !(goes_on || (open.is_some() && !full)) {
            return;
        }
        end_thought(run, at_ms);
        run.thoughts.extend(open.filter(|_| !full).map(|part| Thought { part, from_ms: at_ms, upto_ms: None }));
        ops.push(Op::RunChanged(Box::new(run.clone())));
    }

    /// An answer with a hole in it would be a lie: the run ends where the room does.
    fn overflow(&mut self, run: usize, at_ms: u64, ops: &mut Vec<Op>) {
        let error = RunError { code: "session_full".into(), message: Refusal::SessionFull.to_string() };
        let id = self.view.runs[run].id.clone();
        self.end_run(&id, RunStatus::Failed, Some(error), at_ms, ops);
    }

    fn say_one(&mut self, said: &Said, run: usize, reply: usize, at_ms: u64, ops: &mut Vec<Op>) -> Result<(), Refusal> {
        match said {
            Said::Text(delta) => self.append_text(reply, Stream::Text, &delta.text, ops),
            Said::Reasoning(delta) => self.append_text(reply, Stream::Reasoning, &delta.text, ops),
            Said::ToolCall(started) => self.start_tool(reply, started, ops),
            Said::ToolArguments(delta) => match self.tool(reply, &delta.call) {
                // What a person has been asked to allow doesn't change any more.
                Some((part, ToolStatus::Writing | ToolStatus::WritingForApproval)) if !delta.text.is_empty() => {
                    self.append_at(reply, part, &delta.text, ops)
                }
                Some(_) | None => Ok(()),
            },
            Said::ToolReady(ready) => {
                // Only once: a repetition must not stand in for a person's approval.
                let status = match self.tool(reply, &ready.call) {
                    Some((_, ToolStatus::Writing)) => ToolStatus::Ready,
                    Some((_, ToolStatus::WritingForApproval)) => ToolStatus::AwaitingApproval,
                    Some(_) | None => return Ok(()),
                };
                self.change_tool(reply, &ready.call, status, None, ops);
                Ok(())
            }
            Said::ToolResult(result) => {
                let status = if result.is_error { ToolStatus::Failed } else { ToolStatus::Done };
                if self.tool(reply, &result.call).is_some() {
                    self.room(result.content.len())?;
                    self.change_tool(reply, &result.call, status, Some(result.content.clone()), ops);
                }
                Ok(())
            }
            Said::Citation(citation) => self.push_part(reply, Part::Citation(citation.clone()), ops),
            Said::StepFinished(step) => self.push_part(reply, Part::Step(Step { reason: clipped(&step.reason) }), ops),
            Said::Usage(usage) => {
                let run = &mut self.view.runs[run];
                run.usage = Some(*usage);
                ops.push(Op::RunChanged(Box::new(run.clone())));
                Ok(())
            }
            Said::Sealed(sealed) => self.push_part(reply, Part::Sealed(sealed.clone()), ops),
            Said::Waiting(waiting) => {
                self.put_down(run, reply, waiting, at_ms, ops);
                Ok(())
            }
            Said::Completed(completed) => self.complete(run, reply, completed, at_ms, ops),
            Said::Failed(failed) => {
                self.fail(run, failed, at_ms, ops);
                Ok(())
            }
            Said::Unknown { .. } => Ok(()),
        }
    }

    /// What a person added before the end in the log, and the model has not read, makes it the end of a step: the attempt goes on.
    fn complete(
        &mut self,
        run: usize,
        reply: usize,
        completed: &Completed,
        at_ms: u64,
        ops: &mut Vec<Op>,
    ) -> Result<(), Refusal> {
        let reason = clipped(&completed.reason);
        let steered = self.view.messages.at_mut(reply).parts.iter().filter(|part| matches!(part, Part::Steering(_))).count();
        if completed.steered.is_some_and(|read| (read as usize) < steered) {
            return self.push_part(reply, Part::Step(Step { reason }), ops);
        }
        let run = &mut self.view.runs[run];
        run.finish = Some(reason);
        let id = run.id.clone();
        self.end_run(&id, RunStatus::Completed, None, at_ms, ops);
        Ok(())
    }

    /// A person's decision comes first: no worker has the run until then. Where one was made meanwhile, the attempt goes on.
    fn put_down(&mut self, run: usize, reply: usize, waiting: &Waiting, at_ms: u64, ops: &mut Vec<Op>) {
        let mut awaits = |call: &String| self.tool(reply, call).is_some_and(|(_, status)| status == ToolStatus::AwaitingApproval);
        if waiting.calls.is_empty() || !waiting.calls.iter().all(&mut awaits) {
            return;
        }
        let known = &mut self.view.runs[run];
        known.status = RunStatus::Waiting;
        known.waiting = Some(waiting.clone());
        end_thought(known, at_ms);
        ops.push(Op::RunChanged(Box::new(known.clone())));
        self.silence(run);
    }

    fn fail(&mut self, run: usize, failed: &Failed, at_ms: u64, ops: &mut Vec<Op>) {
        let id = self.view.runs[run].id.clone();
        let error = RunError { code: clip(&failed.code), message: clip(&failed.message) };
        self.end_attempt(&id, error, failed.retryable, RunStatus::Failed, at_ms, ops);
    }

    /// Appends to the open text of this stream, or begins another part. A citation doesn't close a text; anything else does.
    fn append_text(&mut self, reply: usize, stream: Stream, text: &str, ops: &mut Vec<Op>) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        let text = &*next::written(text);
        let parts = &self.view.messages.at_mut(reply).parts;
        let open = parts.iter().rposition(|part| !matches!(part, Part::Citation(_)));
        let fits = open.filter(|at| match (&parts[*at], stream) {
            (Part::Text(_), Stream::Text) | (Part::Reasoning(_), Stream::Reasoning) => true,
            (_, Stream::Text | Stream::Reasoning) => false,
        });
        match (fits, stream) {
            (Some(part), _) => self.append_at(reply, part, text, ops),
            (None, Stream::Text) => self.push_part(reply, Part::Text(Text { text: text.to_owned() }), ops),
            (None, Stream::Reasoning) => self.push_part(reply, Part::Reasoning(Reasoning { text: text.to_owned() }), ops),
        }
    }

    fn append_at(&mut self, message: usize, part: usize, text: &str, ops: &mut Vec<Op>) -> Result<(), Refusal> {
        self.room(text.len())?;
        let message = self.view.messages.at_mut(message);
        let Some(stream) = message.parts[part].stream_mut() else { return Ok(()) };
        let at = u32::try_from(stream.len()).unwrap_or(u32::MAX);
        stream.push_str(text);
        self.content_bytes += text.len() as u64;
        ops.push(Op::PartAppended { message: message.id.clone(), part: index(part), at, text: text.to_owned() });
        Ok(())
    }

    pub(crate) fn push_part(&mut self, message: usize, value: Part, ops: &mut Vec<Op>) -> Result<(), Refusal> {
        let bytes = value.bytes();
        self.room(bytes)?;
        if self.view.messages.at_mut(message).parts.len() >= REPLY_PARTS_MAX {
            return Err(Refusal::SessionFull);
        }
        self.content_bytes += bytes as u64;
        let message = self.view.messages.at_mut(message);
        ops.push(Op::PartSet { message: message.id.clone(), part: index(message.parts.len()), value: value.clone() });
        message.parts.push(value);
        Ok(())
    }

    fn start_tool(&mut self, reply: usize, started: &ToolCallStarted, ops: &mut Vec<Op>) -> Result<(), Refusal> {
        if self.tool(reply, &started.call).is_some() {
            return Ok(());
        }
        let status = if started.needs_approval { ToolStatus::WritingForApproval } else { ToolStatus::Writing };
        let (call, name) = (started.call.clone(), started.name.clone());
        self.push_part(reply, Part::ToolCall(ToolCall { call, name, arguments: String::new(), status, result: None }), ops)
    }

    pub(crate) fn change_tool(
        &mut self,
        message: usize,
        call: &str,
        status: ToolStatus,
        result: Option<String>,
        ops: &mut Vec<Op>,
    ) {
        let Some((part, _)) = self.tool(message, call) else { return };
        let message = self.view.messages.at_mut(message);
        let Part::ToolCall(call) = &mut message.parts[part] else { return };
        let held = |result: &Option<String>| result.as_ref().map_or(0, String::len) as u64;
        self.content_bytes = self.content_bytes - held(&call.result) + held(&result);
        call.status = status;
        call.result.clone_from(&result);
        ops.push(Op::ToolCallChanged { message: message.id.clone(), part: index(part), status, result });
    }

    /// Where a call stands among the parts, and how far it has come.
    fn tool(&mut self, message: usize, id: &str) -> Option<(usize, ToolStatus)> {
        let parts = &self.view.messages.at_mut(message).parts;
        parts.iter().enumerate().rev().find_map(|(at, part)| match part {
            Part::ToolCall(call) if call.call == id => Some((at, call.status)),
            _ => None,
        })
    }
}

/// The thought that goes on, if one does, ends.
pub(crate) fn end_thought(run: &mut Run, at_ms: u64) {
    if let Some(thought) = run.thoughts.last_mut().filter(|thought| thought.upto_ms.is_none()) {
        thought.upto_ms = Some(at_ms);
    }
}

/// What a producer says in its own words is cut to the length that a command's words may have.
fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

fn clipped(reason: &FinishReason) -> FinishReason {
    match reason {
        FinishReason::Other(word) => FinishReason::Other(clip(word)),
        FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls | FinishReason::ContentFilter => reason.clone(),
    }
}

/// A part's number on the wire; [`REPLY_PARTS_MAX`] keeps it small.
fn index(part: usize) -> u32 {
    u32::try_from(part).unwrap_or(u32::MAX)
}
