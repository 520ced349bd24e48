//! The open runs that a node knows, who has them, and what follows from what happens to them. Pure: time comes with each call, and what
//! is to be done about it is returned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use fanfold_fold::{
    Action, AttemptId, AttemptLost, MessageId, Run, RunFailed, RunId, RunStatus, SessionKey, TenantId, ToolDecided, Waiting,
};
use fanfold_runs::{Hint, LeaseId};
use tokio::time::Instant;

use super::budget::cost;

/// Open runs that a node keeps an eye on. Beyond it a run is still in the log, but waits until its session is touched again.
const RUNS_MAX: usize = 100_000;

/// Things that the queue is to be told. One more is dropped: a hint that was not offered is offered again, and one that was not taken
/// back goes to the next worker, who finds that its run has ended.
const NEWS_MAX: usize = 2 * RUNS_MAX;

/// After an attempt that failed, before the next; doubled with each, up to the other.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Which run of which session.
pub(crate) type Key = (SessionKey, RunId);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// An attempt that says nothing for so long is taken for lost, and so is a lease.
    pub silence_max: Duration,
    /// A run that nobody takes for so long fails.
    pub queued_max: Duration,
}

pub(crate) struct Book {
    patience: Patience,
    runs: HashMap<Key, Kept>,
    open: HashMap<TenantId, usize>,
    news: VecDeque<News>,
}

struct Kept {
    phase: Phase,
    /// The last sign of life of a running attempt; when it began to wait, of a queued run.
    since: Instant,
    /// The last one that the log has, so that every node knows of it.
    logged: Instant,
    held: Option<Held>,
    offered_at: Instant,
    /// Tokens that it was known to have cost.
    cost: u64,
}

/// A worker has its hint.
struct Held {
    lease: LeaseId,
    /// The worker's last sign of life.
    alive: Instant,
    /// The sign of life that the queue knows of.
    extended: Instant,
}

#[derive(PartialEq)]
enum Phase {
    Queued,
    Running(AttemptId),
    /// A person must decide about calls of this reply. The node itself holds the hint meanwhile, so that the session's later runs wait too.
    Waiting(MessageId, Waiting),
}

/// What is to be said of a run whose time is up.
#[derive(Debug, PartialEq)]
pub(crate) struct Overdue {
    pub(crate) key: Key,
    pub(crate) action: Action,
    /// When the run was last heard of.
    since: Instant,
}

/// What the queue is to be told.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// The run waits for a worker.
    Offer(Hint),
    /// Its worker lives: for so long from now.
    Extend(Key, LeaseId, Duration),
    /// Its worker doesn't have it any more, and it goes on.
    GiveBack(LeaseId, Duration),
    /// It has ended, with this code where it failed.
    End(Key, Option<LeaseId>, Option<String>),
}

impl Book {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, runs: HashMap::new(), open: HashMap::new(), news: VecDeque::new() }
    }

    pub(crate) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        } else {
            metrics::counter!("fanfold_runs_untold_total").increment(1);
        }
    }

    /// Open runs of a tenant.
    pub(crate) fn open_of(&self, tenant: &TenantId) -> usize {
        self.open.get(tenant).copied().unwrap_or(0)
    }

    /// A run is new to this node, or has changed. Returns how many tokens it has cost since the last time.
    pub(crate) fn changed(&mut self, session: &SessionKey, run: &Run, now: Instant) -> u64 {
        let key = (session.clone(), run.id.clone());
        // Another attempt counts from the beginning, and what the last one cost stays spent.
        let cost = self.runs.get_mut(&key).map_or(0, |kept| {
            let before = std::mem::replace(&mut kept.cost, cost(run));
            kept.cost.saturating_sub(before)
        });
        self.moved(key, run, now);
        cost
    }

    fn moved(&mut self, key: Key, run: &Run, now: Instant) {
        let phase = match (run.status, &run.attempt) {
            (RunStatus::Queued, _) => Phase::Queued,
            (RunStatus::Running, Some(attempt)) => Phase::Running(attempt.clone()),
            (RunStatus::Waiting, _) => Phase::Waiting(run.reply.clone(), run.waiting.clone().unwrap_or_default()),
            (RunStatus::Running, None) => return,
            (RunStatus::Completed | RunStatus::Cancelled | RunStatus::Failed | RunStatus::Orphaned, _) => {
                return self.ended(key, failure(run));
            }
        };
        let Some(kept) = self.runs.get_mut(&key) else { return self.begin(key, run, phase, now) };
        if kept.phase == phase {
            // Its attempt has said so, or the session is back in memory: what was said while it was not there isn't known.
            if let Phase::Running(_) = phase {
                kept.heard_in_log(now);
            }
            return;
        }
        kept.phase = phase;
        kept.since = now;
        kept.logged = now;
        if kept.phase == Phase::Queued {
            // Its attempt failed, was lost or put down: on to the next worker.
            match kept.held.take() {
                Some(held) => self.tell(News::GiveBack(held.lease, retry_after(run))),
                None => self.tell(News::Offer(Hint::new(key.0, key.1))),
            }
        }
    }

    fn begin(&mut self, key: Key, run: &Run, phase: Phase, now: Instant) {
        if self.runs.len() >= RUNS_MAX {
            metrics::counter!("fanfold_runs_unwatched_total").increment(1);
            return;
        }
        if phase == Phase::Queued {
            self.tell(News::Offer(Hint::new(key.0.clone(), key.1.clone())));
        }
        *self.open.entry(key.0.tenant.clone()).or_default() += 1;
        self.runs.insert(key, Kept { phase, since: now, logged: now, held: None, offered_at: now, cost: cost(run) });
    }

    /// The run has ended, with this code where it failed; or its session is erased.
    pub(crate) fn ended(&mut self, key: Key, failed: Option<String>) {
        let Some(kept) = self.runs.remove(&key) else { return };
        if let Some(open) = self.open.get_mut(&key.0.tenant) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&key.0.tenant);
            }
        }
        self.tell(News::End(key, kept.held.map(|held| held.lease), failed));
    }

    /// The log has something of the current attempt.
    pub(crate) fn worked(&mut self, session: &SessionKey, run: &RunId, now: Instant) {
        if let Some(kept) = self.runs.get_mut(&(session.clone(), run.clone())) {
            kept.heard_in_log(now);
        }
    }

    /// Whoever writes this attempt is alive, though there is nothing to say.
    pub(crate) fn beats(&mut self, key: &Key, attempt: &AttemptId, now: Instant) {
        if let Some(kept) = self.runs.get_mut(key).filter(|kept| kept.phase == Phase::Running(attempt.clone())) {
            kept.heard(now);
        }
    }

    /// Attempts whose workers live, and of which the log has had nothing for a third of the silence that is borne. Other nodes that have
    /// the session hear only what it says.
    pub(crate) fn unheard(&mut self, now: Instant) -> Vec<(SessionKey, AttemptId)> {
        let wait = self.patience.silence_max / 3;
        let mut unheard = Vec::new();
        for ((session, _), kept) in &mut self.runs {
            if let Phase::Running(attempt) = &kept.phase
                && kept.since > kept.logged
                && now.duration_since(kept.logged) >= wait
            {
                unheard.push((session.clone(), attempt.clone()));
                // If this comes to nothing, the next third is time enough.
                kept.logged = now;
            }
        }
        unheard
    }

    /// The runs of a session that are kept here.
    pub(crate) fn kept_of(&self, session: &SessionKey) -> Vec<Key> {
        self.runs.keys().filter(|(of, _)| of == session).cloned().collect()
    }

    /// A worker gets the run's hint, or the node itself for a run that waits for a person. False if the run isn't known here as one that
    /// waits.
    pub(crate) fn hold(&mut self, key: &Key, lease: LeaseId, now: Instant) -> bool {
        match self.runs.get_mut(key) {
            Some(kept) if matches!(kept.phase, Phase::Queued | Phase::Waiting(..)) => {
                kept.held = Some(Held { lease, alive: now, extended: now });
                true
            }
            Some(_) | None => false,
        }
    }

    fn held(&mut self, key: &Key, lease: LeaseId) -> Option<&mut Kept> {
        self.runs.get_mut(key).filter(|kept| kept.held.as_ref().is_some_and(|held| held.lease == lease))
    }

    /// The worker that holds the lease is alive. False if the lease has ended.
    pub(crate) fn alive(&mut self, key: &Key, lease: LeaseId, now: Instant) -> bool {
        let Some(kept) = self.held(key, lease) else { return false };
        match kept.phase {
            Phase::Running(_) | Phase::Waiting(..) => kept.heard(now),
            Phase::Queued => kept.lives(now),
        }
        true
    }

    /// The worker doesn't want the run, or not now. False if the lease had ended.
    pub(crate) fn give_back(&mut self, key: &Key, lease: LeaseId, delay: Duration) -> bool {
        let Some(kept) = self.held(key, lease) else { return false };
        kept.held = None;
        self.tell(News::GiveBack(lease, delay));
        true
    }

    /// The queue says that the lease has ended.
    pub(crate) fn lost(&mut self, key: &Key, lease: LeaseId) {
        if let Some(kept) = self.held(key, lease) {
            kept.held = None;
        }
    }

    /// Nothing could be heard of these sessions up to now: silence before it counts for nothing. Whoever lives says so within a third of
    /// the silence that is borne.
    pub(crate) fn excuse(&mut self, unheard: &HashSet<SessionKey>, now: Instant) {
        if unheard.is_empty() {
            return;
        }
        for ((session, _), kept) in &mut self.runs {
            if unheard.contains(session) {
                // A sign of life that the log lacks is still to be said, and an excuse is none.
                kept.logged = if kept.since > kept.logged { kept.logged } else { now };
                kept.since = now;
            }
        }
    }

    /// What is to be said in the log, as its time is up. It is said again until it is there. `now_ms` is the time that people and other
    /// nodes go by: an approval is waited for across restarts.
    pub(crate) fn overdue(&mut self, now: Instant, now_ms: u64) -> Vec<Overdue> {
        let busy: HashSet<SessionKey> =
            self.runs.iter().filter(|(_, kept)| kept.phase != Phase::Queued).map(|((session, _), _)| session.clone()).collect();
        let mut overdue = Vec::new();
        let mut news = Vec::new();
        for (key, kept) in &mut self.runs {
            match &kept.phase {
                // It waits for the session's other run, not for a worker.
                Phase::Queued if busy.contains(&key.0) => kept.since = now,
                Phase::Queued if now.duration_since(kept.since) >= self.patience.queued_max => {
                    overdue.push(Overdue { key: key.clone(), since: kept.since, action: no_worker(&key.1) });
                }
                Phase::Running(attempt) if now.duration_since(kept.since) >= self.patience.silence_max => {
                    let lost = AttemptLost { run: key.1.clone(), attempt: attempt.clone() };
                    overdue.push(Overdue { key: key.clone(), since: kept.since, action: Action::LoseAttempt(lost) });
                }
                Phase::Waiting(reply, waiting) => {
                    // Nobody else says that it lives.
                    kept.since = now;
                    if now_ms >= waiting.until_ms {
                        let refused = |call: &String| Overdue { key: key.clone(), since: now, action: not_decided(reply, call) };
                        overdue.extend(waiting.calls.iter().map(refused));
                    }
                    if let Some(held) = kept.held.as_mut().filter(|held| now >= held.alive + self.patience.silence_max / 4) {
                        held.alive = now;
                    }
                }
                Phase::Queued | Phase::Running(_) => {}
            }
            news.extend(kept.news(key, &self.patience, now));
        }
        news.into_iter().for_each(|news| self.tell(news));
        overdue
    }

    /// Whether nothing has been heard since that would make it wrong.
    pub(crate) fn is_still(&self, overdue: &Overdue) -> bool {
        self.runs.get(&overdue.key).is_some_and(|kept| kept.since == overdue.since)
    }
}

impl Kept {
    fn heard_in_log(&mut self, now: Instant) {
        self.logged = now;
        self.heard(now);
    }

    fn heard(&mut self, now: Instant) {
        self.since = now;
        self.lives(now);
    }

    /// Whoever has its hint.
    fn lives(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.alive = now;
        }
    }

    /// Signs of life are told to the queue, and a hint that nobody took in the time of a lease is offered again: it may be lost.
    fn news(&mut self, key: &Key, patience: &Patience, now: Instant) -> Option<News> {
        match &mut self.held {
            Some(held) if now.duration_since(held.alive) >= patience.silence_max => {
                self.held = None;
                None
            }
            Some(held) if held.alive > held.extended => {
                held.extended = held.alive;
                let left = (held.alive + patience.silence_max).duration_since(now);
                Some(News::Extend(key.clone(), held.lease, left))
            }
            Some(_) => None,
            None if self.phase == Phase::Queued && now.duration_since(self.offered_at) >= patience.silence_max => {
                self.offered_at = now;
                Some(News::Offer(Hint::new(key.0.clone(), key.1.clone())))
            }
            None => None,
        }
    }
}

fn not_decided(reply: &MessageId, call: &str) -> Action {
    let (message, call, reason) = (reply.clone(), call.to_owned(), "Nobody allowed it in time.".into());
    Action::DecideTool(ToolDecided { message, call, approved: false, reason })
}

fn no_worker(run: &RunId) -> Action {
    let (code, message) = ("no_worker".into(), "No worker took the run in time.".into());
    Action::FailRun(RunFailed { run: run.clone(), code, message })
}

/// The code of a run that has failed for good: an operator may want it tried again.
pub(crate) fn failure(run: &Run) -> Option<String> {
    match run.status {
        RunStatus::Failed | RunStatus::Orphaned => Some(run.error.as_ref().map_or_else(String::new, |error| error.code.clone())),
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Completed | RunStatus::Cancelled => None,
    }
}

/// A worker that went away is replaced at once, and so is one that put the run down until a person had decided; what failed is tried again a little later each time.
fn retry_after(run: &Run) -> Duration {
    match run.error.as_ref().map(|error| error.code.as_str()) {
        Some("worker_lost" | "worker_stopped") | None => Duration::ZERO,
        Some(_) => RETRY_AFTER_MIN.saturating_mul(1 << run.attempts.saturating_sub(1).min(16)).min(RETRY_AFTER_MAX),
    }
}

#[cfg(test)]
mod tests {
    use fanfold_fold::{MessageId, RunError, SessionId};

    use super::*;

    const PATIENCE: Patience = Patience { silence_max: Duration::from_secs(60), queued_max: Duration::from_secs(600) };
    const LEASE: LeaseId = LeaseId(1);

    fn session() -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new("s").unwrap())
    }

    fn run(id: &str, status: RunStatus) -> Run {
        Run {
            id: RunId::new(id).unwrap(),
            prompt: MessageId::new("p").unwrap(),
            reply: MessageId::new("r").unwrap(),
            status,
            model: None,
            attempt: (status != RunStatus::Queued).then(|| AttemptId::new("a").unwrap()),
            attempts: 1,
            attempts_max: 3,
            worker: None,
            finish: None,
            error: None,
            usage: None,
            waiting: None,
            requested_at_ms: 0,
            started_at_ms: None,
            ended_at_ms: None,
            thoughts: Vec::new(),
        }
    }

    fn key(id: &str) -> Key {
        (session(), RunId::new(id).unwrap())
    }

    fn offer(id: &str) -> News {
        News::Offer(Hint::new(session(), RunId::new(id).unwrap()))
    }

    fn news(book: &mut Book) -> Vec<News> {
        std::iter::from_fn(|| book.next_news()).collect()
    }

    #[tokio::test]
    async fn a_hint_that_got_lost_is_offered_again() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Queued), now);
        assert_eq!(news(&mut book), [offer("r1")]);
        assert!(book.overdue(now + PATIENCE.silence_max / 2, 0).is_empty());
        assert_eq!(news(&mut book), []);
        book.overdue(now + PATIENCE.silence_max, 0);
        assert_eq!(news(&mut book), [offer("r1")]);
        // Told by a session that comes back into memory: known.
        book.changed(&session(), &run("r1", RunStatus::Queued), now);
        assert_eq!(news(&mut book), []);
    }

    #[tokio::test]
    async fn signs_of_life_extend_the_lease_and_silence_ends_the_attempt() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Queued), now);
        assert!(book.hold(&key("r1"), LEASE, now));
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        news(&mut book);
        let later = now + PATIENCE.silence_max / 2;
        book.worked(&session(), &key("r1").1, later);
        assert!(book.overdue(later, 0).is_empty());
        assert_eq!(news(&mut book), [News::Extend(key("r1"), LEASE, PATIENCE.silence_max)]);
        assert!(book.overdue(now + PATIENCE.silence_max, 0).is_empty(), "it has spoken since");
        assert!(book.alive(&key("r1"), LEASE, now + PATIENCE.silence_max), "a heartbeat does as well");
        assert!(!book.alive(&key("r1"), LeaseId(2), now + PATIENCE.silence_max), "another's doesn't");
        let end = now + PATIENCE.silence_max * 2;
        assert!(matches!(book.overdue(end, 0).as_slice(), [Overdue { action: Action::LoseAttempt(_), .. }]));
        assert!(!book.alive(&key("r1"), LEASE, end), "the lease has ended with it");
    }

    #[tokio::test]
    async fn a_sign_of_life_goes_into_the_log_when_that_has_heard_nothing_for_a_third_of_the_patience() {
        let (mut book, now, third) = (Book::new(PATIENCE), Instant::now(), PATIENCE.silence_max / 3);
        let attempt = AttemptId::new("a").unwrap();
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        assert_eq!(book.unheard(now + third), [], "nothing was heard here either");
        book.beats(&key("r1"), &AttemptId::new("b").unwrap(), now + third);
        assert_eq!(book.unheard(now + third), [], "of another attempt");
        book.beats(&key("r1"), &attempt, now + third / 2);
        assert_eq!(book.unheard(now + third / 2), [], "the log has something that is newer than that");
        assert_eq!(book.unheard(now + third), [(session(), attempt.clone())]);
        assert_eq!(book.unheard(now + third), [], "once");
        book.beats(&key("r1"), &attempt, now + third * 3 / 2);
        book.worked(&session(), &key("r1").1, now + third * 5 / 3);
        assert_eq!(book.unheard(now + third * 2), [], "it has spoken since");
        assert!(book.overdue(now + third * 4, 0).is_empty(), "and lives for as long after that");
        assert_eq!(book.overdue(now + third * 5, 0).len(), 1);
    }

    #[tokio::test]
    async fn an_attempt_is_not_taken_for_lost_by_what_was_known_before_its_session_left_memory() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        let later = now + PATIENCE.silence_max;
        assert_eq!(book.overdue(later, 0).len(), 1);
        // The session comes back into memory and tells of its open runs.
        book.changed(&session(), &run("r1", RunStatus::Running), later);
        assert!(book.overdue(later, 0).is_empty());
        assert_eq!(book.kept_of(&session()), [key("r1")]);
        book.ended(key("r1"), None);
        assert_eq!((book.kept_of(&session()), book.open_of(&TenantId::default())), (vec![], 0));
    }

    /// A node that hosts a reader hears of the worker on another one by the log alone.
    #[tokio::test]
    async fn silence_while_nothing_could_be_heard_counts_for_nothing() {
        let (mut book, now, third) = (Book::new(PATIENCE), Instant::now(), PATIENCE.silence_max / 3);
        let mine = HashSet::from([session()]);
        let others = HashSet::from([SessionKey::new(TenantId::default(), SessionId::new("other").unwrap())]);
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        let (overdue, again) = (now + third * 3, now + third * 5);
        book.excuse(&others, overdue - third);
        let lost = book.overdue(overdue, 0);
        assert!(book.is_still(&lost[0]), "another session's excuse is not this one's");
        book.excuse(&mine, overdue - third);
        assert!(!book.is_still(&lost[0]));
        assert!(book.overdue(again - third / 2, 0).is_empty());
        assert_eq!(book.unheard(again - third / 2), [], "an excuse is no sign of life");
        let lost = book.overdue(again, 0);
        book.worked(&session(), &key("r1").1, again);
        assert!(!book.is_still(&lost[0]), "it has spoken since");
        // Another shard's sessions may be the only ones that can't be heard.
        book.beats(&key("r1"), &AttemptId::new("a").unwrap(), again + third);
        book.excuse(&mine, again + third);
        assert_eq!(book.unheard(again + third).len(), 1, "who lives still says so");
        // The same for what nobody takes.
        book.changed(&session(), &run("r1", RunStatus::Queued), again);
        book.excuse(&mine, again + PATIENCE.queued_max / 2);
        assert!(book.overdue(again + PATIENCE.queued_max, 0).is_empty());
        assert_eq!(book.overdue(again + PATIENCE.queued_max * 3 / 2, 0).len(), 1);
    }

    #[tokio::test]
    async fn a_run_that_nobody_takes_fails_unless_it_waits_for_another_run() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        book.changed(&session(), &run("r2", RunStatus::Queued), now);
        let later = now + PATIENCE.queued_max;
        book.worked(&session(), &key("r1").1, later);
        assert!(book.overdue(later, 0).is_empty());
        book.changed(&session(), &run("r1", RunStatus::Completed), later);
        assert!(book.overdue(later + PATIENCE.queued_max / 2, 0).is_empty(), "its time begins when it is its turn");
        let overdue = book.overdue(later + PATIENCE.queued_max, 0);
        let [Overdue { action: Action::FailRun(failed), .. }] = &overdue[..] else { panic!("{overdue:?}") };
        assert_eq!(failed.code, "no_worker");
    }

    #[tokio::test]
    async fn an_attempt_that_failed_gives_its_hint_back_and_the_end_takes_it_out() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Queued), now);
        assert_eq!(book.open_of(&TenantId::default()), 1);
        assert!(book.hold(&key("r1"), LEASE, now));
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        assert!(!book.hold(&key("r1"), LeaseId(2), now), "only what waits is given out");
        let error = RunError { code: "overloaded".into(), message: String::new() };
        news(&mut book);
        book.changed(&session(), &Run { error: Some(error.clone()), ..run("r1", RunStatus::Queued) }, now);
        assert_eq!(news(&mut book), [News::GiveBack(LEASE, RETRY_AFTER_MIN)]);
        assert!(book.hold(&key("r1"), LeaseId(2), now));
        book.changed(&session(), &Run { error: Some(error), ..run("r1", RunStatus::Failed) }, now);
        assert_eq!(news(&mut book), [News::End(key("r1"), Some(LeaseId(2)), Some("overloaded".into()))]);
        assert_eq!(book.open_of(&TenantId::default()), 0);
    }

    #[tokio::test]
    async fn a_run_that_waits_for_a_person_keeps_its_place_until_one_decides_or_its_time_is_up() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        book.changed(&session(), &run("r1", RunStatus::Queued), now);
        book.changed(&session(), &run("r2", RunStatus::Queued), now);
        assert!(book.hold(&key("r1"), LEASE, now));
        book.changed(&session(), &run("r1", RunStatus::Running), now);
        let waiting = Waiting { calls: vec!["c".into(), "d".into()], until_ms: 1_000 };
        let waits = Run { waiting: Some(waiting), ..run("r1", RunStatus::Waiting) };
        book.changed(&session(), &waits, now);
        news(&mut book);
        let later = now + PATIENCE.silence_max * 2;
        assert!(book.overdue(later, 999).is_empty(), "nobody is lost, and the next one waits");
        assert!(news(&mut book).contains(&News::Extend(key("r1"), LEASE, PATIENCE.silence_max)), "the node has it");
        let overdue = book.overdue(later, 1_000);
        let refused = |overdue: &Overdue| match &overdue.action {
            Action::DecideTool(decided) => (decided.call.clone(), decided.approved),
            other => panic!("{other:?}"),
        };
        assert_eq!(overdue.iter().map(refused).collect::<Vec<_>>(), [("c".into(), false), ("d".into(), false)]);
        book.changed(&session(), &Run { status: RunStatus::Queued, ..waits }, later);
        assert_eq!(news(&mut book), [News::GiveBack(LEASE, Duration::ZERO)], "whoever is next has it at once");
    }

    #[tokio::test]
    async fn a_run_that_waits_since_before_a_restart_is_held_by_who_finds_its_hint() {
        let (mut book, now) = (Book::new(PATIENCE), Instant::now());
        let waits = Run { waiting: Some(Waiting { calls: vec!["c".into()], until_ms: 1_000 }), ..run("r1", RunStatus::Waiting) };
        book.changed(&session(), &waits, now);
        assert_eq!(news(&mut book), [], "nobody is to take it");
        assert!(book.hold(&key("r1"), LEASE, now));
        assert!(matches!(book.overdue(now, 1_000).as_slice(), [Overdue { action: Action::DecideTool(_), .. }]));
        book.changed(&session(), &run("r1", RunStatus::Cancelled), now);
        assert_eq!(news(&mut book), [News::End(key("r1"), Some(LEASE), None)]);
    }
}
