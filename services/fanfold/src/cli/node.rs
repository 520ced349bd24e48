//! `dev` and `serve`: a node in this process.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Dev, Serve};
use crate::config::{Config, LogFormat, SAMPLE};
use crate::node::Node;

pub(super) async fn dev(dev: Dev) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(None)?;
    config.listen.http = dev.http;
    config.listen.grpc = dev.grpc;
    config.node.data = dev.data;
    dev.model.apply(&mut config.runs);
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
    run(Config::load(serve.config.as_deref())?).await
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
    let filter = EnvFilter::try_from_env("FANFOLD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
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
