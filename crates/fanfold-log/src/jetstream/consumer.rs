//! The consumer of all shards: one durable pull consumer for each, shared by all nodes. It brings headers only: whoever is told of a
//! record reads it from the stream, together with those that other nodes were told of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_nats::{ApiError, Gathered, Nats, RequestError};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use super::alive::Alive;
use super::layout::Layout;
use super::log::JetStreamLog;
use super::read::Trouble;
use super::shard::Shard;
use crate::consumer::TicketKind;
use crate::{Consumer, Lag, Notice, ReadError, Ticket};

/// How long a server keeps a request for more. Then it is made anew.
const PULL_MAX: Duration = Duration::from_secs(10);

/// Notices asked for at one time, of all shards together; they must fit into the subscription.
const PULLED_MAX: usize = 1024;

/// Before a shard whose consumer doesn't answer is asked again; twice as long each time, up to [`PULL_MAX`].
const PAUSE: Duration = Duration::from_secs(1);

/// What a server says at the end of a request instead of a record.
const NO_MORE: [u16; 2] = [404, 408];

/// The last part of the subject where the answer to the making of a shard's consumer comes.
const MADE: &str = "made-";

/// The [`Consumer`] of a [`JetStreamLog`].
pub struct JetStreamConsumer {
    nats: Nats,
    layout: Layout,
    shards: Arc<[Shard]>,
    name: String,
    /// What the durable consumers are made with.
    config: Value,
    pulling: Turn<Pulling>,
    /// Up to where each shard was trimmed from here.
    trimmed: Mutex<HashMap<u32, u64>>,
    /// Only nodes have a consumer.
    _alive: Alive,
}

/// One subscription for all shards, and what each of them has been asked for.
struct Pulling {
    answers: Subscriber,
    inbox: String,
    asked: Vec<Asked>,
}

/// What one shard owes.
#[derive(Clone)]
struct Asked {
    left: usize,
    until: Instant,
    /// Its consumer is to be made before it is asked for more.
    make: bool,
    /// How long it was left alone the last time; `None` as long as it answers.
    pause: Option<Duration>,
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

impl JetStreamLog {
    /// Makes the durable consumers, or brings them up to date. From here on tools hear that a node runs.
    pub async fn consumer(&self) -> Result<JetStreamConsumer, ReadError> {
        let reader = &self.reader;
        let (nats, layout, shards) = (reader.nats.clone(), reader.layout.clone(), Arc::clone(&reader.shards));
        let name = layout.consumer();
        let config = json!({
            "durable_name": name,
            "description": "Carries records into the archive",
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": self.consumers.ack_wait.as_nanos() as u64,
            "max_deliver": -1,
            "max_ack_pending": self.consumers.pending_max,
            "replay_policy": "instant",
            "headers_only": true,
        });
        for shard in shards.iter() {
            let (call, question) = making(shard, &name, &config);
            nats.api::<Value>(&call, &question).await.map_err(Trouble::from)?;
        }
        let inbox = nats.client().new_inbox();
        let answers = nats.client().subscribe(format!("{inbox}.*")).await.map_err(unavailable)?;
        let asked = vec![Asked { left: 0, until: Instant::now(), make: false, pause: None }; shards.len()];
        let pulling = Turn::new(Pulling { answers, inbox, asked });
        let alive = Alive::begin(&nats, &layout);
        Ok(JetStreamConsumer { nats, layout, shards, name, config, pulling, trimmed: Mutex::default(), _alive: alive })
    }
}

/// How a shard's consumer is made, or brought up to date.
fn making(shard: &Shard, name: &str, config: &Value) -> (String, Value) {
    let call = format!("CONSUMER.DURABLE.CREATE.{}.{name}", shard.stream);
    (call, json!({ "stream_name": shard.stream, "config": config }))
}

impl Asked {
    fn asked_for(&mut self, left: usize, now: Instant) {
        // A server that was not there to be asked is asked again after the same time.
        (self.left, self.until) = (left, now + PULL_MAX);
    }

    fn answered(&mut self, left: usize) {
        (self.left, self.pause) = (left, None);
    }

    /// Its consumer can't answer, or isn't there any more: it is left alone for a while, and told of the first time only.
    fn refused(&mut self, shard: usize, why: &str) {
        if self.pause.is_none() {
            tracing::warn!(shard, why, "a shard has no notices for the archiver; it is asked until it has");
        }
        let pause = self.pause.map_or(PAUSE, |pause| (pause * 2).min(PULL_MAX));
        *self = Self { left: 1, until: Instant::now() + pause, make: true, pause: Some(pause) };
    }
}

impl JetStreamConsumer {
    /// Asks the shards that have answered all that they were asked for, and says when the next one is to be asked.
    async fn ask(&self, pulling: &mut Pulling) -> Result<Instant, ReadError> {
        let now = Instant::now();
        let batch = (PULLED_MAX / self.shards.len()).max(1);
        for (number, (shard, asked)) in self.shards.iter().zip(&mut pulling.asked).enumerate() {
            if asked.left > 0 && asked.until > now {
                continue;
            }
            let (call, question, inbox) = match asked.make {
                // One that is there stays as it is, with what it knows; one that was deleted begins with what is there.
                true => {
                    let (call, question) = making(shard, &self.name, &self.config);
                    asked.asked_for(1, now);
                    (call, question, format!("{}.{MADE}{number}", pulling.inbox))
                }
                false => {
                    let call = format!("CONSUMER.MSG.NEXT.{}.{}", shard.stream, self.name);
                    asked.asked_for(batch, now);
                    (
                        call,
                        json!({ "batch": batch, "expires": PULL_MAX.as_nanos() as u64 }),
                        format!("{}.{number}", pulling.inbox),
                    )
                }
            };
            let question = question.to_string().into();
            let published = self.nats.client().publish_with_reply(format!("$JS.API.{call}"), inbox, question);
            published.await.map_err(unavailable)?;
        }
        Ok(pulling.asked.iter().map(|asked| asked.until).min().unwrap_or(now + PULL_MAX))
    }

    /// A record's notice, or the end of what a shard was asked for.
    fn hear(&self, message: Message, pulling: &mut Pulling) -> Option<Notice> {
        let told = message.subject.strip_prefix(&pulling.inbox).and_then(|told| told.strip_prefix('.'));
        if let Some(told) = told {
            let made = told.strip_prefix(MADE);
            let shard = made.unwrap_or(told).parse::<usize>().ok()?;
            let asked = pulling.asked.get_mut(shard)?;
            let refusal = || ApiError::in_answer(&message.payload).map(|error| error.to_string());
            match (message.status.map(|status| status.as_u16()), made) {
                (Some(status), None) if NO_MORE.contains(&status) => asked.answered(0),
                (Some(status), _) => asked.refused(shard, message.description.as_deref().unwrap_or(&format!("status {status}"))),
                (None, Some(_)) => match refusal() {
                    Some(why) => asked.refused(shard, &why),
                    None => (asked.left, asked.make) = (0, false),
                },
                (None, None) => {}
            }
            return None;
        }
        let (shard, session) = self.layout.session(&message.subject)?;
        let asked = pulling.asked.get_mut(shard as usize)?;
        asked.answered(asked.left.saturating_sub(1));
        let reply = message.reply?;
        let Delivered { offset, stored_at_ms, again } = delivered(&reply)?;
        let size = message.headers.as_ref().and_then(|headers| headers.get_last("Nats-Msg-Size"));
        let bytes = size.and_then(|size| size.as_str().parse().ok()).unwrap_or(0);
        Some(Notice { session, offset, stored_at_ms, bytes, again, ticket: Ticket(TicketKind::JetStream(reply)) })
    }

    async fn tell(&self, tickets: impl Iterator<Item = &Ticket>, word: &'static [u8]) -> Result<(), ReadError> {
        for ticket in tickets {
            match &ticket.0 {
                TicketKind::JetStream(reply) => {
                    self.nats.client().publish(reply.clone(), word.into()).await.map_err(unavailable)?;
                }
                TicketKind::Embedded(_) => unreachable!("a ticket of another log"),
            }
        }
        self.nats.client().flush().await.map_err(unavailable)
    }

    async fn info(&self, shard: &Shard) -> Result<ConsumerInfo, Trouble> {
        // Unlike others, this question must have nothing in it.
        let call = format!("$JS.API.CONSUMER.INFO.{}.{}", shard.stream, self.name);
        Ok(self.nats.ask(call, Bytes::new(), None, None).await?)
    }

    async fn lag_of(&self, shard: &Shard) -> Result<Lag, Trouble> {
        let info = self.info(shard).await?;
        let stream = self.nats.stream(&shard.stream).await?.ok_or_else(|| Trouble::Gone(shard.stream.clone()))?;
        let fullness = match stream.config.max_bytes {
            bytes_max @ 1.. => stream.state.bytes as f64 / bytes_max as f64,
            _unlimited => 0.0,
        };
        Ok(Lag { records: info.num_pending + info.num_ack_pending, fullness })
    }

    /// The first record that was stored at `at_ms` or later. Only such a one keeps what is behind the floor.
    async fn first_since(&self, number: u32, shard: &Shard, at_ms: u64) -> Result<Option<u64>, Trouble> {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).ok();
        let Some((at, text)) = at.and_then(|at| Some((at, at.format(&Rfc3339).ok()?))) else { return Ok(None) };
        let (subjects, _) = self.layout.subjects(number);
        let question = json!({ "start_time": text, "next_by_subj": subjects, "batch": 1 });
        let Gathered { messages, .. } = self.nats.api_gather(&format!("DIRECT.GET.{}", shard.stream), &question).await?;
        let Some(message) = messages.first() else { return Ok(None) };
        let header = |name: &str| message.headers.as_ref()?.get_last(name).map(async_nats::HeaderValue::as_str);
        let position = header("Nats-Sequence").and_then(|number| number.parse().ok());
        let stored = header("Nats-Time-Stamp").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let (Some(position), Some(stored)) = (position, stored) else {
            return Err(RequestError::Malformed("it has no position".into()).into());
        };
        // Where all are older, the server begins anew with the first.
        Ok((stored >= at).then_some(position))
    }

    async fn trim_shard(&self, number: u32, shard: &Shard, before_ms: u64) -> Result<(), Trouble> {
        let floor = self.info(shard).await?.ack_floor.stream_seq;
        let kept = self.first_since(number, shard, before_ms).await?;
        // Beyond its end a purge would leave a hole in the offsets; the floor is never there.
        let keep = kept.map_or(floor + 1, |kept| kept.min(floor + 1));
        if keep <= self.trimmed().get(&number).copied().unwrap_or(1) {
            return Ok(());
        }
        self.nats.api::<Value>(&format!("STREAM.PURGE.{}", shard.stream), &json!({ "seq": keep })).await?;
        self.trimmed().insert(number, keep);
        Ok(())
    }

    fn trimmed(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.trimmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Consumer for JetStreamConsumer {
    async fn take(&self, notices_max: usize, wait: Duration) -> Result<Vec<Notice>, ReadError> {
        let mut pulling = self.pulling.lock().await;
        let deadline = Instant::now() + wait;
        let mut notices = Vec::new();
        while notices.len() < notices_max {
            let next = self.ask(&mut pulling).await?;
            // What is there is taken; only for the first one is waited.
            let until = if notices.is_empty() { deadline } else { Instant::now() };
            match tokio::time::timeout_at(until.min(next), pulling.answers.next()).await {
                Ok(Some(message)) => notices.extend(self.hear(message, &mut pulling)),
                Ok(None) => return Err(unavailable(RequestError::Connection("the subscription for notices ended".into()))),
                Err(_none) if Instant::now() < until => {}
                Err(_none) => break,
            }
        }
        Ok(notices)
    }

    /// An acknowledgement that is lost is a notice that comes again.
    async fn done(&self, tickets: Vec<Ticket>) -> Result<(), ReadError> {
        self.tell(tickets.iter(), b"+ACK").await
    }

    async fn working(&self, tickets: &[Ticket]) -> Result<(), ReadError> {
        self.tell(tickets.iter(), b"+WPI").await
    }

    async fn trim(&self, before_ms: u64) -> Result<(), ReadError> {
        let mut first_error = None;
        for (number, shard) in (0..).zip(self.shards.iter()) {
            if let Err(error) = self.trim_shard(number, shard, before_ms).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn lag(&self) -> Result<Lag, ReadError> {
        let (mut lag, mut answered, mut first_error) = (Lag::default(), 0, None);
        for shard in self.shards.iter() {
            match self.lag_of(shard).await {
                Ok(Lag { records, fullness }) => {
                    answered += 1;
                    lag = Lag { records: lag.records + records, fullness: lag.fullness.max(fullness) };
                }
                Err(error) => {
                    tracing::warn!(stream = shard.stream, error = &error as &dyn std::error::Error, "a shard isn't counted");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if answered == 0 => Err(error.into()),
            Some(_) | None => Ok(lag),
        }
    }
}

/// What the subject that acknowledges a record says of it.
#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    offset: Offset,
    stored_at_ms: u64,
    again: bool,
}

/// The subject is
/// `$JS.ACK.stream.consumer.deliveries.sequence.number.time.pending`, newer servers with a domain and an account before the stream.
fn delivered(reply: &Subject) -> Option<Delivered> {
    let tokens = reply.split('.').collect::<Vec<_>>();
    let at = match tokens.len() {
        9 => 2,
        11.. => 4,
        _ => return None,
    };
    let number = |index: usize| tokens.get(index)?.parse::<u64>().ok();
    let (deliveries, offset, stored_at_ns) = (number(at + 2)?, Offset(number(at + 3)?), number(at + 5)?);
    Some(Delivered { offset, stored_at_ms: stored_at_ns / 1_000_000, again: deliveries > 1 })
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Unavailable(Box::new(error))
}

impl Layout {
    /// The durable consumers' name.
    pub(super) fn consumer(&self) -> String {
        format!("{}-archive", self.prefix())
    }

    /// The shard and the session whose records are stored under a subject.
    pub(super) fn session(&self, subject: &str) -> Option<(u32, SessionKey)> {
        let mut tokens = subject.strip_prefix(self.prefix())?.strip_prefix(".log.")?.split('.');
        let shard = tokens.next()?.parse().ok()?;
        let key = SessionKey::new(TenantId::new(tokens.next()?).ok()?, SessionId::new(tokens.next()?).ok()?);
        tokens.next().is_none().then_some((shard, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_from_both_kinds_of_subjects() {
        let check = |reply: &str, expected: Option<(u64, u64, bool)>| {
            let expected =
                expected.map(|(offset, stored_at_ms, again)| Delivered { offset: Offset(offset), stored_at_ms, again });
            assert_eq!(delivered(&Subject::from(reply)), expected, "{reply}");
        };
        check("$JS.ACK.f-log-0.f-archive.1.17.9.1773000000123456789.4", Some((17, 1_773_000_000_123, false)));
        check("$JS.ACK._.hash.f-log-0.f-archive.2.17.9.1773000000123456789.4.x", Some((17, 1_773_000_000_123, true)));
        check("$JS.ACK.f-log-0", None);
    }

    #[test]
    fn a_subject_names_its_session() {
        let layout = Layout::new("f", 4).unwrap();
        let key = SessionKey::new(TenantId::default(), SessionId::new("s1").unwrap());
        assert_eq!(layout.session(&layout.subject(&key)), Some((layout.shard(&key), key)));
        assert_eq!(layout.session("f.live.1.a.b"), None);
    }
}
