//! The configuration of a node: one typed file, overridden by the environment. Unknown keys are refused.
//!
//! A variable is named after its key: `FANFOLD_LISTEN__HTTP` overrides `http` in `[listen]`. Two underscores go down a level.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfold_log::JetStreamLogConfig;
use fanfold_models::ModelsConfig;
use fanfold_runs::JetStreamRunQueueConfig;
use fanfold_session::{SessionConfig, SnapshotPolicy};
use fanfold_store::ScyllaConfig;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveConfig, ArchiveError};
use crate::auth::KeyFile;
use crate::erase::EraseConfig;

/// The documented sample; a test compares it with the defaults.
pub const SAMPLE: &str = include_str!("../fanfold.sample.toml");

/// Everything a node can be told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where things are and who this is.
    pub node: NodeConfig,
    /// Where it listens.
    pub listen: ListenConfig,
    /// Who may.
    pub auth: AuthConfig,
    /// Where events are.
    pub log: LogConfig,
    /// Where states, archive and lists are.
    pub store: StoreConfig,
    /// How records get from the log into the archive.
    pub archive: ArchiveConfig,
    /// How erased sessions go.
    pub erase: EraseConfig,
    /// What connections may use.
    pub limits: LimitConfig,
    /// Sessions in memory.
    pub session: SessionLimits,
    /// Runs and their workers.
    pub runs: RunConfig,
    /// Models of providers and their tools. They answer where there is an endpoint; recordings can't besides.
    pub models: ModelsConfig,
    /// Whom to tell when a run has ended.
    pub hooks: HookConfig,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Its name in logs, to clients and for its worker. Where nodes share a log, each has one of its own, and has it again after a restart.
    pub name: String,
    /// The folder of the embedded log and store.
    pub data: PathBuf,
    /// After SIGTERM: how long it may take to let clients go and keep states.
    pub drain_ms_max: u64,
    /// `text` or `json` log lines on standard error.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// HTTP, WebSocket and SSE. Port 0 takes a free one.
    pub http: SocketAddr,
    /// gRPC. Port 0 takes a free one.
    pub grpc: SocketAddr,
    /// Origins whose pages may connect, such as `https://chat.example`; `*` lets all. The page served here always may.
    pub origins: Vec<String>,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Keys that tokens may be signed with. Without any, everybody may everything, and only loopback addresses are listened on.
    pub keys: Vec<KeyFile>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Which one.
    pub backend: LogBackend,
    /// Where `backend` is `jetstream`.
    pub jetstream: JetStreamLogConfig,
}

/// Where events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogBackend {
    /// In the data folder of the one node there is.
    #[default]
    Embedded,
    /// On NATS JetStream, for any number of nodes.
    Jetstream,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which one.
    pub backend: StoreBackend,
    /// Where `backend` is `scylla`.
    pub scylla: ScyllaConfig,
}

/// Where states, archive and lists are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreBackend {
    /// In the data folder of the one node there is.
    #[default]
    Embedded,
    /// On ScyllaDB or Cassandra, for any number of nodes.
    Scylla,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// Connections at a time, over all transports. Another is answered `too_many_connections`.
    pub connections_max: usize,
    /// Sessions that one connection subscribes to. Another is answered `too_many_sessions`.
    pub sessions_per_connection_max: usize,
    /// Bytes of one request, command or client frame. A larger one is answered `too_large`.
    pub request_bytes_max: usize,
    /// Commands of one connection under way at a time. Above, reading from it pauses.
    pub commands_in_flight_max: usize,
    /// Bytes that one write to a subscriber gathers.
    pub write_bytes_max: usize,
    /// A subscriber that takes nothing for so long is closed with `slow_consumer` and comes back with its cursor.
    pub stall_ms_max: u64,
    /// Between two pings on an idle connection.
    pub ping_interval_ms: u64,
    /// Bytes that the kernel may hold per connection before it stops taking more.
    pub send_buffer_bytes: u32,
    /// A gRPC stream ends after about this long, with a token to come back, before a proxy ends it without one.
    pub grpc_stream_ms_max: u64,
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionLimits {
    /// Sessions in memory. Another one is answered `busy` until an idle one has been let go.
    pub sessions_max: usize,
    /// Estimated bytes of all sessions in memory; above it those without readers are let go, least recently used first.
    pub bytes_max: u64,
    /// Sessions that are read from disk at a time. Others wait.
    pub hydrations_max: usize,
    /// Loads of one session that may break off in a row before it is parked, until an operator lets it be tried again.
    pub hydration_attempts_max: u32,
    /// Requests that wait for one session. Another is answered `busy`.
    pub waiting_max: usize,
    /// About as many bytes of requests may wait for one session. Another is answered `busy`.
    pub waiting_bytes_max: usize,
    /// Bytes of recent deltas kept per session and format. A cursor further behind gets a snapshot.
    pub ring_bytes_max: usize,
    /// A reader further behind than this gets one merged delta.
    pub merge_above_bytes: usize,
    /// How long a request waits for the log or for an offset.
    pub wait_ms_max: u64,
    /// Least time between two updates of a reader in full mode.
    pub full_interval_ms: u64,
    /// A session without readers is let go after this.
    pub idle_ms: u64,
    /// A state is kept after so many records …
    pub snapshot_records: u64,
    /// … or bytes of records, or when a run ends …
    pub snapshot_bytes: u64,
    /// … but not more often than this.
    pub snapshot_interval_ms: u64,
    /// Older states than so many are let go.
    pub snapshots_kept: usize,
    /// People shown as present in one session.
    pub presence_max: usize,
    /// How long presence lasts unless it is refreshed.
    pub presence_ttl_ms: u64,
}

/// `[runs]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Runs that the worker in this process answers at a time; 0 leaves them to other workers.
    pub worker_slots: usize,
    /// An attempt that says nothing for so long is taken for lost.
    pub silence_ms_max: u64,
    /// A run that no worker takes for so long fails with `no_worker`.
    pub queued_ms_max: u64,
    /// Answers of the model in one run. Where it wants tools after the last of them, the run fails with `too_many_steps`.
    pub steps_max: u32,
    /// How long a tool call waits for the person who must allow it. Then the model is told that nobody did.
    pub approval_ms_max: u64,
    /// What sessions and tenants may have.
    pub limits: RunLimits,
    /// Where the log is JetStream.
    pub queue: QueueConfig,
    /// Recorded model answers, one JSON chunk a line; runs take them in turn. Without any, the built-in generator answers.
    pub model_recordings: Vec<PathBuf>,
    /// Time between two chunks; absent: a human pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_pace_ms: Option<u64>,
}

/// `[runs.limits]`: asked before a run is requested. What is absent has no limit but the fold's: 64 open runs in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunLimits {
    /// Open runs of a session. Another is refused with `too_many_runs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_open_runs_max: Option<usize>,
    /// Tokens, read and written, of all of a session's runs. When they are used up, another run is refused with `tokens_exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_tokens_max: Option<u64>,
    /// Open runs of a tenant on this node. Another is refused with `too_many_runs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_open_runs_max: Option<usize>,
    /// Tokens of a tenant's runs on this node in the time below. When they are used up, another run is refused with
    /// `tokens_exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_tokens_max: Option<u64>,
    /// How long a tenant's tokens are counted, from the first one on, before the count begins anew.
    pub tenant_tokens_window_ms: u64,
}

/// `[hooks]`: a signed request when a run has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookConfig {
    /// Where it goes; empty: nowhere.
    pub url: String,
    /// The file that holds the secret it is signed with, of 32 bytes or more.
    pub secret: PathBuf,
    /// Only when nobody on this node watches the session at that moment.
    pub unwatched_only: bool,
    /// A request that was not answered with success for so long is given up.
    pub give_up_ms: u64,
}

impl Default for HookConfig {
    fn default() -> Self {
        Self { url: String::new(), secret: PathBuf::new(), unwatched_only: false, give_up_ms: 86_400_000 }
    }
}

/// `[runs.queue]`: the queue of runs. What one node alone has in memory obeys `hints_max` and `letters_max`, the others are for one that nodes share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// How many buckets tenants hash into; each is taken from in turn. The first `fanfold migrate` fixes it.
    pub buckets: u32,
    /// Runs that wait or are worked on. Another is offered again later.
    pub hints_max: usize,
    /// Runs that failed for good and are listed. For one more the oldest is forgotten.
    pub letters_max: usize,
    /// After how long a dead node's runs are given to another. Longer than the election of a leader.
    pub ack_wait_ms: u64,
    /// Runs that this node holds back because another of their session comes first.
    pub held_back_max: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let JetStreamRunQueueConfig { buckets, hints_max, letters_max, ack_wait_ms, held_back_max, .. } =
            JetStreamRunQueueConfig::default();
        Self { buckets, hints_max, letters_max, ack_wait_ms, held_back_max }
    }
}

impl QueueConfig {
    /// The same for the queue; the connection is the log's.
    pub fn to_jetstream(&self) -> JetStreamRunQueueConfig {
        let Self { buckets, hints_max, letters_max, ack_wait_ms, held_back_max } = *self;
        JetStreamRunQueueConfig {
            buckets,
            hints_max,
            letters_max,
            ack_wait_ms,
            held_back_max,
            ..JetStreamRunQueueConfig::default()
        }
    }
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            session_open_runs_max: None,
            session_tokens_max: None,
            tenant_open_runs_max: None,
            tenant_tokens_max: None,
            tenant_tokens_window_ms: 86_400_000,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: "fanfold".into(), data: "data".into(), drain_ms_max: 10_000, log_format: LogFormat::Text }
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        let loopback = [127, 0, 0, 1];
        Self { http: (loopback, 8080).into(), grpc: (loopback, 8081).into(), origins: Vec::new() }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            sessions_per_connection_max: 100,
            request_bytes_max: 1 << 20,
            commands_in_flight_max: 64,
            write_bytes_max: 64 * 1024,
            stall_ms_max: 30_000,
            ping_interval_ms: 15_000,
            send_buffer_bytes: 64 * 1024,
            grpc_stream_ms_max: 1_800_000,
        }
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        let SessionConfig {
            snapshot,
            sessions_max,
            bytes_max,
            hydrations_max,
            hydration_attempts_max,
            waiting_max,
            waiting_bytes_max,
            ring_bytes_max,
            merge_above_bytes,
            wait_max,
            full_interval,
            idle_after,
            presence_max,
            presence_ttl,
        } = SessionConfig::default();
        Self {
            sessions_max,
            bytes_max,
            hydrations_max,
            hydration_attempts_max,
            waiting_max,
            waiting_bytes_max,
            ring_bytes_max,
            merge_above_bytes,
            wait_ms_max: ms(wait_max),
            full_interval_ms: ms(full_interval),
            idle_ms: ms(idle_after),
            snapshot_records: snapshot.records,
            snapshot_bytes: snapshot.bytes,
            snapshot_interval_ms: ms(snapshot.interval),
            snapshots_kept: snapshot.keep,
            presence_max,
            presence_ttl_ms: ms(presence_ttl),
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            worker_slots: 8,
            silence_ms_max: 60_000,
            queued_ms_max: 600_000,
            steps_max: 16,
            approval_ms_max: 3_600_000,
            limits: RunLimits::default(),
            queue: QueueConfig::default(),
            model_recordings: Vec::new(),
            model_pace_ms: None,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl SessionLimits {
    /// The same for the session layer.
    pub fn to_session(&self) -> SessionConfig {
        SessionConfig {
            sessions_max: self.sessions_max,
            bytes_max: self.bytes_max,
            hydrations_max: self.hydrations_max,
            hydration_attempts_max: self.hydration_attempts_max,
            waiting_max: self.waiting_max,
            waiting_bytes_max: self.waiting_bytes_max,
            ring_bytes_max: self.ring_bytes_max,
            merge_above_bytes: self.merge_above_bytes,
            wait_max: Duration::from_millis(self.wait_ms_max),
            full_interval: Duration::from_millis(self.full_interval_ms),
            idle_after: Duration::from_millis(self.idle_ms),
            snapshot: SnapshotPolicy {
                records: self.snapshot_records,
                bytes: self.snapshot_bytes,
                interval: Duration::from_millis(self.snapshot_interval_ms),
                keep: self.snapshots_kept,
            },
            presence_max: self.presence_max,
            presence_ttl: Duration::from_millis(self.presence_ttl_ms),
        }
    }
}

/// A configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable, an unknown key, a wrong type.
    #[error("the configuration can't be read")]
    Read(#[source] Box<figment::Error>),
    /// The file isn't there.
    #[error("configuration file {0} does not exist")]
    Missing(PathBuf),
    /// Everybody would be let in from everywhere.
    #[error("{0} is not a loopback address, and [auth] names no key: everybody could do everything")]
    OpenToAll(SocketAddr),
    /// The archiver can't work like that.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A limit that lets nothing through.
    #[error("{0} must not be 0")]
    Zero(&'static str),
    /// Two nodes of one name take each other's runs for lost ones of their own, and write down each other's use of tokens.
    #[error("with log.backend = \"jetstream\" each node needs a node.name of its own (FANFOLD_NODE__NAME)")]
    Unnamed,
    /// Nodes that share a log and not the store, or the other way round, would contradict each other.
    #[error("log.backend = \"jetstream\" and store.backend = \"scylla\" go together")]
    HalfShared,
}

impl Config {
    /// Reads the file, if one is named, and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::Missing(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("FANFOLD_").filter(|key| key.as_str().contains("__")).split("__");
        figment.merge(environment).extract().map_err(|error| ConfigError::Read(Box::new(error)))
    }

    /// Refuses what can't work or would be dangerous, before any port is bound.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.auth.keys.is_empty() {
            for address in [self.listen.http, self.listen.grpc] {
                if !address.ip().is_loopback() {
                    return Err(ConfigError::OpenToAll(address));
                }
            }
        }
        match (self.log.backend, self.store.backend) {
            (LogBackend::Embedded, StoreBackend::Embedded) | (LogBackend::Jetstream, StoreBackend::Scylla) => {}
            (LogBackend::Embedded, StoreBackend::Scylla) | (LogBackend::Jetstream, StoreBackend::Embedded) => {
                return Err(ConfigError::HalfShared);
            }
        }
        self.archive.check()?;
        let limits = [
            ("limits.connections_max", self.limits.connections_max),
            ("limits.sessions_per_connection_max", self.limits.sessions_per_connection_max),
            ("limits.request_bytes_max", self.limits.request_bytes_max),
            ("limits.commands_in_flight_max", self.limits.commands_in_flight_max),
            ("limits.write_bytes_max", self.limits.write_bytes_max),
            ("session.sessions_max", self.session.sessions_max),
            ("session.hydrations_max", self.session.hydrations_max),
            ("session.hydration_attempts_max", usize::try_from(self.session.hydration_attempts_max).unwrap_or(usize::MAX)),
            ("session.waiting_max", self.session.waiting_max),
            ("runs.steps_max", usize::try_from(self.runs.steps_max).unwrap_or(usize::MAX)),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }

    /// Refuses a node among many that nobody has named. Tools and checks of a file that nodes share need no name.
    pub fn check_name(&self) -> Result<(), ConfigError> {
        let is_named = !self.node.name.is_empty() && self.node.name != NodeConfig::default().name;
        match self.log.backend {
            LogBackend::Jetstream if !is_named => Err(ConfigError::Unnamed),
            LogBackend::Jetstream | LogBackend::Embedded => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_says_what_the_defaults_are() {
        let sample: Config = toml::from_str(SAMPLE).unwrap();
        assert_eq!(sample, Config::default());
    }

    #[test]
    fn the_sample_names_every_key() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        let sample: toml::Table = SAMPLE.parse().unwrap();
        fn named(defaults: &toml::Table, sample: &toml::Table, section: &str) {
            for (key, value) in defaults {
                let said = sample.get(key).unwrap_or_else(|| panic!("[{section}] {key} is not in the sample"));
                if let (Some(defaults), Some(sample)) = (value.as_table(), said.as_table()) {
                    named(defaults, sample, &format!("{section}.{key}"));
                }
            }
        }
        named(&defaults, &sample, "");
        // An absent value is documented as a comment.
        let absent = [
            "model_pace_ms",
            "session_open_runs_max",
            "session_tokens_max",
            "tenant_open_runs_max",
            "tenant_tokens_max",
            "creds_file",
            "nkey_seed_file",
            "jwt_file",
            "user",
            "password_file",
            "cert_file",
            "key_file",
            "ca_file",
        ];
        assert!(absent.iter().all(|key| SAMPLE.contains(&format!("# {key} ="))));
    }

    #[test]
    fn the_samples_endpoint_and_tool_can_be_used_and_name_every_key() {
        let (_, models) = SAMPLE.split_once("[models]").unwrap();
        let (_, example) = models.split_once("tools = []\n").unwrap();
        let lines: Vec<&str> = example.lines().map_while(|line| line.strip_prefix('#')).collect();
        let config: Config = toml::from_str(&lines.join("\n")).unwrap();
        let [endpoint] = &config.models.endpoints[..] else { panic!("one endpoint") };
        let [tool] = &config.models.tools[..] else { panic!("one tool") };
        let said: toml::Table = lines.join("\n").parse().unwrap();
        let named = |of: &str, table: toml::Table| {
            let said = said["models"][of][0].as_table().unwrap();
            for key in table.keys() {
                assert!(said.contains_key(key), "models.{of}: {key} is not in the sample");
            }
        };
        named("endpoints", toml::Table::try_from(endpoint).unwrap());
        named("tools", toml::Table::try_from(tool).unwrap());
        let absent = ["key_file", "key_header"];
        assert!(absent.iter().all(|key| lines.iter().any(|line| line.contains(key))));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<Config>("[node]\nnmae = 'x'\n").unwrap_err().to_string();
        assert!(error.contains("nmae"), "{error}");
    }

    #[test]
    fn an_open_node_stays_on_loopback() {
        let mut config = Config::default();
        config.check().unwrap();
        config.listen.http = ([0, 0, 0, 0], 80).into();
        assert!(matches!(config.check(), Err(ConfigError::OpenToAll(_))));
    }
}
