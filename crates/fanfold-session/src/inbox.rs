//! How a connection learns that some of its sessions have news: one wake-up and a list, however many there are.
//! And how news reach its socket while it waits for other things, without any wake-up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use fanfold_fold::Offset;
use futures::task::AtomicWaker;

use crate::codec::FormatId;

/// Where a connection's bytes go: a socket that never blocks.
pub trait Outlet: Send + Sync + 'static {
    /// Takes as many of the bytes as it can at once and says how many. An error means none, for whatever reason:
    /// the connection's own task finds out when it tries.
    fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize>;
}

/// One connection's. Its subscriptions put their slot numbers in; the connection takes them out.
/// It holds each slot at most once, so its size is bounded by the connection's subscriptions.
///
/// A connection that waits may lend its outlet. Then readers that have everything are written to by whoever has news for them,
/// and their connection's task sleeps on. What needs more than one write that succeeds at once is left to the task.
#[derive(Default)]
pub struct Inbox {
    waker: AtomicWaker,
    outlet: Option<Arc<dyn Outlet>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<u32>,
    /// Nothing of this connection is on its way to the outlet, and its task waits.
    lent: bool,
    /// What the outlet has not taken of the last frames written for the connection. Nothing may go before it.
    rest: Vec<u8>,
}

impl Inbox {
    /// Of a connection that lends its outlet while it waits.
    pub fn with_outlet(outlet: Arc<dyn Outlet>) -> Self {
        Self { outlet: Some(outlet), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when all that the connection was given has been sent, before it waits.
    pub fn lend(&self) {
        self.lock().lent = self.outlet.is_some();
    }

    /// To be called when the connection has waited, before anything else: from now on only its task writes.
    /// Appends to `out` what must be sent first.
    pub fn reclaim(&self, out: &mut Vec<u8>) {
        let mut state = self.lock();
        state.lent = false;
        out.append(&mut std::mem::take(&mut state.rest));
    }

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
        ready.extend(self.lock().slots.drain(..));
        !ready.is_empty()
    }
}

/// A session's handle to one reader.
pub(crate) struct Signal {
    inbox: Arc<Inbox>,
    slot: u32,
    /// In which encoding the reader may be written to directly.
    direct: Option<FormatId>,
    raised: AtomicBool,
    /// Up to where the reader has everything. Moved by the connection's task, or under the inbox's lock while the outlet is lent.
    position: AtomicU64,
    /// Where it stands among its session's readers, who alone write and read this.
    pub(crate) place: AtomicUsize,
}

impl Signal {
    /// `format`: in which encoding the reader gets every delta, if it does.
    pub(crate) fn new(inbox: Arc<Inbox>, slot: u32, format: Option<FormatId>) -> Self {
        let direct = format.filter(|_| inbox.outlet.is_some());
        let (raised, position, place) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
        Self { inbox, slot, direct, raised, position, place }
    }

    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.inbox.lock().slots.push(self.slot);
            self.inbox.waker.wake();
        }
    }

    /// To be called before looking for news, so that what comes while looking raises it again.
    pub(crate) fn lower(&self) {
        // Not a plain store: looking must not begin before it.
        self.raised.swap(false, Ordering::AcqRel);
    }

    /// The reader has left: from now on nothing is written for it. To be called by the connection's task.
    pub(crate) fn leave(&self) {
        self.raised.store(true, Ordering::Release);
    }

    pub(crate) fn position(&self) -> Offset {
        Offset(self.position.load(Ordering::Acquire))
    }

    /// To be called by the connection's task.
    pub(crate) fn stand_at(&self, position: Offset) {
        self.position.store(position.0, Ordering::Release);
    }

    /// Where the reader stands, if it may be written to directly. Only a hint: [`Signal::write`] looks again.
    pub(crate) fn direct(&self) -> Option<(FormatId, Offset)> {
        self.direct.filter(|_| !self.raised.load(Ordering::Acquire)).map(|format| (format, self.position()))
    }

    /// Writes what leads from `after` to `upto`. Says false where the connection's task has something to do: it holds the outlet,
    /// or the outlet has taken nothing, or not all of it.
    pub(crate) fn write(&self, after: Offset, upto: Offset, bytes: &[u8]) -> bool {
        assert!(upto > after, "I2 contiguous: {upto} after {after}");
        let mut state = self.inbox.lock();
        // A raised signal means that the task was told to look, or that the reader has left.
        if !state.lent || self.raised.load(Ordering::Acquire) || self.position() != after {
            return false;
        }
        let Some(written) = self.inbox.outlet.as_ref().and_then(|outlet| outlet.try_write(bytes).ok()) else { return false };
        self.stand_at(upto);
        if written < bytes.len() {
            state.rest = bytes[written..].to_vec();
            state.lent = false;
        }
        state.lent
    }
}
