//! `worker`: the worker that a node has inside, as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fanfold_client::Client;
use tokio::sync::watch;

use super::Worker;
use super::node::{start_log, told_to_stop, write};
use crate::config::Config;
use crate::run::model;
use crate::run::remote::RemoteRuns;
use crate::run::worker::{Phase, work};

pub(super) async fn worker(client: Client, options: Worker) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(options.config.as_deref())?;
    options.model.apply(&mut config);
    start_log(config.node.log_format);
    let model = model::open(&config.runs, &config.models)?;
    let runs = Arc::new(RemoteRuns { client, name: options.name.clone() });
    let (phase, phases) = watch::channel(Phase::Working);
    let mut working = tokio::spawn(work(runs, model, options.slots, phases));
    write(&format!("worker  {}\n", options.name))?;
    told_to_stop()?.await;
    tracing::info!("draining: what is being answered is answered to its end");
    phase.send_replace(Phase::Draining);
    let drained = tokio::time::timeout(Duration::from_millis(config.node.drain_ms_max), &mut working).await;
    if drained.is_err() {
        tracing::warn!("some runs are left; other workers try them again");
        phase.send_replace(Phase::Stopping);
        working.await?;
    }
    Ok(ExitCode::SUCCESS)
}
