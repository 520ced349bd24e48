//! Everything that a log has, into the archive: before the log lets go of it.

use std::sync::Arc;

use anyhow::Context as _;
use fanfold_fold::SessionKey;
use futures::{StreamExt as _, TryStreamExt as _};

use super::source::Source;
use crate::archive::{ArchiveConfig, Carrier, Failure};

/// Sessions at a time.
const AT_ONCE: usize = 16;

/// Carries the sessions that `concerned` picks. Says how many there were.
pub(crate) async fn carry_all(
    source: &Source,
    config: &ArchiveConfig,
    concerned: impl Fn(&SessionKey) -> bool,
) -> anyhow::Result<usize> {
    let carrier = Carrier::new(Arc::clone(&source.log), Arc::clone(&source.store), source.sessions.clone(), config);
    let mut sessions = source.inventory.sessions().await.context("the log can't be read")?;
    sessions.retain(concerned);
    let carried = futures::stream::iter(&sessions).map(|session| {
        let carrier = &carrier;
        async move {
            match carrier.carry(session).await {
                Ok(()) => Ok(()),
                Err(Failure::Away(error) | Failure::Session(error)) => {
                    Err(anyhow::Error::from_boxed(error).context(format!("session {session} can't be archived")))
                }
                Err(Failure::NotTried | Failure::Early(_)) => unreachable!("each is tried, and none waits"),
            }
        }
    });
    carried.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(sessions.len())
}
