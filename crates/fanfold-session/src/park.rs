//! Keeps a session that kills its node, or whose history is gone, from being hydrated again and again wherever its clients go.
//!
//! Only what the session did is held against it: a store or a log that is away for a while parks nothing, nor do many nodes that hydrate
//! it at once. So who lives says so, and forgets its tries also when the store takes that only later.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fanfold_fold::SessionKey;
use fanfold_store::{Begun, HYDRATION_SIGN, Parked, StoreError, Tries};
use futures::FutureExt as _;

use crate::error::HostError;
use crate::hydrate::{Hydrated, unavailable};
use crate::node::Node;
use crate::sessions::Inner;

/// Between two tries to forget what the store did not take.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// Sessions whose tries are still to be forgotten. Those beyond stay counted, once for this process, until they come to their end
/// somewhere.
const UNFORGOTTEN_MAX: usize = 10_000;

/// Before a session is parked that others broke off: where the store was away until now, whoever lives has not said so yet.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// What it panicked with may hold a user's text, so that isn't said.
#[derive(Debug, thiserror::Error)]
#[error("its hydration has failed with a bug")]
struct Panicked;

/// Hydrates by way of `hydration`, unless the session is parked or is parked now. A try is noted before it begins, so that one which
/// ends with the process counts too.
pub(crate) async fn counted(
    node: &Node,
    key: &SessionKey,
    hydration: impl Future<Output = Result<Hydrated, HostError>>,
) -> Result<Hydrated, HostError> {
    let before = admitted(node, key).await?;
    let ended = tokio::select! {
        // A bug in the fold is the session's, and ends this try only.
        ended = AssertUnwindSafe(hydration).catch_unwind() => ended,
        never = say_that_it_goes_on(node, key) => match never {},
    };
    match ended {
        Ok(Err(missing @ HostError::Missing { .. })) => {
            let reason = missing.to_string();
            Err(failed(node, key, before, missing, &reason).await)
        }
        Ok(result) => {
            // It has come to its end, or something else than the session is at fault.
            forget(node, key).await;
            result
        }
        Err(_) => Err(failed(node, key, before, unavailable(Panicked), &Panicked).await),
    }
}

/// What speaks against the session, if that isn't too much.
async fn admitted(node: &Node, key: &SessionKey) -> Result<Tries, HostError> {
    let broken_off_max = node.config.hydration_attempts_max;
    let mut tries = begin(node, key).await?;
    if tries.broken_off >= broken_off_max {
        tokio::time::sleep(SECOND_LOOK).await;
        tries = begin(node, key).await?;
    }
    if tries.broken_off >= broken_off_max {
        return Err(park(node, key, tries.broken_off, &"it was begun and did not come to an end").await);
    }
    Ok(tries)
}

async fn begin(node: &Node, key: &SessionKey) -> Result<Tries, HostError> {
    match node.ports.parking.begin(key, (node.ports.clock)()).await {
        Ok(Begun::Attempt(tries)) => {
            // Its own end forgets it now.
            node.unforgotten.remove(key);
            Ok(tries)
        }
        Ok(Begun::Parked(_)) => Err(HostError::Parked),
        Err(error) => {
            // It may be noted, and never begins.
            node.unforgotten.add(key);
            Err(unavailable(error))
        }
    }
}

async fn say_that_it_goes_on(node: &Node, key: &SessionKey) -> Infallible {
    loop {
        tokio::time::sleep(HYDRATION_SIGN).await;
        if let Err(error) = node.ports.parking.begin(key, (node.ports.clock)()).await {
            tracing::debug!(session = %key, error = &error as &dyn std::error::Error, "no sign that its hydration goes on");
        }
    }
}

/// Holds the failure against the session, and parks it if it was one too many. What its callers are told.
async fn failed(node: &Node, key: &SessionKey, before: Tries, error: HostError, reason: &(dyn Display + Sync)) -> HostError {
    let failures = before.failed.saturating_add(1);
    if failures >= node.config.hydration_attempts_max {
        return park(node, key, failures, reason).await;
    }
    if let Err(unnoted) = node.ports.parking.fail(key, (node.ports.clock)()).await {
        tracing::warn!(session = %key, error = &unnoted as &dyn std::error::Error, "failed hydration not counted");
    }
    error
}

async fn park(node: &Node, key: &SessionKey, attempts: u32, reason: &(dyn Display + Sync)) -> HostError {
    let parked = Parked { session: key.clone(), attempts, reason: reason.to_string(), parked_at_ms: (node.ports.clock)() };
    tracing::error!(session = %key, attempts, reason = parked.reason, "session parked");
    metrics::counter!("fanfold_session_parked_total").increment(1);
    match node.ports.parking.park(&parked).await {
        Ok(()) => HostError::Parked,
        Err(error) => unavailable(error),
    }
}

async fn forget(node: &Node, key: &SessionKey) {
    if let Err(error) = node.ports.parking.clear(key).await {
        tracing::warn!(session = %key, error = &error as &dyn std::error::Error, "hydration stays counted for now");
        node.unforgotten.add(key);
    }
}

/// Until the node is dropped: forgets what could not be forgotten at its time.
pub(crate) async fn forget_later(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.node.unforgotten.forget(&inner.node).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "hydrations stay counted for now");
        }
    }
}

/// Sessions that this process has begun to hydrate and does not hydrate, though the store may say so.
#[derive(Default)]
pub(crate) struct Unforgotten(Mutex<HashSet<SessionKey>>);

impl Unforgotten {
    fn lock(&self) -> MutexGuard<'_, HashSet<SessionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, key: &SessionKey) {
        let mut sessions = self.lock();
        if sessions.len() < UNFORGOTTEN_MAX {
            sessions.insert(key.clone());
        } else {
            tracing::warn!(session = %key, "hydration stays counted: too many are to be forgotten");
        }
    }

    fn remove(&self, key: &SessionKey) -> bool {
        self.lock().remove(key)
    }

    /// Up to the first that the store doesn't take.
    async fn forget(&self, node: &Node) -> Result<(), StoreError> {
        let sessions: Vec<_> = self.lock().iter().cloned().collect();
        for session in sessions {
            // One that was begun again meanwhile is forgotten by its own end.
            if !self.remove(&session) {
                continue;
            }
            if let Err(error) = node.ports.parking.clear(&session).await {
                self.add(&session);
                return Err(error);
            }
        }
        Ok(())
    }
}
