//! `dev` and `serve`: a node in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Dev, Output, Serve};
use crate::backend::{self, Migrated};
use crate::config::{Config, LogFormat, SAMPLE};
use crate::node::{self, Node};

pub(super) async fn dev(dev: Dev) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(None)?;
    config.listen.http = dev.http;
    config.listen.grpc = dev.grpc;
    config.node.data = dev.data;
    dev.model.apply(&mut config);
    config.runs.worker_slots = dev.worker_slots;
    // Whatever the environment says: `dev` asks nobody who they are, so it stays on this machine.
    config.auth.keys.clear();
    run(config).await
}

pub(super) async fn serve(serve: Serve) -> anyhow::Result<ExitCode> {
    if serve.sample {
        write(SAMPLE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = Config::load(serve.config.as_deref())?;
    serve.model.apply(&mut config);
    if serve.check {
        node::check(&config)?;
        return Ok(ExitCode::SUCCESS);
    }
    run(config).await
}

pub(super) async fn migrate(output: Output, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = Config::load(config.as_deref())?;
    config.check()?;
    start_log(config.node.log_format);
    match backend::migrate(&config).await? {
        Some(migrated) => output.line(&migrated, || {
            let Migrated { streams_created, streams_updated, schema_from, schema_to } = migrated;
            format!("streams  {streams_created} made, {streams_updated} updated\nschema   {schema_from} -> {schema_to}")
        })?,
        None => eprintln!("fanfold: log and store are embedded: there is nothing to migrate"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    start_log(config.node.log_format);
    let data = config.node.data.display().to_string();
    let node = Node::open(config).await?;
    let (http, grpc) = node.addresses()?;
    write(&format!("http  http://{http}\ngrpc  http://{grpc}\ndata  {data}\n"))?;
    node.serve(told_to_stop()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Standard output is for programs; it may be closed.
pub(super) fn write(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(super) fn start_log(format: LogFormat) {
    start_log_from(format, "info");
}

/// Lines from a level on, unless the environment says otherwise.
pub(super) fn start_log_from(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("FANFOLD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

pub(super) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
