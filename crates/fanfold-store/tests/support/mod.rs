//! Servers for tests, told of by the environment that `cargo xtask test` sets.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod cluster;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fanfold_store::{ScyllaConfig, ScyllaConsistency, ScyllaStore};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use tokio::sync::OnceCell;

/// What the environment says, or a note that tests were not run; in CI it is there.
pub fn told(name: &str, what: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    assert!(std::env::var("CI").is_ok_and(|ci| ci != "true") || std::env::var("CI").is_err(), "{what} needs {name}");
    if let Some(file) = std::env::var_os("FANFOLD_NOT_RUN") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{what}: {name} is not set").unwrap();
    }
    None
}

/// A keyspace of one server's that nothing else uses.
pub fn config(address: &str, keyspace: &str) -> ScyllaConfig {
    ScyllaConfig {
        nodes: vec![address.to_owned()],
        keyspace: format!("{keyspace}_{}", uuid::Uuid::new_v4().simple()),
        replicas: 1,
        consistency: ScyllaConsistency::LocalQuorum,
        connect_ms_max: 60_000,
        // What is slow on a busy machine is no outage.
        request_ms_max: 20_000,
        call_ms_max: 60_000,
        ..ScyllaConfig::default()
    }
}

/// For sessions past the store: they don't try again.
pub fn patient() -> ExecutionProfileHandle {
    ExecutionProfile::builder().request_timeout(Some(Duration::from_secs(120))).build().into_handle()
}

/// The keyspace that this process's tests share on the one server.
pub async fn shared(what: &str) -> Option<ScyllaConfig> {
    static SHARED: OnceCell<ScyllaConfig> = OnceCell::const_new();
    let address = told("FANFOLD_TEST_CQL", what)?;
    let config = SHARED.get_or_init(async || {
        let config = config(&address, "t");
        ScyllaStore::migrate(&config).await.unwrap();
        config
    });
    Some(config.await.clone())
}

/// A store on the one server.
pub async fn store(what: &str) -> Option<Arc<ScyllaStore>> {
    let config = shared(what).await?;
    Some(Arc::new(ScyllaStore::open(&config).await.unwrap()))
}
