//! How a model's words become parts of a message.

use crate::delta::Op;
use crate::event::{Failed, Output, Said, ToolCallStarted};
use crate::view::{RunError, RunStatus};
use crate::{FinishReason, Part, Reasoning, Refusal, Settled, State, Step, Text, ToolCall, ToolStatus, Verdict};

/// Parts that an answer may consist of. What would begin another is skipped.
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
        let last = output.seq.saturating_add(output.said.len() as u64).saturating_sub(1);
        if last <= attempt.seq || output.seq == 0 {
            return Verdict::Repeated(Settled::Applied);
        }
        let known = usize::try_from((attempt.seq + 1).saturating_sub(output.seq)).unwrap_or(usize::MAX);
        let mut verdict = Verdict::Refused(Refusal::RunEnded);
        for (said, seq) in output.said.iter().zip(output.seq..).skip(known) {
            let Some(attempt) = self.attempt.as_mut() else { break };
            // Usage that a provider reports after a cancel still counts: somebody pays for it.
            if !attempt.current && !matches!(said, Said::Usage(_)) {
                break;
            }
            attempt.seq = seq;
            let (run, reply) = (attempt.run, attempt.reply);
            self.say_one(said, run, reply, at_ms, ops);
            verdict = Verdict::Applied;
        }
        verdict
    }

    fn say_one(&mut self, said: &Said, run: usize, reply: usize, at_ms: u64, ops: &mut Vec<Op>) {
        match said {
            Said::Text(delta) => self.append_text(reply, Stream::Text, &delta.text, ops),
            Said::Reasoning(delta) => self.append_text(reply, Stream::Reasoning, &delta.text, ops),
            Said::ToolCall(started) => self.start_tool(reply, started, ops),
            Said::ToolArguments(delta) => {
                if let Some(part) = self.tool_position(reply, &delta.call) {
                    self.append_at(reply, part, &delta.text, ops);
                }
            }
            Said::ToolReady(ready) => {
                let approval = matches!(self.tool(reply, &ready.call), Some(ToolStatus::WritingForApproval));
                let status = if approval { ToolStatus::AwaitingApproval } else { ToolStatus::Ready };
                self.change_tool(reply, &ready.call, status, None, ops);
            }
            Said::ToolResult(result) => {
                let status = if result.is_error { ToolStatus::Failed } else { ToolStatus::Done };
                if self.room(result.content.len()).is_ok() {
                    self.content_bytes += result.content.len() as u64;
                    self.change_tool(reply, &result.call, status, Some(result.content.clone()), ops);
                }
            }
            Said::Citation(citation) => self.push_part(reply, Part::Citation(citation.clone()), ops),
            Said::StepFinished(step) => self.push_part(reply, Part::Step(Step { reason: step.reason.clone() }), ops),
            Said::Usage(usage) => {
                let run = &mut self.view.runs[run];
                run.usage = Some(*usage);
                ops.push(Op::RunChanged(Box::new(run.clone())));
            }
            Said::Completed(completed) => self.complete(run, completed.reason.clone(), at_ms, ops),
            Said::Failed(failed) => self.fail(run, failed, at_ms, ops),
            Said::Unknown { .. } => {}
        }
    }

    fn complete(&mut self, run: usize, reason: FinishReason, at_ms: u64, ops: &mut Vec<Op>) {
        let run = &mut self.view.runs[run];
        run.finish = Some(reason);
        let id = run.id.clone();
        self.end_run(&id, RunStatus::Completed, None, at_ms, ops);
    }

    fn fail(&mut self, run: usize, failed: &Failed, at_ms: u64, ops: &mut Vec<Op>) {
        let id = self.view.runs[run].id.clone();
        let error = RunError { code: failed.code.clone(), message: failed.message.clone() };
        self.end_attempt(&id, error, failed.retryable, RunStatus::Failed, at_ms, ops);
    }

    /// Appends to the open text of this stream, or begins another part. A citation doesn't close a text; anything else does.
    fn append_text(&mut self, reply: usize, stream: Stream, text: &str, ops: &mut Vec<Op>) {
        if text.is_empty() {
            return;
        }
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

    fn append_at(&mut self, message: usize, part: usize, text: &str, ops: &mut Vec<Op>) {
        if self.room(text.len()).is_err() {
            return;
        }
        let message = self.view.messages.at_mut(message);
        let Some(stream) = message.parts[part].stream_mut() else { return };
        let at = u32::try_from(stream.len()).unwrap_or(u32::MAX);
        stream.push_str(text);
        self.content_bytes += text.len() as u64;
        ops.push(Op::PartAppended { message: message.id.clone(), part: index(part), at, text: text.to_owned() });
    }

    pub(crate) fn push_part(&mut self, message: usize, value: Part, ops: &mut Vec<Op>) {
        let bytes = value.bytes();
        if self.room(bytes).is_err() || self.view.messages.at_mut(message).parts.len() >= REPLY_PARTS_MAX {
            return;
        }
        self.content_bytes += bytes as u64;
        let message = self.view.messages.at_mut(message);
        ops.push(Op::PartSet { message: message.id.clone(), part: index(message.parts.len()), value: value.clone() });
        message.parts.push(value);
    }

    fn start_tool(&mut self, reply: usize, started: &ToolCallStarted, ops: &mut Vec<Op>) {
        if self.tool_position(reply, &started.call).is_some() {
            return;
        }
        let status = if started.needs_approval { ToolStatus::WritingForApproval } else { ToolStatus::Writing };
        let (call, name) = (started.call.clone(), started.name.clone());
        self.push_part(reply, Part::ToolCall(ToolCall { call, name, arguments: String::new(), status, result: None }), ops);
    }

    pub(crate) fn change_tool(
        &mut self,
        message: usize,
        call: &str,
        status: ToolStatus,
        result: Option<String>,
        ops: &mut Vec<Op>,
    ) {
        let Some(part) = self.tool_position(message, call) else { return };
        let message = self.view.messages.at_mut(message);
        let Part::ToolCall(call) = &mut message.parts[part] else { return };
        call.status = status;
        call.result.clone_from(&result);
        ops.push(Op::ToolCallChanged { message: message.id.clone(), part: index(part), status, result });
    }

    fn tool(&mut self, message: usize, call: &str) -> Option<ToolStatus> {
        let part = self.tool_position(message, call)?;
        match &self.view.messages.at_mut(message).parts[part] {
            Part::ToolCall(call) => Some(call.status),
            _ => None,
        }
    }

    fn tool_position(&mut self, message: usize, id: &str) -> Option<usize> {
        let parts = &self.view.messages.at_mut(message).parts;
        parts.iter().rposition(|part| matches!(part, Part::ToolCall(call) if call.call == id))
    }
}

/// A part's number on the wire; [`REPLY_PARTS_MAX`] keeps it small.
fn index(part: usize) -> u32 {
    u32::try_from(part).unwrap_or(u32::MAX)
}
