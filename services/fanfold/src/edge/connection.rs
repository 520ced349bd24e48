//! A place among the node's connections, counted while it is held.

use tokio::sync::OwnedSemaphorePermit;

/// What `limits.connections_max` bounds, and what a deployment scales by.
const CONNECTIONS: &str = "fanfold_connections";

/// One connection's place. Free again when dropped.
#[derive(Debug)]
pub struct Connection(#[expect(dead_code, reason = "it is held, not used")] OwnedSemaphorePermit);

impl Connection {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Self(permit)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

/// A node that nobody came to yet reports that, and not nothing.
pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(CONNECTIONS, metrics::Unit::Count, "Connections that are open, over all transports");
    metrics::gauge!(CONNECTIONS).set(0.0);
}
