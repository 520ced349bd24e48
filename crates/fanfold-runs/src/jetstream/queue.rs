//! The handle.

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{RunId, SessionKey};
use fanfold_nats::{ConnectError, Limits, Nats, RequestError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::call::{Calls, Delivery, Published};
use super::config::JetStreamRunQueueConfig;
use super::fetch::{Shared, Taker, beat, fetch, listen};
use super::layout::{Layout, LayoutError};
use super::migrate::{IdentityError, identify};
use crate::metric;
use crate::port::{
    Clock, DeadLetter, Depth, Forgotten, Hint, Lease, LeaseError, LeaseId, Listed, OfferError, Offered, Place, QueueError,
    RunQueue, shortened,
};

/// How long a question waits, and how many answers or notices wait for being read.
const LIMITS: Limits = Limits { subscription_messages_max: 4096, request_max: Duration::from_secs(5) };

/// A [`RunQueue`] on JetStream. Makes no streams: that is [`super::migrate()`]'s.
pub struct JetStreamRunQueue {
    shared: Arc<Shared>,
    hints_max: usize,
    /// Ended with the handle.
    _tasks: JoinSet<()>,
}

/// Why a queue on JetStream doesn't open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The configuration can't be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The stream is another queue's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Not made yet.
    #[error("stream {0} is missing: run `fanfold migrate`")]
    Missing(String),
    /// The cluster doesn't answer.
    #[error("the servers can't be asked")]
    Unavailable(#[source] RequestError),
}

impl JetStreamRunQueue {
    /// Connects, and checks that the streams are there and are this queue's.
    pub async fn open(config: &JetStreamRunQueueConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let layout = Layout::new(&config.prefix, config.buckets)?;
        let nats = Nats::connect(&config.nats, LIMITS).await?;
        for stream in [layout.stream(), layout.dead_stream()] {
            let info = nats.stream(&stream).await.map_err(OpenError::Unavailable)?;
            identify(&info.ok_or(OpenError::Missing(stream))?, &layout)?;
        }
        let unheard = |error: async_nats::SubscribeError| OpenError::Unavailable(RequestError::Connection(error.into()));
        let notices = nats.client().subscribe(layout.notices()).await.map_err(unheard)?;
        let calls = Calls { nats, layout };
        let answers = calls.answers().await.map_err(unheard)?;
        // Names of leases go on from a random place: a worker's lease of an earlier process must not name one of this.
        let first_lease = Uuid::new_v4().as_u64_pair().0 >> 1;
        let shared = Arc::new(Shared::new(calls, clock, config.held_back_max, first_lease));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Arc::clone(&shared), notices));
        tasks.spawn(beat(Arc::clone(&shared), config.ack_wait()));
        tasks.spawn(fetch(Arc::clone(&shared), answers, config.buckets));
        Ok(Self { shared, hints_max: config.hints_max, _tasks: tasks })
    }

    fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    fn leased(&self, id: LeaseId) -> Result<Delivery, LeaseError> {
        self.shared.hands().leased(id, Instant::now()).cloned().ok_or(LeaseError::Lost)
    }

    /// The hint has left the stream, or can be had by others: here and elsewhere somebody may wait for it, or for the next.
    async fn announce(&self, session: &SessionKey) {
        self.shared.notice(session.clone());
        self.calls().notice(session).await;
    }

    fn letter(&self, delivery: &Delivery, reason: &str) -> DeadLetter {
        DeadLetter {
            hint: delivery.hint.clone(),
            reason: shortened(reason),
            deliveries: delivery.deliveries,
            buried_at_ms: self.shared.clock.now_ms(),
        }
    }

    async fn remove(&self, id: LeaseId, delivery: &Delivery) -> Result<(), LeaseError> {
        self.calls().remove(delivery).await.map_err(|error| LeaseError::Unavailable(Box::new(error)))?;
        self.shared.hands().end(id);
        self.announce(&delivery.hint.session).await;
        Ok(())
    }
}

fn unavailable(error: RequestError) -> QueueError {
    QueueError::Unavailable(Box::new(error))
}

fn no_offer(error: RequestError) -> OfferError {
    OfferError::Unavailable(Box::new(error))
}

#[async_trait::async_trait]
impl RunQueue for JetStreamRunQueue {
    async fn offer(&self, hint: &Hint) -> Result<Offered, OfferError> {
        let published = match self.calls().buried(&hint.session, &hint.run).await.map_err(no_offer)? {
            Some(_) => Published::Known,
            None => self.calls().publish(hint).await.map_err(no_offer)?,
        };
        let (outcome, offered) = match published {
            Published::Stored => ("queued", Ok(Offered::Queued)),
            Published::Known => ("known", Ok(Offered::Known)),
            Published::Full => ("full", Err(OfferError::Full { limit: self.hints_max })),
        };
        metrics::counter!(metric::OFFERS, "outcome" => outcome).increment(1);
        if let Ok(Offered::Queued) = offered {
            let delay = hint.not_before_ms.unwrap_or(0).saturating_sub(self.shared.clock.now_ms());
            if delay > 0 {
                let until = self.shared.until(Duration::from_millis(delay));
                self.shared.hands().delay(hint, 0, until);
            }
            self.announce(&hint.session).await;
        }
        offered
    }

    async fn take(&self, worker: &str, lease: Duration, wait: Duration) -> Result<Option<Lease>, QueueError> {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now().checked_add(wait);
        let mut answered = Answered { answered, shared: &self.shared };
        self.shared.wants(Taker { worker: worker.to_owned(), lease, deadline, answer });
        (&mut answered.answered).await.unwrap_or_else(|gone| Err(QueueError::Unavailable(Box::new(gone))))
    }

    async fn extend(&self, id: LeaseId, lease: Duration) -> Result<(), LeaseError> {
        let until = self.shared.until(lease);
        let extended = self.shared.hands().extend(id, until, Instant::now());
        self.shared.changed.notify_one();
        extended.then_some(()).ok_or(LeaseError::Lost)
    }

    async fn done(&self, id: LeaseId) -> Result<(), LeaseError> {
        let delivery = self.leased(id)?;
        self.remove(id, &delivery).await
    }

    async fn give_back(&self, id: LeaseId, delay: Duration) -> Result<(), LeaseError> {
        let delivery = self.leased(id)?;
        let until = self.shared.until(delay);
        self.calls().release(&delivery, delay).await.map_err(|error| LeaseError::Unavailable(Box::new(error)))?;
        self.shared.hands().end(id);
        if !delay.is_zero() {
            self.shared.hands().delay(&delivery.hint, delivery.deliveries, until);
        }
        self.announce(&delivery.hint.session).await;
        Ok(())
    }

    /// What goes for it the servers know.
    async fn bury(&self, id: LeaseId, reason: &str) -> Result<Option<Forgotten>, LeaseError> {
        let delivery = self.leased(id)?;
        // First the letter: between the two the run is both, and will be buried again.
        self.calls().bury(&self.letter(&delivery, reason)).await.map_err(|error| LeaseError::Unavailable(Box::new(error)))?;
        self.remove(id, &delivery).await?;
        metrics::counter!(metric::BURIED).increment(1);
        Ok(None)
    }

    /// What this node holds back it can take out. The rest is with other nodes, or will be found out by whoever takes it.
    async fn withdraw(&self, session: &SessionKey, run: &RunId, reason: Option<&str>) -> Result<Option<Forgotten>, QueueError> {
        let Some(delivery) = self.shared.hands().held_back_run(session, run) else { return Ok(None) };
        if let Some(reason) = reason {
            self.calls().bury(&self.letter(&delivery, reason)).await.map_err(unavailable)?;
            metrics::counter!(metric::BURIED).increment(1);
        }
        self.calls().remove(&delivery).await.map_err(unavailable)?;
        self.shared.hands().let_go(&delivery);
        self.announce(session).await;
        Ok(None)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let (open, dead) = self.calls().counts().await.map_err(unavailable)?;
        metrics::gauge!(metric::HINTS, "place" => "open").set(open as f64);
        metrics::gauge!(metric::HINTS, "place" => "dead").set(dead as f64);
        let (leased, delayed) = self.shared.hands().counts(Instant::now());
        Ok(Depth { waiting: open.saturating_sub(leased + delayed), delayed, leased, dead })
    }

    async fn list(&self, after: Option<(&SessionKey, &RunId)>, hints_max: usize) -> Result<Vec<Listed>, QueueError> {
        let hints = self.calls().hints().await.map_err(unavailable)?;
        let mut places = self.shared.hands().places(Instant::now());
        let behind = hints.into_iter().filter(|((session, run), _)| after.is_none_or(|after| (session, run) > after));
        let listed = behind.take(hints_max).map(|(key, hint)| {
            let (place, deliveries) = places.remove(&key).unwrap_or((Place::Waiting, 0));
            Listed { hint, place, deliveries }
        });
        Ok(listed.collect())
    }

    async fn dead_letters(
        &self,
        after: Option<(&SessionKey, &RunId)>,
        letters_max: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        let letters = self.calls().letters().await.map_err(unavailable)?;
        let behind = letters.into_iter().filter(|((session, run), _)| after.is_none_or(|after| (session, run) > after));
        Ok(behind.take(letters_max).map(|(_, letter)| letter).collect())
    }

    async fn dead_letter(&self, session: &SessionKey, run: &RunId) -> Result<Option<DeadLetter>, QueueError> {
        self.calls().buried(session, run).await.map_err(unavailable)
    }

    async fn keep(&self, letter: &DeadLetter) -> Result<Option<Forgotten>, QueueError> {
        self.calls().bury(letter).await.map_err(unavailable)?;
        Ok(None)
    }

    async fn forget(&self, session: &SessionKey, run: Option<&RunId>) -> Result<(), QueueError> {
        self.calls().unbury(session, run).await.map_err(unavailable)
    }

    async fn redrive(&self, session: &SessionKey, run: &RunId) -> Result<bool, QueueError> {
        let Some(letter) = self.calls().buried(session, run).await.map_err(unavailable)? else { return Ok(false) };
        let hint = Hint { not_before_ms: None, ..letter.hint };
        match self.calls().publish(&hint).await.map_err(unavailable)? {
            // Known if the last one who tried came no further than here.
            Published::Stored | Published::Known => {}
            Published::Full => return Err(QueueError::Unavailable(Box::new(OfferError::Full { limit: self.hints_max }))),
        }
        self.calls().unbury(session, Some(run)).await.map_err(unavailable)?;
        self.announce(session).await;
        Ok(true)
    }
}

/// A caller that goes away leaves its answer: a lease that nobody has heard of ends at once.
struct Answered<'a> {
    answered: oneshot::Receiver<Result<Option<Lease>, QueueError>>,
    shared: &'a Arc<Shared>,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.answered.close();
        if let Ok(Ok(Some(lease))) = self.answered.try_recv() {
            self.shared.hands().cut_short(lease.id, self.shared.until(Duration::ZERO));
            self.shared.changed.notify_one();
        }
    }
}

impl std::fmt::Debug for JetStreamRunQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamRunQueue").field("layout", &self.calls().layout).finish_non_exhaustive()
    }
}
