//! Sees to it that every run ends (I8): offers queued runs to workers, and says in the log when nobody took one in time or
//! when a worker has gone silent. It decides nothing: the fold does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_fold::{Action, AttemptId, AttemptLost, Command, Offset, Run, RunFailed, RunId, RunStatus, SessionKey};
use fanfold_session::{Observer, Sessions};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;

/// How often overdue runs are looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Open runs that a node keeps an eye on. Beyond it a run is still in the log, but waits until its session is touched again.
const RUNS_MAX: usize = 100_000;

/// The open runs of the sessions in this node's memory.
pub struct Keeper {
    runs: Mutex<HashMap<(SessionKey, RunId), Kept>>,
    offered: Notify,
    silence_max: Duration,
    queued_max: Duration,
}

struct Kept {
    phase: Phase,
    since: Instant,
    /// Handed to a local worker that hasn't started it yet.
    taken: bool,
    order: u64,
}

enum Phase {
    Queued,
    Running(AttemptId),
}

/// A queued run, for a worker to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which session.
    pub session: SessionKey,
    /// Which run.
    pub run: RunId,
}

impl Keeper {
    /// `silence_max`: for a running attempt. `queued_max`: for a run that nobody takes.
    pub fn new(silence_max: Duration, queued_max: Duration) -> Arc<Self> {
        Arc::new(Self { runs: Mutex::default(), offered: Notify::new(), silence_max, queued_max })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SessionKey, RunId), Kept>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a queued run; of several the one that has waited longest. Cancel-safe.
    pub async fn take(&self) -> Offer {
        loop {
            let offered = self.offered.notified();
            if let Some(offer) = self.take_now() {
                return offer;
            }
            offered.await;
        }
    }

    fn take_now(&self) -> Option<Offer> {
        let mut runs = self.lock();
        let waiting = runs.iter_mut().filter(|(_, kept)| !kept.taken && matches!(kept.phase, Phase::Queued));
        let ((session, run), kept) = waiting.min_by_key(|(_, kept)| kept.order)?;
        kept.taken = true;
        Some(Offer { session: session.clone(), run: run.clone() })
    }

    /// Gives an offer back that came to nothing, to be taken again later.
    pub fn give_back(&self, offer: &Offer) {
        if let Some(kept) = self.lock().get_mut(&(offer.session.clone(), offer.run.clone())) {
            kept.taken = false;
        }
        self.offered.notify_one();
    }

    /// Says in the log what is overdue, until the node drains.
    pub async fn watch(self: Arc<Self>, sessions: Sessions) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            for (session, action) in self.overdue(Instant::now()) {
                let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action };
                metrics::counter!("fanfold_runs_overdue_total").increment(1);
                if let Err(error) = sessions.submit(&session, command, None, Offset::NONE).await {
                    tracing::warn!(%session, error = &error as &dyn std::error::Error, "overdue run not ended yet");
                }
            }
        }
    }

    fn overdue(&self, now: Instant) -> Vec<(SessionKey, Action)> {
        let runs = self.lock();
        let overdue = |((session, run), kept): (&(SessionKey, RunId), &Kept)| {
            let waited = now.duration_since(kept.since);
            match &kept.phase {
                Phase::Queued if waited >= self.queued_max => {
                    let failed = RunFailed {
                        run: run.clone(),
                        code: "no_worker".into(),
                        message: "No worker took the run in time.".into(),
                    };
                    Some((session.clone(), Action::FailRun(failed)))
                }
                Phase::Running(attempt) if waited >= self.silence_max => {
                    let lost = AttemptLost { run: run.clone(), attempt: attempt.clone() };
                    Some((session.clone(), Action::LoseAttempt(lost)))
                }
                Phase::Queued | Phase::Running(_) => None,
            }
        };
        runs.iter().filter_map(overdue).collect()
    }
}

impl Observer for Keeper {
    fn run_changed(&self, session: &SessionKey, run: &Run) {
        let mut runs = self.lock();
        let key = (session.clone(), run.id.clone());
        let phase = match (run.status, &run.attempt) {
            (RunStatus::Queued, _) => Phase::Queued,
            (RunStatus::Running, Some(attempt)) => Phase::Running(attempt.clone()),
            (RunStatus::Running, None) => return,
            (RunStatus::Completed | RunStatus::Cancelled | RunStatus::Failed | RunStatus::Orphaned, _) => {
                runs.remove(&key);
                drop(runs);
                // The session's next run may begin now.
                self.offered.notify_one();
                return;
            }
        };
        if runs.len() >= RUNS_MAX && !runs.contains_key(&key) {
            metrics::counter!("fanfold_runs_unwatched_total").increment(1);
            return;
        }
        let queued = matches!(phase, Phase::Queued);
        let order = runs.get(&key).map_or(run.requested_at_ms, |kept| kept.order);
        runs.insert(key, Kept { phase, since: Instant::now(), taken: false, order });
        drop(runs);
        if queued {
            self.offered.notify_one();
        }
    }

    fn worked(&self, session: &SessionKey, run: &RunId) {
        if let Some(kept) = self.lock().get_mut(&(session.clone(), run.clone())) {
            kept.since = Instant::now();
        }
    }
}
