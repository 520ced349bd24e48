//! Keeps a session that kills its node, or whose history is gone, from being hydrated again and again wherever its clients go.

use std::fmt::Display;

use fanfold_fold::SessionKey;
use fanfold_store::{Begun, Parked};

use crate::error::HostError;
use crate::hydrate::{Hydrated, unavailable};
use crate::node::Node;

/// Hydrates by way of `hydrate`, unless the session is parked or is parked now. A try is counted before it begins, so that one which
/// ends with the process counts too.
pub(crate) async fn counted(
    node: &Node,
    key: &SessionKey,
    hydrate: impl Future<Output = Result<Hydrated, HostError>>,
) -> Result<Hydrated, HostError> {
    let parking = &node.ports.parking;
    let attempt = match parking.begin(key).await.map_err(unavailable)? {
        Begun::Parked(_) => return Err(HostError::Parked),
        Begun::Attempt(attempt) => attempt,
    };
    let attempts_max = node.config.hydration_attempts_max;
    if attempt > attempts_max {
        return park(node, key, attempts_max, &"it was begun and did not come to an end").await;
    }
    let result = hydrate.await;
    match &result {
        Err(missing @ HostError::Missing { .. }) if attempt == attempts_max => return park(node, key, attempt, missing).await,
        Err(HostError::Missing { .. }) => {}
        // Not the session's fault.
        Ok(_)
        | Err(HostError::Busy | HostError::Draining | HostError::Parked | HostError::Erased { .. } | HostError::Unavailable(_)) => {
            if let Err(error) = parking.clear(key).await {
                tracing::warn!(session = %key, error = &error as &dyn std::error::Error, "hydration stays counted");
            }
        }
    }
    result
}

async fn park(node: &Node, key: &SessionKey, attempts: u32, reason: &(dyn Display + Sync)) -> Result<Hydrated, HostError> {
    let parked = Parked { session: key.clone(), attempts, reason: reason.to_string(), parked_at_ms: (node.ports.clock)() };
    tracing::error!(session = %key, attempts, reason = parked.reason, "session parked");
    metrics::counter!("fanfold_session_parked_total").increment(1);
    node.ports.parking.park(&parked).await.map_err(unavailable)?;
    Err(HostError::Parked)
}
