//! Finishes erasures: whoever walks the store's list first. A node that dies in the midst leaves its part to the others.

use std::sync::Arc;
use std::time::Duration;

use fanfold_store::{Erasure, StoreError};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{EraseError, Erasures};
use crate::clock;

/// Erasures read at a time, and of those finished at one time.
const PAGE: usize = 256;
const AT_ONCE: usize = 4;

/// Between two walks: half of the time that late writers are waited for, within these.
const WALK_INTERVAL_MIN: Duration = Duration::from_millis(50);
const WALK_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Walks after a compaction that failed, before the next one: it writes everything there is.
const WALKS_AFTER_FAILURE: u32 = 10;

impl Erasures {
    /// Finishes what is due, until the node drains.
    pub async fn walk(self: Arc<Self>, mut draining: watch::Receiver<bool>) {
        let interval = (self.config.settle() / 2).clamp(WALK_INTERVAL_MIN, WALK_INTERVAL_MAX);
        let mut rest_until = Instant::now();
        while !*draining.borrow_and_update() {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                // A sender that is gone means the same.
                changed = draining.changed() => if changed.is_err() { return },
            }
            match self.walk_once(&mut rest_until).await {
                Ok(()) => {}
                Err(error @ EraseError::Compaction(_)) => {
                    rest_until = Instant::now() + interval * WALKS_AFTER_FAILURE;
                    failed(&error);
                }
                Err(error) => failed(&error),
            }
        }
    }

    /// `rest_until`: when files may be compacted again.
    async fn walk_once(&self, rest_until: &mut Instant) -> Result<(), EraseError> {
        let due = self.due().await?;
        // Files are compacted for many erasures together; until then these aren't done.
        let rested = Instant::now() >= *rest_until;
        if due.is_empty() || (self.compaction.is_some() && !rested) {
            return Ok(());
        }
        let removed = futures::stream::iter(due).map(|erasure| async move {
            let removed = self.remove_all(&erasure).await;
            (erasure, removed)
        });
        let removed: Vec<_> = removed.buffer_unordered(AT_ONCE).collect().await;
        if let Some(compaction) = &self.compaction {
            let began = Instant::now();
            compaction.run().await.map_err(EraseError::Compaction)?;
            *rest_until = began + self.config.compact();
        }
        for (erasure, removed) in removed {
            let done = match removed {
                Ok(_) => self.store.erase_done(&erasure.session).await.map_err(EraseError::Store),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {
                    metrics::counter!("fanfold_erase_done_total").increment(1);
                    tracing::info!(session = %erasure.session, offset = erasure.offset.0, "erasure done");
                }
                Err(error) => failed(&error),
            }
        }
        Ok(())
    }

    /// Those whose late writers have been waited for.
    async fn due(&self) -> Result<Vec<Erasure>, StoreError> {
        let (mut due, mut after, mut pending) = (Vec::new(), None, 0);
        loop {
            let page = self.store.erasures(after.as_ref(), PAGE).await?;
            after = page.last().map(|last| last.session.clone());
            pending += page.len();
            let now_ms = clock::now_ms();
            let end = page.len() < PAGE;
            // I5 bounded: the next walk takes the next ones.
            due.extend(page.into_iter().filter(|erasure| self.done_after_ms(erasure) <= now_ms).take(PAGE - due.len()));
            if end {
                metrics::gauge!("fanfold_erase_pending").set(pending as f64);
                return Ok(due);
            }
        }
    }
}

/// It stays on the list.
pub(crate) fn failed(error: &EraseError) {
    metrics::counter!("fanfold_erase_failed_total").increment(1);
    tracing::warn!(error = error as &dyn std::error::Error, "an erasure is not done yet");
}
