//! What the servers are configured to, and what of it can lose or forge records. Data; the node's commands print it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{DiscardPolicy, Info, RetentionPolicy, StorageType};
use fanfold_fold::{Epoch, Offset, RECORD_BYTES_MAX};
use fanfold_nats::{ConnectError, Limits, Nats, NatsOptions, Needs, RequestError, VERSION_MIN};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::config::JetStreamLogConfig;
use super::layout::{Layout, LayoutError};
use super::migrate::{Identity, is_out_of_date, wanted};
use super::servers;

/// Headers of a record, generously.
const HEADER_BYTES_MAX: usize = 4096;

/// What isn't archived for longer is worth a word: far above any `archive.wait_ms_max` that makes sense.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(600);

/// Clocks further apart make wrong ages of records.
const CLOCKS_APART_MS: i64 = 500;

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
    /// Records that are not known to be archived.
    pub unarchived: u64,
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
    #[error("this user may not publish to `{subject}`: allow it")]
    MayNotPublish { subject: String },
    #[error("this user may not subscribe to `{subject}`: allow it")]
    MayNotSubscribe { subject: String },
    #[error("the clock of server {server} is {ahead_ms} ms ahead of this machine's")]
    Clock { server: String, ahead_ms: i64 },
    #[error("stream {stream}: {records} records are not archived, the oldest of them for {} s", oldest.as_secs())]
    Unarchived { stream: String, records: u64, oldest: Duration },
    #[error("stream {stream} has records, and no node has begun to archive them")]
    NoArchiver { stream: String },
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
            Self::Missing { .. }
            | Self::Unusable { .. }
            | Self::Leaderless { .. }
            | Self::MayNotPublish { .. }
            | Self::MayNotSubscribe { .. } => Severity::Broken,
            Self::Version { .. }
            | Self::Sync { .. }
            | Self::Replicas { .. }
            | Self::FewReplicas { .. }
            | Self::Behind { .. }
            | Self::Forgets { .. }
            | Self::Full { .. }
            | Self::Payload { .. }
            | Self::MayForge { .. }
            | Self::Clock { .. }
            | Self::Unarchived { .. }
            | Self::Unasked { .. } => Severity::Dangerous,
            Self::OutOfDate { .. } | Self::Uneven { .. } | Self::Epochs | Self::SyncUnknown | Self::NoArchiver { .. } => {
                Severity::Note
            }
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

/// Looks at everything. `system` is a user of the system's account, who may ask the servers of themselves. Nothing is changed: what the
/// user may do is tried with what no server or node acts on.
pub async fn inspect(
    config: &JetStreamLogConfig,
    system: Option<&NatsOptions>,
    now_ms: impl Fn() -> u64,
) -> Result<Report, InspectError> {
    let layout = Layout::new(&config.prefix, config.shards)?;
    let limits = Limits { subscription_messages_max: 1024, request_max: config.read_max() };
    let nats = Nats::connect(&config.nats, limits).await?;
    let mut report = Report::default();
    match system {
        Some(system) => servers::inspect(&Nats::connect(system, limits).await?, limits.request_max, &mut report).await,
        None => report.findings.push(Finding::SyncUnknown),
    }
    // Whoever may not ask would wait for each answer in vain.
    if inspect_user(&nats, config, &layout, &mut report).await? {
        for shard in 0..config.shards {
            inspect_shard(&nats, config, &layout, shard, &now_ms, &mut report).await;
        }
        inspect_whole(config, &mut report);
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    Ok(report)
}

#[derive(Deserialize)]
struct Told {
    /// When it was said, by the clock of who said it.
    ts: Option<String>,
    #[serde(flatten)]
    info: Info,
}

async fn inspect_shard(
    nats: &Nats,
    config: &JetStreamLogConfig,
    layout: &Layout,
    shard: u32,
    now_ms: &impl Fn() -> u64,
    report: &mut Report,
) {
    let stream = layout.stream(shard);
    let before = now_ms();
    let Told { ts, info } = match nats.api(&format!("STREAM.INFO.{stream}"), &()).await {
        Ok(told) => told,
        Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => return report.findings.push(Finding::Missing { stream }),
        Err(error) => return report.findings.push(Finding::Unasked { what: stream, why: error.to_string() }),
    };
    let answered_by = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
    let answered_by = answered_by.unwrap_or_else(|| nats.client().server_info().server_name);
    inspect_clock(&answered_by, ts.as_deref(), (before, now_ms()), report);
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
    let unarchived = match archived(nats, layout, &info, now_ms).await {
        Ok((unarchived, finding)) => {
            report.findings.extend(finding);
            unarchived
        }
        Err(error) => {
            report.findings.push(Finding::Unasked { what: format!("the archiver of {stream}"), why: error.to_string() });
            0
        }
    };
    report.shards.push(ShardReport {
        stream,
        epoch: identity.epoch,
        leader,
        replicas: info.config.num_replicas,
        first: Offset(info.state.first_sequence),
        last: Offset(info.state.last_sequence),
        records: info.state.messages,
        bytes: info.state.bytes,
        unarchived,
    });
}

#[derive(Deserialize)]
struct ConsumerInfo {
    ack_floor: Floor,
    num_ack_pending: u64,
    num_pending: u64,
}

#[derive(Deserialize)]
struct Floor {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct Found {
    message: FoundMessage,
}

#[derive(Deserialize)]
struct FoundMessage {
    time: String,
}

/// Records that are not known to be archived, and whether that is worth a word.
async fn archived(
    nats: &Nats,
    layout: &Layout,
    info: &Info,
    now_ms: &impl Fn() -> u64,
) -> Result<(u64, Option<Finding>), RequestError> {
    let stream = info.config.name.clone();
    let records = info.state.messages;
    let consumer = nats.api::<ConsumerInfo>(&format!("CONSUMER.INFO.{stream}.{}", layout.consumer()), &json!({})).await;
    let consumer = match consumer {
        Ok(consumer) => consumer,
        Err(error) if error.is(ErrorCode::CONSUMER_NOT_FOUND) => {
            return Ok((records, (records > 0).then_some(Finding::NoArchiver { stream })));
        }
        Err(error) => return Err(error),
    };
    let records = consumer.num_pending + consumer.num_ack_pending;
    if records == 0 {
        return Ok((0, None));
    }
    let question = json!({ "seq": consumer.ack_floor.stream_seq + 1, "next_by_subj": ">" });
    let oldest = match nats.api::<Found>(&format!("STREAM.MSG.GET.{stream}"), &question).await {
        Ok(found) => unix_ms(&found.message.time),
        // It was archived meanwhile.
        Err(error) if error.is(ErrorCode::NO_MESSAGE_FOUND) => return Ok((records, None)),
        Err(error) => return Err(error),
    };
    let oldest = Duration::from_millis(oldest.map_or(0, |oldest| now_ms().saturating_sub(oldest)));
    Ok((records, (oldest > ARCHIVED_WITHIN).then_some(Finding::Unarchived { stream, records, oldest })))
}

fn unix_ms(rfc3339: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(rfc3339, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Each server is named once, however many streams it leads.
fn inspect_clock(server: &str, ts: Option<&str>, (before, after): (u64, u64), report: &mut Report) {
    let Some(at) = ts.and_then(unix_ms) else { return };
    let [at, before, after] = [at, before, after].map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    let ahead_ms = at - before - (after - before) / 2;
    let is_known = |finding: &Finding| matches!(finding, Finding::Clock { server: known, .. } if known == server);
    if ahead_ms.abs() > CLOCKS_APART_MS + (after - before) / 2 && !report.findings.iter().any(is_known) {
        report.findings.push(Finding::Clock { server: server.to_owned(), ahead_ms });
    }
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

/// What this user may do, and can't be asked for but only tried. Says whether streams can be looked at.
async fn inspect_user(
    nats: &Nats,
    config: &JetStreamLogConfig,
    layout: &Layout,
    report: &mut Report,
) -> Result<bool, ConnectError> {
    // Nobody hosts a session of this name: its last token is none that an id could be.
    let live = layout.subjects(0).1;
    let forged = live.replace('>', &format!("probe.{}.doctor", Uuid::new_v4().simple()));
    let mut needs = needs(layout, &config.nats.inbox_prefix);
    needs.publish.push(forged.clone());
    let mut refused = needs.refused(&config.nats, config.read_max()).await?;
    let tried = refused.publish.len();
    refused.publish.retain(|subject| *subject != forged);
    if refused.publish.len() == tried {
        report.findings.push(Finding::MayForge { subjects: live.replace(".0.>", ".>") });
    }
    let sees = !refused.publish.iter().any(|subject| subject.starts_with("$JS.API.STREAM.INFO."));
    report.findings.extend(refused.publish.into_iter().map(|subject| Finding::MayNotPublish { subject }));
    report.findings.extend(refused.subscribe.into_iter().map(|subject| Finding::MayNotSubscribe { subject }));
    inspect_payload(nats, report);
    Ok(sees)
}

/// Everything that a node does with the log, as subjects of its first shard.
fn needs(layout: &Layout, inbox_prefix: &str) -> Needs {
    let (stream, consumer) = (layout.stream(0), layout.consumer());
    let (records, live) = layout.subjects(0);
    // Nobody hosts a session of this name: its last token is none that an id could be.
    let nobody = format!("doctor.{}.doctor", Uuid::new_v4().simple());
    let calls = [
        format!("STREAM.INFO.{stream}"),
        format!("STREAM.MSG.GET.{stream}"),
        format!("DIRECT.GET.{stream}"),
        format!("CONSUMER.DURABLE.CREATE.{stream}.{consumer}"),
        format!("CONSUMER.INFO.{stream}.{consumer}"),
        format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"),
    ];
    // What destroys is tried on a stream that isn't there.
    let destroys = ["STREAM.MSG.DELETE", "STREAM.PURGE"].map(|call| format!("{call}.{}-log-doctor", layout.prefix()));
    let publish = calls.into_iter().chain(destroys).map(|call| format!("$JS.API.{call}"));
    let more = [format!("$JS.ACK.{stream}.{consumer}.1.0.0.0.0"), records.replace('>', &nobody), layout.alive()];
    Needs {
        publish: publish.chain(more).collect(),
        subscribe: vec![live.replace('>', &nobody), format!("{inbox_prefix}.{}", Uuid::new_v4().simple())],
    }
}

fn inspect_payload(nats: &Nats, report: &mut Report) {
    let needed = RECORD_BYTES_MAX + HEADER_BYTES_MAX;
    let found = nats.client().max_payload();
    if found < needed {
        report.findings.push(Finding::Payload { found, needed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(leader: &str, epoch: u128) -> ShardReport {
        let (stream, epoch, leader) = ("s".into(), Epoch(Uuid::from_u128(epoch)), Some(leader.into()));
        let (first, last) = (Offset(1), Offset::NONE);
        ShardReport { stream, epoch, leader, replicas: 3, first, last, records: 0, bytes: 0, unarchived: 0 }
    }

    #[test]
    fn what_all_shards_together_show() {
        let uneven = |leads, of| Finding::Uneven { server: "one".into(), leads, of };
        let check = |leaders: &[&str], epochs: &[u128], replicas: usize, expected: &[Finding]| {
            let shards = leaders.iter().zip(epochs).map(|(leader, epoch)| shard(leader, *epoch)).collect();
            let mut report = Report { shards, ..Report::default() };
            inspect_whole(&JetStreamLogConfig { replicas, ..JetStreamLogConfig::default() }, &mut report);
            assert_eq!(report.findings, expected, "{leaders:?} {epochs:?}");
        };
        check(&["one", "two", "three", "one"], &[7; 4], 3, &[]);
        check(&["one", "one", "one", "two"], &[7; 4], 3, &[uneven(3, 4)]);
        check(&["one", "one", "one"], &[7; 3], 3, &[]);
        check(&["one"; 4], &[7; 4], 1, &[Finding::FewReplicas { replicas: 1 }]);
        check(&["one", "two"], &[7, 8], 3, &[Finding::Epochs]);
        check(&["one"; 5], &[7, 7, 7, 7, 8], 3, &[Finding::Epochs, uneven(5, 5)]);
    }
}
