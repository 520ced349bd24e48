//! What of the queue on the servers is missing or dangerous. Data; the node's commands print it.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{RetentionPolicy, StorageType};
use fanfold_nats::{ConnectError, Limits, Nats, Needs};
use serde_json::{Value, json};

use super::config::JetStreamRunQueueConfig;
use super::layout::{Layout, LayoutError};
use super::migrate::identify;

const LIMITS: Limits = Limits { subscription_messages_max: 64, request_max: std::time::Duration::from_secs(5) };

/// What a look at the queue found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueReport {
    /// Runs that wait or are worked on.
    pub hints: u64,
    /// Runs that were given up.
    pub letters: u64,
    /// What is missing or dangerous.
    pub findings: Vec<QueueFinding>,
}

/// Something that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum QueueFinding {
    #[error("stream {stream} is missing: run `fanfold migrate`")]
    Missing { stream: String },
    #[error("stream {stream} can't be used: {why}")]
    Unusable { stream: String, why: String },
    #[error("consumer {consumer} is missing: run `fanfold migrate`")]
    NoConsumer { consumer: String },
    #[error("this user may not publish to `{subject}`: allow it")]
    MayNotPublish { subject: String },
    #[error("this user may not subscribe to `{subject}`: allow it")]
    MayNotSubscribe { subject: String },
    #[error("stream {stream} lets go of runs that wait: {why}")]
    Forgets { stream: String, why: &'static str },
    #[error("stream {stream} is on {found} servers, not on {wanted}")]
    Replicas { stream: String, found: usize, wanted: usize },
    #[error("{what} could not be asked: {why}")]
    Unasked { what: String, why: String },
}

impl QueueFinding {
    /// Whether no node can work with it. Else runs can be lost or late; their sessions still tell of them.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Unusable { .. }
            | Self::NoConsumer { .. }
            | Self::MayNotPublish { .. }
            | Self::MayNotSubscribe { .. } => true,
            Self::Forgets { .. } | Self::Replicas { .. } | Self::Unasked { .. } => false,
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

/// Looks at everything and changes nothing.
pub async fn inspect(config: &JetStreamRunQueueConfig) -> Result<QueueReport, InspectError> {
    let layout = Layout::new(&config.prefix, config.buckets)?;
    let refused = needs(&layout).refused(&config.nats, LIMITS.request_max).await?;
    let mut report = QueueReport::default();
    // Whoever may not ask would wait for each answer in vain.
    let sees = !refused.publish.iter().any(|subject| subject.starts_with("$JS.API.STREAM.INFO."));
    report.findings.extend(refused.publish.into_iter().map(|subject| QueueFinding::MayNotPublish { subject }));
    report.findings.extend(refused.subscribe.into_iter().map(|subject| QueueFinding::MayNotSubscribe { subject }));
    if !sees {
        return Ok(report);
    }
    let nats = Nats::connect(&config.nats, LIMITS).await?;
    report.hints = inspect_stream(&nats, config, &layout, layout.stream(), &mut report.findings).await;
    report.letters = inspect_stream(&nats, config, &layout, layout.dead_stream(), &mut report.findings).await;
    if report.findings.iter().all(|finding| !finding.is_broken()) {
        inspect_consumers(&nats, &layout, &mut report.findings).await;
    }
    Ok(report)
}

/// Says how many messages it has.
async fn inspect_stream(
    nats: &Nats,
    config: &JetStreamRunQueueConfig,
    layout: &Layout,
    stream: String,
    findings: &mut Vec<QueueFinding>,
) -> u64 {
    let info = match nats.stream(&stream).await {
        Ok(Some(info)) => info,
        Ok(None) => {
            findings.push(QueueFinding::Missing { stream });
            return 0;
        }
        Err(error) => {
            findings.push(QueueFinding::Unasked { what: stream, why: error.to_string() });
            return 0;
        }
    };
    if let Err(error) = identify(&info, layout) {
        findings.push(QueueFinding::Unusable { stream: stream.clone(), why: error.to_string() });
    }
    let found = &info.config;
    if found.num_replicas != config.replicas {
        let (found, wanted) = (found.num_replicas, config.replicas);
        findings.push(QueueFinding::Replicas { stream: stream.clone(), found, wanted });
    }
    let is_queue = stream == layout.stream();
    let forgets = [
        (!found.max_age.is_zero(), "it has a max_age"),
        (found.storage != StorageType::File, "it is kept in memory"),
        (is_queue && found.retention != RetentionPolicy::WorkQueue, "its retention isn't that of a work queue"),
    ];
    let forgets = forgets.into_iter().filter(|(is, _)| *is);
    findings.extend(forgets.map(|(_, why)| QueueFinding::Forgets { stream: stream.clone(), why }));
    info.state.messages
}

async fn inspect_consumers(nats: &Nats, layout: &Layout, findings: &mut Vec<QueueFinding>) {
    for bucket in 0..layout.buckets {
        let consumer = Layout::consumer(bucket);
        match nats.api::<Value>(&format!("CONSUMER.INFO.{}.{consumer}", layout.stream()), &json!({})).await {
            Ok(_) => {}
            Err(error) if error.is(ErrorCode::CONSUMER_NOT_FOUND) => findings.push(QueueFinding::NoConsumer { consumer }),
            Err(error) => findings.push(QueueFinding::Unasked { what: consumer, why: error.to_string() }),
        }
    }
}

/// Everything that a node does with the queue. What is published is for another stream, so nothing takes it.
fn needs(layout: &Layout) -> Needs {
    let (stream, dead, consumer) = (layout.stream(), layout.dead_stream(), Layout::consumer(0));
    let calls = [
        format!("STREAM.INFO.{stream}"),
        format!("STREAM.INFO.{dead}"),
        format!("STREAM.MSG.GET.{stream}"),
        // On a stream that isn't there, as it destroys.
        format!("STREAM.PURGE.{dead}-doctor"),
        format!("STREAM.MSG.GET.{dead}"),
        format!("DIRECT.GET.{stream}"),
        format!("DIRECT.GET.{dead}"),
        format!("CONSUMER.INFO.{stream}.{consumer}"),
        format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"),
    ];
    let subjects = [layout.bucket_subjects(0), layout.dead_subjects()].map(|all| all.replace('>', "doctor.doctor.doctor"));
    let publish = calls.into_iter().map(|call| format!("$JS.API.{call}"));
    let more = [format!("$JS.ACK.{stream}.{consumer}.1.0.0.0.0"), layout.notices().replace('*', "doctor")];
    Needs { publish: publish.chain(subjects).chain(more).collect(), subscribe: vec![layout.notices()] }
}
