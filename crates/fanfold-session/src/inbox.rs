//! How a connection learns that some of its sessions have news: one wake-up and a list, however many there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// One connection's. Its subscriptions put their slot numbers in; the connection takes them out.
/// It holds each slot at most once, so its size is bounded by the connection's subscriptions.
#[derive(Debug, Default)]
pub struct Inbox {
    waker: AtomicWaker,
    slots: Mutex<Vec<u32>>,
}

impl Inbox {
    /// Ready once subscriptions have news; appends which ones. Wakes the task that polled last.
    pub fn poll_ready(&self, context: &mut Context<'_>, ready: &mut VecDeque<u32>) -> Poll<()> {
        if self.take(ready) {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // What came in between has woken nobody.
        if self.take(ready) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&self, ready: &mut VecDeque<u32>) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        ready.extend(slots.drain(..));
        !ready.is_empty()
    }
}

/// A session's handle to one reader.
#[derive(Debug)]
pub(crate) struct Signal {
    inbox: Arc<Inbox>,
    slot: u32,
    raised: AtomicBool,
    /// Where it stands among its session's readers, who alone write and read this.
    pub(crate) place: AtomicUsize,
}

impl Signal {
    pub(crate) fn new(inbox: Arc<Inbox>, slot: u32) -> Self {
        Self { inbox, slot, raised: AtomicBool::new(false), place: AtomicUsize::new(0) }
    }

    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.inbox.slots.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
            self.inbox.waker.wake();
        }
    }

    /// To be called before looking for news, so that what comes while looking raises it again.
    pub(crate) fn lower(&self) {
        // Not a plain store: looking must not begin before it.
        self.raised.swap(false, Ordering::AcqRel);
    }
}
