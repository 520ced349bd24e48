//! What is asked of the servers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::Info;
use async_nats::{HeaderMap, Message, RequestErrorKind, SubscribeError, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfold_fold::{RunId, SessionKey};
use fanfold_nats::{Nats, RequestError};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{Layout, Stored, hint, letter};
use crate::port::{DeadLetter, Hint};

/// Messages of one answer.
const BATCH_MAX: usize = 256;

/// Before it is looked again whether a message has left the stream.
const PAUSE: Duration = Duration::from_millis(2);

/// One, or the word that there is none.
const PULL: &str = r#"{"batch":1,"no_wait":true}"#;

/// How long the answer to that may take.
const PULL_MAX: Duration = Duration::from_secs(5);

/// A subscription for hints.
pub(crate) struct Answers {
    inbox: String,
    subscriber: Subscriber,
}

/// A hint in this node's hands.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) hint: Hint,
    /// Its place in the stream, which is the order of offers.
    pub(crate) sequence: u64,
    pub(crate) deliveries: u32,
    /// Where to say what became of it.
    ack: String,
}

/// What became of a publish that expects its subject to be empty.
pub(crate) enum Published {
    Stored,
    /// Something is there already.
    Known,
    Full,
}

#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) nats: Nats,
    pub(crate) layout: Layout,
}

#[derive(Deserialize)]
struct Found {
    message: FoundMessage,
}

#[derive(Deserialize)]
struct FoundMessage {
    seq: u64,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Done {}

impl Calls {
    /// Publishes a hint, unless its run has a message already.
    pub(crate) async fn publish(&self, hint: &Hint) -> Result<Published, RequestError> {
        /// An expectation while something of the subject is on its way.
        const WRONG_LAST_SEQUENCE_IN_PROCESS: ErrorCode = ErrorCode(10164);
        /// Which limit the stream is at, it only says in prose.
        const STREAM_STORE_FAILED: ErrorCode = ErrorCode(10077);
        let subject = self.layout.run(&hint.session, &hint.run);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        match self.nats.ask::<Done>(subject.clone(), payload(&Stored::from(hint))?, Some(headers), None).await {
            Ok(Done {}) => Ok(Published::Stored),
            Err(error) if error.is(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) || error.is(WRONG_LAST_SEQUENCE_IN_PROCESS) => {
                Ok(Published::Known)
            }
            Err(error) if error.is(STREAM_STORE_FAILED) => match self.last(&self.layout.stream(), &subject).await? {
                Some(_) => Ok(Published::Known),
                None => Ok(Published::Full),
            },
            Err(error) => Err(error),
        }
    }

    /// What answers to [`Self::pull`] come by. Messages keep the subject they were offered under, so this takes a subscription of its own.
    pub(crate) async fn answers(&self) -> Result<Answers, SubscribeError> {
        let inbox = self.nats.client().new_inbox();
        let subscriber = self.nats.client().subscribe(inbox.clone()).await?;
        Ok(Answers { inbox, subscriber })
    }

    /// The next hint of a bucket, if one is to be had now. An answer that comes too late for its question goes nowhere, so that it isn't
    /// taken for that of the next one; what it brought the servers deliver again.
    pub(crate) async fn pull(&self, bucket: u32, answers: &mut Answers) -> Result<Option<Delivery>, RequestError> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.layout.stream(), Layout::consumer(bucket));
        let question = self.nats.client().publish_with_reply(subject, answers.inbox.clone(), PULL.into());
        let pulled = async {
            question.await.map_err(|error| RequestError::Connection(error.into()))?;
            answers.subscriber.next().await.ok_or_else(|| RequestError::Connection("the subscription for hints ended".into()))
        };
        let Ok(message) = tokio::time::timeout(PULL_MAX, pulled).await else {
            *answers = self.answers().await.map_err(|error| RequestError::Connection(error.into()))?;
            return Err(RequestError::Timeout);
        };
        let message = message?;
        match message.status.map(|status| status.as_u16()) {
            None => {}
            // No messages; or the leader changes, which looks the same for a moment.
            Some(404 | 408 | 409) => return Ok(None),
            Some(_) => return Err(RequestError::NoResponders),
        }
        let ack = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        match delivery(&message, ack.clone()) {
            Some(delivery) => Ok(Some(delivery)),
            None => {
                // Nobody could make anything of it, now or later.
                tracing::error!(subject = %message.subject, "a message in the queue of runs is no hint; it is removed");
                self.say(&ack, "+TERM").await?;
                Ok(None)
            }
        }
    }

    /// The sequence of the session's first hint, as the stream's leader knows it.
    pub(crate) async fn first(&self, session: &SessionKey) -> Result<Option<u64>, RequestError> {
        let question = json!({ "seq": 1, "next_by_subj": self.layout.session(session), "no_hdr": true });
        self.get(&self.layout.stream(), &question).await.map(|found| found.map(|found| found.seq))
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<FoundMessage>, RequestError> {
        self.get(stream, &json!({ "last_by_subj": subject, "no_hdr": true })).await
    }

    async fn get(&self, stream: &str, question: &Value) -> Result<Option<FoundMessage>, RequestError> {
        match self.nats.api::<Found>(&format!("STREAM.MSG.GET.{stream}"), question).await {
            Ok(found) => Ok(Some(found.message)),
            Err(error) if error.is(ErrorCode::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It can be had again, by anybody, after `delay`.
    pub(crate) async fn release(&self, delivery: &Delivery, delay: Duration) -> Result<(), RequestError> {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX >> 1);
        let word = if delay.is_zero() { "-NAK".to_owned() } else { format!("-NAK {}", json!({ "delay": delay_ns })) };
        self.say(&delivery.ack, &word).await
    }

    /// Takes it out of the stream. Returns when it is out, so that whoever looks next finds the session's next one.
    pub(crate) async fn remove(&self, delivery: &Delivery) -> Result<(), RequestError> {
        self.say(&delivery.ack, "+ACK").await?;
        let gone = async {
            while self.get(&self.layout.stream(), &json!({ "seq": delivery.sequence, "no_hdr": true })).await?.is_some() {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.map_err(|_| RequestError::Timeout)?
    }

    /// This node still holds it. Not confirmed: the next one comes soon.
    pub(crate) async fn still_holds(&self, delivery: &Delivery) {
        let _ = self.nats.client().publish(delivery.ack.clone(), "+WPI".into()).await;
    }

    async fn say(&self, ack: &str, word: &str) -> Result<(), RequestError> {
        let answer = self.nats.client().request(ack.to_owned(), word.to_owned().into()).await;
        match answer {
            Ok(_) => Ok(()),
            // An answer that doesn't come is not an error of the connection.
            Err(error) if error.kind() == RequestErrorKind::TimedOut => Err(RequestError::Timeout),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells all nodes, if they hear it, that there is something new of this session.
    pub(crate) async fn notice(&self, session: &SessionKey) {
        let _ = self.nats.client().publish(self.layout.notice(session), Default::default()).await;
    }

    /// A buried run, as the leader knows it.
    pub(crate) async fn buried(&self, session: &SessionKey, run: &RunId) -> Result<Option<DeadLetter>, RequestError> {
        let subject = self.layout.dead(session, run);
        let Some(found) = self.last(&self.layout.dead_stream(), &subject).await? else { return Ok(None) };
        let data = STANDARD.decode(found.data).map_err(|error| RequestError::Malformed(error.to_string()))?;
        letter(&subject, &data).map(Some).ok_or_else(|| RequestError::Malformed("a dead letter can't be read".into()))
    }

    pub(crate) async fn bury(&self, letter: &DeadLetter) -> Result<(), RequestError> {
        let subject = self.layout.dead(&letter.hint.session, &letter.hint.run);
        self.nats.ask::<Done>(subject, payload(&Stored::from(letter))?, None, None).await.map(drop)
    }

    /// Removes the letter of a run, or all of a session.
    pub(crate) async fn unbury(&self, session: &SessionKey, run: Option<&RunId>) -> Result<(), RequestError> {
        let call = format!("STREAM.PURGE.{}", self.layout.dead_stream());
        let filter = run.map_or_else(|| self.layout.dead_of(session), |run| self.layout.dead(session, run));
        self.nats.api::<Value>(&call, &json!({ "filter": filter })).await.map(drop)
    }

    /// How many hints and how many buried runs there are.
    pub(crate) async fn counts(&self) -> Result<(usize, usize), RequestError> {
        let mut counts = [0; 2];
        for (count, stream) in counts.iter_mut().zip([self.layout.stream(), self.layout.dead_stream()]) {
            let info = self.nats.api::<Info>(&format!("STREAM.INFO.{stream}"), &()).await?;
            *count = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
        }
        Ok((counts[0], counts[1]))
    }

    /// All hints, by session and run.
    pub(crate) async fn hints(&self) -> Result<BTreeMap<(SessionKey, RunId), Hint>, RequestError> {
        let all = self.all(&self.layout.stream(), &self.layout.subjects()).await?;
        let hints = all.iter().filter_map(|(subject, message)| hint(subject, &message.payload));
        Ok(hints.map(|hint| ((hint.session.clone(), hint.run.clone()), hint)).collect())
    }

    /// All buried runs, by session and run.
    pub(crate) async fn letters(&self) -> Result<BTreeMap<(SessionKey, RunId), DeadLetter>, RequestError> {
        let all = self.all(&self.layout.dead_stream(), &self.layout.dead_subjects()).await?;
        let letters = all.iter().filter_map(|(subject, message)| letter(subject, &message.payload));
        Ok(letters.map(|letter| ((letter.hint.session.clone(), letter.hint.run.clone()), letter)).collect())
    }

    async fn all(&self, stream: &str, subjects: &str) -> Result<Vec<(String, Message)>, RequestError> {
        let header = |message: &Message, name: &str| {
            message.headers.as_ref().and_then(|headers| headers.get_last(name)).map(|value| value.as_str().to_owned())
        };
        let (mut all, mut from) = (Vec::new(), 1);
        loop {
            let question = json!({ "seq": from, "next_by_subj": subjects, "batch": BATCH_MAX });
            let messages = self.nats.api_gather(&format!("DIRECT.GET.{stream}"), &question).await?.messages;
            if messages.is_empty() {
                return Ok(all);
            }
            for message in messages {
                let position = header(&message, "Nats-Subject").zip(header(&message, "Nats-Sequence"));
                let position = position.and_then(|(subject, sequence)| Some((subject, sequence.parse::<u64>().ok()?)));
                let (subject, sequence) = position.ok_or_else(|| RequestError::Malformed("it has no position".into()))?;
                from = sequence + 1;
                all.push((subject, message));
            }
        }
    }
}

fn payload(stored: &Stored) -> Result<bytes::Bytes, RequestError> {
    serde_json::to_vec(stored).map(Into::into).map_err(|error| RequestError::Malformed(error.to_string()))
}

/// A subject for acknowledgements tells what it acknowledges: `$JS.ACK.stream.consumer.deliveries.sequence.…`, in newer servers with
/// domain and account after the second token.
fn delivery(message: &Message, ack: String) -> Option<Delivery> {
    let tokens: Vec<&str> = ack.split('.').collect();
    let offset = if tokens.len() >= 11 { 4 } else { 2 };
    let deliveries = tokens.get(offset + 2)?.parse().ok()?;
    let sequence = tokens.get(offset + 3)?.parse().ok()?;
    let hint = hint(&message.subject, &message.payload)?;
    Some(Delivery { hint, sequence, deliveries, ack })
}
