//! Rows as they are stored: maps with named keys, unknown keys skipped, sealed.

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use serde::{Deserialize, Serialize};

use super::seal::{open, seal};
use crate::port::{Parked, SessionRow};

/// A row's bytes fail their checksum or aren't a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored row is damaged")]
pub(crate) struct DamagedRow;

/// What is kept as one sealed map.
pub(crate) trait Stored: Sized {
    type As: Serialize + for<'de> Deserialize<'de>;

    fn to_stored(&self) -> Self::As;
    fn from_stored(stored: Self::As) -> Self;

    fn encode(&self, key: &[u8]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        Ok(seal(key, &[&rmp_serde::to_vec_named(&self.to_stored())?]))
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, DamagedRow> {
        let content = open(key, value).ok_or(DamagedRow)?;
        rmp_serde::from_slice(content).map(Self::from_stored).map_err(|_| DamagedRow)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRow {
    tenant: TenantId,
    session: SessionId,
    user: Option<String>,
    title: Option<String>,
    status: String,
    opened_at_ms: u64,
    active_at_ms: u64,
    open_runs: u32,
    offset: Offset,
}

impl Stored for SessionRow {
    type As = StoredRow;

    fn to_stored(&self) -> StoredRow {
        StoredRow {
            tenant: self.key.tenant.clone(),
            session: self.key.session.clone(),
            user: self.user.clone(),
            title: self.title.clone(),
            status: self.status.clone(),
            opened_at_ms: self.opened_at_ms,
            active_at_ms: self.active_at_ms,
            open_runs: self.open_runs,
            offset: self.offset,
        }
    }

    fn from_stored(row: StoredRow) -> Self {
        Self {
            key: SessionKey::new(row.tenant, row.session),
            user: row.user,
            title: row.title,
            status: row.status,
            opened_at_ms: row.opened_at_ms,
            active_at_ms: row.active_at_ms,
            open_runs: row.open_runs,
            offset: row.offset,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredParked {
    tenant: TenantId,
    session: SessionId,
    attempts: u32,
    reason: String,
    parked_at_ms: u64,
}

impl Stored for Parked {
    type As = StoredParked;

    fn to_stored(&self) -> StoredParked {
        StoredParked {
            tenant: self.session.tenant.clone(),
            session: self.session.session.clone(),
            attempts: self.attempts,
            reason: self.reason.clone(),
            parked_at_ms: self.parked_at_ms,
        }
    }

    fn from_stored(parked: StoredParked) -> Self {
        Self {
            session: SessionKey::new(parked.tenant, parked.session),
            attempts: parked.attempts,
            reason: parked.reason,
            parked_at_ms: parked.parked_at_ms,
        }
    }
}
