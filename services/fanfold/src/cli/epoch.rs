//! `epoch new`: the way on after a log has lost records, or was put back from a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, OpenError};
use serde::Serialize;

use super::Output;
use crate::clock;

/// Options of `epoch`.
#[derive(Debug, Subcommand)]
pub(crate) enum Epoch {
    /// Begin a new epoch of the embedded log, giving up what it has lost. No node may run on it meanwhile.
    New {
        /// The folder of log and store.
        #[arg(long, default_value = "data")]
        data: PathBuf,
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

pub(super) fn epoch(output: Output, epoch: Epoch) -> anyhow::Result<ExitCode> {
    let Epoch::New { data, yes } = epoch;
    let config = EmbeddedLogConfig { dir: data.join("log"), ..EmbeddedLogConfig::default() };
    anyhow::ensure!(config.dir.is_dir(), "there is no log in {}", data.display());
    if !yes {
        eprintln!("fanfold: {}", what_is(config)?);
        eprintln!("fanfold: a new epoch gives that up for good; its readers get a snapshot. To begin it: --yes");
        return Ok(ExitCode::FAILURE);
    }
    let begun = EmbeddedLog::accept_loss(&config).context("no new epoch was begun")?;
    let told = Begun {
        epoch: begun.epoch.to_string(),
        first_offset: begun.first.0,
        lost_records: begun.loss.records(),
        set_aside: begun.set_aside,
    };
    output.line(&told, || format!("epoch {}\nfrom  {}\nlost  {} records", told.epoch, told.first_offset, told.lost_records))?;
    Ok(ExitCode::SUCCESS)
}

/// What opening the log says of it.
fn what_is(config: EmbeddedLogConfig) -> anyhow::Result<String> {
    match EmbeddedLog::open(config, std::sync::Arc::new(clock::now_ms)) {
        Ok(_) => Ok("the log opens, nothing of it is lost".to_owned()),
        Err(error @ (OpenError::Busy | OpenError::Directory(_) | OpenError::Thread(_))) => Err(error.into()),
        Err(error) => Ok(error.to_string()),
    }
}
