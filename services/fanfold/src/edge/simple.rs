//! The typed view of a session for the simplest clients: `token`, `reasoning`, `tool_call`, `final`, `error`, and `reset`.

use fanfold_fold::{FinishReason, MessageId, Op, Part, Run, RunStatus, ToolStatus, Usage, View};
use fanfold_session::{DeltaFrame, SnapshotFrame};
use fanfold_wire::sse;
use serde_json::{Value, json};

/// What a change means to somebody who only shows the answer. The cursor stands on the last event of the change.
pub(super) fn delta(frame: &DeltaFrame<'_>, out: &mut Vec<u8>) {
    let Some(view) = frame.view else { return };
    let events: Vec<(&str, Value)> = frame.delta.ops.iter().filter_map(|op| event(op, view)).collect();
    let cursor = frame.cursor.to_string();
    for (at, (name, data)) in events.iter().enumerate() {
        let id = (at + 1 == events.len()).then_some(cursor.as_str());
        sse::event(name, id, &data.to_string(), out);
    }
}

/// The newest answer so far.
pub(super) fn snapshot(frame: &SnapshotFrame<'_>, out: &mut Vec<u8>) {
    let last = frame.view.runs.last();
    let text = last.map(|run| text(frame.view, &run.reply)).unwrap_or_default();
    let data =
        json!({ "message": last.map(|run| run.reply.as_str()), "text": text, "status": last.map(|run| status(run.status)) });
    sse::event("reset", Some(&frame.cursor.to_string()), &data.to_string(), out);
}

fn event(op: &Op, view: &View) -> Option<(&'static str, Value)> {
    match op {
        Op::PartAppended { message, part, text, .. } => match view.messages.get(message)?.parts.get(*part as usize)? {
            Part::Text(_) => Some(token("token", message, text)),
            Part::Reasoning(_) => Some(token("reasoning", message, text)),
            _ => None,
        },
        Op::PartSet { message, value, .. } => match value {
            Part::Text(part) => Some(token("token", message, &part.text)),
            Part::Reasoning(part) => Some(token("reasoning", message, &part.text)),
            _ => None,
        },
        Op::ToolCallChanged { message, part, status: ToolStatus::Ready, .. } => {
            let Part::ToolCall(call) = view.messages.get(message)?.parts.get(*part as usize)? else { return None };
            Some(("tool_call", json!({ "message": message, "call": call.call, "name": call.name, "arguments": call.arguments })))
        }
        Op::MessageReset { message } => Some(("reset", json!({ "message": message, "text": "", "status": "running" }))),
        Op::RunChanged(run) => ended(run, view),
        Op::SessionChanged(_) | Op::MessageAdded(_) | Op::ToolCallChanged { .. } | Op::Custom { .. } => None,
    }
}

fn token(name: &'static str, message: &MessageId, text: &str) -> (&'static str, Value) {
    (name, json!({ "message": message, "text": text }))
}

fn ended(run: &Run, view: &View) -> Option<(&'static str, Value)> {
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

fn text(view: &View, message: &MessageId) -> String {
    let parts = view.messages.get(message).map(|message| message.parts.as_slice()).unwrap_or_default();
    let text = |part: &Part| match part {
        Part::Text(part) => Some(part.text.clone()),
        _ => None,
    };
    parts.iter().filter_map(text).collect()
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
