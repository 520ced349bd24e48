//! What the servers are configured to, and what of it can lose or forge records. Data; the node's commands print it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::{DiscardPolicy, Info, RetentionPolicy, StorageType};
use fanfold_fold::{Epoch, Offset, RECORD_BYTES_MAX};
use fanfold_nats::{ConnectError, Limits, Nats, NatsOptions, VERSION_MIN};
use futures::StreamExt as _;
use serde::Deserialize;
use uuid::Uuid;

use super::config::JetStreamLogConfig;
use super::layout::{Layout, LayoutError};
use super::migrate::{Identity, is_out_of_date, stream_info, wanted};

/// How long servers are waited for that may not be there, and messages that must not come.
const SILENCE: Duration = Duration::from_millis(500);

/// Headers of a record, generously.
const HEADER_BYTES_MAX: usize = 4096;

/// A stream this full is worth a word.
const FULL_PERCENT: u64 = 80;

/// Everything found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Servers that told of themselves; none without an account of the system.
    pub servers: Vec<ServerReport>,
    /// Each shard's stream that is there.
    pub shards: Vec<ShardReport>,
    /// What is missing or dangerous.
    pub findings: Vec<Finding>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it syncs what it stores before it acknowledges.
    pub sync_always: bool,
    /// How long it waits with syncing otherwise.
    pub sync_interval: Duration,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// Its name.
    pub stream: String,
    /// Whose offsets it issues.
    pub epoch: Epoch,
    /// The server that leads it; none on a server without a cluster.
    pub leader: Option<String>,
    /// Servers that keep it.
    pub replicas: usize,
    /// Its first offset.
    pub first: Offset,
    /// Its last offset.
    pub last: Offset,
    /// Records in it.
    pub records: u64,
    /// Bytes in it.
    pub bytes: u64,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Records can be lost, forged or refused.
    Dangerous,
    /// The log can't be used.
    Broken,
}

/// Something that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum Finding {
    #[error("stream {stream} is missing: run `fanfold migrate`")]
    Missing { stream: String },
    #[error("stream {stream} can't be used: {why}")]
    Unusable { stream: String, why: String },
    #[error("stream {stream} has no leader")]
    Leaderless { stream: String },
    #[error("server {server} is {version}; below {}.{} acknowledged records were lost", VERSION_MIN.0, VERSION_MIN.1)]
    Version { server: String, version: String },
    #[error("server {server} acknowledges up to {} s before it syncs: a loss of power everywhere loses that", interval.as_secs())]
    Sync { server: String, interval: Duration },
    #[error("stream {stream} is on {found} servers, not on {wanted}")]
    Replicas { stream: String, found: usize, wanted: usize },
    #[error("records are kept on {replicas} server(s): the loss of one server stops the log or loses it")]
    FewReplicas { replicas: usize },
    #[error("stream {stream} is behind or away on server {server}")]
    Behind { stream: String, server: String },
    #[error("stream {stream} lets go of records that may not be archived: {why}")]
    Forgets { stream: String, why: &'static str },
    #[error("stream {stream} is not configured as this node is: run `fanfold migrate`")]
    OutOfDate { stream: String },
    #[error("stream {stream} is {percent} % full: appends will be refused")]
    Full { stream: String, percent: u64 },
    #[error("messages may have {found} bytes; a record takes up to {needed}")]
    Payload { found: usize, needed: usize },
    #[error("this user may publish to live subjects, and so forge records: deny it `{subjects}`")]
    MayForge { subjects: String },
    #[error("server {server} leads {leads} of {of} streams")]
    Uneven { server: String, leads: usize, of: usize },
    #[error("shards have different epochs")]
    Epochs,
    #[error("whether servers sync before they acknowledge is known to the system's account only")]
    SyncUnknown,
    #[error("{what} could not be asked: {why}")]
    Unasked { what: String, why: String },
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Missing { .. } | Self::Unusable { .. } | Self::Leaderless { .. } => Severity::Broken,
            Self::Version { .. }
            | Self::Sync { .. }
            | Self::Replicas { .. }
            | Self::FewReplicas { .. }
            | Self::Behind { .. }
            | Self::Forgets { .. }
            | Self::Full { .. }
            | Self::Payload { .. }
            | Self::MayForge { .. }
            | Self::Unasked { .. } => Severity::Dangerous,
            Self::OutOfDate { .. } | Self::Uneven { .. } | Self::Epochs | Self::SyncUnknown => Severity::Note,
        }
    }
}

/// Why nothing could be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No connection, or a server that is too old.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The configuration can't be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Looks at everything. `system` is a user of the system's account, who may ask the servers of themselves.
pub async fn inspect(config: &JetStreamLogConfig, system: Option<&NatsOptions>) -> Result<Report, InspectError> {
    let layout = Layout::new(&config.prefix, config.shards)?;
    let limits = Limits { subscription_messages_max: 1024, request_max: config.read_max() };
    let nats = Nats::connect(&config.nats, limits).await?;
    let mut report = Report::default();
    match system {
        Some(system) => inspect_servers(&Nats::connect(system, limits).await?, &mut report).await,
        None => report.findings.push(Finding::SyncUnknown),
    }
    for shard in 0..config.shards {
        inspect_shard(&nats, config, &layout, shard, &mut report).await;
    }
    inspect_whole(config, &mut report);
    inspect_user(&nats, &layout, &mut report).await;
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    Ok(report)
}

#[derive(Deserialize)]
struct Told {
    server: ToldServer,
    data: ToldData,
}

#[derive(Deserialize)]
struct ToldServer {
    name: String,
    ver: String,
}

#[derive(Deserialize, Default)]
struct ToldData {
    #[serde(default)]
    config: ToldConfig,
}

#[derive(Deserialize, Default)]
struct ToldConfig {
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

/// All servers answer, so the end is when nobody does any more.
async fn inspect_servers(system: &Nats, report: &mut Report) {
    let unasked = |why: String| Finding::Unasked { what: "servers".into(), why };
    let inbox = system.client().new_inbox();
    let mut answers = match system.client().subscribe(inbox.clone()).await {
        Ok(answers) => answers,
        Err(error) => return report.findings.push(unasked(error.to_string())),
    };
    let asked = system.client().publish_with_reply("$SYS.REQ.SERVER.PING.JSZ", inbox, r#"{"config":true}"#.into()).await;
    if let Err(error) = asked {
        return report.findings.push(unasked(error.to_string()));
    }
    while let Ok(Some(answer)) = tokio::time::timeout(SILENCE, answers.next()).await {
        let Ok(Told { server: ToldServer { name, ver: version }, data }) = serde_json::from_slice(&answer.payload) else {
            continue;
        };
        let sync_interval = Duration::from_nanos(data.config.sync_interval);
        if is_too_old(&version) {
            report.findings.push(Finding::Version { server: name.clone(), version: version.clone() });
        }
        if !data.config.sync_always {
            report.findings.push(Finding::Sync { server: name.clone(), interval: sync_interval });
        }
        report.servers.push(ServerReport { name, version, sync_always: data.config.sync_always, sync_interval });
    }
    if report.servers.is_empty() {
        report.findings.push(unasked("none answers to this account".into()));
    }
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<i64>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (VERSION_MIN.0, VERSION_MIN.1)
}

async fn inspect_shard(nats: &Nats, config: &JetStreamLogConfig, layout: &Layout, shard: u32, report: &mut Report) {
    let stream = layout.stream(shard);
    let info = match stream_info(nats, &stream).await {
        Ok(Some(info)) => info,
        Ok(None) => return report.findings.push(Finding::Missing { stream }),
        Err(error) => return report.findings.push(Finding::Unasked { what: stream, why: error.to_string() }),
    };
    let identity = match Identity::of(&info, layout) {
        Ok(identity) => identity,
        Err(error) => return report.findings.push(Finding::Unusable { stream, why: error.to_string() }),
    };
    report.findings.extend(forgets(&info).map(|why| Finding::Forgets { stream: stream.clone(), why }));
    if is_out_of_date(&info.config, &wanted(config, layout, shard, &identity, Offset::NONE)) {
        report.findings.push(Finding::OutOfDate { stream: stream.clone() });
    }
    if info.config.num_replicas != config.replicas {
        let (found, wanted) = (info.config.num_replicas, config.replicas);
        report.findings.push(Finding::Replicas { stream: stream.clone(), found, wanted });
    }
    let bytes_max = u64::try_from(info.config.max_bytes).unwrap_or(0);
    if let Some(percent) = (info.state.bytes * 100).checked_div(bytes_max).filter(|percent| *percent >= FULL_PERCENT) {
        report.findings.push(Finding::Full { stream: stream.clone(), percent });
    }
    let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
    if info.config.num_replicas > 1 && leader.is_none() {
        report.findings.push(Finding::Leaderless { stream: stream.clone() });
    }
    for replica in info.cluster.iter().flat_map(|cluster| &cluster.replicas).filter(|replica| !replica.current || replica.offline)
    {
        report.findings.push(Finding::Behind { stream: stream.clone(), server: replica.name.clone() });
    }
    report.shards.push(ShardReport {
        stream,
        epoch: identity.epoch,
        leader,
        replicas: info.config.num_replicas,
        first: Offset(info.state.first_sequence),
        last: Offset(info.state.last_sequence),
        records: info.state.messages,
        bytes: info.state.bytes,
    });
}

/// Only the archiver trims.
fn forgets(info: &Info) -> impl Iterator<Item = &'static str> {
    let config = &info.config;
    let reasons = [
        (config.max_age > Duration::ZERO, "it has a max_age"),
        (config.discard != DiscardPolicy::New, "a full one discards old records instead of refusing new ones"),
        (config.retention != RetentionPolicy::Limits, "consumers decide what it keeps"),
        (config.max_messages_per_subject > 0, "it has a limit for each session"),
        (config.storage != StorageType::File, "it is kept in memory"),
    ];
    reasons.into_iter().filter(|(is, _)| *is).map(|(_, why)| why)
}

/// What only all shards together show.
fn inspect_whole(config: &JetStreamLogConfig, report: &mut Report) {
    if config.replicas < 3 {
        report.findings.push(Finding::FewReplicas { replicas: config.replicas });
    }
    if report.shards.windows(2).any(|pair| pair[0].epoch != pair[1].epoch) {
        report.findings.push(Finding::Epochs);
    }
    let of = report.shards.len();
    let mut leads = BTreeMap::<&str, usize>::new();
    for leader in report.shards.iter().filter_map(|shard| shard.leader.as_deref()) {
        *leads.entry(leader).or_default() += 1;
    }
    // One more than half of few is chance; leaders do the work of a shard, and answer what only leaders know.
    let uneven = leads.into_iter().filter(|(_, leads)| of >= 4 && config.replicas > 1 && leads * 2 > of + 1);
    let uneven: Vec<_> = uneven.map(|(server, leads)| Finding::Uneven { server: server.to_owned(), leads, of }).collect();
    report.findings.extend(uneven);
}

/// What this user may do, and can't be asked for but only tried.
async fn inspect_user(nats: &Nats, layout: &Layout, report: &mut Report) {
    let needed = RECORD_BYTES_MAX + HEADER_BYTES_MAX;
    let found = nats.client().max_payload();
    if found < needed {
        report.findings.push(Finding::Payload { found, needed });
    }
    let (_, subjects) = layout.subjects(0);
    // Nobody hosts a session of this name: its last token is none that an id could be.
    let probe = subjects.replace('>', &format!("probe.{}.doctor", Uuid::new_v4().simple()));
    let Ok(mut heard) = nats.client().subscribe(probe.clone()).await else { return };
    if nats.client().publish(probe, Default::default()).await.is_ok()
        && let Ok(Some(_)) = tokio::time::timeout(SILENCE, heard.next()).await
    {
        report.findings.push(Finding::MayForge { subjects: subjects.replace(".0.>", ".>") });
    }
}
