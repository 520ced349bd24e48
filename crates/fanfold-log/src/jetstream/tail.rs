//! Live records: one core subscription for each tail, emptied by the connection itself.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake as TaskWake, Waker};

use async_nats::{Message, Subscriber};
use futures::Stream as _;

use super::read::stored;
use crate::tail::TailSender;
use crate::{Tail, TailItem, Wake, metric};

/// Moves what arrives into the tail within the wake-up by the connection, and not in a task of its own: the connection hands over a
/// record before its acknowledgement, and a task between them would let the acknowledgement overtake. The session would
/// then read from the log what is about to arrive.
struct Pump {
    subscriber: Mutex<Option<Subscriber>>,
    sender: TailSender,
    /// The subject that records of this session are stored under.
    subject: String,
    /// Wake-ups that came while one was at work, which does their work, too.
    rounds: AtomicUsize,
}

/// Its end is the subscription's end.
struct Registration(Arc<Pump>);

/// A tail of what `subscriber` hears.
pub(super) fn tail(subscriber: Subscriber, subject: String, wake: Wake) -> Tail {
    metrics::gauge!(metric::TAILS).increment(1);
    Tail::new(wake, |sender| {
        let subscriber = Mutex::new(Some(subscriber));
        let pump = Arc::new(Pump { subscriber, sender, subject, rounds: AtomicUsize::new(0) });
        pump.run();
        Box::new(Registration(pump))
    })
}

impl TaskWake for Pump {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

impl Pump {
    fn run(self: &Arc<Self>) {
        if self.rounds.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let mut due = 1;
        while due > 0 {
            self.drain();
            due = self.rounds.fetch_sub(due, Ordering::AcqRel) - due;
        }
    }

    /// Takes everything that is there, and asks to be woken by what comes next.
    fn drain(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut slot = self.subscriber.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(subscriber) = slot.as_mut() else { return };
        let all = std::future::poll_fn(|context| {
            loop {
                match Pin::new(&mut *subscriber).poll_next(context) {
                    Poll::Ready(Some(message)) => self.hand_over(message),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        // The connection's own turn must not end in the middle of a subscription.
        let all = pin!(tokio::task::unconstrained(all));
        if all.poll(&mut Context::from_waker(&waker)).is_ready() {
            *slot = None;
            self.sender.send(TailItem::Lost);
        }
    }

    fn hand_over(&self, message: Message) {
        match stored(message, &self.subject) {
            Some(record) => {
                self.sender.send(TailItem::Record(record));
            }
            None => metrics::counter!(metric::TAIL_FOREIGN).increment(1),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let subscriber = self.0.subscriber.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(subscriber);
        metrics::gauge!(metric::TAILS).decrement(1);
    }
}
