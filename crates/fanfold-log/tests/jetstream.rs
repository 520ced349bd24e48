//! The suite of every log, on JetStream: on one server, and on three that replicate.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;

use fanfold_log::{EventLog, JetStreamLogConfig};
use fanfold_nats::testing::{Cluster, Server};

/// Each check has streams of its own.
async fn one_server() -> Option<(Arc<dyn EventLog>, Option<Server>)> {
    let (options, server) = support::server("the log's suite on a NATS server")?;
    Some((support::log(&support::config(options, 1)).await, server))
}

fanfold_log::conformance!(one_server);

/// All checks in one test, as a cluster takes its time to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_pass_every_check() {
    let Some(cluster) = Cluster::start("the log's suite on three NATS servers").await else { return };
    // Three servers on one machine: what is slow is no outage here.
    let config = || JetStreamLogConfig {
        read_ms_max: 30_000,
        append_ms_max: 60_000,
        duplicate_window_ms: 120_000,
        ..support::config(cluster.options(), 3)
    };
    fanfold_log::conformance!(together support::log(&config()).await);
}
