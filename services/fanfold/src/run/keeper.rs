//! Sees to it that every run ends (I8): tells the queue which runs wait, and says in the log when nobody took one in time or when a
//! worker has gone silent. It decides nothing: the fold does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_fold::{AttemptId, Command, Offset, Output, Run, RunId, SessionKey, TenantId, Verdict, View};
use fanfold_runs::{LeaseError, LeaseId, OfferError, QueueError, RunQueue};
use fanfold_session::{HostError, Observer, Receipt, Sessions};
use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::{Book, Key, News, Overdue, Patience, failure};
use super::budget::Budget;
use super::graves::Graves;
use super::hook::Hooks;
use crate::clock;

/// How often overdue runs are looked for, at most and at least; a quarter of the silence that is borne lies between.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(20);
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// Overdue runs that are ended at a time, and signs of life that are logged.
const ENDS_MAX: usize = 16;

/// Before a queue that can't be asked is asked again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_millis(200);

/// The open runs of the sessions in this node's memory.
pub struct Keeper {
    book: Mutex<Book>,
    news: Notify,
    queue: Arc<dyn RunQueue>,
    graves: Arc<Graves>,
    budget: Arc<Budget>,
    hooks: Option<Hooks>,
    patience: Patience,
}

impl Keeper {
    /// Offers runs to this queue, tells the budget what they cost, and the hooks when they end.
    pub fn new(
        queue: Arc<dyn RunQueue>,
        graves: Arc<Graves>,
        budget: Arc<Budget>,
        hooks: Option<Hooks>,
        patience: Patience,
    ) -> Arc<Self> {
        Arc::new(Self { book: Mutex::new(Book::new(patience)), news: Notify::new(), queue, graves, budget, hooks, patience })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a worker may be silent.
    pub fn silence_max(&self) -> Duration {
        self.patience.silence_max
    }

    /// Open runs of a tenant on this node.
    pub fn open_of(&self, tenant: &TenantId) -> usize {
        self.book().open_of(tenant)
    }

    /// A worker gets this hint. False if its run doesn't wait.
    pub(crate) fn hold(&self, key: &Key, lease: LeaseId) -> bool {
        self.book().hold(key, lease, Instant::now())
    }

    /// A worker says that it lives. False if its lease has ended.
    pub(crate) fn alive(&self, key: &Key, lease: LeaseId) -> bool {
        self.book().alive(key, lease, Instant::now())
    }

    /// Whoever writes this attempt is alive.
    pub(crate) fn beats(&self, key: &Key, attempt: &AttemptId) {
        self.book().beats(key, attempt, Instant::now());
    }

    /// A worker gives a run back that it has not started. False if its lease has ended.
    pub(crate) fn give_back(&self, key: &Key, lease: LeaseId, delay: Duration) -> bool {
        let held = self.book().give_back(key, lease, delay);
        self.news.notify_one();
        held
    }

    /// Tells the queue what it must know, in order.
    pub async fn tell(self: Arc<Self>) {
        loop {
            let more = self.news.notified();
            let news = self.book().next_news();
            match news {
                Some(news) => self.tell_one(news).await,
                None => more.await,
            }
        }
    }

    async fn tell_one(&self, news: News) {
        let told = match news {
            News::Offer(hint) => match self.queue.offer(&hint).await {
                // What finds no room is offered again when the time of a lease has passed; the queue counts it.
                Ok(_) | Err(OfferError::Full { .. }) => Ok(()),
                Err(OfferError::Unavailable(source)) => Err(source),
            },
            News::Extend(key, lease, left) => unless_lost(self.queue.extend(lease, left).await, || self.book().lost(&key, lease)),
            News::GiveBack(lease, delay) => unless_lost(self.queue.give_back(lease, delay).await, || ()),
            News::End(key, lease, failed) => {
                if let Some(hooks) = &self.hooks {
                    hooks.look_at(key.clone());
                }
                self.end(&key, lease, failed).await
            }
        };
        if let Err(error) = told {
            tracing::warn!(error = &*error as &dyn std::error::Error, "the run queue can't be told");
            tokio::time::sleep(QUEUE_RETRY_AFTER).await;
        }
    }

    /// The terminal event is in the log: the hint goes, or is kept for an operator.
    async fn end(&self, key: &Key, lease: Option<LeaseId>, failed: Option<String>) -> Result<(), Cause> {
        if let Some(code) = &failed {
            self.graves.note(key, code).await;
        }
        let told = match (lease, &failed) {
            (Some(lease), Some(code)) => self.queue.bury(lease, code).await,
            (Some(lease), None) => self.queue.done(lease).await.map(|()| None),
            (None, _) => Err(LeaseError::Lost),
        };
        let forgotten = match told {
            Ok(forgotten) => forgotten,
            Err(LeaseError::Lost) => self.queue.withdraw(&key.0, &key.1, failed.as_deref()).await.map_err(cause)?,
            Err(LeaseError::Unavailable(source)) => return Err(source),
        };
        if failed.is_some() {
            self.graves.note_buried(key).await;
        }
        if let Some(forgotten) = forgotten {
            self.graves.let_go(&forgotten).await;
        }
        Ok(())
    }

    /// Ends a hint whose run a taker found ended.
    pub(crate) async fn dispose(&self, key: &Key, lease: LeaseId, failed: Option<String>) {
        if let Err(error) = self.end(key, Some(lease), failed).await {
            tracing::warn!(error = &*error as &dyn std::error::Error, "a hint is not taken back yet");
        }
    }

    /// Says in the log what is overdue and who lives, for as long as the node lives.
    pub async fn watch(self: Arc<Self>, sessions: Sessions) {
        let interval = (self.patience.silence_max / 4).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX);
        loop {
            tokio::time::sleep(interval).await;
            let unheard = self.book().unheard(Instant::now());
            if !unheard.is_empty() {
                let sessions = sessions.clone();
                tokio::spawn(async move { say_alive(&sessions, unheard).await });
            }
            // What can't be heard is not silent.
            self.book().excuse(&sessions.unheard(), Instant::now());
            let overdue = self.book().overdue(Instant::now(), clock::now_ms());
            self.news.notify_one();
            futures::stream::iter(overdue).for_each_concurrent(ENDS_MAX, |overdue| self.say_overdue(&sessions, overdue)).await;
        }
    }

    async fn say_overdue(&self, sessions: &Sessions, overdue: Overdue) {
        let session = overdue.key.0.clone();
        // What its runs have come to since it left memory isn't known here. What is still overdue is said the next time.
        if !sessions.hosts(&session) {
            return self.look(sessions, &session).await;
        }
        // Another node's worker is heard by the log alone, and what it said last may not be here yet.
        if let Err(error) = sessions.look_newest(&session, 0).await {
            tracing::warn!(%session, error = &error as &dyn std::error::Error, "not known whether a run is overdue");
            return self.book().excuse(&HashSet::from([session]), Instant::now());
        }
        if !self.book().is_still(&overdue) {
            return;
        }
        let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action: overdue.action };
        metrics::counter!("fanfold_runs_overdue_total").increment(1);
        match sessions.submit(&session, command, None, Offset::NONE).await {
            Ok(Receipt { verdict: Verdict::Refused(_), .. }) => self.look(sessions, &session).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "overdue run not ended yet");
            }
        }
    }

    /// Brings the session into memory, which tells of its open runs, and lets those go that have ended meanwhile.
    async fn look(&self, sessions: &Sessions, session: &SessionKey) {
        let view = match sessions.look(session, Offset::NONE, usize::MAX).await {
            Ok(looked) => looked.view,
            Err(HostError::Erased { .. }) => View::default(),
            Err(error) => {
                return tracing::warn!(%session, error = &error as &dyn std::error::Error, "overdue run not looked at yet");
            }
        };
        let mut book = self.book();
        for key in book.kept_of(session) {
            match view.run(&key.1) {
                // An end is for ever, so it makes no difference if this was looked at before something else was told.
                Some(run) if run.status.is_final() => book.ended(key, failure(run)),
                Some(_) => {}
                None => book.ended(key, None),
            }
        }
        drop(book);
        self.news.notify_one();
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn cause(QueueError::Unavailable(source): QueueError) -> Cause {
    source
}

/// A lease that has ended needs no word about it: the hint is the next worker's.
fn unless_lost(told: Result<(), LeaseError>, lost: impl FnOnce()) -> Result<(), Cause> {
    match told {
        Ok(()) => Ok(()),
        Err(LeaseError::Lost) => {
            lost();
            Ok(())
        }
        Err(LeaseError::Unavailable(source)) => Err(source),
    }
}

/// An output that says nothing. Where it is refused, the attempt is over and its worker hears of it.
async fn say_alive(sessions: &Sessions, attempts: Vec<(SessionKey, AttemptId)>) {
    let say = async |(session, attempt): (SessionKey, AttemptId)| {
        let now_ms = clock::now_ms();
        // A number of its own, or the log would take it for a repetition of the last one.
        let life = Output { attempt, seq: now_ms, said: Vec::new() };
        if let Err(error) = sessions.produce(&session, life, now_ms, None).await {
            tracing::debug!(%session, error = &error as &dyn std::error::Error, "a sign of life was not logged");
        }
    };
    futures::stream::iter(attempts).for_each_concurrent(ENDS_MAX, say).await;
}

impl Observer for Keeper {
    fn run_changed(&self, session: &SessionKey, run: &Run) {
        let cost = self.book().changed(session, run, Instant::now());
        self.budget.spend(&session.tenant, cost);
        self.news.notify_one();
    }

    fn worked(&self, session: &SessionKey, run: &RunId) {
        self.book().worked(session, run, Instant::now());
    }
}
