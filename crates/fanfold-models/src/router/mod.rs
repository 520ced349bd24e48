//! Which endpoint answers: in order, past those that fail, are full or have been failing.
//!
//! ```text
//! round 1: endpoint ── endpoint ── endpoint     the first that says something answers
//!          └ full, open or failed → the next
//! back-off, with full jitter, and as long as providers ask for
//! round 2: those that may go better another time …
//! ```

mod answer;
mod circuit;
mod cost;
mod endpoint;
mod route;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use tokio::time::Instant;

pub use self::answer::Answer;
pub use self::circuit::{CircuitState, Health};
pub use self::cost::Cost;
pub use self::route::{Because, Chosen, Passed, Route, Why};

use self::endpoint::{Endpoint, Leave};
use crate::{CallError, ConfigError, Conversation, Failure, ModelsConfig, Recipient, ToolSpec, metric, request_body};

/// Longest back-off after the first round. It doubles each round.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Longest back-off after any round.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// How long one request waits in all: for back-offs, pauses, and places. What would wait longer fails, and can be tried again later.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A number from 0 to 1.
type Jitter = Box<dyn Fn() -> f64 + Send + Sync>;

/// All models and where they are served.
pub struct Router {
    models: BTreeMap<String, Vec<Arc<Endpoint>>>,
    default: Option<String>,
    jitter: Jitter,
}

/// Why nobody answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No endpoint serves this model.
    #[error("There is no model {0:?}.")]
    UnknownModel(String),
    /// All endpoints answer as many as they may, and none got free in time.
    #[error("The model is busy.")]
    AtCapacity,
    /// All endpoints have been failing.
    #[error("The model has been failing and is left alone for a while.")]
    CircuitOpen,
    /// The endpoints failed; this is the failure that gives most hope, of these the last.
    #[error(transparent)]
    Failed(#[from] CallError),
}

/// No answer: why, and what was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nobody answers")]
pub struct NoAnswer {
    /// Why.
    #[source]
    pub why: Unanswered,
    /// What was tried.
    pub route: Route,
}

impl Unanswered {
    /// A word for programs; it doesn't change.
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownModel(_) => "unknown_model",
            Self::AtCapacity => "at_capacity",
            Self::CircuitOpen => "circuit_open",
            Self::Failed(error) => error.code(),
        }
    }

    /// Whether another attempt may go better.
    pub fn retryable(&self) -> bool {
        match self {
            Self::UnknownModel(_) => false,
            Self::AtCapacity | Self::CircuitOpen => true,
            Self::Failed(error) => error.retryable(),
        }
    }

    /// The same as the event that ends an answer.
    pub fn failure(&self) -> Failure {
        Failure { code: self.code().to_owned(), message: self.to_string(), retryable: self.retryable() }
    }
}

/// An endpoint during one request.
struct Candidate {
    endpoint: Arc<Endpoint>,
    tries_left: u32,
    /// When it may be asked next, as its last refusal has it; nothing while it is full.
    ready: Option<Instant>,
}

impl Router {
    /// Checks the configuration and makes the clients. Nothing is called before the first answer is asked for.
    pub fn new(config: &ModelsConfig) -> Result<Self, ConfigError> {
        Self::with_jitter(config, rand::random::<f64>)
    }

    /// The same with `jitter` for chance: a number from 0 to 1, which back-offs are multiplied by.
    pub fn with_jitter(config: &ModelsConfig, jitter: impl Fn() -> f64 + Send + Sync + 'static) -> Result<Self, ConfigError> {
        let mut models: BTreeMap<String, Vec<Arc<Endpoint>>> = BTreeMap::new();
        for config in &config.endpoints {
            let endpoint = Endpoint::new(config)?;
            let known = models.entry(config.model.clone()).or_default();
            if known.iter().any(|known| known.name == endpoint.name) {
                return Err(ConfigError::Twice { of: format!("{}: the endpoint {}", config.model, endpoint.name) });
            }
            known.push(Arc::new(endpoint));
        }
        let default = config.endpoints.first().map(|first| first.model.clone());
        Ok(Self { models, default, jitter: Box::new(jitter) })
    }

    /// The model of runs that ask for none: the first one's. Nothing where there is no endpoint at all.
    pub fn default_model(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The names of all models.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Tokens of history that every endpoint of this model takes; the budget of [`Conversation::of`].
    pub fn context_tokens_max(&self, model: &str) -> Option<u64> {
        self.models.get(model)?.iter().map(|endpoint| endpoint.context_tokens_max).min()
    }

    /// Whether some endpoint of this model wants to read the reasoning of earlier answers.
    pub fn takes_reasoning(&self, model: &str) -> bool {
        self.models.get(model).is_some_and(|endpoints| endpoints.iter().any(|endpoint| endpoint.reasoning_field.is_some()))
    }

    /// How a model's endpoints are doing, by name and in order.
    pub fn health(&self, model: &str) -> Vec<(&str, Health)> {
        let endpoints = self.models.get(model).map(Vec::as_slice).unwrap_or_default();
        endpoints.iter().map(|endpoint| (endpoint.name.as_str(), endpoint.health())).collect()
    }

    /// Asks a model. Comes back when it has said its first word, and not before every endpoint that might go better has been
    /// tried as often as it may.
    pub async fn answer(&self, model: &str, conversation: &Conversation, tools: &[ToolSpec]) -> Result<Answer, NoAnswer> {
        let began = Instant::now();
        let mut route = Route { model: model.to_owned(), ..Route::default() };
        let asked = self.ask(conversation, tools, &mut route).await;
        route.took_ms = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        match asked {
            Ok((leave, call)) => Ok(Answer::new(leave, call, route, conversation)),
            Err(why) => {
                tracing::warn!(model, code = why.code(), took_ms = route.took_ms, "no answer");
                Err(NoAnswer { why, route })
            }
        }
    }

    async fn ask(
        &self,
        conversation: &Conversation,
        tools: &[ToolSpec],
        route: &mut Route,
    ) -> Result<(Leave, crate::bridge::Call), Unanswered> {
        let Some(endpoints) = self.models.get(&route.model) else { return Err(Unanswered::UnknownModel(route.model.clone())) };
        let candidate = |endpoint: &Arc<Endpoint>| {
            let endpoint = Arc::clone(endpoint);
            Candidate { tries_left: endpoint.tries_max, endpoint, ready: Some(Instant::now()) }
        };
        let mut candidates: Vec<Candidate> = endpoints.iter().map(candidate).collect();
        let mut why: Option<Unanswered> = None;
        let mut patience = WAIT_MAX;
        let mut round = 0;
        loop {
            for candidate in &mut candidates {
                match candidate.ask(conversation, tools, route).await {
                    Ok(answered) => return Ok(answered),
                    Err(refused) => why = Some(likelier(why, refused)),
                }
            }
            candidates.retain(|candidate| candidate.tries_left > 0);
            match (self.wait(&candidates, round, patience).await, why) {
                (Some(waited), still) => (patience, why) = (patience.saturating_sub(waited), still),
                (None, why) => return Err(why.unwrap_or_else(|| Unanswered::UnknownModel(route.model.clone()))),
            }
            round += 1;
        }
    }

    /// Waits until one of them may be asked again, and says for how long. Nothing if there is none, or it would take too long.
    async fn wait(&self, candidates: &[Candidate], round: u32, patience: Duration) -> Option<Duration> {
        let began = Instant::now();
        if candidates.is_empty() || patience.is_zero() {
            return None;
        }
        let places: Vec<_> = candidates.iter().filter(|candidate| candidate.ready.is_none()).collect();
        let ready = candidates.iter().filter_map(|candidate| candidate.ready).min();
        let bound = BACKOFF_FIRST.saturating_mul(1 << round.min(16)).min(BACKOFF_MAX);
        let until = ready.map(|ready| ready.max(began) + bound.mul_f64((self.jitter)().clamp(0.0, 1.0)));
        let until = match until {
            Some(until) if until <= began + patience => until,
            Some(_) | None if places.is_empty() => return None,
            Some(_) | None => began + patience,
        };
        let place = async {
            if places.is_empty() {
                return std::future::pending().await;
            }
            select_all(places.iter().map(|full| Box::pin(full.endpoint.wait_for_place()))).await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = place => {}
        }
        Some(began.elapsed())
    }
}

impl Candidate {
    /// Asks this endpoint, if it may be.
    async fn ask(
        &mut self,
        conversation: &Conversation,
        tools: &[ToolSpec],
        route: &mut Route,
    ) -> Result<(Leave, crate::bridge::Call), Unanswered> {
        let endpoint = &self.endpoint;
        let now = Instant::now();
        let Some(place) = endpoint.place() else {
            self.ready = None;
            route.pass(&endpoint.name, Why::AtCapacity { concurrent_max: endpoint.concurrent_max });
            return Err(Unanswered::AtCapacity);
        };
        let mut leave = match endpoint.leave(place) {
            Ok(leave) => leave,
            Err(wait) => {
                self.ready = Some(now + wait);
                let retry_ms = wait.as_millis().try_into().unwrap_or(u64::MAX);
                route.pass(&endpoint.name, Why::CircuitOpen { retry_ms });
                return Err(Unanswered::CircuitOpen);
            }
        };
        let target = &endpoint.target;
        let recipient = Recipient {
            dialect: target.dialect,
            model: &endpoint.provider_model,
            seals: &endpoint.seals(),
            reasoning_field: endpoint.reasoning_field.as_deref(),
            fields: &endpoint.fields,
        };
        let body = request_body(&recipient, conversation, tools);
        match target.open(Bytes::from(body.to_string())).await {
            Ok(call) => {
                metrics::histogram!(metric::FIRST_TOKEN, "endpoint" => endpoint.name.clone()).record(now.elapsed().as_secs_f64());
                route.choose(endpoint, leave.probe);
                leave.spoke();
                Ok((leave, call))
            }
            Err(error) => {
                tracing::warn!(endpoint = endpoint.name, code = error.code(), "a call failed before its first token");
                tracing::debug!(endpoint = endpoint.name, error = &error as &dyn std::error::Error, "what its provider said");
                leave.failed(&error);
                self.tries_left = if error.retryable() { self.tries_left - 1 } else { 0 };
                self.ready = Some(Instant::now() + error.retry_after().unwrap_or_default());
                let (code, message, retryable) = (error.code().to_owned(), error.to_string(), error.retryable());
                route.pass(&endpoint.name, Why::Failed { code, message, retryable });
                Err(error.into())
            }
        }
    }
}

/// Of two reasons the one that gives more hope; a failure says more than a circuit that is open for the same failures.
fn likelier(before: Option<Unanswered>, now: Unanswered) -> Unanswered {
    let rank = |why: &Unanswered| match why {
        Unanswered::UnknownModel(_) => 0,
        Unanswered::CircuitOpen => 2,
        Unanswered::AtCapacity => 3,
        Unanswered::Failed(error) => {
            if error.retryable() {
                4
            } else {
                1
            }
        }
    };
    match before {
        Some(before) if rank(&before) > rank(&now) => before,
        Some(_) | None => now,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every reason, with what stands for it on the page.
    fn reasons() -> Vec<Unanswered> {
        let second = Duration::from_secs(1);
        let status = |status: u16| {
            let retryable = matches!(status, 408 | 429 | 500..);
            CallError::Status { status, message: String::new(), retryable, retry_after: None }
        };
        let mut failures = vec![
            CallError::Connect,
            CallError::ConnectTimeout(second),
            CallError::FirstTokenTimeout(second),
            CallError::IdleTimeout(second),
            CallError::TotalTimeout(second),
            CallError::ConnectionLost,
            CallError::Redirected { origin: String::new() },
            CallError::NotAnAnswer,
            CallError::BadChunk,
            CallError::EventTooLarge(1),
            CallError::AnswerTooLarge(1),
            CallError::Provider(Failure::stream_ended()),
        ];
        failures.extend([400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 504, 529].map(status));
        let others = [Unanswered::UnknownModel(String::new()), Unanswered::AtCapacity, Unanswered::CircuitOpen];
        failures.into_iter().map(Unanswered::Failed).chain(others).collect()
    }

    #[test]
    fn the_page_has_the_codes_of_the_code() {
        let page = include_str!("../../../../docs/models.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split_once("` | "));
        let rows = rows
            .filter_map(|(code, rest)| Some((code, rest.split_once(" | ")?.0)))
            .filter(|(_, retry)| matches!(*retry, "yes" | "no"));
        let documented: BTreeMap<&str, &str> = rows.collect();
        let reasons = reasons();
        let coded = reasons.iter().map(|why| (why.code(), if why.retryable() { "yes" } else { "no" }));
        assert_eq!(documented, coded.collect());
    }
}
