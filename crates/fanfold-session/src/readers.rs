//! Who reads a session, so that news reach them all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::inbox::Signal;

/// Groups of a session's readers. As many threads can serve a large audience.
pub(crate) const GROUPS: usize = 4;

/// One session's readers, spread over groups. They come and go in constant time, also when all of them go at once.
#[derive(Default)]
pub(crate) struct Readers {
    pub(crate) groups: [Group; GROUPS],
    count: AtomicUsize,
    /// Which group the next one comes to.
    next: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Group {
    signals: Mutex<Vec<Arc<Signal>>>,
    /// Times that there was something new for the group since its writer last had brought everything. Zero: no writer is at work.
    pub(crate) news: AtomicUsize,
}

impl Readers {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, signal: Arc<Signal>) {
        let group = self.next.fetch_add(1, Ordering::Relaxed) % GROUPS;
        let mut signals = self.groups[group].lock();
        signal.place.store(group + signals.len() * GROUPS, Ordering::Relaxed);
        signals.push(signal);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Says how many are left.
    pub(crate) fn remove(&self, signal: &Arc<Signal>) -> usize {
        let group = signal.place.load(Ordering::Relaxed) % GROUPS;
        let mut signals = self.groups[group].lock();
        let place = signal.place.load(Ordering::Relaxed) / GROUPS;
        if !signals.get(place).is_some_and(|known| Arc::ptr_eq(known, signal)) {
            return self.count();
        }
        signals.swap_remove(place);
        if let Some(moved) = signals.get(place) {
            moved.place.store(group + place * GROUPS, Ordering::Relaxed);
        }
        self.count.fetch_sub(1, Ordering::AcqRel) - 1
    }

    /// Wakes them all.
    pub(crate) fn raise(&self) {
        for group in &self.groups {
            group.lock().iter().for_each(|signal| signal.raise());
        }
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Signal>>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends up to `count` signals from before place `end` to `some`, and says at which place they begin.
    pub(crate) fn before(&self, end: usize, count: usize, some: &mut Vec<Arc<Signal>>) -> usize {
        let signals = self.lock();
        let end = end.min(signals.len());
        let begin = end.saturating_sub(count);
        some.extend_from_slice(&signals[begin..end]);
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(count: u32) -> (Readers, Vec<Arc<Signal>>) {
        let readers = Readers::default();
        let signals: Vec<_> = (0..count).map(|slot| Arc::new(Signal::new(Arc::default(), slot, None))).collect();
        signals.iter().for_each(|signal| readers.add(Arc::clone(signal)));
        assert_eq!(readers.count(), signals.len());
        (readers, signals)
    }

    #[test]
    fn each_leaves_once_whatever_the_order() {
        let (readers, signals) = readers(9);
        let left: Vec<_> = [1, 1, 4, 0, 4, 8, 5, 3, 2, 7, 6].iter().map(|at| readers.remove(&signals[*at])).collect();
        assert_eq!(left, [8, 8, 7, 6, 6, 5, 4, 3, 2, 1, 0]);
        assert!(readers.groups.iter().all(|group| group.lock().is_empty()));
    }

    #[test]
    fn a_round_passes_over_nobody_though_others_leave() {
        let (readers, signals) = readers(40);
        let group = &readers.groups[0];
        let mut seen = Vec::new();
        let mut left = group.before(usize::MAX, 3, &mut seen);
        // The last, one that was seen, and one that was not: each leaves its place to another.
        let gone = [&signals[36], &signals[28], &signals[4]];
        gone.iter().for_each(|signal| _ = readers.remove(signal));
        while left > 0 {
            left = group.before(left, 3, &mut seen);
        }
        for signal in signals.iter().step_by(GROUPS).filter(|signal| !gone.iter().any(|gone| Arc::ptr_eq(gone, signal))) {
            assert!(seen.iter().any(|seen| Arc::ptr_eq(seen, signal)), "passed over");
        }
    }
}
