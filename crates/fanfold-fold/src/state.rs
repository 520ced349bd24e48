//! Everything that the fold knows of a session at one offset.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::next;
use crate::record::read;
use crate::view::{SessionStatus, View};
use crate::{AttemptId, CommandId, FoldVersion, Part, RunId, Settled};

/// The version of the rules in this crate. Raised whenever the same records may lead to another state or delta.
pub const FOLD_VERSION: FoldVersion = FoldVersion(next::raised(3));

/// Commands whose verdicts a session remembers. A repetition of an older one is judged anew, so ids of messages and runs
/// are what keeps it from acting twice.
pub const COMMANDS_REMEMBERED: usize = 256;

/// Bytes of content in one session. What would grow it beyond is refused with `session_full`; a run that goes on fails
/// with that code.
pub const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Messages in one session. The next is refused with `session_full`.
pub const MESSAGES_MAX: usize = 100_000;

/// Attempts of one run that can't come back. One that is older than so many others is taken for a new one.
pub const ATTEMPTS_REMEMBERED: usize = 256;

/// The version byte of encoded states.
const STATE_FORMAT: u8 = 1;

/// The key id of states that are not encrypted.
const KEY_PLAIN: u8 = 0;

/// A session at one offset. The offset, the epoch and the node stand beside it: an imported session has the same bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub(crate) view: View,
    pub(crate) commands: VecDeque<Remembered>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) content_bytes: u64,
}

/// A command and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) id: CommandId,
    pub(crate) settled: Settled,
}

/// The attempt whose output was admitted last; it stays after its end, so that its last words can be told from a stranger's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    /// Where its run stands in the view.
    pub(crate) run: usize,
    /// Where its reply stands in the view.
    pub(crate) reply: usize,
    /// The last producer sequence that counted.
    pub(crate) seq: u64,
    /// Whether its words still count.
    pub(crate) current: bool,
    /// The run's attempts before it: the last [`ATTEMPTS_REMEMBERED`].
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) before: VecDeque<AttemptId>,
}

impl Attempt {
    /// The attempts that the next one of the same run comes after.
    pub(crate) fn overtaken(mut self) -> VecDeque<AttemptId> {
        while self.before.len() >= ATTEMPTS_REMEMBERED {
            self.before.pop_front();
        }
        self.before.push_back(self.id);
        self.before
    }
}

/// Why bytes are not a state of this build.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another layout or an encrypted one.
    #[error("state has an unknown header")]
    Header,
    /// The body isn't what its header says.
    #[error("state body is malformed")]
    Body(#[source] rmp_serde::decode::Error),
}

impl State {
    /// Of a session that was erased, where its history doesn't tell so any more.
    pub fn erased() -> Self {
        let mut state = Self::default();
        state.view.session.status = SessionStatus::Erased;
        state
    }

    /// What readers see.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Bytes of text and payloads it holds.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// The attempt whose words count at the moment, and its last producer sequence.
    pub fn current_attempt(&self) -> Option<(&AttemptId, u64)> {
        self.attempt.as_ref().filter(|attempt| attempt.current).map(|attempt| (&attempt.id, attempt.seq))
    }

    /// The run that the current attempt writes.
    pub fn current_run(&self) -> Option<&RunId> {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.current)?;
        self.view.runs.get(attempt.run).map(|run| &run.id)
    }

    /// What became of a command that this state still remembers.
    pub fn remembered(&self, id: &CommandId) -> Option<Settled> {
        self.commands.iter().rev().find(|known| known.id == *id).map(|known| known.settled)
    }

    /// Whether a run had this attempt before the one that it has now.
    pub(crate) fn was_overtaken(&self, run: &RunId, attempt: &AttemptId) -> bool {
        let known = self.attempt.as_ref().filter(|known| self.view.runs.get(known.run).is_some_and(|of| of.id == *run));
        known.is_some_and(|known| known.before.contains(attempt))
    }

    pub(crate) fn remember(&mut self, id: CommandId, settled: Settled) {
        while self.commands.len() >= COMMANDS_REMEMBERED {
            self.commands.pop_front();
        }
        self.commands.push_back(Remembered { id, settled });
    }

    /// The bytes of a snapshot; the same on every node of this fold version (I3).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![STATE_FORMAT, KEY_PLAIN];
        let written = rmp_serde::encode::write_named(&mut bytes, self);
        assert!(written.is_ok(), "writing a state to memory can't fail: {written:?}");
        bytes
    }

    /// Reads what [`Self::encode`] of the same fold version wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes {
            [STATE_FORMAT, KEY_PLAIN, body @ ..] => {
                let state: Self = read(body).map_err(StateError::Body)?;
                state.coherent().map_err(|reason| StateError::Body(serde::de::Error::custom(reason)))?;
                Ok(state)
            }
            _ => Err(StateError::Header),
        }
    }

    /// What the fold relies on: a snapshot that was damaged must not panic an hour later.
    fn coherent(&self) -> Result<(), &'static str> {
        let parts = self.view.messages.iter().flat_map(|message| &message.parts);
        let payloads = self.view.custom.values().map(|value| value.payload.len());
        let bytes = parts.map(Part::bytes).chain(payloads).sum::<usize>() as u64;
        if bytes != self.content_bytes {
            return Err("content_bytes is not what the content has");
        }
        let known = |attempt: &Attempt| {
            let run = self.view.runs.get(attempt.run);
            attempt.seq < u64::MAX && run.is_some_and(|run| self.view.messages.position(&run.reply) == Some(attempt.reply))
        };
        if self.attempt.as_ref().is_some_and(|attempt| !known(attempt)) {
            return Err("the attempt writes no run");
        }
        Ok(())
    }
}
