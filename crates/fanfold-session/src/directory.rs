//! Which sessions are in this node's memory. A slot is free only when its actor has ended, so that no session is there twice.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfold_fold::SessionKey;
use ractor::{ActorId, ActorRef};
use tokio::sync::Notify;

use crate::feed::{Ended, Feed};
use crate::message::Msg;

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) actor: ActorRef<Msg>,
    pub(crate) feed: Arc<Feed>,
    retired: bool,
}

#[derive(Default)]
pub(crate) struct Directory {
    slots: Mutex<HashMap<SessionKey, Slot>>,
    freed: Notify,
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The session's slot, unless its actor is on its way out.
    pub(crate) fn get(&self, key: &SessionKey) -> Option<Slot> {
        self.lock().get(key).filter(|slot| !slot.retired).cloned()
    }

    /// Takes the slot for a new actor. Fails while another holds it, even a retired one.
    pub(crate) fn claim(&self, key: &SessionKey, actor: ActorRef<Msg>, feed: Arc<Feed>) -> bool {
        match self.lock().entry(key.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(Slot { actor, feed, retired: false });
                true
            }
        }
    }

    /// Lets no more requests reach the actor; it ends after those it has. `drain`, because `stop` would drop them.
    pub(crate) fn retire(&self, key: &SessionKey, actor: &ActorRef<Msg>) {
        if let Some(slot) = self.lock().get_mut(key).filter(|slot| slot.actor.get_id() == actor.get_id()) {
            slot.retired = true;
        }
        if actor.drain().is_err() {
            tracing::debug!(session = %key, "actor ended before it was drained");
        }
    }

    /// Frees the slot of an actor that has ended, and tells its readers.
    pub(crate) fn free(&self, actor: ActorId) {
        let mut slots = self.lock();
        let gone: Vec<Slot> = slots.extract_if(|_, slot| slot.actor.get_id() == actor).map(|(_, slot)| slot).collect();
        drop(slots);
        gone.iter().for_each(|slot| slot.feed.end(Ended::Gone));
        self.freed.notify_waiters();
    }

    /// Waits until some slot has been freed after this future was made.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    pub(crate) fn all(&self) -> Vec<Slot> {
        self.lock().values().filter(|slot| !slot.retired).cloned().collect()
    }

    /// All sessions, by their names.
    pub(crate) fn hosted(&self) -> Vec<(SessionKey, Slot)> {
        self.named(|_| true)
    }

    /// The sessions that somebody reads or waits for, and those whose runs are open.
    pub(crate) fn in_use(&self) -> Vec<(SessionKey, Slot)> {
        let wanted = |feed: &Feed| feed.readers() > 0 || feed.waiting.load(Ordering::Relaxed) > 0;
        self.named(|slot| wanted(&slot.feed) || slot.feed.has_runs.load(Ordering::Relaxed))
    }

    fn named(&self, which: impl Fn(&Slot) -> bool) -> Vec<(SessionKey, Slot)> {
        let named = |(key, slot): (&SessionKey, &Slot)| (!slot.retired && which(slot)).then(|| (key.clone(), slot.clone()));
        self.lock().iter().filter_map(named).collect()
    }
}
