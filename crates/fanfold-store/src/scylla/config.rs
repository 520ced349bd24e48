//! What a distributed store is opened with: where, how, and its limits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the servers are, what is asked of them, and what bounds it. `Default` is right for three or more nodes in one data centre,
/// but for the addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScyllaConfig {
    /// Some of the servers, as `host:port`. The others are learned from them.
    pub nodes: Vec<String>,
    /// The keyspace of this installation and nothing else. `migrate` makes it where it isn't there.
    pub keyspace: String,
    /// The data centre whose servers are asked. Others are never asked instead: that would cross a region unnoticed. Empty: any.
    pub datacenter: String,
    /// Copies in each data centre, for a keyspace that `migrate` makes. One that is there keeps its own.
    pub replicas: u32,
    /// How many copies answer before a read or a write counts. Less than a quorum loses acknowledged writes with a server.
    pub consistency: ScyllaConsistency,
    /// Who logs in. Empty: nobody, for servers that ask for no password.
    pub user: String,
    /// The file with the password of `user`. A line break at its end doesn't count.
    pub password_file: Option<PathBuf>,
    /// What compresses the traffic. Segments are compressed already.
    pub compression: ScyllaCompression,
    /// TLS to the servers. Without it the traffic is readable.
    pub tls: Option<ScyllaTls>,
    /// How long to look for a server at the start. Then the store doesn't open.
    pub connect_ms_max: u64,
    /// How long one request may take before it is tried again. All of them may be repeated safely.
    pub request_ms_max: u64,
    /// How long one call may take with all its requests and repetitions. Then it is `unavailable`, or `overloaded` where the servers
    /// said so or other calls are in the way.
    pub call_ms_max: u64,
    /// Requests under way at one time. More wait for their turn.
    pub requests_max: usize,
}

impl Default for ScyllaConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "fanfold".to_owned(),
            datacenter: String::new(),
            replicas: 3,
            consistency: ScyllaConsistency::default(),
            user: String::new(),
            password_file: None,
            compression: ScyllaCompression::default(),
            tls: None,
            connect_ms_max: 15_000,
            request_ms_max: 3_000,
            call_ms_max: 10_000,
            requests_max: 512,
        }
    }
}

/// How many copies answer before a read or a write counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScyllaConsistency {
    /// More than half of those in the data centre. A write is seen by every later read there.
    #[default]
    LocalQuorum,
    /// More than half of all. A write is seen by every later read anywhere, at the price of a round trip between data centres.
    Quorum,
    /// One in the data centre. For one server only: elsewhere reads miss what was written, and a lost server takes writes with it.
    LocalOne,
}

/// What compresses the traffic between node and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScyllaCompression {
    /// Nothing: right within one rack.
    #[default]
    None,
    /// Fast.
    Lz4,
    /// For servers without LZ4.
    Snappy,
}

/// TLS to the servers. Their certificates must name the address they are reached at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScyllaTls {
    /// The certificates (PEM) that the servers' must be signed with.
    pub ca_file: PathBuf,
    /// This client's certificates (PEM), for servers that ask for one. Together with `key_file`.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key (PEM) of `cert_file`.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}
