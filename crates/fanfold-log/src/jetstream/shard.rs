//! What a node knows of one shard, and how it notices that the stream isn't the one it was.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfold_fold::{Epoch, Offset};

/// One shard's stream.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) stream: String,
    pub(crate) epoch: Epoch,
    /// The highest offset that the leader has told this node.
    seen: AtomicU64,
    refused: AtomicBool,
}

/// The stream has gone back behind what it had issued: a restored copy, or a server that lost what it had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream ends before offsets that it has issued: it takes a new epoch")]
pub(crate) struct WentBack;

impl Shard {
    pub(crate) fn new(stream: String, epoch: Epoch, last: Offset) -> Self {
        Self { stream, epoch, seen: AtomicU64::new(last.0), refused: AtomicBool::new(false) }
    }

    /// Before anything is asked of it.
    pub(crate) fn check(&self) -> Result<(), WentBack> {
        match self.refused.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(WentBack),
        }
    }

    /// The highest offset known now: what is stored from now on lies above it.
    pub(crate) fn seen(&self) -> Offset {
        Offset(self.seen.load(Ordering::Acquire))
    }

    /// The leader has told this offset.
    pub(crate) fn saw(&self, offset: Offset) {
        self.seen.fetch_max(offset.0, Ordering::AcqRel);
    }

    /// A record that was sent when `before` was known has been stored at `offset`.
    pub(crate) fn issued(&self, offset: Offset, before: Offset) -> Result<(), WentBack> {
        if offset > before {
            self.saw(offset);
            return Ok(());
        }
        // I4: nobody decides anything by a lock, so two histories under one epoch would be folded as one.
        self.refuse(offset, before);
        Err(WentBack)
    }

    fn refuse(&self, offset: Offset, before: Offset) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(stream = self.stream, %offset, %before, "the stream issues offsets a second time; the shard is refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_was_issued_before_refuses_the_shard() {
        let shard = Shard::new("s".into(), Epoch(uuid::Uuid::nil()), Offset(5));
        let before = shard.seen();
        shard.issued(Offset(7), before).unwrap();
        // Acknowledgements may overtake each other.
        shard.issued(Offset(6), before).unwrap();
        assert_eq!((shard.seen(), shard.check()), (Offset(7), Ok(())));
        assert_eq!(shard.issued(Offset(6), shard.seen()), Err(WentBack));
        assert_eq!(shard.check(), Err(WentBack));
    }
}
