//! Who wants to hear of which session's records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fanfold_fold::SessionKey;

use crate::metric;
use crate::tail::TailSender;
use crate::{StoredRecord, Tail, TailItem, Wake};

#[derive(Default)]
pub(crate) struct Tails(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    sessions: HashMap<SessionKey, Vec<(u64, TailSender)>>,
}

/// Its end is the tail's end.
struct Registration {
    tails: Weak<Tails>,
    session: SessionKey,
    number: u64,
}

impl Tails {
    pub(crate) fn register(self: &Arc<Self>, session: &SessionKey, wake: Wake) -> Tail {
        Tail::new(wake, |sender| {
            let mut inner = self.lock();
            inner.next += 1;
            let number = inner.next;
            inner.sessions.entry(session.clone()).or_default().push((number, sender));
            metrics::gauge!(metric::TAILS).increment(1);
            Box::new(Registration { tails: Arc::downgrade(self), session: session.clone(), number })
        })
    }

    /// Hands out records in order. Wake-ups are called without the lock, as dropping a tail takes it.
    pub(crate) fn deliver(&self, records: impl Iterator<Item = (SessionKey, StoredRecord)>) {
        let mut due = Vec::new();
        {
            let inner = self.lock();
            if inner.sessions.is_empty() {
                return;
            }
            for (session, record) in records {
                let Some(senders) = inner.sessions.get(&session) else { continue };
                due.extend(senders.iter().map(|(_, sender)| (sender.clone(), record.clone())));
            }
        }
        for (sender, record) in due {
            sender.send(TailItem::Record(record));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(tails) = self.tails.upgrade() else { return };
        let mut inner = tails.lock();
        let Some(senders) = inner.sessions.get_mut(&self.session) else { return };
        senders.retain(|(number, _)| *number != self.number);
        if senders.is_empty() {
            inner.sessions.remove(&self.session);
        }
        metrics::gauge!(metric::TAILS).decrement(1);
    }
}
