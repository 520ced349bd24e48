//! When to try again: exponential back-off with full jitter.
//!
//! Source of the method: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use rand::Rng as _;

/// Longest wait of the first try.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait of any try.
const LONGEST: Duration = Duration::from_secs(10);

/// The waits of one connection. Reset it after progress only: a server that accepts and drops is not progress.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait before the next try: anything up to a bound that doubles each time.
    pub fn wait(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// Something was received that had not been there before.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::default();
        for bound_ms in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            assert!(backoff.wait() <= Duration::from_millis(bound_ms));
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
