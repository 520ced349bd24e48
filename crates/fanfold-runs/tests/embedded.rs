//! The suite of every queue, on the embedded one, under paused time.

use std::sync::Arc;

use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig, RunQueue, conformance};
use tokio::time::Instant;

async fn open() -> (Arc<dyn RunQueue>, ()) {
    let start = Instant::now();
    // A clock that goes with the tests' time.
    let clock = Arc::new(move || 1_773_000_000_000 + start.elapsed().as_millis() as u64);
    let config = EmbeddedRunQueueConfig {
        hints_max: conformance::HINTS_MAX,
        letters_max: conformance::LETTERS_MAX,
        ..EmbeddedRunQueueConfig::default()
    };
    (Arc::new(EmbeddedRunQueue::new(config, clock)), ())
}

fanfold_runs::conformance!(open, start_paused = true);
