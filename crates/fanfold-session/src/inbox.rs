//! How a connection learns that some of its sessions have news: one wake-up and a list, however many there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One connection's. Its subscriptions put their slot numbers in; the connection takes them out.
/// It holds each slot at most once, so its size is bounded by the connection's subscriptions.
#[derive(Debug, Default)]
pub struct Inbox {
    notify: Notify,
    slots: Mutex<Vec<u32>>,
}

impl Inbox {
    /// Waits for news and says which subscriptions have some. Cancel-safe.
    pub async fn ready(&self) -> Vec<u32> {
        loop {
            let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
            if !slots.is_empty() {
                return slots;
            }
            self.notify.notified().await;
        }
    }
}

/// A session's handle to one reader.
#[derive(Debug)]
pub(crate) struct Signal {
    inbox: Arc<Inbox>,
    slot: u32,
    raised: AtomicBool,
}

impl Signal {
    pub(crate) fn new(inbox: Arc<Inbox>, slot: u32) -> Self {
        Self { inbox, slot, raised: AtomicBool::new(false) }
    }

    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.inbox.slots.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
            self.inbox.notify.notify_one();
        }
    }

    /// To be called before looking for news, so that what comes while looking raises it again.
    pub(crate) fn lower(&self) {
        self.raised.store(false, Ordering::Release);
    }
}
