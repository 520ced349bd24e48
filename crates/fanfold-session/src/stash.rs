//! Requests that wait for their session to come into memory, no longer than requests wait for anything else.

use std::sync::Arc;

use tokio::time::Instant;

use crate::actor::refuse;
use crate::error::HostError;
use crate::message::Msg;
use crate::node::Node;

/// In the order in which they came.
pub(crate) struct Stash {
    node: Arc<Node>,
    waiting: Vec<Stashed>,
    bytes: usize,
    drains: bool,
}

struct Stashed {
    deadline: Instant,
    message: Msg,
}

impl Stash {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, waiting: Vec::new(), bytes: 0, drains: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes what came while the session is being read.
    pub(crate) fn take(&mut self, message: Msg) {
        match message {
            Msg::Submit(_)
            | Msg::Produce(_)
            | Msg::Attach(_)
            | Msg::Repair(_)
            | Msg::Look(_)
            | Msg::WatchRun(_)
            | Msg::Settle(..) => self.push(message),
            Msg::Sweep => self.expire(Instant::now()),
            // It needs no room: it must not get lost.
            Msg::Drain => self.drains = true,
            // What they tell of is being read, or is asked again.
            Msg::Wake
            | Msg::Hydrated(_)
            | Msg::Filled(_)
            | Msg::Leader(..)
            | Msg::Behind(_)
            | Msg::Appended(..)
            | Msg::MayKeep(_)
            | Msg::SnapshotDone(..)
            | Msg::RowDone(..)
            | Msg::RowDue
            | Msg::Passivate => {}
        }
    }

    fn push(&mut self, message: Msg) {
        let (config, bytes) = (&self.node.config, message.bytes());
        let has_room = self.waiting.len() < config.waiting_max && self.bytes + bytes <= config.waiting_bytes_max;
        if !has_room && !self.waiting.is_empty() {
            return refuse(message, &HostError::Busy);
        }
        self.bytes += bytes;
        self.waiting.push(Stashed { deadline: Instant::now() + config.wait_max, message });
    }

    /// Nothing was begun of what they ask for.
    fn expire(&mut self, now: Instant) {
        for overdue in self.waiting.extract_if(.., |stashed| stashed.deadline <= now) {
            self.bytes -= overdue.message.bytes();
            refuse(overdue.message, &HostError::Busy);
        }
    }

    /// What there is to do now that the session is in memory.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Msg> {
        let drain = self.drains.then_some(Msg::Drain);
        self.waiting.into_iter().map(|stashed| stashed.message).chain(drain)
    }
}
