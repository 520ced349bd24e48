//! Room below what a log issues, for sessions that come with offsets of their own.
//!
//! A reader looks into the archive for what lies below its log's records. So a log that takes in a session must issue only offsets above it,
//! and where many sessions share a shard, hold none of its records below.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use fanfold_fold::{Offset, SessionKey};
use fanfold_log::{EmbeddedLog, JetStreamLog, OpenError};
use tokio::time::Instant;

use super::carry::carry_all;
use super::source::Source;
use crate::backend;
use crate::config::Config;

/// How long a log that was closed may take to be free.
const FREE_WITHIN: Duration = Duration::from_secs(10);

const AGAIN: Duration = Duration::from_millis(20);

/// How high the sessions reach that are to come, by shard. An embedded log is one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs(pub(crate) BTreeMap<u32, (SessionKey, Offset)>);

impl Needs {
    /// Another session comes.
    pub(crate) fn add(&mut self, shard: u32, session: &SessionKey, last: Offset) {
        let need = self.0.entry(shard).or_insert_with(|| (session.clone(), last));
        need.1 = need.1.max(last);
    }
}

/// Makes room, if need be. Hands the source back, opened anew where that was needed.
pub(crate) async fn make_room(source: Source, config: &Config, needs: &Needs) -> anyhow::Result<Source> {
    let mut lacking = Vec::new();
    for (shard, (session, last)) in &needs.0 {
        let room = source.inventory.room(session).await.context("the log doesn't say what it has issued")?;
        lacking.extend((*last > room).then_some((*shard, *last)));
    }
    match &source.shared {
        Some(log) => {
            for (shard, above) in lacking {
                raise(&source, log, config, shard, above).await?;
            }
            Ok(source)
        }
        None => match lacking.first() {
            Some((_, above)) => begin_above(source, config, *above).await,
            None => Ok(source),
        },
    }
}

/// One embedded log: offsets of an epoch are without a gap, so another epoch begins.
async fn begin_above(source: Source, config: &Config, above: Offset) -> anyhow::Result<Source> {
    source.log.close().await;
    drop(source);
    let deadline = Instant::now() + FREE_WITHIN;
    loop {
        match EmbeddedLog::new_epoch(&backend::embedded_log(config), above) {
            Ok(_) => return Source::open(config).await,
            // What looks after sessions may hold the log for a moment yet.
            Err(OpenError::Busy) if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(anyhow::Error::new(error).context("no new epoch was begun")),
        }
    }
}

/// One shard: it takes no appends while what it has is archived, lets go of that, and goes on above.
async fn raise(source: &Source, log: &JetStreamLog, config: &Config, shard: u32, above: Offset) -> anyhow::Result<()> {
    let closed = log.close_shard(shard).await.context("the shard can't be closed")?;
    let raised = async {
        carry_all(source, &config.archive, |session| log.shard_of(session) == shard).await?;
        log.raise(&closed, above).await.context("the shard can't be raised")
    };
    let raised = raised.await;
    log.open_shard(closed).await.context("the shard can't be opened again: run `fanfold migrate`")?;
    raised
}
