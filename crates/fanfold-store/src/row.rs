//! Rows and segments as they are stored: maps with named keys, unknown keys skipped.

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use serde::{Deserialize, Serialize};

use crate::port::{Segment, SessionRow};

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRow {
    tenant: TenantId,
    session: SessionId,
    user: Option<String>,
    title: Option<String>,
    status: String,
    opened_at_ms: u64,
    active_at_ms: u64,
    offset: Offset,
    #[serde(default)]
    pub(crate) open_runs: u32,
}

impl From<&SessionRow> for StoredRow {
    fn from(row: &SessionRow) -> Self {
        Self {
            tenant: row.key.tenant.clone(),
            session: row.key.session.clone(),
            user: row.user.clone(),
            title: row.title.clone(),
            status: row.status.clone(),
            opened_at_ms: row.opened_at_ms,
            active_at_ms: row.active_at_ms,
            offset: row.offset,
            open_runs: row.open_runs,
        }
    }
}

impl From<StoredRow> for SessionRow {
    fn from(row: StoredRow) -> Self {
        Self {
            key: SessionKey::new(row.tenant, row.session),
            user: row.user,
            title: row.title,
            status: row.status,
            opened_at_ms: row.opened_at_ms,
            active_at_ms: row.active_at_ms,
            offset: row.offset,
            open_runs: row.open_runs,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredSegment {
    records: Vec<StoredRecord>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    offset: Offset,
    at: u64,
    #[serde(with = "serde_bytes")]
    record: Vec<u8>,
}

impl StoredSegment {
    pub(crate) fn of(segment: &Segment) -> Self {
        let record =
            |(offset, at, record): &(Offset, u64, Bytes)| StoredRecord { offset: *offset, at: *at, record: record.to_vec() };
        Self { records: segment.records.iter().map(record).collect() }
    }

    pub(crate) fn first(&self) -> Option<Offset> {
        self.records.first().map(|record| record.offset)
    }

    pub(crate) fn into_records(self) -> impl Iterator<Item = (Offset, u64, Bytes)> {
        self.records.into_iter().map(|record| (record.offset, record.at, record.record.into()))
    }
}
