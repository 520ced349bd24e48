//! Questions with one answer, and questions with many.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::{HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Nats;

/// The status that ends an answer in many messages.
const END: u16 = 204;

/// The status of an answer without messages.
const NONE: u16 = 404;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens: there is no such stream, or it has no leader now. Nothing was done.
    #[error("nobody answers to the subject")]
    NoResponders,
    /// JetStream says no. Nothing was done.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nothing came in time. It may have been done, or be done yet.
    #[error("no answer in time")]
    Timeout,
    /// The connection failed. It may have been done.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came can't be understood, or some of it is missing.
    #[error("the answer can't be understood: {0}")]
    Malformed(String),
}

/// What JetStream says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub struct ApiError {
    /// As in HTTP.
    pub code: u16,
    /// Which error exactly.
    #[serde(default)]
    pub err_code: u64,
    /// For people.
    #[serde(default)]
    pub description: String,
}

impl ApiError {
    /// Whether it is this one.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.err_code == code.0
    }

    /// The refusal that came as an answer, if it is one.
    pub fn in_answer(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Failed>(payload).ok()?.error
    }
}

impl RequestError {
    /// Whether JetStream says exactly this.
    pub fn is(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Api(error) if error.is(code))
    }
}

impl From<async_nats::RequestError> for RequestError {
    fn from(error: async_nats::RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::NoResponders,
            RequestErrorKind::TimedOut => Self::Timeout,
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
                Self::Connection(Box::new(error))
            }
        }
    }
}

/// An answer in many messages.
#[derive(Debug)]
pub struct Gathered {
    /// In order.
    pub messages: Vec<Message>,
    /// The headers of its end; none if there was nothing.
    pub end: Option<HeaderMap>,
}

/// An answer, or what is said instead. Fields of answers other than `error` are the answer's own.
#[derive(Deserialize)]
struct Failed {
    error: Option<ApiError>,
}

impl Nats {
    /// Calls JetStream's interface, such as `STREAM.INFO.name`.
    pub async fn api<T: DeserializeOwned>(&self, call: &str, body: &impl Serialize) -> Result<T, RequestError> {
        let body = serde_json::to_vec(body).map_err(|error| RequestError::Malformed(error.to_string()))?;
        self.ask(format!("$JS.API.{call}"), body.into(), None, None).await
    }

    /// The same for what JetStream answers in many messages, such as `DIRECT.GET.name`.
    pub async fn api_gather(&self, call: &str, body: &impl Serialize) -> Result<Gathered, RequestError> {
        let body = serde_json::to_vec(body).map_err(|error| RequestError::Malformed(error.to_string()))?;
        self.gather(format!("$JS.API.{call}"), body.into()).await
    }

    /// Asks and reads the one answer, within `max` or the connection's own limit.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        payload: Bytes,
        headers: Option<HeaderMap>,
        max: Option<Duration>,
    ) -> Result<T, RequestError> {
        let max = max.unwrap_or(self.request_max);
        let mut request = Request::new().payload(payload).timeout(Some(max));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        // The driver's time begins when the question is on its way; while the connection is away it would wait for that.
        let reply = tokio::time::timeout(max, self.client().send_request(subject, request));
        let reply = reply.await.map_err(|_| RequestError::Timeout)??;
        let malformed = |error: serde_json::Error| RequestError::Malformed(error.to_string());
        let failed: Failed = serde_json::from_slice(&reply.payload).map_err(malformed)?;
        match failed.error {
            Some(error) => Err(error.into()),
            None => serde_json::from_slice(&reply.payload).map_err(malformed),
        }
    }

    /// Asks, and reads answers until the one that says that there are no more.
    async fn gather(&self, subject: String, payload: Bytes) -> Result<Gathered, RequestError> {
        let gathered = tokio::time::timeout(self.request_max, self.gather_all(subject, payload));
        gathered.await.map_err(|_| RequestError::Timeout)?
    }

    async fn gather_all(&self, subject: String, payload: Bytes) -> Result<Gathered, RequestError> {
        let connection = |error: Box<dyn std::error::Error + Send + Sync>| RequestError::Connection(error);
        let inbox = self.client().new_inbox();
        let mut answers = self.client().subscribe(inbox.clone()).await.map_err(|error| connection(error.into()))?;
        let published = self.client().publish_with_reply(subject, inbox, payload);
        published.await.map_err(|error| connection(error.into()))?;
        let mut messages = Vec::new();
        while let Some(message) = answers.next().await {
            match message.status.map(|status| status.as_u16()) {
                None => messages.push(message),
                Some(END) => return Ok(Gathered { messages, end: message.headers }),
                Some(NONE) => return Ok(Gathered { messages, end: None }),
                Some(503) => return Err(RequestError::NoResponders),
                Some(code) => {
                    let description = message.description.unwrap_or_default();
                    return Err(ApiError { code, err_code: 0, description }.into());
                }
            }
        }
        Err(RequestError::Connection("the subscription for answers ended".into()))
    }
}
