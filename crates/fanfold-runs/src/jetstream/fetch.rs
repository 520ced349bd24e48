//! The task that pulls hints for those who wait on this node, and gives back what their time is up for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_fold::SessionKey;
use fanfold_nats::RequestError;
use futures::StreamExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::call::{Answers, Calls, Delivery};
use super::hands::{Hands, Until};
use super::layout::session_of;
use crate::metric;
use crate::port::{Clock, Lease, QueueError};

/// While somebody waits: how long nobody looks, if nothing is heard. Hints whose delay or lease ended elsewhere are not announced.
const LOOK: Duration = Duration::from_secs(1);

/// After how long it is looked again whether what is held back is still behind another, if nothing is heard.
const LOOK_AT_HELD_BACK: Duration = Duration::from_secs(5);

/// For how long a hint is given back that can't be held back.
const NO_ROOM: Duration = Duration::from_secs(5);

/// Sessions noticed before it is looked at all that is held back instead.
const NOTICED_MAX: usize = 1024;

/// Somebody who wants a hint.
pub(crate) struct Taker {
    pub(crate) worker: String,
    pub(crate) lease: Duration,
    pub(crate) deadline: Option<Instant>,
    pub(crate) answer: oneshot::Sender<Result<Option<Lease>, QueueError>>,
}

/// What the handle and the tasks share.
pub(crate) struct Shared {
    pub(crate) calls: Calls,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) held_back_max: usize,
    pub(crate) changed: Notify,
    pub(crate) hands: Mutex<Hands>,
    takers: Mutex<VecDeque<Taker>>,
    noticed: Mutex<Noticed>,
}

#[derive(Default)]
struct Noticed {
    sessions: HashSet<SessionKey>,
    /// More than it can remember.
    all: bool,
}

/// Where a delivered hint belongs.
enum Turn {
    Now,
    Later(Until),
    /// Another run of the session comes first.
    Behind,
    /// It has left the stream meanwhile.
    Gone,
}

impl Shared {
    pub(crate) fn new(calls: Calls, clock: Arc<dyn Clock>, held_back_max: usize, first_lease: u64) -> Self {
        Self {
            calls,
            clock,
            held_back_max,
            changed: Notify::new(),
            hands: Mutex::new(Hands::new(first_lease)),
            takers: Mutex::default(),
            noticed: Mutex::default(),
        }
    }

    pub(crate) fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn until(&self, duration: Duration) -> Until {
        let duration = duration.min(Duration::from_secs(365 * 24 * 3600));
        let ms = self.clock.now_ms().saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Until { at: Instant::now() + duration, ms }
    }

    /// Will be answered: with a hint, or once its time is up and it was looked in vain.
    pub(crate) fn wants(&self, taker: Taker) {
        self.takers().push_back(taker);
        self.changed.notify_one();
    }

    fn takers(&self) -> MutexGuard<'_, VecDeque<Taker>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noticed(&self) -> MutexGuard<'_, Noticed> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of this session may be to be had.
    pub(crate) fn notice(&self, session: SessionKey) {
        let mut noticed = self.noticed();
        noticed.sessions.insert(session);
        noticed.all |= noticed.sessions.len() > NOTICED_MAX;
        if noticed.all {
            noticed.sessions.clear();
        }
        drop(noticed);
        self.changed.notify_one();
    }
}

/// What other nodes say.
pub(crate) async fn listen(shared: Arc<Shared>, mut notices: async_nats::Subscriber) {
    while let Some(notice) = notices.next().await {
        if let Some(session) = session_of(&notice.subject) {
            shared.notice(session);
        }
    }
}

/// Tells the servers what this node still holds, three times before they would give it to another.
pub(crate) async fn beat(shared: Arc<Shared>, ack_wait: Duration) {
    let mut interval = tokio::time::interval(ack_wait / 3);
    loop {
        interval.tick().await;
        let all = shared.hands().all();
        for delivery in all {
            shared.calls.still_holds(&delivery).await;
        }
    }
}

/// Until the queue is dropped.
pub(crate) async fn fetch(shared: Arc<Shared>, answers: Answers, buckets: u32) {
    let mut fetcher = Fetcher { shared, answers, buckets, turn: 0, looked_at_held_back: Instant::now() };
    loop {
        fetcher.end_leases().await;
        fetcher.look_at_held_back().await;
        fetcher.serve().await;
        fetcher.wait().await;
    }
}

struct Fetcher {
    shared: Arc<Shared>,
    answers: Answers,
    buckets: u32,
    /// The bucket whose turn it is.
    turn: u32,
    looked_at_held_back: Instant,
}

impl Fetcher {
    /// Until something changes, or is due.
    async fn wait(&self) {
        let now = Instant::now();
        let due = self.shared.hands().next_due(now);
        let look = {
            let mut takers = self.shared.takers();
            takers.retain(|taker| !taker.answer.is_closed());
            let deadline = takers.iter().filter_map(|taker| taker.deadline).min();
            (!takers.is_empty()).then(|| deadline.map_or(now + LOOK, |deadline| deadline.min(now + LOOK)))
        };
        let held_back = self.looked_at_held_back + LOOK_AT_HELD_BACK;
        let until = due.into_iter().chain(look).fold(held_back, Instant::min);
        tokio::select! {
            () = self.shared.changed.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    async fn end_leases(&self) {
        let expired = self.shared.hands().expired(Instant::now());
        for delivery in expired {
            metrics::counter!(metric::EXPIRED).increment(1);
            self.give_back(&delivery, Duration::ZERO).await;
        }
    }

    /// What can't be said the servers find out by themselves, as this node holds it no longer.
    async fn give_back(&self, delivery: &Delivery, delay: Duration) {
        if let Err(error) = self.shared.calls.release(delivery, delay).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "hint not given back yet");
        }
    }

    /// Of sessions that something was heard of, and of all every few seconds.
    async fn look_at_held_back(&mut self) {
        let noticed = std::mem::take(&mut *self.shared.noticed());
        let all = noticed.all || self.looked_at_held_back.elapsed() >= LOOK_AT_HELD_BACK;
        if all {
            self.looked_at_held_back = Instant::now();
        }
        let candidates = self.shared.hands().held_back(|session| all || noticed.sessions.contains(session));
        for delivery in candidates {
            match self.turn_of(&delivery).await {
                Ok(Turn::Behind) => {}
                Ok(turn) => {
                    self.shared.hands().let_go(&delivery);
                    self.place(delivery, turn).await;
                }
                Err(error) => return tracing::warn!(error = &error as &dyn std::error::Error, "hints held back not looked at"),
            }
        }
    }

    /// Looks for hints while somebody wants one, and tells those whose time is up.
    async fn serve(&mut self) {
        loop {
            if self.shared.takers().is_empty() {
                return;
            }
            let started = Instant::now();
            match self.sweep().await {
                Ok(true) => {}
                Ok(false) => return self.answer_overdue(started, || Ok(None)),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no hints fetched");
                    let text = error.to_string();
                    return self.answer_overdue(started, || Err(QueueError::Unavailable(text.clone().into())));
                }
            }
        }
    }

    fn answer_overdue(&self, started: Instant, answer: impl Fn() -> Result<Option<Lease>, QueueError>) {
        let mut takers = self.shared.takers();
        let (overdue, waiting) =
            takers.drain(..).partition::<VecDeque<_>, _>(|taker| taker.deadline.is_some_and(|deadline| deadline <= started));
        *takers = waiting;
        drop(takers);
        for taker in overdue {
            let _ = taker.answer.send(answer());
        }
    }

    /// One hint of the next bucket that has one. False if none has.
    async fn sweep(&mut self) -> Result<bool, RequestError> {
        for _ in 0..self.buckets {
            let bucket = self.turn;
            self.turn = (self.turn + 1) % self.buckets;
            if let Some(delivery) = self.shared.calls.pull(bucket, &mut self.answers).await? {
                if self.shared.hands().is_leased_again(&delivery) {
                    return Ok(true);
                }
                match self.turn_of(&delivery).await {
                    Ok(turn) => self.place(delivery, turn).await,
                    Err(error) => {
                        self.give_back(&delivery, Duration::ZERO).await;
                        return Err(error);
                    }
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn turn_of(&self, delivery: &Delivery) -> Result<Turn, RequestError> {
        let now_ms = self.shared.clock.now_ms();
        if let Some(until_ms) = delivery.hint.not_before_ms.filter(|until_ms| *until_ms > now_ms) {
            return Ok(Turn::Later(self.shared.until(Duration::from_millis(until_ms - now_ms))));
        }
        Ok(match self.shared.calls.first(&delivery.hint.session).await? {
            Some(first) if first == delivery.sequence => Turn::Now,
            Some(first) if first < delivery.sequence => Turn::Behind,
            Some(_) | None => Turn::Gone,
        })
    }

    async fn place(&self, delivery: Delivery, turn: Turn) {
        match turn {
            Turn::Now => self.hand_out(delivery).await,
            Turn::Later(until) => {
                self.shared.hands().delay(&delivery.hint, delivery.deliveries, until);
                self.give_back(&delivery, until.at.saturating_duration_since(Instant::now())).await;
            }
            Turn::Behind => {
                let held = self.shared.hands().hold_back(delivery.clone(), self.shared.held_back_max);
                if !held {
                    self.give_back(&delivery, NO_ROOM).await;
                }
            }
            Turn::Gone => {}
        }
    }

    /// To whoever has waited longest; to other nodes if nobody waits here any more.
    async fn hand_out(&self, delivery: Delivery) {
        loop {
            let Some(taker) = self.shared.takers().pop_front() else { break };
            if taker.answer.is_closed() {
                continue;
            }
            let until = self.shared.until(taker.lease);
            let lease = self.shared.hands().lease(delivery.clone(), &taker.worker, until);
            let id = lease.id;
            if taker.answer.send(Ok(Some(lease))).is_ok() {
                metrics::counter!(metric::DELIVERIES).increment(1);
                return;
            }
            self.shared.hands().end(id);
        }
        self.give_back(&delivery, Duration::ZERO).await;
        self.shared.calls.notice(&delivery.hint.session).await;
    }
}
