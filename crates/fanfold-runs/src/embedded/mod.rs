//! The queue of one node, in memory.

mod lines;
#[cfg(test)]
mod model;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfold_fold::{RunId, SessionKey};
use tokio::sync::Notify;
use tokio::time::Instant;

use lines::{Full, Lines, Lost};

use crate::metric;
use crate::port::{
    Clock, DeadLetter, Depth, Forgotten, Hint, Lease, LeaseError, LeaseId, Listed, OfferError, Offered, QueueError, RunQueue,
    shortened,
};

/// What bounds an embedded queue.
#[derive(Debug, Clone)]
pub struct EmbeddedRunQueueConfig {
    /// Hints at most, leased ones included. One more is refused as [`OfferError::Full`].
    pub hints_max: usize,
    /// Buried runs at most. For one more the one that was buried first is forgotten.
    pub letters_max: usize,
    /// How many buckets tenants hash into. A bucket's tenants share its turn.
    pub buckets: usize,
}

impl Default for EmbeddedRunQueueConfig {
    fn default() -> Self {
        Self { hints_max: 100_000, letters_max: 10_000, buckets: 16 }
    }
}

/// See the module. Empty when made: whoever makes it offers it the log's open runs.
pub struct EmbeddedRunQueue {
    lines: Mutex<Lines>,
    hints_max: usize,
    clock: Arc<dyn Clock>,
    /// Something is to be had, or due at another time.
    changed: Notify,
}

impl EmbeddedRunQueue {
    /// An empty queue.
    pub fn new(config: EmbeddedRunQueueConfig, clock: Arc<dyn Clock>) -> Self {
        let lines = Mutex::new(Lines::new(config.hints_max, config.letters_max, config.buckets));
        Self { lines, hints_max: config.hints_max, clock, changed: Notify::new() }
    }

    /// Does something at this time.
    fn with<T>(&self, act: impl FnOnce(&mut Lines, u64) -> T) -> T {
        let now_ms = self.clock.now_ms();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = lines.advance(now_ms);
        if expired > 0 {
            metrics::counter!(metric::EXPIRED).increment(expired as u64);
        }
        let before = lines.counts();
        let outcome = act(&mut lines, now_ms);
        let (open, dead) = lines.counts();
        drop(lines);
        if (open, dead) != before {
            metrics::gauge!(metric::HINTS, "place" => "open").set(open as f64);
            metrics::gauge!(metric::HINTS, "place" => "dead").set(dead as f64);
        }
        outcome
    }

    /// The same for what may leave something to be had, or due earlier. All who wait look again: they are as many as a node's
    /// free workers.
    fn change<T>(&self, act: impl FnOnce(&mut Lines, u64) -> T) -> T {
        let outcome = self.with(act);
        self.changed.notify_waiters();
        outcome
    }
}

/// When something that lasts so long from now on ends.
fn after(now_ms: u64, duration: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl From<Lost> for LeaseError {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

#[async_trait::async_trait]
impl RunQueue for EmbeddedRunQueue {
    async fn offer(&self, hint: &Hint) -> Result<Offered, OfferError> {
        let offered = self.change(|lines, now_ms| lines.offer(hint, now_ms));
        let outcome = match offered {
            Ok(Offered::Queued) => "queued",
            Ok(Offered::Known) => "known",
            Err(Full) => "full",
        };
        metrics::counter!(metric::OFFERS, "outcome" => outcome).increment(1);
        offered.map_err(|Full| OfferError::Full { limit: self.hints_max })
    }

    async fn take(&self, worker: &str, lease: Duration, wait: Duration) -> Result<Option<Lease>, QueueError> {
        let deadline = Instant::now().checked_add(wait);
        // Made before looking, so that what changes in between is noticed.
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            let (taken, due_ms) = self.with(|lines, now_ms| {
                let taken = lines.take(worker, after(now_ms, lease));
                (taken, lines.next_due_ms().map(|due_ms| due_ms.saturating_sub(now_ms).max(1)))
            });
            if let Some(taken) = taken {
                metrics::counter!(metric::DELIVERIES).increment(1);
                return Ok(Some(taken));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            let due = due_ms.and_then(|due_ms| Instant::now().checked_add(Duration::from_millis(due_ms)));
            tokio::select! {
                () = &mut changed => changed.set(self.changed.notified()),
                () = until(deadline.into_iter().chain(due).min()) => {}
            }
        }
    }

    async fn extend(&self, id: LeaseId, lease: Duration) -> Result<(), LeaseError> {
        Ok(self.with(|lines, now_ms| lines.extend(id, after(now_ms, lease)))?)
    }

    async fn done(&self, id: LeaseId) -> Result<(), LeaseError> {
        Ok(self.change(|lines, now_ms| lines.done(id, now_ms))?)
    }

    async fn give_back(&self, id: LeaseId, delay: Duration) -> Result<(), LeaseError> {
        Ok(self.change(|lines, now_ms| lines.give_back(id, after(now_ms, delay), now_ms))?)
    }

    async fn bury(&self, id: LeaseId, reason: &str) -> Result<Option<Forgotten>, LeaseError> {
        let forgotten = self.change(|lines, now_ms| lines.bury(id, shortened(reason), now_ms))?;
        metrics::counter!(metric::BURIED).increment(1);
        Ok(forgotten)
    }

    async fn withdraw(&self, session: &SessionKey, run: &RunId, reason: Option<&str>) -> Result<Option<Forgotten>, QueueError> {
        let withdrawn = self.change(|lines, now_ms| lines.withdraw(session, run, reason.map(shortened), now_ms));
        if withdrawn.is_some() && reason.is_some() {
            metrics::counter!(metric::BURIED).increment(1);
        }
        Ok(withdrawn.flatten())
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        Ok(self.with(|lines, _| lines.depth()))
    }

    async fn list(&self, after: Option<(&SessionKey, &RunId)>, hints_max: usize) -> Result<Vec<Listed>, QueueError> {
        Ok(self.with(|lines, _| lines.list(after, hints_max)))
    }

    async fn dead_letters(
        &self,
        after: Option<(&SessionKey, &RunId)>,
        letters_max: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        Ok(self.with(|lines, _| lines.dead_letters(after, letters_max)))
    }

    async fn dead_letter(&self, session: &SessionKey, run: &RunId) -> Result<Option<DeadLetter>, QueueError> {
        Ok(self.with(|lines, _| lines.dead_letter(session, run).cloned()))
    }

    async fn keep(&self, letter: &DeadLetter) -> Result<Option<Forgotten>, QueueError> {
        Ok(self.change(|lines, _| lines.keep(letter.clone())))
    }

    async fn forget(&self, session: &SessionKey, run: Option<&RunId>) -> Result<(), QueueError> {
        self.with(|lines, _| lines.forget(session, run));
        Ok(())
    }

    async fn redrive(&self, session: &SessionKey, run: &RunId) -> Result<bool, QueueError> {
        let redriven = self.change(|lines, now_ms| lines.redrive(session, run, now_ms));
        redriven.map_err(|Full| QueueError::Unavailable(Box::new(OfferError::Full { limit: self.hints_max })))
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
