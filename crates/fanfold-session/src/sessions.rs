//! A node's sessions, by verbs. The handle keeps the actors.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfold_fold::{AttemptId, Command, Cursor, Epoch, Offset, Output, Run, RunId, SessionKey};
use ractor::{Actor, ActorRef};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::Instant;

use crate::actor::{Birth, SessionActor};
use crate::config::SessionConfig;
use crate::directory::{Directory, Slot};
use crate::error::{HostError, SubmitError, SubscribeError};
use crate::feed::{Ended, Feed};
use crate::guard::guard;
use crate::hydrate::{Folded, history, not_erased, state_at};
use crate::inbox::{Inbox, Signal};
use crate::message::{Answer, Attach, Look, Looked, Mode, Msg, Produce, Receipt, Start, Submit, WatchRun, tokens};
use crate::node::{Node, Ports};
use crate::park::forget_later;
use crate::presence::PresenceLimits;
use crate::subscription::{Subscribe, Subscribed, Subscription};
use crate::supervisor::Supervisor;

/// Supervisors of a node; each sees the end of its share of the sessions.
const SUPERVISORS: usize = 16;

/// Times that a request is given to a session anew when its actor ended under it.
const TRIES: usize = 3;

/// How often idle and overdue things are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// All sessions of a node. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: Arc<Node>,
    pub(crate) directory: Arc<Directory>,
    supervisors: Vec<ActorRef<()>>,
    /// One actor is born at a time per share of the sessions, so that requests reach it in the order in which they came.
    births: Vec<Mutex<()>>,
    draining: AtomicBool,
    pub(crate) log_away: watch::Sender<bool>,
    pub(crate) unheard: watch::Sender<Arc<HashSet<SessionKey>>>,
}

/// Figures of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sessions in memory.
    pub sessions: usize,
    /// Their readers.
    pub readers: usize,
    /// Their estimated bytes.
    pub bytes: u64,
}

/// One event record as it was stored.
pub type StoredRecord = fanfold_log::StoredRecord;

impl Sessions {
    /// Starts the node's session layer.
    pub async fn start(ports: Ports, config: SessionConfig) -> Result<Self, ractor::SpawnErr> {
        let directory = Arc::new(Directory::default());
        let mut supervisors = Vec::with_capacity(SUPERVISORS);
        for _ in 0..SUPERVISORS {
            supervisors.push(Actor::spawn(None, Supervisor, Arc::clone(&directory)).await?.0);
        }
        let node = Arc::new(Node::new(ports, config));
        let births = (0..SUPERVISORS).map(|_| Mutex::default()).collect();
        let inner = Arc::new(Inner {
            node,
            directory,
            supervisors,
            births,
            draining: AtomicBool::new(false),
            log_away: watch::Sender::new(false),
            unheard: watch::Sender::default(),
        });
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        tokio::spawn(forget_later(Arc::downgrade(&inner)));
        if inner.node.ports.log.tail_may_lose() {
            tokio::spawn(guard(Arc::downgrade(&inner)));
        }
        Ok(Self { inner })
    }

    pub(crate) fn node(&self) -> &Node {
        &self.inner.node
    }

    /// The incarnation of a session's log.
    pub fn epoch(&self, key: &SessionKey) -> Epoch {
        self.node().epoch(key)
    }

    /// Whether the log can't be asked for what sessions in use lack. Never where a tail loses nothing.
    pub fn log_away(&self) -> watch::Receiver<bool> {
        self.inner.log_away.subscribe()
    }

    /// Sessions in use whose log didn't answer when it was last asked what they lack. That nothing is heard of them means nothing. Here one
    /// failure is enough, where [`Self::log_away`] waits for a second.
    pub fn unheard(&self) -> Arc<HashSet<SessionKey>> {
        Arc::clone(&self.inner.unheard.borrow())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Has a command judged. The receipt is the fold's verdict at the command's offset, after the log has made it durable (I9).
    /// A repetition with the same id is safe and says what became of the first.
    ///
    /// `if_last`: only if this is still the session's last offset. `at_least`: this node must have reached it first.
    pub async fn submit(
        &self,
        key: &SessionKey,
        command: Command,
        if_last: Option<Offset>,
        at_least: Offset,
    ) -> Result<Receipt, SubmitError> {
        let submit = |reply| Msg::Submit(Box::new(Submit { command: command.clone(), if_last, at_least, sure: false, reply }));
        self.ask(key, submit).await.written()
    }

    /// Appends what an attempt says. Acknowledged when the log has it; a producer that was fenced or cancelled is told so.
    pub async fn produce(
        &self,
        key: &SessionKey,
        output: Output,
        at_ms: u64,
        by: Option<String>,
    ) -> Result<Receipt, SubmitError> {
        let produce =
            |reply| Msg::Produce(Box::new(Produce { output: output.clone(), at_ms, by: by.clone(), sure: false, reply }));
        self.ask(key, produce).await.written()
    }

    /// Begins to read a session. News is signalled to `inbox` as `slot`.
    pub async fn subscribe(
        &self,
        key: &SessionKey,
        request: Subscribe,
        inbox: &Arc<Inbox>,
        slot: u32,
    ) -> Result<Subscribed, SubscribeError> {
        if let Start::Replay(at) = request.start {
            return self.replay(key, request, at, inbox, slot).await;
        }
        let Answer { attachment, how, head, snapshot, .. } = self.attach(key, request, inbox, slot).await?;
        let subscription = Subscription::new(self.clone(), key.clone(), request, Arc::clone(inbox), slot, attachment, None);
        Ok(Subscribed { how, cursor: subscription.cursor(), head, snapshot, subscription })
    }

    /// A reader of the past: the state at an offset, then every record up to now, then what comes.
    async fn replay(
        &self,
        key: &SessionKey,
        request: Subscribe,
        at: Offset,
        inbox: &Arc<Inbox>,
        slot: u32,
    ) -> Result<Subscribed, SubscribeError> {
        let folded = state_at(self.node(), key, at).await?;
        let position = folded.offset;
        let request = Subscribe { start: Start::Replay(position), ..request };
        let Answer { attachment, head, .. } = self.attach(key, request, inbox, slot).await?;
        let cursor = self.node().cursor(key, position);
        let snapshot = self.encode_snapshot(key, &folded, request, cursor);
        let replay = Some(Box::new(folded));
        let subscription = Subscription::new(self.clone(), key.clone(), request, Arc::clone(inbox), slot, attachment, replay);
        Ok(Subscribed { how: crate::How::Fresh, cursor, head, snapshot: Some(snapshot), subscription })
    }

    fn encode_snapshot(&self, key: &SessionKey, folded: &Folded, request: Subscribe, cursor: Cursor) -> Arc<[u8]> {
        let (view, older) = folded.state.view().window(request.window);
        let frame = crate::SnapshotFrame { session: &key.session, cursor, view: &view, older };
        let mut bytes = Vec::new();
        self.node().codec(request.format).snapshot(&frame, &mut bytes);
        Arc::from(bytes)
    }

    pub(crate) async fn attach(
        &self,
        key: &SessionKey,
        request: Subscribe,
        inbox: &Arc<Inbox>,
        slot: u32,
    ) -> Result<Answer, SubscribeError> {
        let every_delta = match request.mode {
            Mode::Deltas => Some(request.format),
            Mode::Full => None,
        };
        let signal = Arc::new(Signal::new(Arc::clone(inbox), slot, every_delta));
        for _ in 0..TRIES {
            let slot = self.slot(key).await?;
            let (reply, answer) = oneshot::channel();
            let Subscribe { start, format, mode, window } = request;
            let attach = Attach { start, format, mode, window, signal: Arc::clone(&signal), sure: false, reply };
            if slot.actor.send_message(Msg::Attach(Box::new(attach))).is_err() {
                continue;
            }
            if let Ok(answer) = answer.await {
                let answer = answer?;
                signal.stand_at(answer.position);
                return Ok(answer);
            }
        }
        Err(HostError::Busy.into())
    }

    /// A session's state, not older than `at_least`, with its newest `window` messages.
    pub async fn look(&self, key: &SessionKey, at_least: Offset, window: usize) -> Result<Looked, HostError> {
        self.ask(key, |reply| Msg::Look(Look { at_least, sure: false, window, reply })).await.answer
    }

    /// The same, not older than what the log's leader has now: what a state doesn't show was not there.
    pub async fn look_newest(&self, key: &SessionKey, window: usize) -> Result<Looked, HostError> {
        // No state is as new as that, so the leader is asked.
        self.look(key, Offset(u64::MAX), window).await
    }

    /// A session's state at an offset of its past, folded for this call.
    pub async fn look_at(&self, key: &SessionKey, at: Offset, window: usize) -> Result<Looked, HostError> {
        let folded = state_at(self.node(), key, at).await?;
        let (view, older) = folded.state.view().window(window);
        let cursor = self.node().cursor(key, folded.offset);
        let attempt = folded.state.current_attempt().map(|(attempt, seq)| (attempt.clone(), seq));
        let tokens = tokens(folded.state.view());
        Ok(Looked { view, older, offset: folded.offset, cursor, attempt, degraded: folded.degraded, tokens })
    }

    /// Records after `after` as they were stored, at most `records_max`, and whether that is all.
    pub async fn records(
        &self,
        key: &SessionKey,
        after: Offset,
        records_max: usize,
    ) -> Result<(Vec<StoredRecord>, bool), HostError> {
        not_erased(self.node(), key).await?;
        history(self.node(), key, after, records_max).await
    }

    /// Resolves when the attempt is no longer the run's current one: the run has ended, was cancelled, or another attempt took over.
    /// `None` when the session left this node's memory: ask again.
    pub async fn attempt_over(&self, key: &SessionKey, run: &RunId, attempt: &AttemptId) -> Option<Run> {
        let slot = self.slot(key).await.ok()?;
        let (reply, answer) = oneshot::channel();
        let watch = WatchRun { run: run.clone(), attempt: attempt.clone(), reply };
        slot.actor.send_message(Msg::WatchRun(watch)).ok()?;
        answer.await.ok()
    }

    /// Says that somebody is here and what they do, until it is said again or the time is up. `None`: they have left.
    /// Shown to readers on every node, never logged. False when the session's list is full.
    pub async fn set_presence(&self, key: &SessionKey, who: &str, doing: Option<&str>) -> Result<bool, HostError> {
        let slot = self.slot(key).await?;
        Ok(slot.feed.set_presence(who, doing.unwrap_or_default()).is_ok())
    }

    /// Waits until the session's row tells of everything up to `upto`.
    pub async fn settle(&self, key: &SessionKey, upto: Offset) -> Result<(), HostError> {
        let slot = self.slot(key).await?;
        let (reply, answer) = oneshot::channel();
        slot.actor.send_message(Msg::Settle(upto, reply)).map_err(|_| HostError::Busy)?;
        answer.await.unwrap_or(Err(HostError::Busy))
    }

    /// Whether a session is in this node's memory: its observer knows what has become of its runs.
    pub fn hosts(&self, key: &SessionKey) -> bool {
        self.inner.directory.get(key).is_some()
    }

    /// Who reads a session on this node at the moment.
    pub fn readers(&self, key: &SessionKey) -> usize {
        self.inner.directory.get(key).map_or(0, |slot| slot.feed.readers())
    }

    /// Figures of this node.
    pub fn stats(&self) -> Stats {
        let slots = self.inner.directory.all();
        let sum = |mut stats: Stats, slot: &Slot| {
            stats.readers += slot.feed.readers();
            stats.bytes += slot.feed.bytes.load(Ordering::Relaxed);
            stats
        };
        slots.iter().fold(Stats { sessions: slots.len(), ..Stats::default() }, sum)
    }

    /// Lets every session keep its state and go. New requests are refused from now on; readers see [`Ended::Gone`].
    /// Returns whether all had gone by the deadline.
    pub async fn drain(&self, deadline: Instant) -> bool {
        self.inner.draining.store(true, Ordering::Release);
        loop {
            let freed = self.inner.directory.freed();
            for slot in self.inner.directory.all() {
                slot.feed.end(Ended::Gone);
                // An actor that has ended needs no message.
                let _ = slot.actor.send_message(Msg::Drain);
            }
            if self.inner.directory.len() == 0 {
                return true;
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return self.inner.directory.len() == 0;
            }
        }
    }

    /// Sends without bringing the session into memory.
    pub(crate) fn tell(&self, key: &SessionKey, message: Msg) -> bool {
        self.inner.directory.get(key).is_some_and(|slot| slot.actor.send_message(message).is_ok())
    }

    /// Sends a request and waits for its answer; where an actor ended under it, the next one is asked.
    async fn ask<T, E: From<HostError>>(
        &self,
        key: &SessionKey,
        request: impl Fn(oneshot::Sender<Result<T, E>>) -> Msg,
    ) -> Asked<T, E> {
        let mut was_taken = false;
        for _ in 0..TRIES {
            let slot = match self.slot(key).await {
                Ok(slot) => slot,
                Err(error) => return Asked { answer: Err(error.into()), was_taken },
            };
            let (reply, answer) = oneshot::channel();
            if slot.actor.send_message(request(reply)).is_err() {
                continue;
            }
            if let Ok(answer) = answer.await {
                return Asked { answer, was_taken };
            }
            was_taken = true;
        }
        Asked { answer: Err(HostError::Busy.into()), was_taken }
    }

    /// The session's actor, brought into memory if need be.
    async fn slot(&self, key: &SessionKey) -> Result<Slot, HostError> {
        let directory = &self.inner.directory;
        loop {
            let freed = directory.freed();
            if self.is_draining() {
                return Err(HostError::Draining);
            }
            if let Some(slot) = directory.get(key) {
                return Ok(slot);
            }
            if let Some(slot) = self.spawn(key).await? {
                return Ok(slot);
            }
            freed.await;
        }
    }

    /// A new actor; `None` while the old one is on its way out.
    async fn spawn(&self, key: &SessionKey) -> Result<Option<Slot>, HostError> {
        let Inner { node, directory, supervisors, births, .. } = &*self.inner;
        let _turn = births[shard(key)].lock().await;
        if let Some(slot) = directory.get(key) {
            return Ok(Some(slot));
        }
        if directory.len() >= node.config.sessions_max {
            return Err(HostError::Busy);
        }
        let presence = PresenceLimits { entries_max: node.config.presence_max, ttl: node.config.presence_ttl };
        let feed = Arc::new(Feed::new(node.ports.codecs.len(), presence));
        let birth = Birth { key: key.clone(), node: Arc::clone(node), feed: Arc::clone(&feed), directory: Arc::clone(directory) };
        let supervisor = supervisors[shard(key)].get_cell();
        let (actor, _) = Actor::spawn_linked(None, SessionActor, birth, supervisor)
            .await
            .map_err(|error| HostError::Unavailable(Arc::new(error)))?;
        if directory.claim(key, actor.clone(), Arc::clone(&feed)) {
            feed.join(key, &*node.ports.neighbours);
            return Ok(directory.get(key));
        }
        // The old actor still has the slot.
        actor.stop(None);
        Ok(None)
    }
}

/// What a request came to.
struct Asked<T, E> {
    answer: Result<T, E>,
    /// An actor had it before the one that answered, and ended without a word.
    was_taken: bool,
}

impl Asked<Receipt, SubmitError> {
    /// Whoever ended without a word may have appended it, whatever is said of another try.
    fn written(self) -> Result<Receipt, SubmitError> {
        match self.answer {
            Err(SubmitError::Host(_) | SubmitError::Overloaded) if self.was_taken => Err(SubmitError::Unknown),
            answer => answer,
        }
    }
}

fn shard(key: &SessionKey) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % SUPERVISORS as u64).unwrap_or(0)
}

/// Until the node is dropped: lets go of idle sessions and has overdue requests answered.
async fn sweep(inner: std::sync::Weak<Inner>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        sweep_once(&inner);
    }
}

fn sweep_once(inner: &Inner) {
    let config = &inner.node.config;
    let now = Instant::now();
    let mut slots = inner.directory.all();
    let mut bytes = 0;
    for slot in &slots {
        bytes += slot.feed.bytes.load(Ordering::Relaxed);
        slot.feed.tend_presence(now);
        if slot.feed.waiting.load(Ordering::Relaxed) > 0 {
            let _ = slot.actor.send_message(Msg::Sweep);
        }
    }
    metrics::gauge!("fanfold_session_hosted").set(slots.len() as f64);
    metrics::gauge!("fanfold_session_bytes").set(bytes as f64);
    // They are leaving already.
    if inner.draining.load(Ordering::Acquire) {
        return;
    }
    let mut count = slots.len();
    slots.retain(|slot| slot.feed.readers() == 0 && !slot.feed.has_runs.load(Ordering::Relaxed));
    // Read once each: what is used meanwhile must not change the order under the sort, which panics at that.
    slots.sort_by_cached_key(|slot| slot.feed.used_at());
    for slot in slots {
        let idle = now.duration_since(slot.feed.used_at()) >= config.idle_after;
        // A tenth of the places is kept free, so that sessions nobody reads don't lock others out.
        let crowded = bytes > config.bytes_max || count > config.sessions_max - config.sessions_max / 10;
        if !idle && !crowded {
            break;
        }
        count -= 1;
        bytes = bytes.saturating_sub(slot.feed.bytes.load(Ordering::Relaxed));
        let _ = slot.actor.send_message(Msg::Passivate);
    }
}
