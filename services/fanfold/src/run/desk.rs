//! Where workers get runs: the node takes hints from the queue, looks at each session, and leases what still waits to a worker that may
//! have it. A lease saves work and guards nothing (I4).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_fold::{AttemptId, Cursor, Offset, Run, RunId, RunStatus, SessionKey, TenantId, View};
use fanfold_runs::{Hint, Lease, LeaseId, QueueError, RunQueue};
use fanfold_session::{HostError, Looked, Sessions};
use tokio::sync::{Notify, oneshot};

use super::book::{Key, failure};
use super::keeper::Keeper;
use crate::auth::{Action, Caller, authorize};

#[cfg(test)]
mod tests;

/// Workers that wait for a run. Another is answered `busy`.
const WAITING_MAX: usize = 10_000;

/// How long one look into the queue waits.
const TAKE_WAIT: Duration = Duration::from_secs(10);

/// Before a hint of a tenant without a waiting worker is looked at again.
const MISFIT_DELAY: Duration = Duration::from_millis(500);

/// Before a hint is looked at again whose run somebody writes already, without a lease.
const RUNNING_DELAY: Duration = Duration::from_millis(500);

/// Before a session that could not be read is read again.
const UNREADABLE_DELAY: Duration = Duration::from_secs(1);

/// Before a queue that can't be asked is asked again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Who asks for a run.
#[derive(Debug, Clone)]
pub enum Taker {
    /// The worker in this process: it serves every tenant.
    Inner,
    /// A worker of its own, with a token.
    Caller(Caller),
}

impl Taker {
    fn may_have(&self, session: &SessionKey) -> bool {
        match self {
            Self::Inner => true,
            Self::Caller(caller) => {
                caller.tenant == session.tenant && authorize(caller, Action::Work, Some(&session.session)).is_ok()
            }
        }
    }
}

/// Names one run in one worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRef {
    /// Which session.
    pub session: SessionKey,
    /// Which run.
    pub run: RunId,
    /// The lease.
    pub id: LeaseId,
}

impl LeaseRef {
    fn key(&self) -> Key {
        (self.session.clone(), self.run.clone())
    }
}

/// A run that is a worker's to start. Dropped before the worker has it, it goes to the next one.
pub struct Taken {
    /// The lease.
    pub lease: LeaseRef,
    /// The run.
    pub run: Run,
    /// The session when it was looked at.
    pub view: View,
    /// Where that was.
    pub cursor: Cursor,
    keeper: Option<Arc<Keeper>>,
}

impl Taken {
    /// The worker has it.
    pub fn claim(&mut self) {
        self.keeper = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.give_back(&self.lease.key(), self.lease.id, Duration::ZERO);
        }
    }
}

/// The lease has ended: by time, by the run's end, or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease has ended")]
pub struct LeaseLost;

/// See the module.
pub struct Desk {
    node: String,
    sessions: Sessions,
    queue: Arc<dyn RunQueue>,
    keeper: Arc<Keeper>,
    waiting: Mutex<VecDeque<Waiting>>,
    wanted: Notify,
}

struct Waiting {
    taker: Taker,
    reply: oneshot::Sender<Taken>,
}

/// What a hint came to.
enum Found {
    Ready(Box<Taken>),
    /// Nothing for a worker: it went back into the queue, or out of it.
    Nothing,
}

impl Desk {
    /// `node`: how the queue names who takes.
    pub fn new(node: String, sessions: Sessions, queue: Arc<dyn RunQueue>, keeper: Arc<Keeper>) -> Arc<Self> {
        Arc::new(Self { node, sessions, queue, keeper, waiting: Mutex::default(), wanted: Notify::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a lease lasts after a sign of life.
    pub fn lease(&self) -> Duration {
        self.keeper.silence_max()
    }

    /// Open runs of a tenant on this node.
    pub fn open_of(&self, tenant: &TenantId) -> usize {
        self.keeper.open_of(tenant)
    }

    /// A run for this worker, once there is one; `None` if none came in time.
    pub async fn take(&self, taker: Taker, wait: Duration) -> Result<Option<Taken>, HostError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            waiting.retain(|waiting| !waiting.reply.is_closed());
            if waiting.len() >= WAITING_MAX {
                return Err(HostError::Busy);
            }
            waiting.push_back(Waiting { taker, reply });
        }
        self.wanted.notify_one();
        Ok(tokio::time::timeout(wait, answer).await.ok().and_then(Result::ok))
    }

    /// The worker is alive.
    pub fn extend(&self, lease: &LeaseRef) -> Result<(), LeaseLost> {
        if self.keeper.alive(&lease.key(), lease.id) { Ok(()) } else { Err(LeaseLost) }
    }

    /// Whoever writes this attempt is alive, with or without a lease of this node.
    pub fn beats(&self, session: &SessionKey, run: &RunId, attempt: &AttemptId) {
        self.keeper.beats(&(session.clone(), run.clone()), attempt);
    }

    /// The worker has not started the run and won't, or not now.
    pub fn give_back(&self, lease: &LeaseRef, delay: Duration) -> Result<(), LeaseLost> {
        if self.keeper.give_back(&lease.key(), lease.id, delay) { Ok(()) } else { Err(LeaseLost) }
    }

    /// Takes hints for as long as somebody waits for one, for as long as the node lives.
    pub async fn serve(self: Arc<Self>) {
        loop {
            let wanted = self.wanted.notified();
            if !self.waiting().iter().any(|waiting| !waiting.reply.is_closed()) {
                wanted.await;
                continue;
            }
            match self.queue.take(&self.node, self.lease(), TAKE_WAIT).await {
                Ok(Some(lease)) => self.hand_out(lease).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the run queue can't be asked");
                    tokio::time::sleep(QUEUE_RETRY_AFTER).await;
                }
            }
        }
    }

    /// To the first that waits and may have it.
    async fn hand_out(self: &Arc<Self>, lease: Lease) {
        let fitting = {
            let mut waiting = self.waiting();
            let fits = |waiting: &Waiting| !waiting.reply.is_closed() && waiting.taker.may_have(&lease.hint.session);
            let at = waiting.iter().position(fits);
            at.and_then(|at| waiting.remove(at)).ok_or(waiting.is_empty())
        };
        match fitting {
            Ok(fitting) => {
                let desk = Arc::clone(self);
                // One for each that waits: a session that takes time to load holds up nobody else.
                tokio::spawn(async move { desk.look_and_hand(lease, fitting).await });
            }
            Err(nobody_waits) => self.return_hint(lease.id, if nobody_waits { Duration::ZERO } else { MISFIT_DELAY }).await,
        }
    }

    async fn look_and_hand(&self, lease: Lease, to: Waiting) {
        match self.look(&lease).await {
            // Where the worker left meanwhile, the drop gives it back.
            Ok(Found::Ready(taken)) => drop(to.reply.send(*taken)),
            Ok(Found::Nothing) => self.wait_again(to),
            Err(error) => {
                tracing::debug!(session = %lease.hint.session, %error, "the queue was not told");
                self.wait_again(to);
            }
        }
    }

    fn wait_again(&self, waiting: Waiting) {
        self.waiting().push_front(waiting);
        self.wanted.notify_one();
    }

    /// What the fold says of the hint's run. A hint is dropped only when the run's end is in the log.
    async fn look(&self, lease: &Lease) -> Result<Found, QueueError> {
        let Hint { session, run, .. } = &lease.hint;
        let key = (session.clone(), run.clone());
        let looked = match self.read(session, run).await {
            Ok(looked) => looked,
            Err(error) => return self.unreadable(&key, lease, &error).await,
        };
        let known = looked.view.run(run).cloned();
        match known.map(|run| (run.status, run)) {
            Some((RunStatus::Queued, run)) => {
                let first = looked.view.open_runs().next().is_some_and(|first| first.id == run.id);
                if first && self.keeper.hold(&key, lease.id) {
                    let lease = LeaseRef { session: key.0, run: key.1, id: lease.id };
                    let keeper = Some(Arc::clone(&self.keeper));
                    return Ok(Found::Ready(Box::new(Taken { lease, run, view: looked.view, cursor: looked.cursor, keeper })));
                }
                self.put_in_order(&looked.view, lease).await?;
            }
            // Its place in the session's order is kept, and a node sees to its time.
            Some((RunStatus::Waiting, _)) if self.keeper.hold(&key, lease.id) => {}
            Some((RunStatus::Running | RunStatus::Waiting, _)) => self.return_hint(lease.id, RUNNING_DELAY).await,
            Some((RunStatus::Completed | RunStatus::Cancelled | RunStatus::Failed | RunStatus::Orphaned, run)) => {
                self.keeper.dispose(&key, lease.id, failure(&run)).await;
            }
            // The session was erased.
            None => self.keeper.dispose(&key, lease.id, None).await,
        }
        Ok(Found::Nothing)
    }

    /// The session with the run in it. A node that lags behind the one that offered the hint reads on: only what the log doesn't have
    /// either is gone.
    async fn read(&self, session: &SessionKey, run: &RunId) -> Result<Looked, HostError> {
        let looked = self.sessions.look(session, Offset::NONE, usize::MAX).await?;
        if looked.view.run(run).is_some() {
            return Ok(looked);
        }
        self.sessions.look_newest(session, usize::MAX).await
    }

    /// Another run of the session comes first, and its hint is behind this one or lost: this one goes behind it.
    async fn put_in_order(&self, view: &View, lease: &Lease) -> Result<(), QueueError> {
        let open = view.open_runs().map(|run| Hint::new(lease.hint.session.clone(), run.id.clone())).collect::<Vec<_>>();
        if open.first().is_some_and(|first| first.run == lease.hint.run) {
            // It is first, and this node doesn't watch it: as many runs are open as it may watch.
            self.return_hint(lease.id, MISFIT_DELAY).await;
            return Ok(());
        }
        // Offered again at once, and if that fails by the keeper.
        let _ = self.queue.done(lease.id).await;
        for hint in open {
            if let Err(fanfold_runs::OfferError::Unavailable(source)) = self.queue.offer(&hint).await {
                return Err(QueueError::Unavailable(source));
            }
        }
        Ok(())
    }

    async fn unreadable(&self, key: &Key, lease: &Lease, error: &HostError) -> Result<Found, QueueError> {
        tracing::warn!(session = %key.0, error = error as &dyn std::error::Error, "a run's session can't be read");
        match error {
            HostError::Erased { .. } => self.keeper.dispose(key, lease.id, None).await,
            HostError::Parked => self.keeper.dispose(key, lease.id, Some("session_parked".into())).await,
            HostError::Missing { .. } => self.keeper.dispose(key, lease.id, Some("history_missing".into())).await,
            HostError::Busy | HostError::Draining | HostError::Unavailable(_) => {
                self.return_hint(lease.id, UNREADABLE_DELAY).await;
            }
        }
        Ok(Found::Nothing)
    }

    /// The lease may have ended, and a queue that can't be told gives the hint to the next one when it does.
    async fn return_hint(&self, lease: LeaseId, delay: Duration) {
        let _ = self.queue.give_back(lease, delay).await;
    }
}
