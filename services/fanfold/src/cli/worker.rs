//! `worker`: the worker that a node has inside, as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfold_client::{Client, ClientConfig};
use tokio::sync::watch;

use super::node::{start_log, told_to_stop, write};
use super::{Worker, secret};
use crate::config::Config;
use crate::run::model;
use crate::run::remote::RemoteRuns;
use crate::run::worker::{Job, Phase, Runs, work};

pub(super) async fn worker(node: ClientConfig, token_file: Option<PathBuf>, options: Worker) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(options.config.as_deref())?;
    options.model.apply(&mut config);
    start_log(config.node.log_format);
    let model = model::open(&config.runs, &config.models)?;
    let runs = Arc::new(NodesRuns::new(node, token_file, options.name.clone())?);
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

/// The runs of a node, taken with the token that its file holds at that moment: tokens end, and a worker goes on.
struct NodesRuns {
    node: ClientConfig,
    token_file: Option<PathBuf>,
    name: String,
    /// With the token that was read last.
    newest: Mutex<(Option<String>, Arc<RemoteRuns>)>,
}

impl NodesRuns {
    fn new(node: ClientConfig, token_file: Option<PathBuf>, name: String) -> anyhow::Result<Self> {
        let client = Client::new(node.clone())?;
        let newest = Mutex::new((node.token.clone(), Arc::new(RemoteRuns { client, name: name.clone() })));
        Ok(Self { node, token_file, name, newest })
    }

    /// A file that can't be read or used leaves it with the token it had.
    fn newest(&self) -> Arc<RemoteRuns> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match self.token_file.as_deref().map(secret) {
            Some(Ok(token)) if newest.0.as_deref() != Some(&*token) => {
                match Client::new(ClientConfig { token: Some(token.clone()), ..self.node.clone() }) {
                    Ok(client) => {
                        tracing::info!("the token's file holds another one");
                        *newest = (Some(token), Arc::new(RemoteRuns { client, name: self.name.clone() }));
                    }
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the new token can't be used"),
                }
            }
            Some(Err(error)) => tracing::warn!(error = &*error as &dyn std::error::Error, "no new token"),
            Some(Ok(_)) | None => {}
        }
        Arc::clone(&newest.1)
    }
}

#[async_trait::async_trait]
impl Runs for NodesRuns {
    async fn take(&self, wait: Duration) -> anyhow::Result<Option<Box<dyn Job>>> {
        self.newest().take(wait).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_one_that_its_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "first\n").unwrap();
        let node = ClientConfig { token: Some("first".into()), ..ClientConfig::default() };
        // A client needs the runtime that it connects on.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let runs = NodesRuns::new(node, Some(file.clone()), "worker".into()).unwrap();
        let first = runs.newest();
        assert!(Arc::ptr_eq(&first, &runs.newest()), "the same token makes no new connection");
        std::fs::write(&file, "second").unwrap();
        let second = runs.newest();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&second, &runs.newest()), "without a file it goes on with what it has");
        std::fs::write(&file, "not\u{7f}sendable").unwrap();
        assert!(Arc::ptr_eq(&second, &runs.newest()));
    }
}
