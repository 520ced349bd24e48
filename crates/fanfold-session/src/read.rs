//! How readers begin, and what they get when the encoded ring can't serve them.

use std::sync::Arc;

use fanfold_fold::{Cursor, FOLD_VERSION, Offset, SessionStatus};

use crate::codec::{DeltaFrame, FormatId, SnapshotFrame};
use crate::error::SubscribeError;
use crate::live::Live;
use crate::message::{Answer, Attach, How, Look, Looked, Mode, Msg, Repair, Reset, Start, tokens};
use crate::ring::Reach;

/// The newest encoded snapshot: a crowd that reloads at once shares it.
pub(crate) struct CachedSnapshot {
    format: FormatId,
    window: usize,
    bytes: Arc<[u8]>,
}

impl Live {
    pub(crate) fn on_attach(&mut self, attach: Box<Attach>) {
        self.birth.feed.touch();
        let absent = self.folded.state.view().session.status == SessionStatus::Absent;
        // A cursor ahead of this node is the node's lag until the leader says otherwise.
        if !attach.sure && (absent || self.is_behind(attach.start)) {
            return self.defer(Msg::Attach(attach));
        }
        let answer = if absent { Err(SubscribeError::NotFound) } else { self.begin(attach.start) };
        let answer = answer.map(|how| self.answer_attach(how, &attach));
        // Who has left meanwhile is detached with the answer.
        let _ = attach.reply.send(answer);
    }

    fn is_behind(&self, start: Start) -> bool {
        let of_this_log = match start {
            // Of another fold as well: its reader gets a snapshot, and not one of a time before what it has.
            Start::After(cursor) => self.foreign(cursor) != Some(Reset::EpochChanged),
            Start::Now | Start::Replay(_) => true,
        };
        of_this_log && start.least() > self.folded.offset
    }

    fn begin(&self, start: Start) -> Result<How, SubscribeError> {
        let cursor = match start {
            Start::Now => return Ok(How::Fresh),
            Start::Replay(_) => return Ok(How::Resumed),
            Start::After(cursor) => cursor,
        };
        if !cursor.fits(self.key()) {
            return Err(SubscribeError::OtherSession);
        }
        if let Some(reset) = self.foreign(cursor) {
            return Ok(How::Snapshot(reset));
        }
        if cursor.offset > self.folded.offset {
            return Ok(How::Snapshot(Reset::AheadOfHistory));
        }
        Ok(match self.deltas.reach(cursor.offset) {
            Reach::Held { .. } => How::Resumed,
            Reach::Gone => How::Snapshot(Reset::TooOld),
        })
    }

    /// Why the cursor's offset means nothing here.
    fn foreign(&self, cursor: Cursor) -> Option<Reset> {
        if !cursor.is_of(self.birth.node.epoch(self.key())) {
            Some(Reset::EpochChanged)
        } else if cursor.fold != FOLD_VERSION {
            Some(Reset::FoldChanged)
        } else {
            None
        }
    }

    fn answer_attach(&mut self, how: How, attach: &Attach) -> Answer {
        let head = self.folded.offset;
        let ring = match attach.mode {
            Mode::Deltas => Some(attach.format),
            Mode::Full => None,
        };
        let attachment = self.birth.feed.attach(ring, Arc::clone(&attach.signal), self.birth.node.config.ring_bytes_max);
        match how {
            How::Resumed if self.birth.node.codec(attach.format).tells_again() => {
                let again = self.told_again(attach);
                let position = if again.is_some() { head } else { attach.start.least() };
                Answer { attachment, how, position, head, snapshot: again }
            }
            How::Resumed => Answer { attachment, how, position: attach.start.least(), head, snapshot: None },
            How::Fresh | How::Snapshot(_) => {
                let snapshot = Some(self.snapshot_frame(attach.format, attach.window));
                Answer { attachment, how, position: head, head, snapshot }
            }
        }
    }

    fn snapshot_frame(&mut self, format: FormatId, window: usize) -> Arc<[u8]> {
        if let Some(cached) = self.cached.as_ref().filter(|cached| cached.format == format && cached.window == window) {
            return Arc::clone(&cached.bytes);
        }
        let cursor = self.cursor(self.folded.offset);
        let (view, older) = self.folded.state.view().window(window);
        let mut bytes = Vec::new();
        let frame = SnapshotFrame { session: &self.birth.key.session, cursor, view: &view, older };
        self.birth.node.codec(format).snapshot(&frame, &mut bytes);
        let bytes: Arc<[u8]> = Arc::from(bytes);
        self.cached = Some(CachedSnapshot { format, window, bytes: Arc::clone(&bytes) });
        metrics::counter!("fanfold_session_snapshots_encoded_total").increment(1);
        bytes
    }

    /// The slow reader's ladder: one merged delta, or a snapshot where that is smaller or the ring doesn't reach back.
    pub(crate) fn on_repair(&mut self, repair: Repair) {
        let head = self.folded.offset;
        let bytes = match self.merged_frame(repair.after, repair.format, repair.mode, false) {
            Some(merged) if !self.snapshot_is_smaller(&repair, merged.len()) => Arc::from(merged),
            Some(_) | None => self.snapshot_frame(repair.format, repair.window),
        };
        let _ = repair.reply.send((head, bytes));
    }

    /// What a reader that comes back lacks, told at once. A replay goes through it record by record.
    fn told_again(&self, attach: &Attach) -> Option<Arc<[u8]>> {
        let Start::After(cursor) = attach.start else { return None };
        self.merged_frame(cursor.offset, attach.format, attach.mode, true).map(Arc::from)
    }

    fn merged_frame(&self, after: Offset, format: FormatId, mode: Mode, again: bool) -> Option<Vec<u8>> {
        let merged = self.deltas.merged(after)?;
        let view = self.folded.state.view();
        let delta = match mode {
            Mode::Deltas => merged,
            Mode::Full => merged.full(view),
        };
        let (after, cursor) = (self.cursor(after), self.cursor(self.folded.offset));
        let frame = DeltaFrame { session: &self.birth.key.session, after, cursor, delta: &delta, view: Some(view), again };
        let mut bytes = Vec::new();
        self.birth.node.codec(format).delta(&frame, &mut bytes);
        metrics::counter!("fanfold_session_merged_deltas_total").increment(1);
        Some(bytes)
    }

    /// A snapshot is only made when the state's content alone doesn't exceed the merged delta.
    fn snapshot_is_smaller(&mut self, repair: &Repair, merged_bytes: usize) -> bool {
        let content_bytes = self.folded.state.content_bytes();
        content_bytes < merged_bytes as u64 && self.snapshot_frame(repair.format, repair.window).len() < merged_bytes
    }

    pub(crate) fn on_look(&mut self, look: Look) {
        self.birth.feed.touch();
        let absent = self.folded.state.view().session.status == SessionStatus::Absent;
        if !look.sure && (absent || look.at_least > self.folded.offset) {
            return self.defer(Msg::Look(look));
        }
        let offset: Offset = self.folded.offset;
        let (view, older) = self.folded.state.view().window(look.window);
        let attempt = self.folded.state.current_attempt().map(|(attempt, seq)| (attempt.clone(), seq));
        let (cursor, degraded, tokens) = (self.cursor(offset), self.folded.degraded, tokens(self.folded.state.view()));
        let looked = Looked { view, older, offset, cursor, attempt, degraded, tokens };
        let _ = look.reply.send(Ok(looked));
    }
}
