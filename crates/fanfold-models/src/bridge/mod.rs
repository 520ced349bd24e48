//! One call of one model over HTTP: a request goes out, events of the model come in.
//!
//! ```text
//! open ── status ── first token ── token … finish reason ── [DONE] or the end
//!   └ connect ┘          │ └─ idle ─┘ └─ idle ─┘   └─ linger ─┘
//!   └──── first token ───┘
//!   └──────────────────────────── total ──────────────────────┘
//! before the first token: Err(CallError)        after it: Failed, the last event
//! ```

mod body;
mod error;
mod sse;
mod status;
mod whole;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use self::body::Body;
pub use self::error::CallError;
use crate::key::Key;
use crate::{Dialect, DialectName, ModelEvent};

pub(crate) use self::status::ERROR_BYTES_MAX;
pub use self::status::retry_after;

/// How long a stream may stay open behind the end of its answer. Usage may still come; then the answer is complete without.
const LINGER: Duration = Duration::from_secs(2);

/// Redirections within one origin that are followed.
const REDIRECTS_MAX: usize = 3;

/// Where a call goes, and how long it may take.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) key: Option<Key>,
    pub(crate) dialect: DialectName,
    pub(crate) connect: Duration,
    pub(crate) first_token: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
    pub(crate) answer_bytes_max: u64,
}

/// An answer under way. Dropping it closes the connection.
pub(crate) struct Call {
    response: Response,
    body: Body,
    parser: Box<dyn Dialect>,
    ready: VecDeque<ModelEvent>,
    /// Time-outs, and when the total one is.
    idle: Duration,
    total: Duration,
    ends_at: Instant,
    bytes_left: u64,
    answer_bytes_max: u64,
    /// Why it failed, if it did by our doing.
    error: Option<CallError>,
    /// The model has said something.
    begun: bool,
    ended: bool,
}

/// A client for one address. It follows no redirection to another origin, nor one that would turn the request into another.
pub(crate) fn client(url: &Url, connect: Duration) -> reqwest::Result<Client> {
    let follow = |attempt: reqwest::redirect::Attempt<'_>| {
        let same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
        let kept = matches!(attempt.status().as_u16(), 307 | 308);
        if same && kept && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
    };
    let agent = concat!("fanfold/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder().connect_timeout(connect).redirect(Policy::custom(follow)).user_agent(agent);
    // The system's certificates are read for who needs them: a machine may have none.
    if url.scheme() == "https" { builder.build() } else { builder.tls_certs_only([]).build() }
}

impl Target {
    /// Sends the request and waits for the first token.
    pub(crate) async fn open(&self, request: Bytes) -> Result<Call, CallError> {
        let began = Instant::now();
        let opened = tokio::time::timeout(self.first_token.min(self.total), self.begin(request, began)).await;
        opened.unwrap_or_else(|_| Err(CallError::FirstTokenTimeout(self.first_token)))
    }

    async fn begin(&self, request: Bytes, began: Instant) -> Result<Call, CallError> {
        let sent = self.client.post(self.url.clone()).headers(self.headers.clone());
        let sent =
            sent.header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream, application/json").body(request);
        let response = sent.send().await.map_err(|error| {
            // Addresses may hold keys.
            let error = error.without_url();
            tracing::debug!(host = self.url.host_str(), error = &error as &dyn std::error::Error, "no answer");
            match (error.is_connect(), error.is_timeout()) {
                (true, true) => CallError::ConnectTimeout(self.connect),
                (true, false) => CallError::Connect,
                (false, _) => CallError::ConnectionLost,
            }
        })?;
        if !response.status().is_success() {
            return Err(status::refused(response, self.key.as_ref(), self.idle).await);
        }
        let mut call = Call {
            response,
            body: Body::new(self.dialect),
            parser: self.dialect.parser(),
            ready: VecDeque::new(),
            idle: self.idle,
            total: self.total,
            ends_at: began + self.total,
            bytes_left: self.answer_bytes_max,
            answer_bytes_max: self.answer_bytes_max,
            error: None,
            begun: false,
            ended: false,
        };
        call.first_token().await?;
        Ok(call)
    }
}

impl Call {
    /// The next event; nothing after the terminal one. May be dropped and asked for again without losing anything.
    pub(crate) async fn next(&mut self) -> Option<ModelEvent> {
        while self.ready.is_empty() && !self.ended {
            self.read().await;
        }
        self.ready.pop_front()
    }

    /// Why it failed, unless the provider said so itself.
    pub(crate) fn error(&self) -> Option<&CallError> {
        self.error.as_ref()
    }

    /// Reads until something has been said. A failure before that is the call's, not the answer's.
    async fn first_token(&mut self) -> Result<(), CallError> {
        loop {
            if let Some(ModelEvent::Failed(failure)) = self.ready.iter().find(|event| is_token(event) || event.is_terminal()) {
                let error = self.error.take();
                return Err(error.unwrap_or_else(|| CallError::Provider(failure.clone())));
            }
            self.begun = self.ready.iter().any(is_token);
            if self.ended || self.begun {
                return Ok(());
            }
            self.read().await;
        }
    }

    /// Waits for the next bytes and reads them.
    async fn read(&mut self) {
        let idle = match (self.parser.is_finished(), self.begun) {
            (true, _) => self.idle.min(LINGER),
            (false, true) => self.idle,
            // Until the first token another time-out counts.
            (false, false) => self.total,
        };
        let until = (Instant::now() + idle).min(self.ends_at);
        match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => self.take(&bytes),
            Ok(Ok(None)) => self.finish(),
            Ok(Err(error)) => {
                tracing::debug!(error = &error.without_url() as &dyn std::error::Error, "the connection broke");
                self.fail(CallError::ConnectionLost);
            }
            Err(_) if until == self.ends_at => self.fail(CallError::TotalTimeout(self.total)),
            Err(_) => self.fail(CallError::IdleTimeout(self.idle)),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(left) = self.bytes_left.checked_sub(bytes.len() as u64) else {
            return self.fail(CallError::AnswerTooLarge(self.answer_bytes_max));
        };
        self.bytes_left = left;
        let mut chunks = Vec::new();
        let read = self.body.read(bytes, &mut chunks);
        self.parse(chunks);
        if let Err(error) = read {
            self.fail(error);
        }
        if self.body.is_done() {
            self.end();
        }
    }

    /// The body ended as it should.
    fn finish(&mut self) {
        let mut chunks = Vec::new();
        let read = self.body.end(&mut chunks);
        self.parse(chunks);
        match read {
            Ok(()) => self.end(),
            Err(error) => self.fail(error),
        }
    }

    fn parse(&mut self, chunks: Vec<String>) {
        for chunk in chunks {
            let mut said = Vec::new();
            let read = self.parser.chunk(&chunk, &mut said);
            self.say(said);
            if let Err(error) = read {
                tracing::debug!(error = &error as &dyn std::error::Error, "a chunk can't be read");
                return self.fail(CallError::BadChunk);
            }
        }
    }

    fn end(&mut self) {
        let mut said = Vec::new();
        self.parser.end(&mut said);
        self.say(said);
    }

    /// It broke off. An answer whose finish reason has come is complete all the same.
    fn fail(&mut self, error: CallError) {
        if self.parser.is_finished() {
            return self.end();
        }
        let mut said = Vec::new();
        self.parser.fail(error.failure(), &mut said);
        if !said.is_empty() {
            self.error = Some(error);
        }
        self.say(said);
    }

    fn say(&mut self, said: Vec<ModelEvent>) {
        self.ended |= said.iter().any(ModelEvent::is_terminal);
        self.ready.extend(said);
    }
}

/// Whether the model itself has begun to speak.
fn is_token(event: &ModelEvent) -> bool {
    match event {
        ModelEvent::Model(_) | ModelEvent::Usage(_) | ModelEvent::Finished(_) | ModelEvent::Failed(_) => false,
        ModelEvent::Text(_) | ModelEvent::Reasoning(_) | ModelEvent::Citation(_) | ModelEvent::StepFinished(_) => true,
        ModelEvent::ToolCallStarted { .. } | ModelEvent::ToolCallArguments { .. } => true,
        ModelEvent::ToolCallReady { .. } | ModelEvent::ToolResult { .. } | ModelEvent::Sealed { .. } => true,
    }
}
