//! `epoch new`: the way on after a log has lost records, or was put back from a copy.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog as _, OpenError};
use fanfold_store::EmbeddedStore;
use serde::Serialize;

use super::{Output, Where};
use crate::clock;
use crate::config::{Config, LogBackend};
use crate::moving::{self, Renewed};

/// Options of `epoch`.
#[derive(Debug, Subcommand)]
pub(crate) enum Epoch {
    /// Begin a new epoch of the log, giving up what it has lost. No node may run on it meanwhile.
    New {
        #[command(flatten)]
        place: Where,
        /// Do it. Without this, only what would be given up is told.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct Begun {
    epoch: String,
    first_offset: u64,
    lost_records: u64,
    set_aside: Option<PathBuf>,
}

pub(super) async fn epoch(output: Output, epoch: Epoch) -> anyhow::Result<ExitCode> {
    let Epoch::New { place, yes } = epoch;
    let config = place.load()?;
    match config.log.backend {
        LogBackend::Embedded => embedded(output, &config, yes).await,
        LogBackend::Jetstream => shared(output, &config, yes).await,
    }
}

async fn embedded(output: Output, config: &Config, yes: bool) -> anyhow::Result<ExitCode> {
    let data = &config.node.data;
    let known = known(config).await?;
    let config = EmbeddedLogConfig { dir: data.join("log"), ..EmbeddedLogConfig::default() };
    anyhow::ensure!(config.dir.is_dir(), "there is no log in {}", data.display());
    if !yes {
        eprintln!("fanfold: {}", what_is(config, known).await?);
        eprintln!("fanfold: a new epoch gives that up for good; its readers get a snapshot. To begin it: --yes");
        return Ok(ExitCode::FAILURE);
    }
    let begun = EmbeddedLog::accept_loss(&config, known).context("no new epoch was begun")?;
    let told = Begun {
        epoch: begun.epoch.to_string(),
        first_offset: begun.first.0,
        lost_records: begun.loss.records(),
        set_aside: begun.set_aside,
    };
    output.line(&told, || format!("epoch {}\nfrom  {}\nlost  {} records", told.epoch, told.first_offset, told.lost_records))?;
    Ok(ExitCode::SUCCESS)
}

/// The highest offset that the store names: an older copy of the log doesn't know of it.
async fn known(config: &Config) -> anyhow::Result<Offset> {
    let folder = config.node.data.join("store");
    if !folder.is_dir() {
        return Ok(Offset::NONE);
    }
    let store = EmbeddedStore::open(folder).context("the store does not open")?;
    moving::highest(&store).await.context("the store can't be read")
}

/// What opening the log says of it.
async fn what_is(config: EmbeddedLogConfig, known: Offset) -> anyhow::Result<String> {
    match EmbeddedLog::open(config, std::sync::Arc::new(clock::now_ms)) {
        // One log for all sessions: whichever is asked for.
        Ok(log) if log.must_have(&SessionKey::new(TenantId::default(), SessionId::new("s")?), known).await.is_err() => {
            Ok(format!("the log opens and is an older copy: it ends before {known}, which the store knows"))
        }
        Ok(_) => Ok("the log opens, nothing of it is lost".to_owned()),
        Err(error @ (OpenError::Busy | OpenError::Directory(_) | OpenError::Thread(_))) => Err(error.into()),
        Err(error) => Ok(error.to_string()),
    }
}

/// What the streams have lost nobody knows: what they have goes into the archive, which then has all there is.
async fn shared(output: Output, config: &Config, yes: bool) -> anyhow::Result<ExitCode> {
    if !yes {
        for line in moving::what_is(config).await? {
            eprintln!("fanfold: {line}");
        }
        eprintln!(
            "fanfold: a new epoch carries what the streams have into the archive and empties them; what they have lost is given up \
             for good, and readers get a snapshot. To begin it: --yes"
        );
        return Ok(ExitCode::FAILURE);
    }
    let renewed = moving::renew(config).await?;
    output.line(&renewed, || {
        let Renewed { epoch, first_offset, carried_sessions } = &renewed;
        format!("epoch {epoch}\nfrom  {first_offset}\nsessions carried into the archive  {carried_sessions}")
    })?;
    Ok(ExitCode::SUCCESS)
}
