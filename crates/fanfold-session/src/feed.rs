//! What a session's actor shares with its readers: encoded deltas, the head, who is present.
//! Readers take from it at their own pace; nothing is queued per reader.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fanfold_fold::{Offset, SessionKey};
use tokio::time::Instant;

use crate::codec::{FormatId, Present};
use crate::inbox::Signal;
use crate::neighbours::{Heard, Neighbour, Neighbours};
use crate::presence::{Full, Presence, PresenceLimits};
use crate::readers::{GROUPS, Group, Readers};
use crate::ring::{Reach, Ring};

/// What a frame counts for at least (I5): some formats have nothing to say of most changes.
const FRAME_BYTES_MIN: usize = 64;

/// Why a session's readers get nothing more from this feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The session was closed, for this reason. Durable: there is nothing to come back for.
    Closed(String),
    /// The session was erased. Durable.
    Erased,
    /// The session left this node's memory; its readers attach again.
    Gone,
}

pub(crate) struct Feed {
    shared: Mutex<Shared>,
    /// Beside what they read, so that those who are awake already don't wait for the others' wake-up.
    /// Where both locks are held, `shared` was taken first.
    readers: Readers,
    /// Of `Shared::presence`, to look at without the lock.
    presence_version: AtomicU64,
    /// The other nodes that host the session.
    neighbour: OnceLock<Box<dyn Neighbour>>,
    /// Estimated bytes that the session holds in memory.
    pub(crate) bytes: AtomicU64,
    /// Requests that wait in the actor.
    pub(crate) waiting: AtomicUsize,
    /// Whether a run of the session is open.
    pub(crate) has_runs: AtomicBool,
    /// Milliseconds after `born` of the last use.
    used_ms: AtomicU64,
    born: Instant,
}

/// A reader's place among its session's, for as long as somebody holds it.
pub(crate) struct Attachment {
    pub(crate) feed: Arc<Feed>,
    pub(crate) signal: Arc<Signal>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.feed.detach(&self.signal);
    }
}

struct Shared {
    head: Offset,
    rings: Vec<Option<Ring<Box<[u8]>>>>,
    ended: Option<Ended>,
    presence: Presence,
}

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Everything up to here is in the buffer.
    Upto {
        /// The last one's offset.
        offset: Offset,
        /// Whether there is more to take.
        more: bool,
    },
    /// There is nothing new.
    Nothing,
    /// Too far behind for the ring, or not at one of its borders.
    Behind,
    /// Nothing more will come.
    Ended(Ended),
}

impl Feed {
    pub(crate) fn new(formats: usize, presence: PresenceLimits) -> Self {
        let rings = (0..formats).map(|_| None).collect();
        let shared = Shared { head: Offset::NONE, rings, ended: None, presence: Presence::new(presence) };
        Self {
            shared: Mutex::new(shared),
            readers: Readers::default(),
            presence_version: AtomicU64::new(0),
            neighbour: OnceLock::new(),
            bytes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            has_runs: AtomicBool::new(false),
            used_ms: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Formats that somebody reads: only these are encoded.
    pub(crate) fn active(&self) -> Vec<FormatId> {
        let shared = self.lock();
        shared.rings.iter().enumerate().filter(|(_, ring)| ring.is_some()).map(|(at, _)| FormatId(at)).collect()
    }

    /// Makes `frames` (one for each active format) visible: they lead from the head to `upto`. Then has them brought to the readers.
    pub(crate) fn publish(self: &Arc<Self>, upto: Offset, frames: Vec<(FormatId, Vec<u8>)>) {
        let mut shared = self.lock();
        for (format, frame) in frames {
            // Its last reader may have left while it was encoded.
            if let Some(ring) = &mut shared.rings[format.0] {
                ring.push(upto, frame.len().max(FRAME_BYTES_MIN), frame.into_boxed_slice());
            }
        }
        shared.head = upto;
        drop(shared);
        self.deliver();
    }

    /// The session is another one at `upto`: nothing leads there, and what was encoded is let go of.
    pub(crate) fn forget(&self, upto: Offset, ring_bytes_max: usize) {
        let mut shared = self.lock();
        shared.rings.iter_mut().flatten().for_each(|ring| *ring = Ring::new(upto, ring_bytes_max));
        shared.head = upto;
        drop(shared);
        self.readers.raise();
    }

    /// Sets the head of a session that was just hydrated.
    pub(crate) fn begin(&self, head: Offset) {
        self.lock().head = head;
    }

    pub(crate) fn end(&self, ended: Ended) {
        self.lock().ended.get_or_insert(ended);
        self.readers.raise();
    }

    pub(crate) fn head(&self) -> Offset {
        self.lock().head
    }

    /// Adds a reader. From now on frames of `format` are encoded, if it reads any.
    pub(crate) fn attach(self: &Arc<Self>, format: Option<FormatId>, signal: Arc<Signal>, ring_bytes_max: usize) -> Attachment {
        let mut shared = self.lock();
        let head = shared.head;
        if let Some(format) = format {
            shared.rings[format.0].get_or_insert_with(|| Ring::new(head, ring_bytes_max));
        }
        // What there is already is news to this reader.
        signal.raise();
        self.readers.add(Arc::clone(&signal));
        Attachment { feed: Arc::clone(self), signal }
    }

    fn detach(&self, signal: &Arc<Signal>) {
        let mut shared = self.lock();
        signal.leave();
        if self.readers.remove(signal) == 0 {
            shared.rings.iter_mut().for_each(|ring| *ring = None);
        }
        drop(shared);
        self.touch();
    }

    pub(crate) fn readers(&self) -> usize {
        self.readers.count()
    }

    pub(crate) fn groups(&self) -> &[Group; GROUPS] {
        &self.readers.groups
    }

    pub(crate) fn touch(&self) {
        let now_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn used_at(&self) -> Instant {
        self.born + std::time::Duration::from_millis(self.used_ms.load(Ordering::Relaxed))
    }

    /// Appends the frames after `after` to `out`, about `bytes_max` of them, but whole ones and at least one.
    pub(crate) fn take(&self, format: FormatId, after: Offset, lag_max: usize, bytes_max: usize, out: &mut Vec<u8>) -> Taken {
        let shared = self.lock();
        if after == shared.head {
            return shared.ended.clone().map_or(Taken::Nothing, Taken::Ended);
        }
        let Some(ring) = &shared.rings[format.0] else { return Taken::Behind };
        let Reach::Held { from, bytes } = ring.reach(after) else { return Taken::Behind };
        if bytes > lag_max {
            return Taken::Behind;
        }
        let begin = out.len();
        let mut upto = after;
        for (end, frame) in ring.range(from) {
            out.extend_from_slice(frame);
            upto = end;
            if out.len() - begin >= bytes_max {
                break;
            }
        }
        Taken::Upto { offset: upto, more: upto != shared.head || shared.ended.is_some() }
    }

    /// From now on other nodes are told who is present here, and heard.
    pub(crate) fn join(self: &Arc<Self>, session: &SessionKey, neighbours: &dyn Neighbours) {
        let feed = Arc::downgrade(self);
        let hear = move |heard| {
            if let Some(feed) = feed.upgrade() {
                feed.hear_presence(heard);
            }
        };
        // A feed is joined once.
        let _ = self.neighbour.set(neighbours.join(session, Arc::new(hear)));
    }

    /// Notes that `who` is here, or by an empty word that they leave.
    pub(crate) fn set_presence(&self, who: &str, doing: &str) -> Result<(), Full> {
        let now = Instant::now();
        let mut shared = self.lock();
        let changed = shared.presence.say(who, doing, now)?;
        self.presence_noted(shared, changed, now);
        Ok(())
    }

    fn hear_presence(&self, heard: Heard) {
        let now = Instant::now();
        let mut shared = self.lock();
        let changed = shared.presence.hear(heard, now);
        self.presence_noted(shared, changed, now);
    }

    /// Forgets who has not said again that they are here, and tells other nodes what they don't know yet.
    pub(crate) fn tend_presence(&self, now: Instant) {
        let mut shared = self.lock();
        let changed = shared.presence.expire(now);
        self.presence_noted(shared, changed, now);
    }

    /// Wakes the readers of a list that has changed, and tells other nodes what is due.
    fn presence_noted(&self, mut shared: MutexGuard<'_, Shared>, changed: bool, now: Instant) {
        // Until it has joined them, what was said waits.
        let neighbour = self.neighbour.get();
        let news = neighbour.map(|_| shared.presence.news(now)).unwrap_or_default();
        if changed {
            self.presence_version.store(shared.presence.version, Ordering::Release);
        }
        drop(shared);
        if changed {
            self.readers.raise();
        }
        if let Some(neighbour) = neighbour.filter(|_| !news.is_empty()) {
            neighbour.tell(&news);
        }
    }

    /// The presence frame, if it is newer than version `seen`; encoded once per format and version.
    pub(crate) fn presence(
        &self,
        format: FormatId,
        seen: u64,
        encode: impl FnOnce(&[Present]) -> Vec<u8>,
    ) -> Option<(u64, Arc<[u8]>)> {
        if self.presence_version.load(Ordering::Acquire) == seen {
            return None;
        }
        let mut shared = self.lock();
        let frame = shared.presence.frame(format.0, encode);
        Some((shared.presence.version, frame))
    }
}
