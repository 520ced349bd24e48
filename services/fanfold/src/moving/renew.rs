//! A new epoch of a log that many nodes share: after its streams have lost records, or are others than they were.

use anyhow::Context as _;
use fanfold_fold::{Offset, SessionKey};
use fanfold_log::{Inventory as _, JetStreamLog};
use fanfold_store::{Contents, ScyllaStore, SessionIndex, StoreError};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::backup::begin_epoch;
use super::carry::carry_all;
use super::source::{Source, ensure_stopped};
use crate::backend;
use crate::config::Config;

/// Sessions asked for at a time.
const AT_ONCE: usize = 32;

const PAGE: usize = 1000;

/// What began.
#[derive(Debug, Serialize)]
pub(crate) struct Renewed {
    pub(crate) epoch: String,
    /// Below it, or above, each shard begins: none below.
    pub(crate) first_offset: u64,
    pub(crate) carried_sessions: usize,
}

/// What log and store say of each other.
pub(crate) async fn what_is(config: &Config) -> anyhow::Result<Vec<String>> {
    let (log, store) = open(config).await?;
    let mut lines = Vec::new();
    for (shard, epoch) in (0..).zip(log.epochs()) {
        let newest = store.epochs(shard).await?.first().map(|known| known.epoch);
        if newest != Some(epoch) {
            let newest = newest.map_or("none".to_owned(), |newest| newest.to_string());
            lines.push(format!("shard {shard}: the log has epoch {epoch}, the store knows {newest}"));
        }
    }
    if lines.is_empty() {
        lines.push("log and store have the same epochs".to_owned());
    }
    if log.is_served().await? {
        lines.push("nodes are running: they must be stopped before".to_owned());
    }
    Ok(lines)
}

/// Carries what the streams have into the archive, and begins above everything that was ever stored. Meanwhile the streams take no appends:
/// what a node that was overlooked has acknowledged would go with them (I9).
pub(crate) async fn renew(config: &Config) -> anyhow::Result<Renewed> {
    let (log, store) = open(config).await?;
    ensure_stopped(&log).await?;
    ensure_known(&log, &store).await?;
    let renewed = renew_closed(config, &log, &store).await;
    // Not what they were: their configuration says which epoch they have.
    backend::migrate(config).await.context("the streams take no appends: run `fanfold migrate`")?;
    renewed
}

async fn renew_closed(config: &Config, log: &JetStreamLog, store: &ScyllaStore) -> anyhow::Result<Renewed> {
    for shard in 0..log.shards() {
        let closed = log.close_shard(shard).await;
        drop(closed.with_context(|| format!("shard {shard} can't be closed"))?);
    }
    let source = Source::open_any_epoch(config).await?;
    let carried_sessions = carry_all(&source, &config.archive, |_| true).await?;
    let mut above = highest(store).await.context("the store can't be read")?;
    for shard in 0..log.shards() {
        // The newest of a shard's epochs is the one that begins highest.
        above = above.max(store.epochs(shard).await?.first().map_or(Offset::NONE, |known| known.first));
    }
    let epoch = begin_epoch(config, store, above).await?;
    Ok(Renewed { epoch: epoch.to_string(), first_offset: above.0 + 1, carried_sessions })
}

async fn open(config: &Config) -> anyhow::Result<(JetStreamLog, ScyllaStore)> {
    let log = JetStreamLog::open(&config.log.jetstream).await.context("the log does not open")?;
    let store = ScyllaStore::open(&config.store.scylla).await.context("the store does not open")?;
    Ok((log, store))
}

/// Records of an epoch that the store has never heard of may be of sessions that only bear the same names.
async fn ensure_known(log: &JetStreamLog, store: &ScyllaStore) -> anyhow::Result<()> {
    let with_records =
        log.sessions().await?.iter().map(|session| log.shard_of(session)).collect::<std::collections::BTreeSet<_>>();
    for (shard, epoch) in (0..).zip(log.epochs()) {
        let known = store.epochs(shard).await?;
        anyhow::ensure!(
            known.is_empty() || known.iter().any(|known| known.epoch == epoch) || !with_records.contains(&shard),
            "shard {shard} of the log has records of epoch {epoch}, which the store has never known: they are another deployment's"
        );
    }
    Ok(())
}

/// The highest offset that any row, state or segment names, whether or not the archive still has its records.
pub(crate) async fn highest(store: &(impl Contents + SessionIndex)) -> Result<Offset, StoreError> {
    let (mut highest, mut after) = (Offset::NONE, None::<SessionKey>);
    loop {
        let page = store.sessions(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(highest) };
        after = Some(last.clone());
        let each = futures::stream::iter(&page).map(|session| async move {
            let row = store.row(session).await?.map_or(Offset::NONE, |row| row.offset);
            let state = store.snapshots(session, 1).await?.first().map_or(Offset::NONE, |kept| kept.offset);
            let segments = store.segments(session, None, usize::MAX).await?;
            let segment = segments.iter().map(|name| name.last).max().unwrap_or_default();
            Ok::<_, StoreError>(row.max(state).max(segment))
        });
        let found = each.buffer_unordered(AT_ONCE).try_fold(Offset::NONE, |max, offset| async move { Ok(max.max(offset)) });
        highest = highest.max(found.await?);
    }
}
