//! Finds out at start-up whether anything acknowledged is gone.
//!
//! fjall drops the rest of a journal after one flipped byte, without a word; a deleted journal leaves a hole, and a deleted
//! directory an empty store. Tables don't: they have checksums and a manifest that names them all. So only commits that were
//! in journals have to be looked for. Each one left an entry with its offsets; entries after the mark's `settled` must join
//! without a gap and reach its `last`.
//!
//! The cost is one pass over the entries of unsettled commits: about 20 bytes per record plus names and ids, for no more
//! records than the journals hold and the duplicate window spans. Replaying those journals costs more; the bench prints both
//! together.

use std::collections::{BTreeSet, VecDeque};

use fanfold_fold::{Offset, SessionKey};

use super::error::{LOSS_SESSIONS_MAX, Loss, StoreError};
use super::group::Group;
use super::identity::LostRange;
use super::mark::Mark;

/// What a start-up found.
pub(crate) struct Verified {
    /// The last offset in the store: at or above the mark's, if nothing is lost.
    pub(crate) last: Offset,
    /// The last offset of every commit that was found.
    pub(crate) kept: Vec<Offset>,
    /// The commits that reach into the duplicate window.
    pub(crate) recent: VecDeque<Group>,
    /// What is gone.
    pub(crate) loss: Loss,
}

/// Walks the commits after `mark.settled`; keeps those of the last `window` records.
pub(crate) fn verify(
    mark: &Mark,
    window: u64,
    groups: impl Iterator<Item = Result<Result<Group, Offset>, StoreError>>,
) -> Result<Verified, StoreError> {
    let mut found = Verified { last: mark.settled, kept: Vec::new(), recent: VecDeque::new(), loss: Loss::default() };
    let mut sessions = BTreeSet::new();
    for group in groups {
        let Ok(group) = group? else { continue };
        found.lose_upto(Offset(group.first.0.saturating_sub(1)));
        for (_, entry) in group.iter() {
            if sessions.len() < LOSS_SESSIONS_MAX && found.loss.ranges.iter().any(|range| range.contains(entry.previous)) {
                sessions.insert(entry.session.clone());
            }
        }
        found.last = group.last();
        found.kept.push(group.last());
        found.recent.push_back(group);
        while found.recent.front().is_some_and(|group| group.last().0.saturating_add(window) < found.last.0) {
            found.recent.pop_front();
        }
    }
    found.lose_upto(mark.last);
    found.loss.sessions = sessions.into_iter().collect::<Vec<SessionKey>>();
    Ok(found)
}

impl Verified {
    /// Everything after the last commit found and up to here is gone.
    fn lose_upto(&mut self, upto: Offset) {
        if upto > self.last {
            self.loss.ranges.push(LostRange { from: Offset(self.last.0 + 1), upto });
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfold_fold::{Epoch, SessionId, TenantId};

    use super::super::group::Entry;
    use super::*;

    fn session(id: &str) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(id).unwrap())
    }

    fn group(first: u64, entries: &[(&str, u64)]) -> Group {
        let entries =
            entries.iter().map(|(id, previous)| Entry { session: session(id), previous: Offset(*previous), bytes: 0, id: None });
        Group { first: Offset(first), stored_at_ms: 0, bytes_total: 0, entries: entries.collect() }
    }

    #[track_caller]
    fn check(settled: u64, last: u64, groups: &[Group], lost: &[(u64, u64)], sessions: &[&str]) {
        let epoch = Epoch(uuid::Uuid::nil());
        let mark = Mark { epoch, first: Offset(1), last: Offset(last), settled: Offset(settled) };
        let found = verify(&mark, 2, groups.iter().cloned().map(|group| Ok(Ok(group)))).unwrap();
        let lost = lost.iter().map(|(from, upto)| LostRange { from: Offset(*from), upto: Offset(*upto) }).collect::<Vec<_>>();
        assert_eq!(found.loss.ranges, lost);
        assert_eq!(found.loss.sessions, sessions.iter().copied().map(session).collect::<Vec<_>>());
    }

    #[test]
    fn every_gap_is_named() {
        let all = [group(1, &[("a", 0), ("b", 0)]), group(3, &[("a", 1)]), group(4, &[("b", 2), ("a", 3), ("c", 0)])];
        check(0, 6, &all, &[], &[]);
        check(0, 3, &all, &[], &[]);
        check(0, 6, &all[1..], &[(1, 2)], &["a", "b"]);
        check(2, 6, &all[1..], &[], &[]);
        check(0, 6, &[all[0].clone(), all[2].clone()], &[(3, 3)], &["a"]);
        check(0, 6, &all[..2], &[(4, 6)], &[]);
        check(0, 6, &[], &[(1, 6)], &[]);
        check(3, 6, &all[2..], &[], &[]);
        check(2, 7, &all[2..], &[(3, 3), (7, 7)], &["a"]);
    }
}
