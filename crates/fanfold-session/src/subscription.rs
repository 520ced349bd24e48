//! One reader of one session: a position that only moves forward, and the bytes that move it.

use std::sync::Arc;

use fanfold_fold::{Cursor, Delta, Merger, Offset, SessionKey};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::codec::{DeltaFrame, FormatId};
use crate::error::SubscribeError;
use crate::feed::{Attachment, Ended, Taken};
use crate::hydrate::{Folded, history};
use crate::inbox::Inbox;
use crate::message::{How, Mode, Msg, Repair, Start};
use crate::sessions::Sessions;

/// Records that a replay sends as one frame at most. Small, so that a debugger sees the steps.
const REPLAY_RECORDS_MAX: usize = 64;

/// What a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe {
    /// Where it begins.
    pub start: Start,
    /// In which encoding.
    pub format: FormatId,
    /// Changes or whole parts.
    pub mode: Mode,
    /// Messages that a snapshot holds at most.
    pub window: usize,
}

/// A subscription as it was answered.
pub struct Subscribed {
    /// Whether the reader goes on or begins anew.
    pub how: How,
    /// Where the reader stands once it has `snapshot`.
    pub cursor: Cursor,
    /// The last offset that this node had when it answered.
    pub head: Offset,
    /// The snapshot frame that the reader must be sent first.
    pub snapshot: Option<Arc<[u8]>>,
    /// What follows.
    pub subscription: Subscription,
}

/// See [`Sessions::subscribe`]. Dropping it leaves the session; nothing else ends by that (I7).
pub struct Subscription {
    sessions: Sessions,
    key: SessionKey,
    request: Subscribe,
    inbox: Arc<Inbox>,
    slot: u32,
    attachment: Attachment,
    presence_seen: u64,
    full_sent_at: Option<Instant>,
    replay: Option<Box<Folded>>,
}

/// What a reader is to do after [`Subscription::fill`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// Send what is in the buffer, then wait for the inbox.
    Idle,
    /// Send what is in the buffer, then fill again.
    More,
    /// Send what is in the buffer, then fill again at this time, whatever the inbox says.
    At(Instant),
    /// Send what is in the buffer; nothing more will come.
    Ended(Ended),
}

impl Subscription {
    #[allow(clippy::too_many_arguments, reason = "one caller, and each is a different thing")]
    pub(crate) fn new(
        sessions: Sessions,
        key: SessionKey,
        request: Subscribe,
        inbox: Arc<Inbox>,
        slot: u32,
        attachment: Attachment,
        replay: Option<Box<Folded>>,
    ) -> Self {
        Self { sessions, key, request, inbox, slot, attachment, presence_seen: 0, full_sent_at: None, replay }
    }

    /// Whose session it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// What the buffers filled so far lead to. Once they are sent, this is where the reader can come back to.
    pub fn cursor(&self) -> Cursor {
        self.sessions.node().cursor(&self.key, self.attachment.signal.position())
    }

    /// The last offset that this node has of the session.
    pub fn head(&self) -> Offset {
        self.attachment.feed.head()
    }

    /// Appends what the reader has not been sent yet to `out`: whole frames, about `bytes_max` of them.
    /// To be called when the last buffer has been written, so that a slow socket meets wider batches and no queue.
    pub async fn fill(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<Filled, SubscribeError> {
        self.attachment.signal.lower();
        self.fill_presence(out);
        match self.request.mode {
            Mode::Deltas => self.fill_deltas(out, bytes_max).await,
            Mode::Full => self.fill_full(out).await,
        }
    }

    fn fill_presence(&mut self, out: &mut Vec<u8>) {
        let codec = self.sessions.node().codec(self.request.format);
        let (session, position) = (&self.key.session, self.attachment.signal.position());
        let frame = self.attachment.feed.presence(self.request.format, self.presence_seen, |present| {
            let mut bytes = Vec::new();
            codec.presence(session, position, present, &mut bytes);
            bytes
        });
        if let Some((version, frame)) = frame {
            self.presence_seen = version;
            out.extend_from_slice(&frame);
        }
    }

    async fn fill_deltas(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<Filled, SubscribeError> {
        let lag_max = self.sessions.node().config.merge_above_bytes;
        match self.attachment.feed.take(self.request.format, self.attachment.signal.position(), lag_max, bytes_max, out) {
            Taken::Nothing => {
                self.replay = None;
                Ok(Filled::Idle)
            }
            Taken::Upto { offset, more } => {
                self.advance(offset);
                Ok(if more { Filled::More } else { Filled::Idle })
            }
            // The rare ways are boxed: each connection's task has room for the one way that it takes all day.
            Taken::Behind if self.replay.is_some() => Box::pin(self.fill_replay(out)).await,
            Taken::Behind => Box::pin(self.repair(out)).await,
            Taken::Ended(Ended::Gone) => Box::pin(self.attach_again(out)).await,
            Taken::Ended(ended) => Ok(Filled::Ended(ended)),
        }
    }

    fn advance(&mut self, upto: Offset) {
        let position = self.attachment.signal.position();
        assert!(upto >= position, "I2 contiguous: {upto} after {position}");
        self.attachment.signal.stand_at(upto);
        self.replay = None;
    }

    /// One merged update of everything since the last, not more often than the limit.
    async fn fill_full(&mut self, out: &mut Vec<u8>) -> Result<Filled, SubscribeError> {
        let (head, position) = (self.attachment.feed.head(), self.attachment.signal.position());
        if position == head {
            return match self.attachment.feed.take(self.request.format, position, 0, 0, out) {
                Taken::Ended(Ended::Gone) => Box::pin(self.attach_again(out)).await,
                Taken::Ended(ended) => Ok(Filled::Ended(ended)),
                // News since `head` was read: the inbox has been told.
                Taken::Nothing | Taken::Upto { .. } | Taken::Behind => Ok(Filled::Idle),
            };
        }
        let next_at = self.full_sent_at.map(|at| at + self.sessions.node().config.full_interval);
        match next_at {
            Some(next_at) if next_at > Instant::now() => Ok(Filled::At(next_at)),
            Some(_) | None => {
                self.full_sent_at = Some(Instant::now());
                Box::pin(self.repair(out)).await
            }
        }
    }

    /// Asks the session for what leads to the head: a merged delta or a snapshot.
    async fn repair(&mut self, out: &mut Vec<u8>) -> Result<Filled, SubscribeError> {
        let (reply, answer) = oneshot::channel();
        let Subscribe { format, mode, window, .. } = self.request;
        let repair = Repair { after: self.attachment.signal.position(), format, mode, window, reply };
        if !self.sessions.tell(&self.key, Msg::Repair(repair)) {
            return self.attach_again(out).await;
        }
        match answer.await {
            Ok((upto, bytes)) => {
                out.extend_from_slice(&bytes);
                self.advance(upto);
                Ok(Filled::More)
            }
            Err(_) => self.attach_again(out).await,
        }
    }

    /// The session left this node's memory under its readers: it failed, or the node drains. Comes back where it was.
    async fn attach_again(&mut self, out: &mut Vec<u8>) -> Result<Filled, SubscribeError> {
        if self.sessions.is_draining() {
            return Ok(Filled::Ended(Ended::Gone));
        }
        let request = Subscribe { start: Start::After(self.cursor()), ..self.request };
        let again = self.sessions.attach(&self.key, request, &self.inbox, self.slot).await?;
        self.attachment = again.attachment;
        self.presence_seen = 0;
        if let Some(snapshot) = again.snapshot {
            out.extend_from_slice(&snapshot);
        }
        Ok(Filled::More)
    }

    /// The next records of a replay, read from the log at the reader's pace.
    async fn fill_replay(&mut self, out: &mut Vec<u8>) -> Result<Filled, SubscribeError> {
        let position = self.attachment.signal.position();
        let (records, _) = history(self.sessions.node(), &self.key, position, REPLAY_RECORDS_MAX).await?;
        let Some(folded) = &mut self.replay else { return Ok(Filled::More) };
        let mut merger = Merger::default();
        for stored in &records {
            merger.push(folded.fold(stored).map(|(_, _, delta)| delta).unwrap_or_default());
        }
        let delta: Delta = merger.finish();
        let node = self.sessions.node();
        let (after, upto) = (node.cursor(&self.key, position), folded.offset);
        let cursor = node.cursor(&self.key, upto);
        let (session, view) = (&self.key.session, Some(folded.state.view()));
        let frame = DeltaFrame { session, after, cursor, delta: &delta, view, again: false };
        node.codec(self.request.format).delta(&frame, out);
        self.attachment.signal.stand_at(upto);
        Ok(Filled::More)
    }
}
