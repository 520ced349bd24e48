//! The suite of every log, on the embedded one.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::sync::Arc;

use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog};

async fn open() -> (Arc<dyn EventLog>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { dir: dir.path().into(), ..EmbeddedLogConfig::default() };
    let log = tokio::task::spawn_blocking(|| EmbeddedLog::open(config, Arc::new(|| 1))).await.unwrap().unwrap();
    (Arc::new(log), dir)
}

fanfold_log::conformance!(open);
