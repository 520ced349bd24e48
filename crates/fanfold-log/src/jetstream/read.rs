//! Reads: the leader says where a session ends, any replica hands out its records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::{HeaderMap, Message};
use fanfold_fold::{Offset, SessionKey};
use fanfold_nats::{Gathered, Nats, RequestError};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::layout::Layout;
use super::migrate::{Identity, IdentityError};
use super::shard::Shard;
use crate::{Page, ReadError, StoredRecord, metric};

/// Records asked for in one request; a subscription must hold them all.
pub(super) const BATCH_MAX: usize = 512;

/// Sessions asked for in one request. Servers answer at most 1024 subjects.
const LAST_OF_MAX: usize = 1000;

/// Bytes of one answer to that, as the server sends whole records.
const LAST_OF_BYTES_MAX: usize = 8 << 20;

/// Shards asked for them at one time.
const LAST_OF_SHARDS: usize = 8;

/// Before a replica that is behind is asked again.
const STALE_PAUSE: Duration = Duration::from_millis(5);

/// Why a question to the log has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the stream could not be asked")]
    Request(#[from] RequestError),
    #[error("the log is busy")]
    Busy,
    #[error("no replica has caught up with the leader in time")]
    Stale,
    #[error("stream {0} is gone")]
    Gone(String),
    #[error(transparent)]
    Changed(#[from] super::shard::Changed),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<Trouble> for ReadError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}

/// What reads need.
pub(crate) struct Reader {
    pub(crate) nats: Nats,
    pub(crate) layout: Layout,
    pub(crate) shards: Arc<[Shard]>,
    pub(crate) leader: Semaphore,
    pub(crate) batches: Semaphore,
    pub(crate) read_max: Duration,
}

#[derive(Deserialize)]
struct LastMessage {
    message: Position,
}

#[derive(Deserialize)]
struct Position {
    seq: u64,
}

/// Some records of a session as one replica has them.
struct Batch {
    records: Vec<StoredRecord>,
    /// How many more it has.
    pending: u64,
}

impl Reader {
    pub(crate) fn shard(&self, session: &SessionKey) -> &Shard {
        &self.shards[self.layout.shard(session) as usize]
    }

    /// What the leader says is the session's last offset. Its time-out means busy, never empty.
    pub(crate) async fn last(&self, session: &SessionKey) -> Result<Offset, Trouble> {
        let shard = self.shard(session);
        shard.check()?;
        let question = json!({ "last_by_subj": self.layout.subject(session), "no_hdr": true });
        let _permit = self.leader_permit().await?;
        match self.nats.api::<LastMessage>(&format!("STREAM.MSG.GET.{}", shard.stream), &question).await {
            Ok(last) => {
                shard.saw(Offset(last.message.seq));
                Ok(Offset(last.message.seq))
            }
            Err(error) if error.is(ErrorCode::NO_MESSAGE_FOUND) => Ok(Offset::NONE),
            Err(error) => Err(error.into()),
        }
    }

    /// The first and the last offset of the session's whole shard, as the leader knows them.
    pub(crate) async fn ends(&self, session: &SessionKey) -> Result<(Offset, Offset), Trouble> {
        let shard = self.shard(session);
        shard.check()?;
        let _permit = self.leader_permit().await?;
        let before = shard.seen();
        let info = self.nats.stream(&shard.stream).await?.ok_or_else(|| Trouble::Gone(shard.stream.clone()))?;
        let last = Offset(info.state.last_sequence);
        shard.ends(last, Identity::of(&info, &self.layout)?.epoch, before)?;
        Ok((Offset(info.state.first_sequence), last))
    }

    /// Refuses the shard if it has never issued `offset`, which somebody has seen.
    pub(crate) async fn must_have(&self, session: &SessionKey, offset: Offset) -> Result<(), Trouble> {
        let shard = self.shard(session);
        shard.check()?;
        if offset <= shard.seen() {
            return Ok(());
        }
        let (_, last) = self.ends(session).await?;
        Ok(shard.ends(last, shard.epoch, offset)?)
    }

    async fn leader_permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Trouble> {
        let permit = tokio::time::timeout(self.read_max, self.leader.acquire()).await;
        permit.ok().and_then(Result::ok).ok_or(Trouble::Busy)
    }

    pub(crate) async fn read(
        &self,
        session: &SessionKey,
        after: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, ReadError> {
        let started = Instant::now();
        let last = self.last(session).await?;
        if last <= after {
            // Where the leader has something of the session, nothing behind it was trimmed.
            if last == Offset::NONE {
                self.check_trimmed(session, after).await?;
            }
            return Ok(Page { records: Vec::new(), end: true });
        }
        let mut filling =
            Filling { after, next: after.max(Offset(1)), anchored: false, records: Vec::new(), bytes: 0, more: false };
        let _permit = self.batches.acquire().await.map_err(|_| Trouble::Busy)?;
        while filling.wants(last, records_max, bytes_max) {
            let batch = self.batch(session, &filling, records_max, bytes_max).await?;
            if batch.records.is_empty() {
                metrics::counter!(metric::READS_STALE).increment(1);
                if started.elapsed() > self.read_max {
                    return Err(Trouble::Stale.into());
                }
                tokio::time::sleep(STALE_PAUSE).await;
            }
            filling.take(batch, records_max, bytes_max);
        }
        if !filling.anchored {
            self.check_trimmed(session, after).await?;
        }
        metrics::histogram!(metric::READ_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(filling.page(last))
    }

    /// Whether the shard still has everything after `after`. Asked after reading: only what is archived is trimmed, but at any time.
    async fn check_trimmed(&self, session: &SessionKey, after: Offset) -> Result<(), ReadError> {
        let (first, _) = self.ends(session).await?;
        match first.0 > after.0.saturating_add(1) {
            true => Err(ReadError::Trimmed { first, certain: false }),
            false => Ok(()),
        }
    }

    async fn batch(
        &self,
        session: &SessionKey,
        filling: &Filling,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, Trouble> {
        let subject = self.layout.subject(session);
        // One more for the record at `after`, which shows that nothing behind it was trimmed.
        let records = (records_max.saturating_sub(filling.records.len()) + 1).min(BATCH_MAX);
        let question = json!({
            "seq": filling.next.0,
            "next_by_subj": subject,
            "batch": records,
            "max_bytes": bytes_max.saturating_sub(filling.bytes).max(1),
        });
        let call = format!("DIRECT.GET.{}", self.shard(session).stream);
        let gathered = self.nats.api_gather(&call, &question).await?;
        batch(gathered, &subject)
    }

    /// One question for each shard that is concerned, or more where answers are long. `None` for the sessions of one that doesn't answer,
    /// which holds up no other.
    pub(crate) async fn last_of(&self, sessions: &[SessionKey]) -> Vec<Option<Offset>> {
        let mut by_shard = BTreeMap::<u32, Vec<String>>::new();
        for session in sessions {
            by_shard.entry(self.layout.shard(session)).or_default().push(self.layout.subject(session));
        }
        let asked = by_shard.into_iter().map(async |(shard, subjects)| (shard, self.last_of_shard(shard, &subjects).await));
        let mut asked = stream::iter(asked).buffer_unordered(LAST_OF_SHARDS);
        let mut answers = HashMap::new();
        while let Some((shard, answer)) = asked.next().await {
            match answer {
                Ok(last) => {
                    answers.insert(shard, last);
                }
                Err(error) => {
                    let stream = &self.shards[shard as usize].stream;
                    tracing::warn!(stream, error = &error as &dyn std::error::Error, "tails of a shard are not checked");
                }
            }
        }
        let of = |session: &SessionKey| {
            let last = answers.get(&self.layout.shard(session))?;
            Some(last.get(&self.layout.subject(session)).copied().unwrap_or(Offset::NONE))
        };
        sessions.iter().map(of).collect()
    }

    async fn last_of_shard(&self, shard: u32, subjects: &[String]) -> Result<HashMap<String, Offset>, Trouble> {
        let _permit = self.batches.acquire().await.map_err(|_| Trouble::Busy)?;
        let mut last = HashMap::new();
        for subjects in subjects.chunks(LAST_OF_MAX) {
            self.add_last_of(&self.shards[shard as usize], subjects, &mut last).await?;
        }
        Ok(last)
    }

    async fn add_last_of(&self, shard: &Shard, subjects: &[String], last: &mut HashMap<String, Offset>) -> Result<(), Trouble> {
        shard.check()?;
        let mut from = 1;
        loop {
            let question = json!({ "multi_last": subjects, "seq": from, "max_bytes": LAST_OF_BYTES_MAX });
            let gathered = self.nats.api_gather(&format!("DIRECT.GET.{}", shard.stream), &question).await?;
            let pending = gathered.end.as_ref().and_then(|end| number(end, "Nats-Num-Pending")).unwrap_or(0);
            let before = from;
            for message in &gathered.messages {
                let headers = message.headers.as_ref();
                let found = headers.and_then(|headers| Some((text(headers, "Nats-Subject")?, number(headers, "Nats-Sequence")?)));
                let (subject, sequence) = found.ok_or_else(malformed)?;
                last.insert(subject.to_owned(), Offset(sequence));
                from = from.max(sequence + 1);
            }
            if pending == 0 || from == before {
                return Ok(());
            }
        }
    }
}

/// A page in the making.
struct Filling {
    after: Offset,
    /// Where the next batch begins.
    next: Offset,
    /// Whether the record at `after` was met.
    anchored: bool,
    records: Vec<StoredRecord>,
    bytes: usize,
    /// Whether there is more than the page holds.
    more: bool,
}

impl Filling {
    fn upto(&self) -> Offset {
        self.records.last().map_or(self.after, |record| record.offset)
    }

    fn wants(&self, last: Offset, records_max: usize, bytes_max: usize) -> bool {
        let full = self.records.len() >= records_max || self.bytes >= bytes_max;
        self.upto() < last && (self.records.is_empty() || !full)
    }

    fn take(&mut self, batch: Batch, records_max: usize, bytes_max: usize) {
        self.more = batch.pending > 0;
        for mut record in batch.records {
            self.next = Offset(record.offset.0 + 1);
            if record.offset <= self.after {
                self.anchored = true;
                continue;
            }
            if !self.records.is_empty() && (self.records.len() >= records_max || self.bytes >= bytes_max) {
                self.more = true;
                return;
            }
            record.previous = self.upto();
            self.bytes += record.record.len();
            self.records.push(record);
        }
    }

    fn page(self, last: Offset) -> Page {
        let end = self.upto() >= last && !self.more;
        Page { records: self.records, end }
    }
}

/// I2 contiguous: each message names the one before it in the answer, so one that was lost on the way is noticed.
fn batch(gathered: Gathered, subject: &str) -> Result<Batch, Trouble> {
    let Some(end) = gathered.end else { return Ok(Batch { records: Vec::new(), pending: 0 }) };
    let mut before = Offset::NONE;
    let mut records = Vec::with_capacity(gathered.messages.len());
    for message in gathered.messages {
        let record = stored(message, subject).ok_or_else(malformed)?;
        if record.previous != before {
            return Err(malformed());
        }
        before = record.offset;
        records.push(record);
    }
    match (number(&end, "Nats-Last-Sequence"), number(&end, "Nats-Num-Pending")) {
        (Some(last), Some(pending)) if last == before.0 => Ok(Batch { records, pending }),
        _ => Err(malformed()),
    }
}

/// A record as the server hands it out, live or read. `None` if it isn't one of `subject`.
///
/// A publisher can put headers of these names into a record. The server adds its own behind them, so the last one counts.
pub(super) fn stored(message: Message, subject: &str) -> Option<StoredRecord> {
    let headers = message.headers.as_ref()?;
    if text(headers, "Nats-Subject")? != subject {
        return None;
    }
    let at = OffsetDateTime::parse(text(headers, "Nats-Time-Stamp")?, &Rfc3339).ok()?;
    Some(StoredRecord {
        offset: Offset(number(headers, "Nats-Sequence")?),
        previous: Offset(number(headers, "Nats-Last-Sequence")?),
        stored_at_ms: u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?,
        record: message.payload,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_last(name).map(async_nats::HeaderValue::as_str)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn malformed() -> Trouble {
    Trouble::Request(RequestError::Malformed("records are missing in it, or have no position".into()))
}
