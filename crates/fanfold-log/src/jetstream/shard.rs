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

/// The stream isn't the one it was: a restored copy, a server that lost what it had acknowledged, or another epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has lost offsets that it had issued, or has another epoch by now")]
pub(crate) struct Changed;

impl Shard {
    pub(crate) fn new(stream: String, epoch: Epoch, last: Offset) -> Self {
        Self { stream, epoch, seen: AtomicU64::new(last.0), refused: AtomicBool::new(false) }
    }

    /// Before anything is asked of it.
    pub(crate) fn check(&self) -> Result<(), Changed> {
        match self.refused.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Changed),
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
    pub(crate) fn issued(&self, offset: Offset, before: Offset) -> Result<(), Changed> {
        if offset > before {
            self.saw(offset);
            return Ok(());
        }
        Err(self.refuse("it issues offsets a second time", offset, before))
    }

    /// The leader, asked when `before` was known, says that the stream ends at `last` and has `epoch`.
    pub(crate) fn ends(&self, last: Offset, epoch: Epoch, before: Offset) -> Result<(), Changed> {
        if epoch != self.epoch {
            return Err(self.refuse("it has another epoch", last, before));
        }
        if last < before {
            return Err(self.refuse("it ends before offsets that it has issued", last, before));
        }
        self.saw(last);
        Ok(())
    }

    /// I3: two histories under one epoch would be folded as one.
    fn refuse(&self, why: &str, offset: Offset, before: Offset) -> Changed {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(stream = self.stream, %offset, %before, "shard refused: {why}");
        }
        Changed
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
        assert_eq!(shard.issued(Offset(6), shard.seen()), Err(Changed));
        assert_eq!(shard.check(), Err(Changed));
    }

    #[test]
    fn a_stream_that_ends_too_early_or_has_another_epoch_refuses_the_shard() {
        let (epoch, other) = (Epoch(uuid::Uuid::nil()), Epoch(uuid::Uuid::max()));
        let shard = || Shard::new("s".into(), epoch, Offset(5));
        assert_eq!(shard().ends(Offset(5), epoch, Offset(5)), Ok(()));
        for (last, epoch) in [(Offset(4), epoch), (Offset(9), other)] {
            let shard = shard();
            assert_eq!(shard.ends(last, epoch, Offset(5)), Err(Changed));
            assert_eq!(shard.check(), Err(Changed));
        }
    }
}
