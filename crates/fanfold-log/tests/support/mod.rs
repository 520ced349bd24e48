//! Logs of a test's own on real servers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test, and not every one needs everything")]

pub mod follow;

use std::sync::Arc;

use fanfold_fold::Offset;
use fanfold_log::{EventLog, JetStreamLog, JetStreamLogConfig};
use fanfold_nats::NatsOptions;
use fanfold_nats::testing::Server;

/// A log's configuration with streams that nobody else uses.
pub fn config(nats: NatsOptions, replicas: usize) -> JetStreamLogConfig {
    let prefix = format!("t{}", uuid::Uuid::new_v4().simple());
    JetStreamLogConfig { nats, prefix, shards: 2, replicas, shard_bytes_max: 32 << 20, ..JetStreamLogConfig::default() }
}

pub async fn log(config: &JetStreamLogConfig) -> Arc<dyn EventLog> {
    fanfold_log::jetstream::migrate(config, Offset::NONE).await.unwrap();
    Arc::new(JetStreamLog::open(config).await.unwrap())
}

/// The server that is there for all, or one that ends with what is returned beside it.
pub fn server(what: &str) -> Option<(NatsOptions, Option<Server>)> {
    if let Ok(url) = std::env::var("FANFOLD_TEST_NATS") {
        return Some((NatsOptions { urls: vec![url], ..NatsOptions::default() }, None));
    }
    let server = Server::start(what, "")?;
    Some((server.options(), Some(server)))
}
