//! A worker's side: one attempt at one run, with acknowledgements and the end coming back.

use fanfold_wire::v1;
use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::v1::append_request::Request;
use fanfold_wire::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::authorized;

/// Output that waits to be sent. [`Append::say`] waits when it is full.
const OUTPUT_MAX: usize = 64;

/// An attempt that writes.
#[derive(Debug)]
pub struct Append {
    sender: Option<mpsc::Sender<v1::AppendRequest>>,
    replies: Streaming<v1::AppendReply>,
    attempt: String,
    next_seq: u64,
    acked: v1::AppendAck,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AppendEnd {
    /// Everything that was said is durable.
    Done,
    /// The run was cancelled, or another attempt has taken over: stop calling the model.
    Over(Box<v1::Run>),
}

/// An attempt could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The node said no, or the connection was lost. With the same attempt id it can go on after the last acknowledged sequence.
    #[error("{}", _0.message())]
    Status(Box<Status>),
    /// The node refused what was said.
    #[error("{}", _0.message)]
    Refused(Box<v1::Error>),
    /// The stream ended where an answer was due.
    #[error("the stream ended without an answer")]
    Ended,
}

impl From<Status> for AppendError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Append {
    pub(crate) async fn start(
        mut workers: WorkersClient<Channel>,
        start: v1::AppendStart,
        authorization: Option<&MetadataValue<Ascii>>,
    ) -> Result<Self, AppendError> {
        let (sender, receiver) = mpsc::channel(OUTPUT_MAX);
        let first = v1::AppendRequest { request: Some(Request::Start(start)) };
        sender.send(first).await.map_err(|_| AppendError::Ended)?;
        let mut replies = workers.append(authorized(ReceiverStream::new(receiver), authorization)).await?.into_inner();
        match replies.message().await?.and_then(|reply| reply.reply) {
            Some(Reply::Started(started)) => {
                let v1::AppendStarted { attempt, seq, cursor } = started;
                Ok(Self { sender: Some(sender), replies, attempt, next_seq: seq + 1, acked: v1::AppendAck { seq, cursor } })
            }
            Some(Reply::Error(error)) => Err(AppendError::Refused(Box::new(error))),
            Some(Reply::Ack(_) | Reply::Over(_)) | None => Err(AppendError::Ended),
        }
    }

    /// The attempt's id, to go on with after a lost connection.
    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    /// The last sequence that is durable.
    pub fn acked(&self) -> u64 {
        self.acked.seq
    }

    /// Where that is in the log.
    pub fn cursor(&self) -> &str {
        &self.acked.cursor
    }

    /// Sends what the model says next; nothing is a sign of life. Acknowledgements are taken in [`Self::finish`] and in here.
    /// Returns the end, if the attempt is over.
    pub async fn say(&mut self, said: Vec<v1::Said>) -> Result<Option<AppendEnd>, AppendError> {
        let seq = self.next_seq;
        self.next_seq += said.len() as u64;
        let output = v1::Output { attempt: self.attempt.clone(), seq, said };
        let Some(sender) = self.sender.clone() else { return Err(AppendError::Ended) };
        let send = sender.send(v1::AppendRequest { request: Some(Request::Output(output)) });
        tokio::pin!(send);
        loop {
            tokio::select! {
                biased;
                reply = self.replies.message() => if let Some(end) = take(&mut self.acked, reply?)? {
                    return Ok(Some(end));
                },
                sent = &mut send => {
                    sent.map_err(|_| AppendError::Ended)?;
                    return Ok(None);
                }
            }
        }
    }

    /// Sends what the model says next and waits until everything that was said is durable, or the attempt is over.
    pub async fn say_all(&mut self, said: Vec<v1::Said>) -> Result<AppendEnd, AppendError> {
        match self.say(said).await? {
            Some(end) => Ok(end),
            None => self.durable().await,
        }
    }

    /// Waits until everything that was said is durable, or the attempt is over. Nothing more can be said.
    pub async fn finish(mut self) -> Result<AppendEnd, AppendError> {
        self.sender = None;
        self.durable().await
    }

    async fn durable(&mut self) -> Result<AppendEnd, AppendError> {
        while self.acked.seq + 1 < self.next_seq {
            if let Some(end) = take(&mut self.acked, self.replies.message().await?)? {
                return Ok(end);
            }
        }
        Ok(AppendEnd::Done)
    }

    /// Waits for the end, as a worker does while its model is silent.
    pub async fn over(&mut self) -> Result<AppendEnd, AppendError> {
        loop {
            if let Some(end) = take(&mut self.acked, self.replies.message().await?)? {
                return Ok(end);
            }
        }
    }
}

fn take(acked: &mut v1::AppendAck, reply: Option<v1::AppendReply>) -> Result<Option<AppendEnd>, AppendError> {
    match reply.and_then(|reply| reply.reply) {
        Some(Reply::Ack(ack)) => {
            if ack.seq >= acked.seq {
                *acked = ack;
            }
            Ok(None)
        }
        Some(Reply::Over(over)) => Ok(Some(AppendEnd::Over(Box::new(over.run.unwrap_or_default())))),
        Some(Reply::Error(error)) => Err(AppendError::Refused(Box::new(error))),
        Some(Reply::Started(_)) => Ok(None),
        None => Err(AppendError::Ended),
    }
}
