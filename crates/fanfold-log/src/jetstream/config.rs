//! What a log on JetStream is opened with.

use std::time::Duration;

use fanfold_nats::NatsOptions;
use serde::{Deserialize, Serialize};

/// `[log]` of a node whose log is JetStream. `Default` is right for a cluster of three; one server takes `replicas = 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JetStreamLogConfig {
    /// The connection.
    pub nats: NatsOptions,
    /// What the names of streams and subjects begin with, so that several deployments can share an account. 1-64 of `[A-Za-z0-9_-]`.
    pub prefix: String,
    /// How many streams the sessions are spread over. The first `migrate` fixes it; a node with another number refuses to start.
    pub shards: u32,
    /// Servers that keep each record. Three survive the loss of one.
    pub replicas: usize,
    /// Bytes of one stream. A full one refuses appends as overloaded and never drops what is there. Servers set that much aside for each
    /// stream, and refuse to make one that they have no room for.
    pub shard_bytes_max: i64,
    /// How long the servers remember append ids. Longer than `append_ms_max`; each id costs them some 230 bytes.
    pub duplicate_window_ms: u64,
    /// Records of one shard that all nodes together may be archiving. More than are appended in `archive.wait_ms_max`: at this many the
    /// archiver stalls.
    pub archive_pending_max: i64,
    /// How long a node may say nothing of a record that it is archiving, before another node gets it. Longer than a store may be asked
    /// again.
    pub archive_ack_ms_max: u64,
    /// Appends of this node under way. One more is refused as overloaded.
    pub appends_max: usize,
    /// How long an append may take, repetitions included, before its outcome is unknown. Longer than the election of a leader.
    pub append_ms_max: u64,
    /// How long one try waits for the acknowledgement before it is repeated with the same id.
    pub append_try_ms_max: u64,
    /// Questions to leaders of this node under way, as all share one small queue of the servers. More wait.
    pub leader_reads_max: usize,
    /// Reads of records of this node under way. More wait.
    pub reads_max: usize,
    /// How long a read may take before the log counts as busy.
    pub read_ms_max: u64,
}

impl Default for JetStreamLogConfig {
    fn default() -> Self {
        Self {
            nats: NatsOptions::default(),
            prefix: "fanfold".into(),
            shards: 64,
            replicas: 3,
            shard_bytes_max: 1 << 30,
            duplicate_window_ms: 30_000,
            archive_pending_max: 100_000,
            archive_ack_ms_max: 120_000,
            appends_max: 4096,
            append_ms_max: 15_000,
            append_try_ms_max: 3_000,
            leader_reads_max: 64,
            reads_max: 64,
            read_ms_max: 5_000,
        }
    }
}

impl JetStreamLogConfig {
    pub(crate) fn read_max(&self) -> Duration {
        Duration::from_millis(self.read_ms_max)
    }

    pub(crate) fn append_max(&self) -> Duration {
        Duration::from_millis(self.append_ms_max)
    }

    pub(crate) fn append_try_max(&self) -> Duration {
        Duration::from_millis(self.append_try_ms_max)
    }
}
