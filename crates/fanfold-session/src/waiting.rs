//! Requests that wait until this node has caught up.

use fanfold_fold::{AttemptId, Offset};
use fanfold_log::ReadError;
use tokio::time::Instant;

use std::sync::Arc;

use crate::actor::refuse;
use crate::error::HostError;
use crate::hydrate::unavailable;
use crate::live::Live;
use crate::message::{Msg, Start};

/// A request and what it waits for.
pub(crate) struct Deferred {
    until: Until,
    deadline: Instant,
    pub(crate) message: Msg,
}

enum Until {
    /// This node's own command before it, and then the leader's last offset.
    Command(u64),
    /// The leader's last offset, whatever that is, as its answer to the question of this number, or a later one, says.
    Leader(u64),
    /// This offset.
    Offset(Offset),
}

/// Questions to the leader for its last offset, one at a time.
#[derive(Default)]
pub(crate) struct Questions {
    asked: u64,
    under_way: bool,
}

impl Questions {
    /// The one that is asked after this moment. What is under way may have been answered before: a request that takes its answer would be
    /// answered by a state that is older than the request.
    fn next(&self) -> u64 {
        self.asked + 1
    }
}

impl Live {
    /// Has the request handled again when this node is as new as the log is now.
    pub(crate) fn defer(&mut self, message: Msg) {
        let config = &self.birth.node.config;
        let bytes = self.deferred.iter().map(|deferred| deferred.message.bytes()).sum::<usize>() + message.bytes();
        let has_room = self.deferred.len() < config.waiting_max && bytes <= config.waiting_bytes_max;
        if !has_room && !self.deferred.is_empty() {
            return self.turn_down(message, &HostError::Busy);
        }
        let deadline = Instant::now() + self.birth.node.config.wait_max;
        // What was sent before it on the same connection may still be on its way.
        let until = self.writes.last_command().map_or(Until::Leader(self.questions.next()), Until::Command);
        self.deferred.push(Deferred { until, deadline, message });
        self.ask_leader();
    }

    fn ask_leader(&mut self) {
        if std::mem::replace(&mut self.questions.under_way, true) {
            return;
        }
        self.questions.asked += 1;
        let question = self.questions.asked;
        let (node, key, myself) = (Arc::clone(&self.birth.node), self.key().clone(), self.myself.clone());
        tokio::spawn(async move {
            let last = node.ports.log.last(&key).await;
            let _ = myself.send_message(Msg::Leader(question, last));
        });
    }

    pub(crate) fn on_leader(&mut self, question: u64, last: Result<Offset, ReadError>) {
        self.questions.under_way = false;
        let answers = |until: &Until| matches!(until, Until::Leader(number) if *number <= question);
        match last {
            Ok(last) => {
                for deferred in self.deferred.iter_mut().filter(|deferred| answers(&deferred.until)) {
                    deferred.until = Until::Offset(last);
                }
                if last > self.folded.offset {
                    self.fill();
                }
                self.retry_deferred();
            }
            Err(error) => {
                let error = unavailable(error);
                let waiting: Vec<_> = self.deferred.extract_if(.., |deferred| answers(&deferred.until)).collect();
                waiting.into_iter().for_each(|deferred| self.turn_down(deferred.message, &error));
            }
        }
        if self.deferred.iter().any(|deferred| matches!(deferred.until, Until::Leader(_))) {
            self.ask_leader();
        }
    }

    /// Somebody has seen a later offset than this node had: it answers nobody, what is missing is read.
    pub(crate) fn on_behind(&mut self, last: Offset) {
        if last > self.folded.offset {
            self.fill();
        }
    }

    /// Handles again what waited for an offset that has been reached. A request waits at most once.
    pub(crate) fn retry_deferred(&mut self) {
        let (mut ask, next) = (false, self.questions.next());
        for deferred in &mut self.deferred {
            if let Until::Command(command) = deferred.until
                && self.writes.has_settled(command)
            {
                deferred.until = Until::Leader(next);
                ask = true;
            }
        }
        if ask {
            self.ask_leader();
        }
        let reached = self.folded.offset;
        let due: Vec<Deferred> = self
            .deferred
            .extract_if(.., |deferred| match deferred.until {
                Until::Command(_) | Until::Leader(_) => false,
                Until::Offset(offset) => offset <= reached,
            })
            .collect();
        for deferred in due {
            self.take(made_sure(deferred.message));
        }
    }

    pub(crate) fn expire_deferred(&mut self, now: Instant) {
        let overdue: Vec<_> = self.deferred.extract_if(.., |deferred| deferred.deadline <= now).collect();
        overdue.into_iter().for_each(|deferred| self.turn_down(deferred.message, &HostError::Busy));
    }

    /// Refuses a request. Output that follows one that was refused must not overtake it.
    pub(crate) fn turn_down(&mut self, message: Msg, error: &HostError) {
        if let Msg::Produce(produce) = &message {
            self.writes.missed(&produce.output.attempt, produce.output.seq);
        }
        refuse(message, error);
    }

    /// Whether earlier output of the attempt waits here for the leader's answer.
    pub(crate) fn defers_output_of(&self, attempt: &AttemptId) -> bool {
        let is_of = |message: &Msg| matches!(message, Msg::Produce(produce) if produce.output.attempt == *attempt);
        self.deferred.iter().any(|deferred| is_of(&deferred.message))
    }
}

/// The same request, now that the state is as new as the log was when it came.
fn made_sure(message: Msg) -> Msg {
    match message {
        Msg::Submit(mut submit) => {
            submit.sure = true;
            Msg::Submit(submit)
        }
        Msg::Produce(mut produce) => {
            produce.sure = true;
            Msg::Produce(produce)
        }
        Msg::Attach(mut attach) => {
            attach.sure = true;
            Msg::Attach(attach)
        }
        Msg::Look(mut look) => {
            look.sure = true;
            Msg::Look(look)
        }
        other => other,
    }
}

impl Start {
    /// The offset that this node must have reached to answer well.
    pub(crate) fn least(&self) -> Offset {
        match self {
            Self::Now => Offset::NONE,
            Self::After(cursor) => cursor.offset,
            Self::Replay(offset) => *offset,
        }
    }
}
