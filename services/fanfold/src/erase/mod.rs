//! Removes erased sessions from log, store and queue, and finishes what another node has begun (docs/adr/0026).
//!
//! ```text
//! log: erased ──▶ store: row and list of erasures ──▶ snapshots, segments ──▶ log ──▶ parked, dead letters │ later ──▶ again ──▶ done
//! │ the node that was asked, at once; else the archiver, which sees every record                           │ any node
//! ```
//!
//! Every step may be taken by several nodes at once and as often as needed, and each leaves the session erased for whoever looks.

mod config;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{CommandId, Event, Offset, Record, SessionErased, SessionKey};
use fanfold_log::{AppendError, EventLog, Expect, ReadError};
use fanfold_runs::QueueError;
use fanfold_store::{Erasure, SessionRow, StoreError};

pub use config::EraseConfig;

pub(crate) use walk::failed;

use crate::backend::{Compaction, Store};
use crate::clock;
use crate::listings::Listings;
use crate::run::graves::Graves;

/// What the row of an erased session says.
const ERASED: &str = "erased";

/// Where erased sessions are removed from.
pub struct Erasures {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    listings: Listings,
    graves: Arc<Graves>,
    compaction: Option<Compaction>,
    config: EraseConfig,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It stands in the log.
    Erased,
    /// Nothing can be read. Writes that were on their way are waited for, until this time in milliseconds since 1970.
    Removed {
        /// When.
        done_after_ms: u64,
    },
    /// These went, too.
    Done {
        /// When that was possible first, in milliseconds since 1970.
        done_after_ms: u64,
    },
}

/// Why a session isn't removed yet.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store.
    #[error("the store has not removed the session")]
    Store(#[from] StoreError),
    /// The log.
    #[error("the log has not removed the session")]
    Log(#[from] ReadError),
    /// The queue.
    #[error("the session's dead letters are not removed")]
    Queue(#[from] QueueError),
    /// The embedded side's files.
    #[error("what was removed is still in the files")]
    Compaction(#[source] std::io::Error),
}

impl Erasures {
    /// Erases in these. `compaction`: of the embedded side, whose files nobody else looks after.
    pub fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        listings: Listings,
        graves: Arc<Graves>,
        compaction: Option<Compaction>,
        config: EraseConfig,
    ) -> Self {
        Self { log, store, listings, graves, compaction, config }
    }

    /// Says in the log that a session is erased, which no node can bring into memory. Its fold judges when one can; it is there.
    pub(crate) async fn say(&self, session: &SessionKey, id: CommandId, by: Option<String>) -> Result<Offset, AppendError> {
        let name = id.to_string();
        let record = Record { command: Some(id), at_ms: clock::now_ms(), by, events: vec![Event::from(SessionErased {})] };
        self.log.append(session, Bytes::from(record.encode()), Expect::Any, Some(&name)).await
    }

    /// Removes what there is of a session that the record at `at` has erased, stored at this time.
    pub(crate) async fn remove(&self, session: &SessionKey, at: Offset, erased_at_ms: u64) -> Result<Stage, EraseError> {
        metrics::counter!("fanfold_erase_begun_total").increment(1);
        tracing::info!(%session, offset = at.0, "session erased");
        self.remove_all(&Erasure { session: session.clone(), offset: at, erased_at_ms }).await
    }

    /// The same for one whose row says that it is erased: what came since goes. `None` if it says nothing of the kind.
    pub(crate) async fn again(&self, row: Option<&SessionRow>) -> Result<Option<Stage>, EraseError> {
        let Some(erasure) = row.and_then(erasure) else { return Ok(None) };
        if self.store.is_erasing(&erasure.session).await? {
            return self.remove_all(&erasure).await.map(Some);
        }
        // The store hides what comes late by itself.
        self.log.erase(&erasure.session, erasure.offset).await?;
        Ok(Some(Stage::Done { done_after_ms: self.done_after_ms(&erasure) }))
    }

    /// The row goes first: from then on every node knows, and one that finds nothing in the log looks there.
    async fn remove_all(&self, erasure: &Erasure) -> Result<Stage, EraseError> {
        let session = &erasure.session;
        self.store.erase(erasure).await?;
        if let Some(row) = self.store.row(session).await? {
            self.listings.tell(&row);
        }
        self.log.erase(session, erasure.offset).await?;
        self.store.unpark(session).await?;
        self.graves.forget_session(session).await?;
        Ok(Stage::Removed { done_after_ms: self.done_after_ms(erasure) })
    }

    fn done_after_ms(&self, erasure: &Erasure) -> u64 {
        erasure.erased_at_ms.saturating_add(self.config.settle_ms)
    }

    /// How long writes that were on their way are still to be waited for.
    pub(crate) fn left(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Erased => self.config.settle(),
            Stage::Removed { done_after_ms } | Stage::Done { done_after_ms } => {
                Duration::from_millis(done_after_ms.saturating_sub(clock::now_ms()))
            }
        }
    }
}

/// What a row says of an erasure.
fn erasure(row: &SessionRow) -> Option<Erasure> {
    let is_erased = row.status == ERASED;
    is_erased.then(|| Erasure { session: row.key.clone(), offset: row.offset, erased_at_ms: row.active_at_ms })
}
