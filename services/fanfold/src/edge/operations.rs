//! What operators ask for.

use fanfold_store::Parked;
use fanfold_wire::{ErrorCode, v1};

use super::{Edge, Failure};
use crate::auth::{Action, Caller, authorize};

/// Parked sessions told at a time.
const PARKED_MAX: usize = 1000;

impl Edge {
    /// Sessions of the caller's tenant that no node loads.
    pub async fn parked(&self, caller: &Caller) -> Result<v1::ListParkedReply, Failure> {
        authorize(caller, Action::Operate, None)?;
        let mut sessions = Vec::new();
        let mut after = None;
        loop {
            let page = self.parking.parked(after.as_ref(), PARKED_MAX).await?;
            after = page.last().map(|parked| parked.session.clone());
            sessions.extend(page.iter().filter(|parked| parked.session.tenant == caller.tenant).map(row));
            if page.len() < PARKED_MAX || sessions.len() >= PARKED_MAX {
                sessions.truncate(PARKED_MAX);
                return Ok(v1::ListParkedReply { sessions });
            }
        }
    }

    /// Lets a parked session be tried again.
    pub async fn unpark(&self, caller: &Caller, session: &str) -> Result<v1::UnparkReply, Failure> {
        let key = self.session(caller, Action::Operate, session)?;
        match self.parking.unpark(&key).await? {
            true => Ok(v1::UnparkReply {}),
            false => Err(ErrorCode::SessionNotFound.into()),
        }
    }
}

fn row(parked: &Parked) -> v1::ParkedSession {
    v1::ParkedSession {
        session: parked.session.session.to_string(),
        attempts: parked.attempts,
        reason: parked.reason.clone(),
        parked_at_ms: parked.parked_at_ms,
    }
}
