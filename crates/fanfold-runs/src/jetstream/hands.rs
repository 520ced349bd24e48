//! What this node holds: leased hints, and hints whose session has an earlier run. Pure: time comes with each call.

use std::collections::{BTreeMap, HashMap};

use fanfold_fold::{RunId, SessionKey};
use tokio::time::Instant;

use super::call::Delivery;
use crate::port::{Hint, Lease, LeaseId, Place};

#[derive(Debug)]
pub(crate) struct Hands {
    leases: HashMap<LeaseId, Leased>,
    last_lease: u64,
    /// Hints of sessions whose first one is another, by their place in the stream.
    held_back: BTreeMap<u64, Delivery>,
    /// What this node has seen delayed, and until when. The servers keep the delay; this is for operators and for looking in time.
    delayed: HashMap<(SessionKey, RunId), Delayed>,
}

#[derive(Debug)]
struct Leased {
    delivery: Delivery,
    worker: String,
    until: Until,
}

#[derive(Debug)]
struct Delayed {
    until: Until,
    deliveries: u32,
}

/// One moment by two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    pub(crate) at: Instant,
    pub(crate) ms: u64,
}

impl Hands {
    /// `first_lease` keeps names of leases apart from those of an earlier process.
    pub(crate) fn new(first_lease: u64) -> Self {
        Self { leases: HashMap::new(), last_lease: first_lease, held_back: BTreeMap::new(), delayed: HashMap::new() }
    }

    pub(crate) fn lease(&mut self, delivery: Delivery, worker: &str, until: Until) -> Lease {
        self.delayed.remove(&key(&delivery.hint));
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        let lease = Lease { id, hint: delivery.hint.clone(), deliveries: delivery.deliveries };
        self.leases.insert(id, Leased { delivery, worker: worker.to_owned(), until });
        lease
    }

    /// What a lease that lasts is of.
    pub(crate) fn leased(&self, id: LeaseId, now: Instant) -> Option<&Delivery> {
        self.leases.get(&id).filter(|leased| leased.until.at > now).map(|leased| &leased.delivery)
    }

    pub(crate) fn extend(&mut self, id: LeaseId, until: Until, now: Instant) -> bool {
        let leased = self.leases.get_mut(&id).filter(|leased| leased.until.at > now);
        leased.map(|leased| leased.until = until).is_some()
    }

    /// It ends when this node next looks.
    pub(crate) fn cut_short(&mut self, id: LeaseId, now: Until) {
        if let Some(leased) = self.leases.get_mut(&id) {
            leased.until = now;
        }
    }

    /// Whether it is leased here already: the servers took this node for dead, and it wasn't.
    pub(crate) fn is_leased_again(&mut self, delivery: &Delivery) -> bool {
        let same = self.leases.values_mut().find(|leased| leased.delivery.sequence == delivery.sequence);
        same.map(|leased| leased.delivery = delivery.clone()).is_some()
    }

    pub(crate) fn end(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// Takes out the leases that have ended by time.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Delivery> {
        self.leases.extract_if(|_, leased| leased.until.at <= now).map(|(_, leased)| leased.delivery).collect()
    }

    /// False if it holds as many as it may.
    pub(crate) fn hold_back(&mut self, delivery: Delivery, held_back_max: usize) -> bool {
        let room = self.held_back.len() < held_back_max;
        if room {
            self.held_back.insert(delivery.sequence, delivery);
        }
        room
    }

    /// The earliest hint held back of each session that `wanted` names.
    pub(crate) fn held_back(&self, wanted: impl Fn(&SessionKey) -> bool) -> Vec<Delivery> {
        let mut first = HashMap::new();
        for delivery in self.held_back.values().filter(|delivery| wanted(&delivery.hint.session)) {
            first.entry(&delivery.hint.session).or_insert(delivery);
        }
        first.into_values().cloned().collect()
    }

    /// The hint of this run, if it is held back.
    pub(crate) fn held_back_run(&self, session: &SessionKey, run: &RunId) -> Option<Delivery> {
        self.held_back.values().find(|delivery| delivery.hint.session == *session && delivery.hint.run == *run).cloned()
    }

    pub(crate) fn let_go(&mut self, delivery: &Delivery) {
        self.held_back.remove(&delivery.sequence);
    }

    pub(crate) fn delay(&mut self, hint: &Hint, deliveries: u32, until: Until) {
        self.delayed.insert(key(hint), Delayed { until, deliveries });
    }

    /// When there is something to do: a lease that ends, or a delay.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Instant> {
        self.delayed.retain(|_, delayed| delayed.until.at > now);
        let leases = self.leases.values().map(|leased| leased.until.at);
        leases.chain(self.delayed.values().map(|delayed| delayed.until.at)).min()
    }

    /// Everything that the servers must be told of, or they give it to others.
    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.leases.values().map(|leased| &leased.delivery).chain(self.held_back.values()).cloned().collect()
    }

    /// Leases and delays.
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        let delayed = self.delayed.values().filter(|delayed| delayed.until.at > now).count();
        (self.leases.len(), delayed)
    }

    /// Where each hint is that this node knows more of than that it waits, and how often it was handed out.
    pub(crate) fn places(&self, now: Instant) -> HashMap<(SessionKey, RunId), (Place, u32)> {
        let delayed = self.delayed.iter().filter(|(_, delayed)| delayed.until.at > now).map(|(key, delayed)| {
            let place = Place::Delayed { until_ms: delayed.until.ms };
            (key.clone(), (place, delayed.deliveries))
        });
        let leased = self.leases.values().map(|leased| {
            let place = Place::Leased { worker: leased.worker.clone(), until_ms: leased.until.ms };
            (key(&leased.delivery.hint), (place, leased.delivery.deliveries))
        });
        delayed.chain(leased).collect()
    }
}

fn key(hint: &Hint) -> (SessionKey, RunId) {
    (hint.session.clone(), hint.run.clone())
}
