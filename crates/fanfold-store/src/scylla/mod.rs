//! The store on ScyllaDB or Cassandra: any node reads what any other wrote.
//!
//! Rows are immutable: who is late writes another row, and never over a newer one. No lightweight transactions, counters, views or
//! collections; in steady state no row but a note is deleted, and no history is read behind a tombstone. `docs/adr` says why the tables
//! are as they are.

mod archive;
mod call;
mod config;
mod connect;
mod contents;
mod doctor;
mod epochs;
mod erase;
mod error;
mod index;
mod notes;
mod parking;
mod permissions;
mod schema;
mod snapshots;
mod statements;
mod value;
mod words;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use scylla::client::session::Session;
use tokio::time::Instant;

pub use config::{ScyllaCompression, ScyllaConfig, ScyllaConsistency, ScyllaTls};
pub use doctor::{ScyllaFinding, ScyllaReport, ScyllaServer};
pub use epochs::LogEpoch;
pub use error::ScyllaError;
pub use schema::Migrated;

use call::Cql;
use index::{Facts, Newest};
use statements::Statements;

use crate::metric;
use crate::port::{
    Archive, Begun, Contents, Eraser, Erasure, KeptSnapshot, Parked, Parking, Segment, SegmentKey, SessionIndex, SessionPage,
    SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError,
};
use crate::stored::page::Range;
use crate::stored::too_large;
use crate::stored::tries::Process;
use crate::{SEGMENT_BYTES_MAX, SNAPSHOT_BYTES_MAX};

/// Between two tries to prepare what a server does not know yet.
const AGAIN: Duration = Duration::from_millis(300);

/// See the module. Clones share the connections.
#[derive(Clone)]
pub struct ScyllaStore {
    cql: Arc<Cql>,
    statements: Arc<Statements>,
    facts: Arc<Facts>,
    process: Process,
}

impl ScyllaStore {
    /// Makes keyspace and tables, or adds what they lack. May be run again, and by several nodes at once.
    pub async fn migrate(config: &ScyllaConfig) -> Result<Migrated, ScyllaError> {
        schema::migrate(config).await
    }

    /// Looks at every server and at the keyspace, tries what nodes do there, and says what is missing or dangerous. Changes nothing that
    /// anybody reads. `now_ms` is this node's clock: milliseconds since 1970.
    pub async fn doctor(config: &ScyllaConfig, now_ms: impl Fn() -> u64) -> Result<ScyllaReport, ScyllaError> {
        doctor::look(config, now_ms).await
    }

    /// Opens a keyspace that was migrated. Changes nothing in it.
    pub async fn open(config: &ScyllaConfig) -> Result<Self, ScyllaError> {
        let session = connect::connect(config).await?;
        match schema::version(&session, &config.keyspace, Duration::from_millis(config.connect_ms_max)).await? {
            None => return Err(ScyllaError::NotMigrated(config.keyspace.clone())),
            Some(found) if found < schema::VERSION => {
                return Err(ScyllaError::Schema { found, needed: schema::VERSION });
            }
            // Steps leave what older builds use as it is.
            Some(_) => {}
        }
        let statements = prepare(&session, config).await?;
        let (cql, statements) = (Arc::new(Cql::new(session, config)), Arc::new(statements));
        Ok(Self { cql, statements, facts: Arc::default(), process: Process::mint() })
    }
}

/// Right after a migration a server may not know the newest tables yet: it is asked again for a while.
async fn prepare(session: &Session, config: &ScyllaConfig) -> Result<Statements, ScyllaError> {
    let deadline = Instant::now() + Duration::from_millis(config.connect_ms_max);
    loop {
        match Statements::prepare(session, &config.keyspace).await {
            Err(error) if Instant::now() < deadline => {
                tracing::info!(error = &error as &dyn std::error::Error, "statements not prepared yet");
                tokio::time::sleep(AGAIN).await;
            }
            result => return result,
        }
    }
}

#[async_trait::async_trait]
impl SnapshotStore for ScyllaStore {
    async fn put(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError> {
        let bytes = snapshot.state.len();
        if bytes > SNAPSHOT_BYTES_MAX {
            too_large("snapshot");
            return Err(StoreError::TooLarge { bytes, limit: SNAPSHOT_BYTES_MAX });
        }
        metrics::histogram!(metric::SNAPSHOT_BYTES).record(bytes as f64);
        self.put_snapshot(session, snapshot).await
    }

    async fn newest(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.newest_snapshot(session, epoch, fold, upto).await
    }

    async fn prune(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError> {
        self.prune_snapshots(session, keep).await
    }
}

#[async_trait::async_trait]
impl Archive for ScyllaStore {
    async fn put_segment(&self, session: &SessionKey, segment: &Segment) -> Result<(), StoreError> {
        assert!(segment.is_whole(), "I2 contiguous: a segment's name fits its records, and they are in order");
        let bytes = segment.records.iter().map(|(_, _, record)| record.len()).sum::<usize>();
        let put = if bytes > SEGMENT_BYTES_MAX {
            Err(StoreError::TooLarge { bytes, limit: SEGMENT_BYTES_MAX })
        } else {
            self.put_cuts(session, segment.clone()).await
        };
        put.inspect_err(|error| match error {
            StoreError::TooLarge { .. } => too_large("segment"),
            StoreError::Unavailable(_) | StoreError::Overloaded => {}
        })
    }

    async fn records(
        &self,
        session: &SessionKey,
        after: Offset,
        upto: Offset,
        records_max: usize,
    ) -> Result<Vec<(Offset, u64, Bytes)>, StoreError> {
        self.read_records(session, &Range { after, upto, records_max }).await
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, StoreError> {
        self.last_archived(session).await
    }
}

#[async_trait::async_trait]
impl SessionIndex for ScyllaStore {
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        self.put_version(row).await
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let newest = self.newest_row(self.cql.call(), session).await?;
        Ok(newest.map(|newest| match newest {
            Newest::Live(row) | Newest::Erased(row) => row,
        }))
    }

    async fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        self.open_runs(after, rows_max).await
    }

    async fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        if query.rows_max == 0 { Ok(SessionPage::default()) } else { self.list_rows(query).await }
    }
}

#[async_trait::async_trait]
impl Parking for ScyllaStore {
    async fn begin(&self, session: &SessionKey, now_ms: u64) -> Result<Begun, StoreError> {
        self.begin_attempt(session, now_ms).await
    }

    async fn fail(&self, session: &SessionKey, now_ms: u64) -> Result<(), StoreError> {
        self.fail_attempt(session, now_ms).await
    }

    async fn clear(&self, session: &SessionKey) -> Result<(), StoreError> {
        self.clear_attempts(self.cql.call(), session).await
    }

    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        self.put_parked(parked).await
    }

    async fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.drop_parked(session).await
    }

    async fn parked(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        self.parked_page(after, rows_max).await
    }
}

#[async_trait::async_trait]
impl Contents for ScyllaStore {
    async fn sessions(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        self.session_page(after, rows_max).await
    }

    async fn snapshots(&self, session: &SessionKey, rows_max: usize) -> Result<Vec<KeptSnapshot>, StoreError> {
        self.kept_snapshots(session, rows_max).await
    }

    async fn segments(
        &self,
        session: &SessionKey,
        after: Option<&SegmentKey>,
        rows_max: usize,
    ) -> Result<Vec<SegmentKey>, StoreError> {
        self.segment_names(session, after, rows_max).await
    }
}

#[async_trait::async_trait]
impl Eraser for ScyllaStore {
    async fn erase(&self, erasure: &Erasure) -> Result<(), StoreError> {
        self.hide_and_remove(erasure).await
    }

    async fn erase_done(&self, session: &SessionKey) -> Result<(), StoreError> {
        self.remove_for_good(session).await
    }

    async fn is_erasing(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.has_erasure(session).await
    }

    async fn erasures(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Erasure>, StoreError> {
        self.erasure_page(after, rows_max).await
    }
}
