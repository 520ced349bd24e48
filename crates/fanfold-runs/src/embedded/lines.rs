//! Which hint comes next: a line for each session, buckets of sessions, and what is due when. Pure: time comes with each call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;

use fanfold_fold::{RunId, SessionKey, TenantId};

use crate::port::{DeadLetter, Depth, Forgotten, Hint, Lease, LeaseId, Listed, Offered, Place};

/// All hints there are.
#[derive(Debug)]
pub(crate) struct Lines {
    hints_max: usize,
    letters_max: usize,
    lines: BTreeMap<SessionKey, Line>,
    /// Runs in lines.
    open: usize,
    dead: BTreeMap<(SessionKey, RunId), DeadLetter>,
    /// Sessions whose first hint is to be had, by their tenant's bucket.
    buckets: Vec<VecDeque<SessionKey>>,
    /// The bucket whose turn it is.
    turn: usize,
    /// Sessions whose first hint is held back or leased, by when that ends.
    due: BTreeSet<(u64, SessionKey)>,
    leases: HashMap<LeaseId, SessionKey>,
    last_lease: u64,
}

/// A session's hints in the order of offers. Never empty.
#[derive(Debug)]
struct Line {
    head: Head,
    waiting: VecDeque<Waiting>,
    /// Those of `waiting`.
    runs: HashSet<RunId>,
}

/// Where a line's first hint is.
#[derive(Debug)]
enum Head {
    Ready,
    Delayed { until_ms: u64 },
    Leased { id: LeaseId, worker: String, until_ms: u64 },
}

#[derive(Debug)]
struct Waiting {
    hint: Hint,
    deliveries: u32,
}

/// No hint more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

impl Lines {
    pub(crate) fn new(hints_max: usize, letters_max: usize, buckets: usize) -> Self {
        Self {
            hints_max,
            letters_max,
            lines: BTreeMap::new(),
            open: 0,
            dead: BTreeMap::new(),
            buckets: vec![VecDeque::new(); buckets.max(1)],
            turn: 0,
            due: BTreeSet::new(),
            leases: HashMap::new(),
            last_lease: 0,
        }
    }

    pub(crate) fn offer(&mut self, hint: &Hint, now_ms: u64) -> Result<Offered, Full> {
        let in_line = |line: &Line| line.runs.contains(&hint.run);
        if self.lines.get(&hint.session).is_some_and(in_line) || self.dead.contains_key(&(hint.session.clone(), hint.run.clone()))
        {
            return Ok(Offered::Known);
        }
        if self.open >= self.hints_max {
            return Err(Full);
        }
        self.push(hint.clone(), now_ms);
        Ok(Offered::Queued)
    }

    fn push(&mut self, hint: Hint, now_ms: u64) {
        let session = hint.session.clone();
        let line = self.lines.entry(session.clone()).or_insert_with(Line::new);
        line.runs.insert(hint.run.clone());
        line.waiting.push_back(Waiting { hint, deliveries: 0 });
        self.open += 1;
        if line.waiting.len() == 1 {
            self.settle(session, None, now_ms);
        }
    }

    /// The line's first hint is in nobody's hands: when is it to be had? Not before `not_before_ms`, nor the hint's own time.
    fn settle(&mut self, session: SessionKey, not_before_ms: Option<u64>, now_ms: u64) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        let Some(first) = line.waiting.front() else {
            self.lines.remove(&session);
            return;
        };
        let until_ms = not_before_ms.max(first.hint.not_before_ms);
        match until_ms.filter(|until_ms| *until_ms > now_ms) {
            Some(until_ms) => {
                line.head = Head::Delayed { until_ms };
                self.due.insert((until_ms, session));
            }
            None => {
                line.head = Head::Ready;
                let bucket = bucket(&session.tenant, self.buckets.len());
                self.buckets[bucket].push_back(session);
            }
        }
    }

    /// Lets go what is due. Returns how many leases have ended.
    pub(crate) fn advance(&mut self, now_ms: u64) -> usize {
        let mut expired = 0;
        while self.due.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            let Some((_, session)) = self.due.pop_first() else { break };
            if let Some(Line { head: Head::Leased { id, .. }, .. }) = self.lines.get(&session) {
                self.leases.remove(id);
                expired += 1;
            }
            self.settle(session, None, now_ms);
        }
        expired
    }

    /// When there is something to [`Self::advance`].
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Hints that are not buried, and buried ones.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.open, self.dead.len())
    }

    /// The next bucket's next session's first hint.
    pub(crate) fn take(&mut self, worker: &str, until_ms: u64) -> Option<Lease> {
        let buckets = self.buckets.len();
        let bucket = (0..buckets).map(|step| (self.turn + step) % buckets).find(|bucket| !self.buckets[*bucket].is_empty())?;
        self.turn = (bucket + 1) % buckets;
        let session = self.buckets[bucket].pop_front()?;
        let line = self.lines.get_mut(&session)?;
        let first = line.waiting.front_mut()?;
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        first.deliveries = first.deliveries.saturating_add(1);
        let lease = Lease { id, hint: first.hint.clone(), deliveries: first.deliveries };
        line.head = Head::Leased { id, worker: worker.to_owned(), until_ms };
        self.leases.insert(id, session.clone());
        self.due.insert((until_ms, session));
        Some(lease)
    }

    pub(crate) fn extend(&mut self, id: LeaseId, until_ms: u64) -> Result<(), Lost> {
        let session = self.leases.get(&id).ok_or(Lost)?;
        let Some(Line { head: Head::Leased { until_ms: old_ms, .. }, .. }) = self.lines.get_mut(session) else {
            return Err(Lost);
        };
        self.due.remove(&(*old_ms, session.clone()));
        *old_ms = until_ms;
        self.due.insert((until_ms, session.clone()));
        Ok(())
    }

    pub(crate) fn done(&mut self, id: LeaseId, now_ms: u64) -> Result<(), Lost> {
        self.remove(id, now_ms).map(drop)
    }

    pub(crate) fn give_back(&mut self, id: LeaseId, not_before_ms: u64, now_ms: u64) -> Result<(), Lost> {
        let session = self.end_lease(id)?;
        self.settle(session, Some(not_before_ms), now_ms);
        Ok(())
    }

    /// Returns which one is forgotten for it.
    pub(crate) fn bury(&mut self, id: LeaseId, reason: String, now_ms: u64) -> Result<Option<Forgotten>, Lost> {
        let buried = self.remove(id, now_ms)?;
        Ok(self.keep(letter(buried, reason, now_ms)))
    }

    /// I5: of more letters than there may be, the one buried first goes.
    pub(crate) fn keep(&mut self, letter: DeadLetter) -> Option<Forgotten> {
        self.dead.insert((letter.hint.session.clone(), letter.hint.run.clone()), letter);
        if self.dead.len() <= self.letters_max {
            return None;
        }
        let first = self.dead.iter().min_by_key(|(_, letter)| letter.buried_at_ms).map(|(key, _)| key.clone())?;
        self.dead.remove(&first).map(|_| first)
    }

    pub(crate) fn dead_letter(&self, session: &SessionKey, run: &RunId) -> Option<&DeadLetter> {
        self.dead.get(&(session.clone(), run.clone()))
    }

    pub(crate) fn forget(&mut self, session: &SessionKey, run: Option<&RunId>) {
        self.dead.retain(|(of, buried), _| of != session || run.is_some_and(|run| run != buried));
    }

    /// Takes out a hint that nobody has, or buries it. `None` if it wasn't there, else which one is forgotten for it.
    pub(crate) fn withdraw(
        &mut self,
        session: &SessionKey,
        run: &RunId,
        reason: Option<String>,
        now_ms: u64,
    ) -> Option<Option<Forgotten>> {
        let line = self.lines.get_mut(session)?;
        let at = line.waiting.iter().position(|waiting| waiting.hint.run == *run)?;
        if at == 0 && matches!(line.head, Head::Leased { .. }) {
            return None;
        }
        let withdrawn = line.waiting.remove(at)?;
        line.runs.remove(run);
        self.open -= 1;
        if at == 0 {
            self.unsettle(session);
            self.settle(session.clone(), None, now_ms);
        }
        Some(reason.and_then(|reason| self.keep(letter(withdrawn, reason, now_ms))))
    }

    /// The line's first hint is gone: it is neither to be had nor due.
    fn unsettle(&mut self, session: &SessionKey) {
        match self.lines.get(session).map(|line| &line.head) {
            Some(Head::Ready) => {
                let bucket = bucket(&session.tenant, self.buckets.len());
                self.buckets[bucket].retain(|ready| ready != session);
            }
            Some(Head::Delayed { until_ms }) => {
                self.due.remove(&(*until_ms, session.clone()));
            }
            Some(Head::Leased { .. }) | None => {}
        }
    }

    pub(crate) fn redrive(&mut self, session: &SessionKey, run: &RunId, now_ms: u64) -> Result<bool, Full> {
        let key = (session.clone(), run.clone());
        if self.dead.contains_key(&key) && self.open >= self.hints_max {
            return Err(Full);
        }
        let Some(letter) = self.dead.remove(&key) else { return Ok(false) };
        self.push(Hint { not_before_ms: None, ..letter.hint }, now_ms);
        Ok(true)
    }

    /// Takes the leased hint out of its line, whose next one moves up.
    fn remove(&mut self, id: LeaseId, now_ms: u64) -> Result<Waiting, Lost> {
        let session = self.end_lease(id)?;
        let waiting = self.lines.get_mut(&session).and_then(Line::pop).ok_or(Lost)?;
        self.open -= 1;
        self.settle(session, None, now_ms);
        Ok(waiting)
    }

    fn end_lease(&mut self, id: LeaseId) -> Result<SessionKey, Lost> {
        let session = self.leases.remove(&id).ok_or(Lost)?;
        if let Some(Line { head: Head::Leased { until_ms, .. }, .. }) = self.lines.get(&session) {
            self.due.remove(&(*until_ms, session.clone()));
        }
        Ok(session)
    }

    pub(crate) fn depth(&self) -> Depth {
        let delayed = self.lines.values().filter(|line| matches!(line.head, Head::Delayed { .. })).count();
        let leased = self.leases.len();
        Depth { waiting: self.open - delayed - leased, delayed, leased, dead: self.dead.len() }
    }

    pub(crate) fn list(&self, after: Option<(&SessionKey, &RunId)>, hints_max: usize) -> Vec<Listed> {
        let from = after.map_or(Bound::Unbounded, |(session, _)| Bound::Included(session));
        let lines = self.lines.range::<SessionKey, _>((from, Bound::Unbounded));
        let mut listed = Vec::new();
        for (session, line) in lines {
            let skip = |run: &RunId| after.is_some_and(|after| (session, run) <= after);
            let mut hints = line.listed().filter(|listed| !skip(&listed.hint.run)).collect::<Vec<_>>();
            hints.sort_by(|a, b| a.hint.run.cmp(&b.hint.run));
            listed.extend(hints.into_iter().take(hints_max - listed.len()));
            if listed.len() == hints_max {
                break;
            }
        }
        listed
    }

    pub(crate) fn dead_letters(&self, after: Option<(&SessionKey, &RunId)>, letters_max: usize) -> Vec<DeadLetter> {
        let from = after.map_or(Bound::Unbounded, |(session, run)| Bound::Excluded((session.clone(), run.clone())));
        self.dead.range((from, Bound::Unbounded)).map(|(_, letter)| letter.clone()).take(letters_max).collect()
    }
}

impl Line {
    fn new() -> Self {
        Self { head: Head::Ready, waiting: VecDeque::new(), runs: HashSet::new() }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.runs.remove(&first.hint.run);
        Some(first)
    }

    fn listed(&self) -> impl Iterator<Item = Listed> {
        let first = match &self.head {
            Head::Ready => Place::Waiting,
            Head::Delayed { until_ms } => Place::Delayed { until_ms: *until_ms },
            Head::Leased { worker, until_ms, .. } => Place::Leased { worker: worker.clone(), until_ms: *until_ms },
        };
        let places = std::iter::once(first).chain(std::iter::repeat(Place::Waiting));
        self.waiting.iter().zip(places).map(|(waiting, place)| Listed {
            hint: waiting.hint.clone(),
            place,
            deliveries: waiting.deliveries,
        })
    }
}

/// The same for a tenant on every node and in every release.
fn bucket(tenant: &TenantId, buckets: usize) -> usize {
    crc32c::crc32c(tenant.as_str().as_bytes()) as usize % buckets
}
fn letter(Waiting { hint, deliveries }: Waiting, reason: String, now_ms: u64) -> DeadLetter {
    DeadLetter { hint, reason, deliveries, buried_at_ms: now_ms }
}
