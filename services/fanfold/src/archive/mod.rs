//! Carries records from the log into the archive, and lets the log go of them.
//!
//! ```text
//! log ──notices──▶ gather ──enough, quiet or old──▶ write: segments → row → hints ──▶ done ──▶ floor ──later──▶ trim
//!                    ▲                                 │
//!                    └──────── failed: later ──────────┘
//! ```
//!
//! Only the log's notices and the archive itself are gone by: a session is written from where its archive ends to where its log ends.
//! So any number of nodes may archive at once, and whatever was done twice costs a look. A store that is away stops nothing but this:
//! the notices stay with the log, and records stay in it.

mod config;
mod gather;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfold_log::{Consumer, EventLog, Ticket};
use fanfold_session::Sessions;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

pub use config::{ArchiveConfig, ArchiveError};

use crate::backend::Store;
use crate::clock;
use crate::erase::Erasures;
use gather::{Gather, Pile};
pub(crate) use write::{Carrier, Failure};

use write::Writer;

/// Notices taken at a time.
const NOTICES_MAX: usize = 4096;

/// Sessions written between two looks at what is new, and of those at one time.
const ROUND_SESSIONS_MAX: usize = 64;
const WRITES_AT_ONCE: usize = 8;

/// Between two looks at what is new: under load notices come many at a time.
const PACE: Duration = Duration::from_millis(25);

/// Longest wait for notices: how late anything else is noticed.
const TICK: Duration = Duration::from_millis(500);

/// Between two trims, and between two looks at the lag.
const TRIM_INTERVAL: Duration = Duration::from_secs(5);

/// Between two signs of life for what is gathered. Nodes that are silent for longer lose it to others.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Sessions that fail in one round before the others aren't tried, which would fail the same way, each after its time. Fewer have
/// troubles of their own.
const FAILURES_MAX: usize = 3;

/// After a failure, before the session, or where many fail, anything is tried again; doubled with each, up to the other.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(200);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);

/// A log as full as this lets go of what is archived, however new.
const FULL: f64 = 0.5;

/// The archiver of a node.
pub struct Archiver {
    consumer: Arc<dyn Consumer>,
    writer: Writer,
    config: ArchiveConfig,
    gather: Gather,
    retry_after: Duration,
    paused_until: Option<Instant>,
    trimmed_at: Option<Instant>,
    alive_at: Instant,
}

impl Archiver {
    /// Works with these; nothing happens before [`Self::run`].
    pub fn new(
        consumer: Arc<dyn Consumer>,
        log: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        sessions: Sessions,
        erasures: Arc<Erasures>,
        config: ArchiveConfig,
    ) -> Self {
        let gather = Gather::new(&config);
        let writer = Writer::new(log, store, sessions, erasures, &config);
        Self {
            consumer,
            writer,
            config,
            gather,
            retry_after: RETRY_AFTER_MIN,
            paused_until: None,
            trimmed_at: None,
            alive_at: Instant::now(),
        }
    }

    /// Archives until the node drains. What is gathered then is noticed again, here or elsewhere.
    pub async fn run(mut self, mut draining: watch::Receiver<bool>) {
        while !*draining.borrow_and_update() {
            tokio::select! {
                () = self.step() => {}
                // A sender that is gone means the same.
                changed = draining.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn step(&mut self) {
        self.take().await;
        if self.paused_until.is_none_or(|until| Instant::now() >= until) {
            self.paused_until = None;
            self.write().await;
        }
        if self.alive_at.elapsed() >= ALIVE_INTERVAL {
            self.alive_at = Instant::now();
            if let Err(error) = self.consumer.working(&self.gather.tickets()).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the log can't be told that the archiver lives");
            }
        }
        if self.trimmed_at.is_none_or(|at| at.elapsed() >= TRIM_INTERVAL) {
            self.trimmed_at = Some(Instant::now());
            self.trim().await;
        }
    }

    async fn take(&mut self) {
        let room = self.gather.room().min(NOTICES_MAX);
        let due_in = match self.paused_until {
            Some(until) => until - Instant::now(),
            None => self.gather.wait(Instant::now(), clock::now_ms()),
        };
        let wait = due_in.min(TICK);
        tokio::time::sleep(PACE).await;
        if room == 0 {
            return tokio::time::sleep(wait).await;
        }
        match self.consumer.take(room, wait).await {
            Ok(notices) => notices.into_iter().for_each(|notice| self.gather.add(notice, Instant::now())),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the log doesn't say what is new");
                metrics::counter!("fanfold_archive_failed_total").increment(1);
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Writes what is due, until so much fails that it concerns all sessions.
    async fn write(&mut self) {
        let due = self.gather.due(Instant::now(), clock::now_ms(), ROUND_SESSIONS_MAX);
        if due.is_empty() {
            return;
        }
        let writer = &self.writer;
        let failed = &AtomicUsize::new(0);
        let written = futures::stream::iter(due).map(|pile| async move {
            let result = match failed.load(Ordering::Relaxed) >= FAILURES_MAX {
                true => Err(Failure::NotTried),
                false => writer.write(&pile).await,
            };
            if matches!(result, Err(Failure::Away(_))) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            (pile, result)
        });
        let written: Vec<(Pile, Result<(), Failure>)> = written.buffer_unordered(WRITES_AT_ONCE).collect().await;
        let mut done = Vec::new();
        for (pile, result) in written {
            self.judge(pile, result, &mut done);
        }
        if failed.load(Ordering::Relaxed) < FAILURES_MAX {
            self.retry_after = RETRY_AFTER_MIN;
        } else {
            self.paused_until = Some(Instant::now() + self.retry_after);
            self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
        }
        if !done.is_empty()
            && let Err(error) = self.consumer.done(done).await
        {
            // It is noticed again, and found archived.
            tracing::warn!(error = &error as &dyn std::error::Error, "the log can't be told what is archived");
            metrics::counter!("fanfold_archive_failed_total").increment(1);
        }
    }

    fn judge(&mut self, mut pile: Pile, result: Result<(), Failure>, done: &mut Vec<Ticket>) {
        let failure = match result {
            Ok(()) => return done.extend(pile.tickets),
            Err(failure) => failure,
        };
        let retry_after = match &failure {
            Failure::NotTried => Duration::ZERO,
            Failure::Early(left) => *left,
            Failure::Away(error) => {
                tracing::warn!(session = %pile.session, error = &**error as &dyn std::error::Error, "not archived yet");
                metrics::counter!("fanfold_archive_failed_total").increment(1);
                pile.failed += 1;
                (RETRY_AFTER_MIN * (1 << pile.failed.min(10))).min(RETRY_AFTER_MAX)
            }
            Failure::Session(error) => {
                tracing::error!(session = %pile.session, error = &**error as &dyn std::error::Error, "session can't be archived");
                metrics::counter!("fanfold_archive_failed_total").increment(1);
                pile.failed += 1;
                RETRY_AFTER_MAX
            }
        };
        self.gather.put_back(pile, Instant::now() + retry_after);
    }

    async fn trim(&mut self) {
        let lag = match self.consumer.lag().await {
            Ok(lag) => lag,
            Err(error) => {
                return tracing::warn!(error = &error as &dyn std::error::Error, "the log doesn't say how far the archive is");
            }
        };
        metrics::gauge!("fanfold_archive_lag_records").set(lag.records as f64);
        let oldest = self.gather.oldest_ms().map_or(0, |oldest| clock::now_ms().saturating_sub(oldest));
        metrics::gauge!("fanfold_archive_lag_seconds").set(oldest as f64 / 1000.0);
        metrics::gauge!("fanfold_archive_log_fullness").set(lag.fullness);
        metrics::counter!("fanfold_archive_looks_total").increment(1);
        let keep_ms = if lag.fullness >= FULL { 0 } else { self.config.keep_ms };
        let before_ms = (clock::now_ms() + 1).saturating_sub(keep_ms);
        if let Err(error) = self.consumer.trim(before_ms).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the log can't let go of what is archived");
            metrics::counter!("fanfold_archive_failed_total").increment(1);
        }
    }
}
