//! Decides which appends are stored and at which offset. Keeps where sessions end and which append ids came lately.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fanfold_fold::{Offset, SessionKey};

use super::group::Group;
use crate::Expect;

/// What becomes of one append, once the commit it is in is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Stored at `offset`, after `previous`.
    Store { offset: Offset, previous: Offset },
    /// Already stored there.
    Repeated(Offset),
    /// Not stored: the session ends at `last`.
    Conflict { last: Offset },
}

pub(crate) struct Ledger {
    next: Offset,
    heads: Heads,
    window: Window,
}

impl Ledger {
    /// `next` is the first offset to issue.
    pub(crate) fn new(next: Offset, heads_max: usize, window_records: usize) -> Self {
        assert!(next > Offset::NONE, "no record is at Offset::NONE");
        Self { next, heads: Heads::new(heads_max), window: Window::new(window_records) }
    }

    /// The last offset issued.
    pub(crate) fn last(&self) -> Offset {
        Offset(self.next.0 - 1)
    }

    /// Takes in a commit of an earlier run of the process, in order.
    pub(crate) fn remember(&mut self, group: &Group) {
        for (offset, entry) in group.iter() {
            self.heads.set(&entry.session, offset);
            if let Some(id) = &entry.id {
                self.window.remember(&entry.session, id, offset);
            }
        }
    }

    /// Decides one append. `stored` finds the end of a session that isn't in memory.
    pub(crate) fn decide<E>(
        &mut self,
        session: &SessionKey,
        expect: Expect,
        id: Option<&Arc<str>>,
        stored: impl FnOnce() -> Result<Offset, E>,
    ) -> Result<Decision, E> {
        if let Some(offset) = id.and_then(|id| self.window.find(session, id, self.next)) {
            return Ok(Decision::Repeated(offset));
        }
        let last = match self.heads.get(session) {
            Some(last) => last,
            None => stored()?,
        };
        let met = match expect {
            Expect::Any => true,
            Expect::Empty => last == Offset::NONE,
            Expect::Last(expected) => last == expected,
        };
        if !met {
            self.heads.set(session, last);
            return Ok(Decision::Conflict { last });
        }
        let offset = self.next;
        assert!(offset > last, "offsets grow: {offset} after {last}");
        self.next = Offset(offset.0 + 1);
        self.heads.set(session, offset);
        if let Some(id) = id {
            self.window.remember(session, id, offset);
        }
        Ok(Decision::Store { offset, previous: last })
    }
}

/// Where sessions end. Two generations: when the young one is full, the old one is forgotten, and what was used stays.
struct Heads {
    max: usize,
    young: HashMap<SessionKey, Offset>,
    old: HashMap<SessionKey, Offset>,
}

impl Heads {
    fn new(max: usize) -> Self {
        Self { max: max.max(2), young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&self, session: &SessionKey) -> Option<Offset> {
        self.young.get(session).or_else(|| self.old.get(session)).copied()
    }

    fn set(&mut self, session: &SessionKey, offset: Offset) {
        if let Some(head) = self.young.get_mut(session) {
            *head = offset;
            return;
        }
        if self.young.len() >= self.max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(session.clone(), offset);
    }
}

/// Append ids of the last records.
struct Window {
    records: u64,
    order: VecDeque<(Offset, SessionKey, Arc<str>)>,
    offsets: HashMap<(SessionKey, Arc<str>), Offset>,
}

impl Window {
    fn new(records: usize) -> Self {
        Self { records: records as u64, order: VecDeque::new(), offsets: HashMap::new() }
    }

    fn find(&self, session: &SessionKey, id: &Arc<str>, next: Offset) -> Option<Offset> {
        let offset = *self.offsets.get(&(session.clone(), id.clone()))?;
        (next.0 - offset.0 <= self.records).then_some(offset)
    }

    fn remember(&mut self, session: &SessionKey, id: &Arc<str>, offset: Offset) {
        self.order.push_back((offset, session.clone(), id.clone()));
        self.offsets.insert((session.clone(), id.clone()), offset);
        while let Some((oldest, _, _)) = self.order.front()
            && offset.0 - oldest.0 >= self.records
        {
            let Some((oldest, session, id)) = self.order.pop_front() else { return };
            let key = (session, id);
            // The same id may have come again after the window: that one counts now.
            if self.offsets.get(&key) == Some(&oldest) {
                self.offsets.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use fanfold_fold::{SessionId, TenantId};

    use super::*;

    fn session(id: &str) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(id).unwrap())
    }

    /// Appends to `id` of a session that is at `stored` on disk.
    fn decide(ledger: &mut Ledger, name: &str, expect: Expect, id: Option<&str>, stored: u64) -> Decision {
        let id = id.map(Arc::from);
        ledger.decide(&session(name), expect, id.as_ref(), || Ok::<_, Infallible>(Offset(stored))).unwrap()
    }

    fn store(offset: u64, previous: u64) -> Decision {
        Decision::Store { offset: Offset(offset), previous: Offset(previous) }
    }

    #[test]
    fn sessions_share_the_counter_and_keep_their_chains() {
        let mut ledger = Ledger::new(Offset(5), 10, 10);
        assert_eq!(decide(&mut ledger, "a", Expect::Empty, None, 0), store(5, 0));
        assert_eq!(decide(&mut ledger, "b", Expect::Any, None, 3), store(6, 3));
        assert_eq!(decide(&mut ledger, "a", Expect::Last(Offset(5)), None, 0), store(7, 5));
        assert_eq!(decide(&mut ledger, "a", Expect::Last(Offset(5)), None, 0), Decision::Conflict { last: Offset(7) });
        assert_eq!(decide(&mut ledger, "b", Expect::Empty, None, 0), Decision::Conflict { last: Offset(6) });
        assert_eq!(ledger.last(), Offset(7));
    }

    #[test]
    fn the_window_ends_after_as_many_records() {
        let mut ledger = Ledger::new(Offset(1), 10, 3);
        assert_eq!(decide(&mut ledger, "a", Expect::Any, Some("x"), 0), store(1, 0));
        assert_eq!(decide(&mut ledger, "b", Expect::Any, Some("x"), 0), store(2, 0), "ids are the session's own");
        assert_eq!(decide(&mut ledger, "a", Expect::Any, None, 0), store(3, 1));
        assert_eq!(decide(&mut ledger, "a", Expect::Empty, Some("x"), 0), Decision::Repeated(Offset(1)));
        assert_eq!(decide(&mut ledger, "a", Expect::Any, None, 0), store(4, 3));
        assert_eq!(decide(&mut ledger, "a", Expect::Any, Some("x"), 0), store(5, 4), "I5 bounded: forgotten");
        assert_eq!(decide(&mut ledger, "a", Expect::Any, Some("x"), 0), Decision::Repeated(Offset(5)));
        for _ in 0..10 {
            decide(&mut ledger, "a", Expect::Any, Some("y"), 0);
            decide(&mut ledger, "a", Expect::Any, None, 0);
        }
        assert!(ledger.window.order.len() <= 3 && ledger.window.offsets.len() <= 3, "I5 bounded");
    }

    #[test]
    fn heads_are_bounded_and_forgetting_one_is_harmless() {
        let mut ledger = Ledger::new(Offset(1), 4, 0);
        for n in 0..100 {
            decide(&mut ledger, &format!("s{n}"), Expect::Any, None, 0);
        }
        assert!(ledger.heads.young.len() + ledger.heads.old.len() <= 4, "I5 bounded");
        assert_eq!(decide(&mut ledger, "s0", Expect::Last(Offset(1)), None, 1), store(101, 1), "asks the store");
    }
}
