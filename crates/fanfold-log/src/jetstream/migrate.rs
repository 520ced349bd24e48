//! Makes the streams, or brings them up to date. Safe twice, and by two nodes at once: the first stream decides.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, Republish, RetentionPolicy, StorageType};
use fanfold_fold::{Epoch, Offset};
use fanfold_nats::{ConnectError, Limits, Nats, RequestError};
use serde_json::json;
use uuid::Uuid;

use super::config::JetStreamLogConfig;
use super::layout::{LAYOUT_VERSION, Layout, LayoutError};

/// What a stream says of itself, beside its configuration.
const VERSION: &str = "fanfold.layout";
const SHARDS: &str = "fanfold.shards";
const EPOCH: &str = "fanfold.epoch";

/// A cluster takes its time to place streams.
const LIMITS: Limits = Limits { subscription_messages_max: 1024, request_max: Duration::from_secs(30) };

/// What `migrate` found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Each shard's epoch, in order.
    pub epochs: Vec<Epoch>,
    /// Streams made.
    pub created: u32,
    /// Streams whose configuration was brought up to date.
    pub updated: u32,
}

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
    /// There is nothing to give an epoch to.
    #[error("stream {stream} is missing")]
    Missing {
        /// Which.
        stream: String,
    },
    /// The server didn't answer, or refused.
    #[error("stream {stream} could not be made or changed")]
    Stream {
        /// Which.
        stream: String,
        /// Why.
        #[source]
        source: RequestError,
    },
}

/// A stream that is there and isn't a shard of this log.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Made by something else, or by hand.
    #[error("stream {stream} was not made by fanfold")]
    Foreign {
        /// Which.
        stream: String,
    },
    /// A newer release made it.
    #[error("stream {stream} has layout {found}; this release knows up to {LAYOUT_VERSION}")]
    Version {
        /// Which.
        stream: String,
        /// What it says.
        found: u32,
    },
    /// Sessions would be looked for in the wrong places.
    #[error("the log has {found} shards, not {configured}; the number changes by export and import only")]
    Shards {
        /// What the streams say.
        found: u32,
        /// What the configuration says.
        configured: u32,
    },
}

/// What a stream says of itself.
pub(crate) struct Identity {
    pub(crate) epoch: Epoch,
    pub(crate) shards: u32,
}

impl Identity {
    /// Of a stream that is there.
    pub(crate) fn of(info: &Info, layout: &Layout) -> Result<Self, IdentityError> {
        let stream = || info.config.name.clone();
        let says = |key: &str| info.config.metadata.get(key);
        let number = |key: &str| says(key).and_then(|text| text.parse::<u32>().ok());
        let epoch = says(EPOCH).and_then(|text| Uuid::parse_str(text).ok());
        let (Some(version), Some(shards), Some(epoch)) = (number(VERSION), number(SHARDS), epoch) else {
            return Err(IdentityError::Foreign { stream: stream() });
        };
        if version > LAYOUT_VERSION {
            return Err(IdentityError::Version { stream: stream(), found: version });
        }
        if shards != layout.shards {
            return Err(IdentityError::Shards { found: shards, configured: layout.shards });
        }
        Ok(Self { epoch: Epoch(epoch), shards })
    }

    fn metadata(&self) -> HashMap<String, String> {
        let pairs = [(VERSION, LAYOUT_VERSION.to_string()), (SHARDS, self.shards.to_string()), (EPOCH, self.epoch.to_string())];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

/// Makes what is missing and changes what is out of date. New streams issue offsets above `above`: every offset ever stored elsewhere.
pub async fn migrate(config: &JetStreamLogConfig, above: Offset) -> Result<Migrated, MigrateError> {
    let layout = Layout::new(&config.prefix, config.shards)?;
    let nats = Nats::connect(&config.nats, LIMITS).await?;
    // Whoever makes the first stream decides the number of shards and the epoch; the others follow from it.
    let mut decided = Identity { epoch: Epoch(Uuid::new_v4()), shards: config.shards };
    let mut migrated = Migrated { epochs: Vec::new(), created: 0, updated: 0 };
    for shard in 0..config.shards {
        let wanted = wanted(config, &layout, shard, &decided, above);
        let identity = ensure(&nats, &layout, wanted, &mut migrated).await?;
        migrated.epochs.push(identity.epoch);
        if shard == 0 {
            decided = identity;
        }
    }
    Ok(migrated)
}

/// What [`new_epoch`] began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunEpochs {
    /// The new incarnation of all shards.
    pub epoch: Epoch,
    /// Each shard's first offset, in order.
    pub first: Vec<Offset>,
}

/// Gives all shards a new epoch, whose offsets lie above `above` and above all that the streams have issued.
///
/// For a stream that has lost records, or has none. **What the streams still have goes**, so it must be in the archive; nodes are stopped
/// before and started again after. Safe to repeat when it was interrupted: a stream without its records, but with the old epoch, has
/// lost nothing more.
pub async fn new_epoch(config: &JetStreamLogConfig, above: Offset) -> Result<BegunEpochs, MigrateError> {
    let layout = Layout::new(&config.prefix, config.shards)?;
    let nats = Nats::connect(&config.nats, LIMITS).await?;
    let mut begun = BegunEpochs { epoch: Epoch(Uuid::new_v4()), first: Vec::new() };
    for shard in 0..config.shards {
        let stream = layout.stream(shard);
        let failed = |source| MigrateError::Stream { stream: stream.clone(), source };
        let info = nats.stream(&stream).await.map_err(failed)?;
        let info = info.ok_or_else(|| MigrateError::Missing { stream: stream.clone() })?;
        Identity::of(&info, &layout)?;
        let first = above.0.max(info.state.last_sequence) + 1;
        raise(&nats, &stream, first).await.map_err(failed)?;
        let mut update = info.config;
        update.metadata.insert(EPOCH.to_owned(), begun.epoch.to_string());
        nats.change_stream(&update).await.map_err(failed)?;
        begun.first.push(Offset(first));
    }
    Ok(begun)
}

/// Lets go of everything; what is stored next is at `first`.
pub(crate) async fn raise(nats: &Nats, stream: &str, first: u64) -> Result<(), RequestError> {
    // A purge beyond the end moves the end there, too.
    nats.api::<serde_json::Value>(&format!("STREAM.PURGE.{stream}"), &json!({ "seq": first })).await.map(drop)
}

/// A shard's stream as it should be.
pub(crate) fn wanted(config: &JetStreamLogConfig, layout: &Layout, shard: u32, identity: &Identity, above: Offset) -> Config {
    let (subjects, live) = layout.subjects(shard);
    Config {
        name: layout.stream(shard),
        description: Some("Records of Fanfold's sessions. Trimmed by the archiver, never by age.".into()),
        subjects: vec![subjects.clone()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_age: Duration::ZERO,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_bytes: config.shard_bytes_max,
        num_replicas: config.replicas,
        duplicate_window: Duration::from_millis(config.duplicate_window_ms),
        allow_direct: true,
        republish: Some(Republish { source: subjects, destination: live, headers_only: false }),
        first_sequence: (above > Offset::NONE).then_some(above.0 + 1),
        metadata: identity.metadata(),
        ..Config::default()
    }
}

async fn ensure(nats: &Nats, layout: &Layout, wanted: Config, migrated: &mut Migrated) -> Result<Identity, MigrateError> {
    let stream = wanted.name.clone();
    let failed = |source| MigrateError::Stream { stream: stream.clone(), source };
    let (found, is_new) = nats.stream_or_make(&wanted).await.map_err(failed)?;
    migrated.created += u32::from(is_new);
    let identity = Identity::of(&found, layout)?;
    if is_out_of_date(&found.config, &wanted) {
        let Config { metadata, first_sequence, .. } = found.config;
        let update = Config { metadata, first_sequence, ..wanted };
        nats.change_stream(&update).await.map_err(failed)?;
        migrated.updated += 1;
    }
    Ok(identity)
}

/// Whether something differs that the configuration decides.
pub(crate) fn is_out_of_date(found: &Config, wanted: &Config) -> bool {
    let decided = |config: &Config| {
        let republish = config.republish.as_ref();
        (
            config.subjects.clone(),
            config.discard,
            config.max_age,
            (config.max_bytes, config.max_messages, config.max_messages_per_subject),
            config.num_replicas,
            config.duplicate_window,
            config.allow_direct,
            republish.map(|republish| (republish.source.clone(), republish.destination.clone(), republish.headers_only)),
        )
    };
    decided(found) != decided(wanted)
}
