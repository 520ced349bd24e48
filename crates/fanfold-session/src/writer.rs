//! The fan-out writer: takes what is new once for many readers, and writes it to those whose connections wait.
//! It waits for nobody: a reader that can't be served at once is left to its connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfold_fold::Offset;

use crate::codec::FormatId;
use crate::feed::{Feed, Taken};
use crate::inbox::Signal;
use crate::readers::Group;

/// Readers that the session's actor serves itself: fewer than a task is worth.
const READERS_HERE_MAX: usize = 8;

/// Readers served between two looks at the head; then other tasks have their turn.
const READERS_AT_ONCE: usize = 32;

/// Bytes that a reader may be behind to be served here. One that is further behind has them at its own pace.
const BYTES_MAX: usize = 16 * 1024;

impl Feed {
    /// Brings what is new to all readers: here, or in tasks that are at it until nothing new comes, one for each group.
    pub(crate) fn deliver(self: &Arc<Self>) {
        let groups = self.groups();
        if self.readers() <= READERS_HERE_MAX {
            for group in groups {
                let mut round = Round::new(self, group);
                while round.go_on() {}
            }
            return;
        }
        for (at, group) in groups.iter().enumerate() {
            if group.news.fetch_add(1, Ordering::AcqRel) == 0 {
                tokio::spawn(deliver_to(Arc::clone(self), at));
            }
        }
    }
}

/// What comes while it is at work makes another round, with one write for each reader, however much it is.
async fn deliver_to(feed: Arc<Feed>, at: usize) {
    let group = &feed.groups()[at];
    let turn = Turn(&group.news);
    loop {
        let seen = group.news.load(Ordering::Acquire);
        let mut round = Round::new(&feed, group);
        while round.go_on() {
            tokio::task::yield_now().await;
        }
        if group.news.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return std::mem::forget(turn);
        }
    }
}

/// One that breaks off lets the next news begin anew.
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Once over a group, from its end: the place of one who leaves is taken by the last, so that nobody is passed over.
/// Who comes meanwhile is told of everything on coming.
struct Round<'a> {
    feed: &'a Feed,
    group: &'a Group,
    left: usize,
    some: Vec<Arc<Signal>>,
    block: Block,
}

/// What leads from where readers stand to the head, which is the same for most of them.
#[derive(Default)]
struct Block {
    from: Option<(FormatId, Offset)>,
    bytes: Vec<u8>,
    taken: Option<Taken>,
}

impl<'a> Round<'a> {
    fn new(feed: &'a Feed, group: &'a Group) -> Self {
        Self { feed, group, left: usize::MAX, some: Vec::new(), block: Block::default() }
    }

    /// Serves the next few. Says false after the last.
    fn go_on(&mut self) -> bool {
        self.left = self.group.before(self.left, READERS_AT_ONCE, &mut self.some);
        // The head may have moved on.
        self.block.from = None;
        for signal in self.some.drain(..) {
            if !self.block.serve(self.feed, &signal) {
                signal.raise();
            }
        }
        self.left > 0
    }
}

impl Block {
    /// Says false where the connection's task has something to do.
    fn serve(&mut self, feed: &Feed, signal: &Signal) -> bool {
        let Some(from) = signal.direct() else { return false };
        if self.from != Some(from) {
            self.bytes.clear();
            self.taken = Some(feed.take(from.0, from.1, BYTES_MAX, BYTES_MAX, &mut self.bytes));
            self.from = Some(from);
        }
        match self.taken {
            Some(Taken::Upto { offset, more }) => signal.write(from.1, offset, &self.bytes) && !more,
            Some(Taken::Nothing) => true,
            Some(Taken::Behind | Taken::Ended(_)) | None => false,
        }
    }
}
