//! A session's live records: a bounded queue and one wake-up, however many arrive.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{StoredRecord, metric};

/// Records a tail holds before it gives up and says [`TailItem::Lost`].
pub const TAIL_RECORDS_MAX: usize = 1024;

/// Bytes of records a tail holds before it gives up and says [`TailItem::Lost`].
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Called when a tail goes from empty to not empty. Must not block and must not call back into the tail.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a tail yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailItem {
    /// The next record as it was acknowledged.
    Record(StoredRecord),
    /// Records are missing here: the queue was full or the connection was lost. Read the log from the last known offset.
    Lost,
}

/// The reader's end. Dropping it ends the registration.
pub struct Tail {
    queue: Arc<Queue>,
    _registration: Box<dyn Send + Sync>,
}

/// The log's end.
#[derive(Clone)]
pub struct TailSender(Weak<Queue>);

struct Queue {
    wake: Wake,
    items: Mutex<Items>,
}

#[derive(Default)]
struct Items {
    queue: VecDeque<TailItem>,
    bytes: usize,
}

impl Tail {
    /// A pair of ends. `registration` is dropped with the reader's.
    pub fn new(wake: Wake, registration: impl FnOnce(TailSender) -> Box<dyn Send + Sync>) -> Self {
        let queue = Arc::new(Queue { wake, items: Mutex::default() });
        let registration = registration(TailSender(Arc::downgrade(&queue)));
        Self { queue, _registration: registration }
    }

    /// Takes everything that has arrived, in order. Empty until the next wake-up.
    pub fn take(&self) -> Vec<TailItem> {
        let mut items = self.queue.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.bytes = 0;
        std::mem::take(&mut items.queue).into()
    }
}

impl TailSender {
    /// Queues one item. Returns false when nobody reads any more.
    pub fn send(&self, item: TailItem) -> bool {
        let Some(queue) = self.0.upgrade() else { return false };
        let was_empty = {
            let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = items.queue.is_empty();
            items.push(item);
            was_empty
        };
        if was_empty {
            (queue.wake)();
        }
        true
    }
}

impl Items {
    fn push(&mut self, item: TailItem) {
        if let TailItem::Record(record) = &item {
            self.bytes += record.record.len();
        }
        if self.queue.len() < TAIL_RECORDS_MAX && self.bytes <= TAIL_BYTES_MAX {
            self.queue.push_back(item);
            return;
        }
        // I5 bounded: what was queued goes too, as the reader reads the log from its own offset anyway.
        self.queue.clear();
        self.bytes = 0;
        self.queue.push_back(TailItem::Lost);
        metrics::counter!(metric::TAILS_LOST).increment(1);
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}
