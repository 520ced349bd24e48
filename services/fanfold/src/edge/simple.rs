//! The typed view of a session for the simplest clients: `token`, `reasoning`, `tool_call`, `final`, `error`, and `reset`.
//!
//! It shows one answer at a time, the one that was begun last. What a frame says depends on its delta and on the state that this leads to,
//! never on how many records were merged into it, so a reader has the same text however it was served. A reader that was cut within a
//! frame has had some of its tokens: when it comes back it is told the whole answer again.

use fanfold_fold::{FinishReason, MessageId, Op, Part, Run, RunStatus, SessionStatus, ToolCall, ToolStatus, Usage, View};
use fanfold_session::{DeltaFrame, SnapshotFrame};
use fanfold_wire::sse;
use serde_json::{Value, json};

type Event = (&'static str, Value);

/// What a change means to somebody who only shows the answer. The cursor stands on the last event of the change.
pub(super) fn delta(frame: &DeltaFrame<'_>, out: &mut Vec<u8>) {
    let Some(view) = frame.view else { return };
    write(&changes(&frame.delta.ops, view, frame.again), &frame.cursor.to_string(), out);
}

/// The answer so far.
pub(super) fn snapshot(frame: &SnapshotFrame<'_>, out: &mut Vec<u8>) {
    write(&whole(frame.view), &frame.cursor.to_string(), out);
}

fn write(events: &[Event], cursor: &str, out: &mut Vec<u8>) {
    for (at, (name, data)) in events.iter().enumerate() {
        let id = (at + 1 == events.len()).then_some(cursor);
        sse::event(name, id, &data.to_string(), out);
    }
}

/// The run whose answer is shown: the last one that was begun. One that waits behind it is shown when its turn comes.
fn shown(view: &View) -> Option<&Run> {
    view.runs.iter().rev().find(|run| run.attempts > 0).or(view.runs.last())
}

fn changes(ops: &[Op], view: &View, again: bool) -> Vec<Event> {
    let shown = shown(view);
    let is_shown = |run: &Run| shown.is_some_and(|shown| shown.id == run.id);
    let ended = |of_shown: bool| {
        let changed = ops.iter().filter_map(|op| if let Op::RunChanged(run) = op { Some(&**run) } else { None });
        changed.filter(move |run| is_shown(run) == of_shown).filter_map(|run| end(run, view))
    };
    // The ends of others come first: what is shown in the end is the one answer.
    let mut events: Vec<Event> = ended(false).collect();
    if again || !events.is_empty() || begins(ops, view) {
        events.extend(whole(view));
    } else if let Some(run) = shown {
        events.extend(ops.iter().filter_map(|op| said(op, &run.reply, view)));
    }
    events.extend(ended(true));
    events
}

/// Whether what is shown begins, or begins anew, with this change.
fn begins(ops: &[Op], view: &View) -> bool {
    let run = shown(view);
    let is_reply = |message: &MessageId| run.is_some_and(|run| run.reply == *message);
    ops.iter().any(|op| match op {
        Op::MessageAdded(message) => is_reply(&message.id),
        Op::MessageReset { message } => is_reply(message),
        // When it was begun, nothing had been said.
        Op::RunChanged(changed) => run.is_some_and(|run| run.id == changed.id && bytes_said(ops, run, view) == bytes(run, view)),
        Op::SessionChanged(session) => session.status == SessionStatus::Erased,
        Op::PartAppended { .. } | Op::PartSet { .. } | Op::ToolCallChanged { .. } | Op::Custom { .. } => false,
    })
}

/// Bytes of text and reasoning that the answer has.
fn bytes(run: &Run, view: &View) -> usize {
    parts(view, &run.reply).iter().map(|part| spoken(part).map_or(0, |(_, text)| text.len())).sum()
}

/// Those among them that this change has brought.
fn bytes_said(ops: &[Op], run: &Run, view: &View) -> usize {
    let bytes = |op: &Op| match op {
        Op::PartAppended { message, part, text, .. } if *message == run.reply => {
            let part = parts(view, message).get(*part as usize);
            part.and_then(spoken).map_or(0, |_| text.len())
        }
        Op::PartSet { message, value, .. } if *message == run.reply => spoken(value).map_or(0, |(_, text)| text.len()),
        _ => 0,
    };
    ops.iter().map(bytes).sum()
}

/// The answer as a whole: what was shown before is void.
fn whole(view: &View) -> Vec<Event> {
    let Some(run) = shown(view) else {
        return vec![("reset", json!({ "message": null, "text": "", "status": null }))];
    };
    let mut events =
        vec![("reset", json!({ "message": run.reply, "text": text(view, &run.reply), "status": status(run.status) }))];
    let parts = parts(view, &run.reply);
    let thought: String =
        parts.iter().filter_map(|part| if let Part::Reasoning(part) = part { Some(part.text.as_str()) } else { None }).collect();
    if !thought.is_empty() {
        events.push(token("reasoning", &run.reply, &thought));
    }
    events.extend(parts.iter().filter_map(|part| if let Part::ToolCall(call) = part { called(&run.reply, call) } else { None }));
    events
}

/// What a change adds to an answer that goes on.
fn said(op: &Op, reply: &MessageId, view: &View) -> Option<Event> {
    match op {
        Op::PartAppended { message, part, text, .. } if message == reply => {
            let (name, _) = spoken(parts(view, message).get(*part as usize)?)?;
            Some(token(name, message, text))
        }
        Op::PartSet { message, value: Part::ToolCall(call), .. } if message == reply => called(message, call),
        Op::PartSet { message, value, .. } if message == reply => {
            let (name, text) = spoken(value)?;
            Some(token(name, message, text))
        }
        Op::ToolCallChanged { message, part, .. } if message == reply => match parts(view, message).get(*part as usize)? {
            Part::ToolCall(call) => called(message, call),
            _ => None,
        },
        Op::PartAppended { .. }
        | Op::PartSet { .. }
        | Op::ToolCallChanged { .. }
        | Op::MessageAdded(_)
        | Op::MessageReset { .. }
        | Op::RunChanged(_)
        | Op::SessionChanged(_)
        | Op::Custom { .. } => None,
    }
}

/// A part that is told as it grows, and by which event.
fn spoken(part: &Part) -> Option<(&'static str, &str)> {
    match part {
        Part::Text(part) => Some(("token", &part.text)),
        Part::Reasoning(part) => Some(("reasoning", &part.text)),
        _ => None,
    }
}

fn token(name: &'static str, message: &MessageId, text: &str) -> Event {
    (name, json!({ "message": message, "text": text }))
}

/// A call whose arguments are whole, and which nobody refused. Told again when it has come further.
fn called(message: &MessageId, call: &ToolCall) -> Option<Event> {
    let status = match call.status {
        ToolStatus::Writing | ToolStatus::WritingForApproval | ToolStatus::AwaitingApproval | ToolStatus::Refused => return None,
        ToolStatus::Ready => "ready",
        ToolStatus::Done => "done",
        ToolStatus::Failed => "failed",
    };
    let data = json!({
        "message": message,
        "call": call.call,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    });
    Some(("tool_call", data))
}

fn end(run: &Run, view: &View) -> Option<Event> {
    match run.status {
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting => None,
        RunStatus::Completed | RunStatus::Cancelled => {
            let data = json!({
                "message": run.reply,
                "text": text(view, &run.reply),
                "status": status(run.status),
                "finish": run.finish.as_ref().map(finish),
                "usage": run.usage.as_ref().map(usage),
            });
            Some(("final", data))
        }
        RunStatus::Failed | RunStatus::Orphaned => {
            let error = run.error.as_ref();
            let (code, message) = error.map_or(("orphaned", ""), |error| (error.code.as_str(), error.message.as_str()));
            Some(("error", json!({ "code": code, "message": message, "status": status(run.status) })))
        }
    }
}

fn parts<'a>(view: &'a View, message: &MessageId) -> &'a [Part] {
    view.messages.get(message).map(|message| message.parts.as_slice()).unwrap_or_default()
}

fn text(view: &View, message: &MessageId) -> String {
    let text = |part: &Part| match part {
        Part::Text(part) => Some(part.text.clone()),
        _ => None,
    };
    parts(view, message).iter().filter_map(text).collect()
}

fn finish(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}

fn usage(usage: &Usage) -> Value {
    let Usage { input, output, reasoning, cached_input } = usage;
    json!({ "input": input, "output": output, "reasoning": reasoning, "cached_input": cached_input })
}

fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Waiting => "waiting",
        RunStatus::Completed => "completed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::Failed => "failed",
        RunStatus::Orphaned => "orphaned",
    }
}

#[cfg(test)]
mod tests;
