//! Who reads a session, so that news reach them all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::inbox::Signal;

/// The signals of one session's readers. They come and go in constant time, also when all of them go at once.
#[derive(Default)]
pub(crate) struct Readers {
    signals: Mutex<Vec<Arc<Signal>>>,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Signal>>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many there are then.
    pub(crate) fn add(&self, signal: Arc<Signal>) -> usize {
        let mut signals = self.lock();
        signal.place.store(signals.len(), Ordering::Relaxed);
        signals.push(signal);
        signals.len()
    }

    /// Says how many are left.
    pub(crate) fn remove(&self, signal: &Arc<Signal>) -> usize {
        let mut signals = self.lock();
        let place = signal.place.load(Ordering::Relaxed);
        if signals.get(place).is_some_and(|known| Arc::ptr_eq(known, signal)) {
            signals.swap_remove(place);
            if let Some(moved) = signals.get(place) {
                moved.place.store(place, Ordering::Relaxed);
            }
        }
        signals.len()
    }

    /// Wakes them all.
    pub(crate) fn raise(&self) {
        self.lock().iter().for_each(|signal| signal.raise());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leaves_once_whatever_the_order() {
        let readers = Readers::default();
        let signals: Vec<_> = (0..5).map(|slot| Arc::new(Signal::new(Arc::default(), slot))).collect();
        let counts: Vec<_> = signals.iter().map(|signal| readers.add(Arc::clone(signal))).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5]);
        let left: Vec<_> = [1, 1, 4, 0, 4, 3, 2].iter().map(|at| readers.remove(&signals[*at])).collect();
        assert_eq!(left, [4, 4, 3, 2, 2, 1, 0]);
    }
}
