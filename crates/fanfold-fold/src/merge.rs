//! Many deltas as one: `apply(merge(a, b)) = apply(b) ∘ apply(a)`, in time linear in their size.

use std::collections::HashMap;

use crate::delta::{Delta, Op};
use crate::view::{Message, SessionStatus};
use crate::{MessageId, Part, RunId};

/// Takes deltas in order and gives one that leads from the first one's start to the last one's end.
#[derive(Debug, Default)]
pub struct Merger {
    /// `None` where a later operation made an earlier one void.
    ops: Vec<Option<Op>>,
    session: Option<usize>,
    added: HashMap<MessageId, usize>,
    /// Per message: the latest operation on each of its parts that isn't inside `added`.
    parts: HashMap<MessageId, HashMap<u32, usize>>,
    runs: HashMap<RunId, usize>,
    custom: HashMap<String, usize>,
}

impl Delta {
    /// This delta followed by the next one.
    #[must_use]
    pub fn merge(self, next: Self) -> Self {
        let mut merger = Merger::default();
        merger.push(self);
        merger.push(next);
        merger.finish()
    }
}

impl Merger {
    /// Adds the delta that follows what was pushed so far.
    pub fn push(&mut self, delta: Delta) {
        delta.ops.into_iter().for_each(|op| self.push_op(op));
    }

    /// The one delta.
    pub fn finish(self) -> Delta {
        Delta { ops: self.ops.into_iter().flatten().collect() }
    }

    fn push_op(&mut self, op: Op) {
        let end = self.ops.len();
        match op {
            Op::SessionChanged(ref session) if session.status == SessionStatus::Erased => {
                // What comes later stands after it: replacing it would bring back what it removed.
                *self = Self { ops: vec![Some(op)], ..Self::default() };
            }
            Op::SessionChanged(_) => {
                let at = *self.session.get_or_insert(end);
                self.put(at, op);
            }
            Op::RunChanged(ref run) => {
                let at = *self.runs.entry(run.id.clone()).or_insert(end);
                self.put(at, op);
            }
            Op::Custom { ref kind, .. } => {
                let at = *self.custom.entry(kind.clone()).or_insert(end);
                self.put(at, op);
            }
            Op::MessageAdded(ref message) => {
                self.added.insert(message.id.clone(), end);
                self.put(end, op);
            }
            Op::MessageReset { message } => self.reset(message),
            Op::PartAppended { .. } | Op::PartSet { .. } | Op::ToolCallChanged { .. } => self.change_part(op),
        }
    }

    /// Replaces the operation at `at`, or appends it when `at` is the end.
    fn put(&mut self, at: usize, op: Op) {
        if at == self.ops.len() {
            self.ops.push(Some(op));
        } else {
            self.ops[at] = Some(op);
        }
    }

    fn reset(&mut self, message: MessageId) {
        for (_, at) in self.parts.remove(&message).unwrap_or_default() {
            self.ops[at] = None;
        }
        match self.added_mut(&message) {
            Some(added) => added.parts.clear(),
            None => self.ops.push(Some(Op::MessageReset { message })),
        }
    }

    /// The message, if its addition is part of the merged delta.
    fn added_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        match self.ops[*self.added.get(id)?].as_mut()? {
            Op::MessageAdded(message) => Some(message),
            _ => None,
        }
    }

    fn change_part(&mut self, op: Op) {
        let (Op::PartAppended { message, part, .. }
        | Op::PartSet { message, part, .. }
        | Op::ToolCallChanged { message, part, .. }) = &op
        else {
            return;
        };
        let (message, part) = (message.clone(), *part);
        let op = match self.added_mut(&message) {
            Some(added) => change_within(added, op),
            None => Some(op),
        };
        let Some(op) = op else { return };
        let latest = self.parts.get(&message).and_then(|parts| parts.get(&part)).copied();
        let left = match latest.and_then(|at| self.ops[at].as_mut()) {
            Some(earlier) => absorb(earlier, op),
            None => Some(op),
        };
        if let Some(op) = left {
            self.parts.entry(message).or_default().insert(part, self.ops.len());
            self.ops.push(Some(op));
        }
    }
}

/// Applies a part's change to a message that the same delta adds. Gives it back where it doesn't fit.
fn change_within(message: &mut Message, op: Op) -> Option<Op> {
    let (Op::PartAppended { part, .. } | Op::PartSet { part, .. } | Op::ToolCallChanged { part, .. }) = &op else {
        return Some(op);
    };
    let end = message.parts.len();
    let part = *part as usize;
    match (message.parts.get_mut(part), op) {
        (Some(known), op @ Op::PartAppended { .. }) => return append(known.stream_mut(), op),
        (Some(known), Op::PartSet { value, .. }) => *known = value,
        (Some(Part::ToolCall(call)), Op::ToolCallChanged { status, result, .. }) => {
            call.status = status;
            call.result = result;
        }
        (None, Op::PartSet { value, .. }) if part == end => message.parts.push(value),
        (_, op) => return Some(op),
    }
    None
}

/// Appends where the text is as long as the operation says. Gives it back where it isn't.
fn append(stream: Option<&mut String>, op: Op) -> Option<Op> {
    match (stream, op) {
        (Some(stream), Op::PartAppended { at, text, .. }) if stream.len() == at as usize => {
            stream.push_str(&text);
            None
        }
        (_, op) => Some(op),
    }
}

/// Works `next` into the earlier operation on the same part. Gives it back where both must stand, in order.
fn absorb(earlier: &mut Op, next: Op) -> Option<Op> {
    match (earlier, next) {
        (Op::PartAppended { text, at, .. }, Op::PartAppended { text: more, at: next_at, .. })
            if *at as usize + text.len() == next_at as usize =>
        {
            text.push_str(&more);
        }
        (Op::PartSet { value, .. }, next @ Op::PartAppended { .. }) => return append(value.stream_mut(), next),
        (Op::PartSet { value: Part::ToolCall(call), .. }, Op::ToolCallChanged { status, result, .. }) => {
            call.status = status;
            call.result = result;
        }
        (earlier @ Op::ToolCallChanged { .. }, next @ Op::ToolCallChanged { .. })
        | (earlier @ (Op::PartAppended { .. } | Op::PartSet { .. } | Op::ToolCallChanged { .. }), next @ Op::PartSet { .. }) => {
            *earlier = next;
        }
        (_, next) => return Some(next),
    }
    None
}
