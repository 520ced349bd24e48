//! The port: what every queue promises, embedded or distributed.

use std::time::Duration;

use fanfold_fold::{AttemptId, RunId, SessionKey};

/// Bytes of a dead letter's reason. The rest of a longer one is cut off.
pub const REASON_BYTES_MAX: usize = 512;

/// Tells a run that may want a worker. Whether it still does, its session's fold knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The session it belongs to.
    pub session: SessionKey,
    /// Which run of that session.
    pub run: RunId,
    /// The attempt that whoever offered it saw last, if there was one. Only a hint, like all of it.
    pub attempt: Option<AttemptId>,
    /// Milliseconds since 1970, by the queue's clock, before which nobody gets it.
    pub not_before_ms: Option<u64>,
}

impl Hint {
    /// Of a run that can begin at once and has not been tried.
    pub fn new(session: SessionKey, run: RunId) -> Self {
        Self { session, run, attempt: None, not_before_ms: None }
    }
}

/// Names one delivery of a hint. Never issued twice by one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A hint in a worker's hands, until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What to say `extend`, `done`, `give_back` or `bury` of.
    pub id: LeaseId,
    /// The hint.
    pub hint: Hint,
    /// How often it has been handed out, this time included. Says nothing of how often the run was tried.
    pub deliveries: u32,
}

/// What an offer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits now, behind its session's other runs.
    Queued,
    /// The run was known already, be it waiting, leased or buried. Nothing changed.
    Known,
}

/// Where a hint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To be had, as soon as nothing of its session is before it. Where a queue has several nodes: or held by another one.
    Waiting,
    /// Not to be had before this time, in milliseconds since 1970; and nothing of its session behind it.
    Delayed {
        /// When it is.
        until_ms: u64,
    },
    /// In a worker's hands.
    Leased {
        /// Whose, as it called itself.
        worker: String,
        /// When the lease ends, in milliseconds since 1970.
        until_ms: u64,
    },
}

/// A hint as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The hint.
    pub hint: Hint,
    /// Where it is.
    pub place: Place,
    /// How often it was handed out, as far as this node knows.
    pub deliveries: u32,
}

/// A run that nobody is to try again until an operator says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The hint.
    pub hint: Hint,
    /// Why, for an operator. Never holds a user's text; at most [`REASON_BYTES_MAX`].
    pub reason: String,
    /// How often it was handed out.
    pub deliveries: u32,
    /// When it was buried, in milliseconds since 1970.
    pub buried_at_ms: u64,
}

/// How many hints there are of each kind. Where a queue has several nodes, each knows what itself holds or has delayed; what the
/// others do counts as waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Neither delayed nor leased nor buried.
    pub waiting: usize,
    /// Held back until a time.
    pub delayed: usize,
    /// In workers' hands.
    pub leased: usize,
    /// Buried.
    pub dead: usize,
}

/// Why a hint was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// `QueueFull`. The run is in the log, and is to be offered again when there is room.
    #[error("the queue has its {limit} hints")]
    Full {
        /// Hints at most.
        limit: usize,
    },
    /// The queue can't be asked. It may have taken the hint in; offering it again is harmless.
    #[error("the queue is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why something said of a lease had no effect.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It has ended: by time, or because something was said of it before. The hint may be another worker's by now.
    #[error("the lease has ended")]
    Lost,
    /// The queue can't be asked. It may have had its effect.
    #[error("the queue is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why the queue did not answer.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It can't be asked.
    #[error("the queue is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A buried run that went for a newer one.
pub type Forgotten = (SessionKey, RunId);

/// A reason as it is kept, cut between characters.
pub(crate) fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

/// What time it is for a queue.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Clock for F {
    fn now_ms(&self) -> u64 {
        self()
    }
}

/// Hints on their way to workers.
///
/// ```text
///           ┌──────── give_back, or the lease ends ───────┐
///           ▼                                             │
/// offer → waiting in its session's order → take → leased ─┼─ done → gone
///           ▲                                             │
///           └───────── redrive ───────── buried ◄── bury ─┘
///                                           └─ forget → gone
/// ```
///
/// # Contract
///
/// - Of one session at most one hint is leased at a time, in the order of offers. One that is held back holds back those behind it.
/// - Tenants hash into a fixed number of buckets, and buckets are served in turn: one that offers much waits for itself.
/// - `done` is said when the run's terminal event is in the log, and not before.
/// - I5: hints have a limit, and so have buried runs, of which the one buried first is forgotten: nobody who looks after them must
///   not keep new runs from being offered.
#[async_trait::async_trait]
pub trait RunQueue: Send + Sync + 'static {
    /// Takes in a hint, unless the run is known.
    async fn offer(&self, hint: &Hint) -> Result<Offered, OfferError>;

    /// A hint for a worker, for as long as `lease`. Waits up to `wait` for one; `None` if none came. A caller that goes away while it waits
    /// takes none with it.
    async fn take(&self, worker: &str, lease: Duration, wait: Duration) -> Result<Option<Lease>, QueueError>;

    /// The worker is alive: the lease lasts for as long as `lease` from now.
    async fn extend(&self, id: LeaseId, lease: Duration) -> Result<(), LeaseError>;

    /// The run has ended in the log: the hint goes.
    async fn done(&self, id: LeaseId) -> Result<(), LeaseError>;

    /// Not by this worker, or not now: the hint can be had after `delay`, at its place in its session's order.
    async fn give_back(&self, id: LeaseId, delay: Duration) -> Result<(), LeaseError>;

    /// The fold has given the run up, or nobody can carry it out: operators see it, and the session's next run is free to go. Where one is
    /// forgotten for it, and the queue knows which, it says so.
    async fn bury(&self, id: LeaseId, reason: &str) -> Result<Option<Forgotten>, LeaseError>;

    /// The run has ended while nobody had its hint, such as by a cancel: the hint goes or, where a reason is given, is buried.
    /// One that is leased stays with its worker, and one that a queue can't find in its midst is left to whoever takes it next. What is
    /// said of one that is forgotten is as for [`Self::bury`].
    async fn withdraw(&self, session: &SessionKey, run: &RunId, reason: Option<&str>) -> Result<Option<Forgotten>, QueueError>;

    /// How many hints there are.
    async fn depth(&self) -> Result<Depth, QueueError>;

    /// A page of the hints that are not buried, by session and run, from after the given one on.
    async fn list(&self, after: Option<(&SessionKey, &RunId)>, hints_max: usize) -> Result<Vec<Listed>, QueueError>;

    /// A page of the buried ones, by session and run, from after the given one on.
    async fn dead_letters(&self, after: Option<(&SessionKey, &RunId)>, letters_max: usize)
    -> Result<Vec<DeadLetter>, QueueError>;

    /// One buried run, if it is buried.
    async fn dead_letter(&self, session: &SessionKey, run: &RunId) -> Result<Option<DeadLetter>, QueueError>;

    /// Has a run buried that nobody holds, as it was buried before: of a backup, or of a queue that has ended. What is said of one that is
    /// forgotten for it is as for [`Self::bury`].
    async fn keep(&self, letter: &DeadLetter) -> Result<Option<Forgotten>, QueueError>;

    /// Buried runs of a session are buried no more, nor tried again: one of them, or all.
    async fn forget(&self, session: &SessionKey, run: Option<&RunId>) -> Result<(), QueueError>;

    /// Has a buried run tried again, behind its session's other runs, as if it had just been offered. Says whether it was buried. In a
    /// full queue it stays buried: `Unavailable`, for the reason of an offer.
    async fn redrive(&self, session: &SessionKey, run: &RunId) -> Result<bool, QueueError>;
}
