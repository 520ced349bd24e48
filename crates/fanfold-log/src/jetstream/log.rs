//! The handle: verbs for callers, with a connection and the streams behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, SessionKey};
use fanfold_nats::{ConnectError, Limits, Nats, RequestError};
use serde_json::json;
use tokio::sync::Semaphore;

use super::append::{Append, Appends};
use super::config::JetStreamLogConfig;
use super::erase;
use super::layout::{Layout, LayoutError};
use super::migrate::{Identity, IdentityError};
use super::read::{BATCH_MAX, Reader, Trouble};
use super::shard::Shard;
use super::tail;
use crate::{APPEND_ID_BYTES_MAX, AppendError, EventLog, Expect, Page, ReadError, TAIL_RECORDS_MAX, Tail, Wake, metric};

/// An [`EventLog`] on JetStream. Makes no streams: that is [`super::migrate()`]'s.
pub struct JetStreamLog {
    pub(super) reader: Reader,
    pub(super) consumers: ConsumerLimits,
    appends: Appends,
    appends_max: u32,
    replicas: usize,
    closed: AtomicBool,
}

/// What the servers hold the archiver's consumers to.
pub(super) struct ConsumerLimits {
    pub(super) pending_max: i64,
    pub(super) ack_wait: Duration,
}

/// Why a log on JetStream doesn't open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The configuration can't be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The streams are another log's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Not made yet.
    #[error("stream {stream} is missing: run `fanfold migrate`")]
    Missing {
        /// Which.
        stream: String,
    },
    /// The cluster doesn't answer.
    #[error("stream {stream} can't be asked")]
    Unavailable {
        /// Which.
        stream: String,
        /// Why.
        #[source]
        source: RequestError,
    },
}

impl JetStreamLog {
    /// Connects, and checks that the streams are there and are this log's.
    pub async fn open(config: &JetStreamLogConfig) -> Result<Self, OpenError> {
        let layout = Layout::new(&config.prefix, config.shards)?;
        // The answers to one read must fit into a subscription, and so must what a session hears while it looks away.
        let subscription_messages_max = TAIL_RECORDS_MAX.max(BATCH_MAX) + 8;
        let limits = Limits { subscription_messages_max, request_max: config.read_max() };
        let nats = Nats::connect(&config.nats, limits).await?;
        let (mut shards, mut replicas) = (Vec::new(), usize::MAX);
        for shard in 0..config.shards {
            let (shard, kept_on) = open_shard(&nats, &layout, shard).await?;
            shards.push(shard);
            replicas = replicas.min(kept_on);
        }
        let permits = |count: usize| Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS));
        let appends_max = config.appends_max.clamp(1, u32::MAX as usize >> 3);
        Ok(Self {
            reader: Reader {
                nats,
                layout,
                shards: Arc::from(shards),
                leader: permits(config.leader_reads_max),
                batches: permits(config.reads_max),
                read_max: config.read_max(),
            },
            appends: Appends { under_way: permits(appends_max), max: config.append_max(), try_max: config.append_try_max() },
            consumers: ConsumerLimits {
                pending_max: config.archive_pending_max,
                ack_wait: Duration::from_millis(config.archive_ack_ms_max),
            },
            appends_max: appends_max as u32,
            replicas,
            closed: AtomicBool::new(false),
        })
    }
}

impl JetStreamLog {
    /// Each shard's epoch, in order.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.reader.shards.iter().map(|shard| shard.epoch)
    }

    /// How many servers keep each record: of the shard that has the fewest.
    pub fn replicas(&self) -> usize {
        self.replicas
    }
}

/// With the number of servers that keep it.
async fn open_shard(nats: &Nats, layout: &Layout, shard: u32) -> Result<(Shard, usize), OpenError> {
    let stream = layout.stream(shard);
    let info = nats.stream(&stream).await;
    let info = info.map_err(|source| OpenError::Unavailable { stream: stream.clone(), source })?;
    let info = info.ok_or_else(|| OpenError::Missing { stream: stream.clone() })?;
    let identity = Identity::of(&info, layout)?;
    Ok((Shard::new(stream, identity.epoch, Offset(info.state.last_sequence)), info.config.num_replicas))
}

#[async_trait::async_trait]
impl EventLog for JetStreamLog {
    fn epoch(&self, session: &SessionKey) -> Epoch {
        self.reader.shard(session).epoch
    }

    async fn append(&self, session: &SessionKey, record: Bytes, expect: Expect, id: Option<&str>) -> Result<Offset, AppendError> {
        assert!(id.is_none_or(|id| (1..=APPEND_ID_BYTES_MAX).contains(&id.len())), "an append id has 1 to 256 bytes");
        let append = Append { reader: &self.reader, limits: &self.appends, session, record, expect, id };
        let result = match self.closed.load(Ordering::Acquire) {
            true => Err(AppendError::Closed),
            false => append.run().await,
        };
        metrics::counter!(metric::APPENDS, "outcome" => metric::outcome(&result)).increment(1);
        result
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, ReadError> {
        Ok(self.reader.last(session).await?)
    }

    async fn last_of(&self, sessions: &[SessionKey]) -> Vec<Option<Offset>> {
        self.reader.last_of(sessions).await
    }

    /// Republishing is at most once.
    fn tail_may_lose(&self) -> bool {
        true
    }

    fn tails_made_anew(&self) -> u64 {
        let connects = self.reader.nats.client().statistics().connects.load(Ordering::Relaxed);
        connects.saturating_sub(1)
    }

    async fn read(&self, session: &SessionKey, after: Offset, records_max: usize, bytes_max: usize) -> Result<Page, ReadError> {
        self.reader.read(session, after, records_max, bytes_max).await
    }

    async fn must_have(&self, session: &SessionKey, offset: Offset) -> Result<(), ReadError> {
        Ok(self.reader.must_have(session, offset).await?)
    }

    async fn tail(&self, session: &SessionKey, wake: Wake) -> Result<Tail, ReadError> {
        self.reader.shard(session).check().map_err(Trouble::from)?;
        let unavailable = |error| ReadError::Unavailable(Box::new(error));
        let subscriber = self.reader.nats.client().subscribe(self.reader.layout.live(session)).await.map_err(unavailable)?;
        Ok(tail::tail(subscriber, self.reader.layout.subject(session), wake))
    }

    async fn trim(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        let shard = self.reader.shard(session);
        shard.check().map_err(Trouble::from)?;
        let (first, last) = self.reader.ends(session).await?;
        // Beyond its end a purge would leave a hole in the offsets.
        let keep = upto.min(last).0 + 1;
        if keep <= first.0 {
            return Ok(());
        }
        let call = format!("STREAM.PURGE.{}", shard.stream);
        let purged = self.reader.nats.api::<serde_json::Value>(&call, &json!({ "seq": keep })).await;
        purged.map_err(Trouble::from)?;
        Ok(())
    }

    async fn erase(&self, session: &SessionKey, at: Offset) -> Result<(), ReadError> {
        self.reader.shard(session).check().map_err(Trouble::from)?;
        Ok(erase::erase(&self.reader, session, at).await?)
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // What is under way holds the permits; each has a deadline.
        let all = self.appends.under_way.acquire_many(self.appends_max).await;
        self.appends.under_way.close();
        drop(all);
    }
}

impl std::fmt::Debug for JetStreamLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamLog").field("layout", &self.reader.layout).finish_non_exhaustive()
    }
}
