//! Makes the streams and consumers, or brings them up to date. Safe twice, and by two nodes at once.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use fanfold_nats::{ConnectError, Limits, Nats, RequestError};
use serde_json::{Value, json};

use super::config::JetStreamRunQueueConfig;
use super::layout::{LAYOUT_VERSION, Layout, LayoutError};

const VERSION: &str = "fanfold.layout";
const BUCKETS: &str = "fanfold.buckets";

/// A cluster takes its time to place streams.
const LIMITS: Limits = Limits { subscription_messages_max: 64, request_max: Duration::from_secs(30) };

/// Why the streams are not what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The configuration can't be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What is there can't be used as it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server didn't answer, or refused.
    #[error("{what} could not be made or changed")]
    Refused {
        /// Which stream or consumer.
        what: String,
        /// Why.
        #[source]
        source: RequestError,
    },
}

/// A stream that is there and isn't this queue's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Made by something else, or by a newer release.
    #[error("stream {0} was not made by this release of fanfold or an earlier one")]
    Foreign(String),
    /// Tenants would be looked for in the wrong places.
    #[error("the queue has {found} buckets, not {configured}")]
    Buckets {
        /// What the stream says.
        found: u32,
        /// What the configuration says.
        configured: u32,
    },
}

/// Whether the stream is this queue's.
pub(crate) fn identify(info: &Info, layout: &Layout) -> Result<(), IdentityError> {
    let number = |key: &str| info.config.metadata.get(key).and_then(|text| text.parse::<u32>().ok());
    match (number(VERSION), number(BUCKETS)) {
        (Some(1..=LAYOUT_VERSION), Some(found)) if found == layout.buckets => Ok(()),
        (Some(1..=LAYOUT_VERSION), Some(found)) => Err(IdentityError::Buckets { found, configured: layout.buckets }),
        _ => Err(IdentityError::Foreign(info.config.name.clone())),
    }
}

/// Makes what is missing and changes what is out of date.
pub async fn migrate(config: &JetStreamRunQueueConfig) -> Result<(), MigrateError> {
    let layout = Layout::new(&config.prefix, config.buckets)?;
    let nats = Nats::connect(&config.nats, LIMITS).await?;
    for wanted in [hints(config, &layout), letters(config, &layout)] {
        ensure(&nats, &layout, wanted).await?;
    }
    for bucket in 0..config.buckets {
        let name = Layout::consumer(bucket);
        let body = json!({ "stream_name": layout.stream(), "config": consumer(config, &layout, bucket), "action": "" });
        // Without an action it is made, brought up to date, or left as it is.
        let call = format!("CONSUMER.CREATE.{}.{name}.{}", layout.stream(), layout.bucket_subjects(bucket));
        let made = nats.api::<Value>(&call, &body).await;
        made.map_err(|source| MigrateError::Refused { what: format!("consumer {name}"), source })?;
    }
    Ok(())
}

/// Hints: each goes when its run is done.
fn hints(config: &JetStreamRunQueueConfig, layout: &Layout) -> Config {
    Config {
        name: layout.stream(),
        description: Some("Runs of Fanfold's sessions that want a worker.".into()),
        subjects: vec![layout.subjects()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: i64::try_from(config.hints_max).unwrap_or(i64::MAX),
        ..common(config)
    }
}

/// Dead letters: the first one goes for one too many.
fn letters(config: &JetStreamRunQueueConfig, layout: &Layout) -> Config {
    Config {
        name: layout.dead_stream(),
        description: Some("Runs of Fanfold's sessions that were given up.".into()),
        subjects: vec![layout.dead_subjects()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: i64::try_from(config.letters_max).unwrap_or(i64::MAX),
        max_messages_per_subject: 1,
        ..common(config)
    }
}

fn common(config: &JetStreamRunQueueConfig) -> Config {
    let metadata = [(VERSION, LAYOUT_VERSION), (BUCKETS, config.buckets)];
    Config {
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_bytes: -1,
        allow_direct: true,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_string())).into(),
        ..Config::default()
    }
}

fn consumer(config: &JetStreamRunQueueConfig, layout: &Layout, bucket: u32) -> pull::Config {
    pull::Config {
        durable_name: Some(Layout::consumer(bucket)),
        filter_subject: layout.bucket_subjects(bucket),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait(),
        // How often a run may be tried is the fold's to say.
        max_deliver: -1,
        // What is delayed and held back is pending, too; the stream itself has a limit.
        max_ack_pending: -1,
        ..pull::Config::default()
    }
}

async fn ensure(nats: &Nats, layout: &Layout, wanted: Config) -> Result<(), MigrateError> {
    let stream = wanted.name.clone();
    let failed = |source| MigrateError::Refused { what: format!("stream {stream}"), source };
    let (found, _is_new) = nats.stream_or_make(&wanted).await.map_err(failed)?;
    identify(&found, layout)?;
    let decided = |config: &Config| (config.max_messages, config.num_replicas, config.discard, config.max_messages_per_subject);
    if decided(&found.config) != decided(&wanted) {
        let update = Config { metadata: found.config.metadata, ..wanted };
        nats.change_stream(&update).await.map_err(failed)?;
    }
    Ok(())
}
