//! How the readers of each session came to this node: resumed, by a snapshot, or for the first time. For debugging: nothing depends on it,
//! and nothing of it says who they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};
use fanfold_session::{FrameCodec as _, How};
use fanfold_wire::v1;
use tokio::sync::watch;

use super::{Edge, Failure, Framing, subscriptions};
use crate::auth::{Action, Caller};
use crate::clock;

/// Sessions that are remembered, the last ones that somebody came to.
const SESSIONS_MAX: usize = 4096;

/// Arrivals that are remembered of each.
const ARRIVALS_MAX: usize = 32;

/// How long a request for news may wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Readers of this node's sessions. Clones share them.
#[derive(Clone, Default)]
pub struct Readers(Arc<Mutex<Table>>);

/// Sessions that somebody waits for who are not among these. One more isn't waited for.
const EXPECTED_MAX: usize = 4096;

#[derive(Default)]
struct Table {
    sessions: HashMap<SessionKey, Session>,
    /// The one that nobody came to for the longest time is first.
    by_use: BTreeMap<u64, SessionKey>,
    uses: u64,
    /// The versions of those that nobody came to yet, for requests that wait.
    expected: HashMap<SessionKey, watch::Sender<u64>>,
}

#[derive(Default)]
struct Session {
    used: u64,
    /// Which one it is of those that were here under this key: it may be forgotten, and begin anew.
    begun: u64,
    attached: u32,
    counts: BTreeMap<(v1::How, v1::ResetReason), u64>,
    latest: VecDeque<v1::ReaderArrival>,
    arrived: u64,
    /// Counts who came and who left.
    version: watch::Sender<u64>,
}

impl Table {
    fn session(&mut self, key: &SessionKey) -> &mut Session {
        self.uses += 1;
        let used = self.uses;
        if !self.sessions.contains_key(key) && self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.by_use.pop_first();
            oldest.and_then(|(_, key)| self.sessions.remove(&key));
        }
        let session = self.sessions.entry(key.clone()).or_insert_with(|| {
            let version = self.expected.remove(key).unwrap_or_default();
            Session { begun: used, version, ..Session::default() }
        });
        self.by_use.remove(&std::mem::replace(&mut session.used, used));
        self.by_use.insert(used, key.clone());
        session
    }

    /// Tells of news, also where nobody has come yet. Nothing of what is asked for takes the place of what is remembered.
    fn version(&mut self, key: &SessionKey) -> watch::Receiver<u64> {
        if let Some(session) = self.sessions.get(key) {
            return session.version.subscribe();
        }
        if self.expected.len() >= EXPECTED_MAX {
            self.expected.retain(|_, version| !version.is_closed());
        }
        match self.expected.len() < EXPECTED_MAX || self.expected.contains_key(key) {
            true => self.expected.entry(key.clone()).or_default().subscribe(),
            // Its sender is gone, which ends every wait.
            false => watch::Sender::default().subscribe(),
        }
    }
}

/// A reader, for as long as it stays.
pub(crate) struct Attached {
    readers: Readers,
    session: SessionKey,
    begun: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.readers.with(|table| {
            let session = table.sessions.get_mut(&self.session).filter(|session| session.begun == self.begun);
            if let Some(session) = session {
                session.attached -= 1;
                session.version.send_modify(|version| *version += 1);
            }
        });
    }
}

impl Readers {
    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Somebody came. `from`: the offset of their cursor; `offset`: where they go on.
    pub(crate) fn arrive(&self, key: &SessionKey, framing: Framing, how: How, from: Option<Offset>, offset: Offset) -> Attached {
        let (how, reset) = subscriptions::how(how);
        let begun = self.with(|table| {
            let session = table.session(key);
            session.attached += 1;
            *session.counts.entry((how, reset)).or_default() += 1;
            session.arrived += 1;
            if session.latest.len() >= ARRIVALS_MAX {
                session.latest.pop_front();
            }
            session.latest.push_back(v1::ReaderArrival {
                number: session.arrived,
                at_ms: clock::now_ms(),
                transport: framing.name().to_owned(),
                how: how.into(),
                reset_reason: reset.into(),
                from: from.map(|from| from.0),
                offset: offset.0,
            });
            session.version.send_modify(|version| *version += 1);
            session.begun
        });
        Attached { readers: self.clone(), session: key.clone(), begun }
    }
}

impl Edge {
    /// Who reads a session on this node, and how they came. Waits, if asked to, until somebody comes or leaves.
    pub async fn readers(&self, caller: &Caller, request: &v1::ListReadersRequest) -> Result<v1::ListReadersReply, Failure> {
        let key = self.session(caller, Action::Read, &request.session)?;
        let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
        if !wait.is_zero() {
            self.news(&key, request.known, wait).await?;
        }
        let node = self.node.clone();
        Ok(self.readers.with(|table| {
            let Some(session) = table.sessions.get(&key) else {
                return v1::ListReadersReply { node, ..v1::ListReadersReply::default() };
            };
            let count = |(&(how, reset), &count): (&(v1::How, v1::ResetReason), &u64)| v1::ReaderCount {
                how: how.into(),
                reset_reason: reset.into(),
                count,
            };
            v1::ListReadersReply {
                node,
                attached: session.attached,
                version: *session.version.borrow(),
                counts: session.counts.iter().map(count).collect(),
                latest: session.latest.iter().cloned().collect(),
            }
        }))
    }

    /// Waits until somebody comes or leaves. What is forgotten meanwhile ends the wait as well.
    async fn news(&self, key: &SessionKey, known: u64, wait: Duration) -> Result<(), Failure> {
        let mut version = self.readers.with(|table| table.version(key));
        if *version.borrow_and_update() == known {
            let _place = self.connection()?;
            let mut draining = self.draining.clone();
            tokio::select! {
                _ = version.changed() => {}
                _ = draining.wait_for(|draining| *draining) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fanfold_fold::{SessionId, TenantId};

    use super::*;

    fn key(number: usize) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
    }

    fn arrive(readers: &Readers, number: usize) -> Attached {
        readers.arrive(&key(number), Framing::Sse, How::Fresh, None, Offset(1))
    }

    #[test]
    fn the_longest_unused_session_is_forgotten_first() {
        let readers = Readers::default();
        let arrive = |number| arrive(&readers, number);
        let first = arrive(0);
        (1..SESSIONS_MAX).for_each(|number| drop(arrive(number)));
        let again = arrive(0);
        drop(arrive(SESSIONS_MAX));
        readers.with(|table| {
            assert_eq!((table.sessions.len(), table.by_use.len()), (SESSIONS_MAX, SESSIONS_MAX), "I5 bounded");
            assert!(table.sessions.contains_key(&key(0)) && !table.sessions.contains_key(&key(1)));
            assert_eq!(table.sessions[&key(0)].attached, 2);
        });
        drop((first, again));
        (0..ARRIVALS_MAX).for_each(|_| drop(arrive(0)));
        readers.with(|table| {
            let session = &table.sessions[&key(0)];
            assert_eq!((session.attached, session.latest.len(), session.arrived), (0, ARRIVALS_MAX, 34));
        });
    }

    #[test]
    fn who_came_to_a_session_that_was_forgotten_is_not_counted_when_they_leave() {
        let readers = Readers::default();
        let before = arrive(&readers, 0);
        (1..=SESSIONS_MAX).for_each(|number| drop(arrive(&readers, number)));
        readers.with(|table| assert!(!table.sessions.contains_key(&key(0))));
        let _again = arrive(&readers, 0);
        drop(before);
        readers.with(|table| assert_eq!(table.sessions[&key(0)].attached, 1));
    }

    #[test]
    fn who_asks_for_sessions_that_nobody_came_to_makes_nobody_forgotten() {
        let readers = Readers::default();
        let _here = arrive(&readers, 0);
        let mut waiting = readers.with(|table| table.version(&key(1)));
        let asked: Vec<_> = (1..2 * SESSIONS_MAX).map(|number| readers.with(|table| table.version(&key(number)))).collect();
        readers.with(|table| {
            assert_eq!((table.sessions.len(), table.expected.len()), (1, EXPECTED_MAX), "I5 bounded");
        });
        assert!(asked.last().unwrap().has_changed().is_err(), "no place to wait is told at once");
        let _comes = arrive(&readers, 1);
        assert!(waiting.has_changed().unwrap() && *waiting.borrow_and_update() == 1, "who waited is told");
        drop(asked);
        for number in 2 * SESSIONS_MAX..2 * SESSIONS_MAX + 2 {
            drop(readers.with(|table| table.version(&key(number))));
        }
        readers.with(|table| assert!(table.expected.len() <= 2, "who has left makes room"));
    }
}
