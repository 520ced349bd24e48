//! What a queue on JetStream is opened with.

use std::time::Duration;

use fanfold_nats::NatsOptions;
use serde::{Deserialize, Serialize};

/// `[queue]` of a node whose queue is JetStream. `Default` is right for a cluster of three; one server takes `replicas = 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JetStreamRunQueueConfig {
    /// The connection.
    pub nats: NatsOptions,
    /// What the names of streams and subjects begin with. 1-64 of `[A-Za-z0-9_-]`.
    pub prefix: String,
    /// Servers that keep each hint.
    pub replicas: usize,
    /// How many buckets tenants hash into; each is a consumer. The first `migrate` fixes it.
    pub buckets: u32,
    /// Hints at most, leased ones included. One more is refused as full.
    pub hints_max: usize,
    /// Buried runs at most. For one more the one that was buried first is forgotten.
    pub letters_max: usize,
    /// After how long the servers give a dead node's hints to another. Longer than the election of a leader: 20,000 or more.
    pub ack_wait_ms: u64,
    /// Hints that this node holds back because another run of their session comes first. More are given back to wait a while.
    pub held_back_max: usize,
}

impl Default for JetStreamRunQueueConfig {
    fn default() -> Self {
        Self {
            nats: NatsOptions::default(),
            prefix: "fanfold".into(),
            replicas: 3,
            buckets: 16,
            hints_max: 100_000,
            letters_max: 10_000,
            ack_wait_ms: 30_000,
            held_back_max: 256,
        }
    }
}

impl JetStreamRunQueueConfig {
    pub(crate) fn ack_wait(&self) -> Duration {
        Duration::from_millis(self.ack_wait_ms)
    }
}
