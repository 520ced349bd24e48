//! One place where a model is served: how to call it, how it is doing, and who may call it now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::circuit::{Admission, Circuit, Health};
use super::cost::Price;
use crate::bridge::{self, CallError, Target};
use crate::key::Key;
use crate::{ConfigError, DialectName, EndpointConfig, metric};

/// See the module.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) provider_model: String,
    pub(crate) target: Target,
    pub(crate) fields: Map<String, Value>,
    pub(crate) reasoning_field: Option<String>,
    pub(crate) context_tokens_max: u64,
    pub(crate) tries_max: u32,
    pub(crate) concurrent_max: usize,
    pub(crate) price: Option<Price>,
    permits: Arc<Semaphore>,
    circuit: Mutex<Circuit>,
}

/// Leave to call an endpoint once. Dropped without a verdict, it says nothing about the endpoint.
#[derive(Debug)]
pub(crate) struct Leave {
    endpoint: Arc<Endpoint>,
    pub(crate) probe: bool,
    /// What became of it, for the figures.
    outcome: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Endpoint {
    pub(crate) fn new(config: &EndpointConfig) -> Result<Self, ConfigError> {
        let of = config.model.as_str();
        if of.is_empty() {
            return Err(ConfigError::value(&config.url, "model", ""));
        }
        let url = address(config.dialect, &config.url).ok_or_else(|| ConfigError::value(of, "url", &config.url))?;
        let positive = [
            ("connect_ms_max", config.connect_ms_max),
            ("first_token_ms_max", config.first_token_ms_max),
            ("idle_ms_max", config.idle_ms_max),
            ("total_ms_max", config.total_ms_max),
            ("tries_max", config.tries_max.into()),
            ("concurrent_max", config.concurrent_max.min(Semaphore::MAX_PERMITS + 1) as u64),
            ("answer_bytes_max", config.answer_bytes_max),
            ("context_tokens_max", config.context_tokens_max),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::value(of, key, 0));
        }
        if let Some(field) = config.reasoning_field.as_ref().filter(|_| config.dialect != DialectName::ChatCompletions) {
            return Err(ConfigError::value(of, "reasoning_field", field));
        }
        let key = Key::load(of, config.key_env.as_deref(), config.key_file.as_ref())?;
        let connect = Duration::from_millis(config.connect_ms_max);
        let client = bridge::client(&url, connect).map_err(|source| ConfigError::Client { of: of.to_owned(), source })?;
        let host = || url.host_str().unwrap_or_default().to_owned();
        let target = Target {
            headers: headers(config, key.as_ref())?,
            key,
            dialect: config.dialect,
            connect,
            first_token: Duration::from_millis(config.first_token_ms_max),
            idle: Duration::from_millis(config.idle_ms_max),
            total: Duration::from_millis(config.total_ms_max),
            answer_bytes_max: config.answer_bytes_max,
            client,
            url: url.clone(),
        };
        Ok(Self {
            name: if config.name.is_empty() { host() } else { config.name.clone() },
            provider_model: if config.provider_model.is_empty() { of.to_owned() } else { config.provider_model.clone() },
            target,
            fields: config.fields.clone(),
            reasoning_field: config.reasoning_field.clone(),
            context_tokens_max: config.context_tokens_max,
            tries_max: config.tries_max,
            concurrent_max: config.concurrent_max,
            price: config.price.as_ref().map(|price| Price::new(of, price)).transpose()?,
            permits: Arc::new(Semaphore::new(config.concurrent_max.min(Semaphore::MAX_PERMITS))),
            circuit: Mutex::default(),
        })
    }

    /// Whose reasoning it takes back: what another model has sealed, or this one elsewhere, it may refuse.
    pub(crate) fn seals(&self) -> String {
        format!("{}/{}", self.name, self.provider_model)
    }

    /// A place among those it answers, if there is one.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// A place among those it answers, when there is one.
    pub(crate) async fn wait_for_place(&self) {
        // Never closed; and whoever asks next may be faster, so nothing is kept.
        let _ = self.permits.acquire().await;
    }

    /// Leave to call it now, or for how long not.
    pub(crate) fn leave(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Result<Leave, Duration> {
        let probe = match self.circuit().admit(Instant::now()) {
            Admission::Yes => false,
            Admission::Probe => true,
            Admission::No(wait) => return Err(wait),
        };
        metrics::gauge!(metric::CALLS_OPEN, "endpoint" => self.name.clone()).increment(1);
        Ok(Leave { endpoint: Arc::clone(self), probe, outcome: "dropped", _permit: permit })
    }

    pub(crate) fn health(&self) -> Health {
        self.circuit().health(Instant::now())
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// It has begun to speak: a probe has found out what it was sent for.
    pub(crate) fn spoke(&mut self) {
        if std::mem::take(&mut self.probe) {
            self.endpoint.circuit().succeeded(Instant::now());
        }
    }

    /// The answer is complete.
    pub(crate) fn succeeded(&mut self) {
        self.probe = false;
        self.outcome = "finished";
        self.endpoint.circuit().succeeded(Instant::now());
    }

    /// It failed; whether that speaks against the endpoint, the failure knows.
    pub(crate) fn failed(&mut self, error: &CallError) {
        self.probe = false;
        self.outcome = error.kind();
        if !error.is_unhealthy() {
            return self.endpoint.circuit().succeeded(Instant::now());
        }
        let opened = self.endpoint.circuit().failed(Instant::now(), error.retry_after());
        if opened {
            tracing::warn!(
                endpoint = self.endpoint.name,
                code = error.code(),
                "it fails too often and is passed over for a while"
            );
            metrics::counter!(metric::CIRCUIT_OPENED, "endpoint" => self.endpoint.name.clone()).increment(1);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.probe {
            self.endpoint.circuit().abandoned();
        }
        metrics::gauge!(metric::CALLS_OPEN, "endpoint" => self.endpoint.name.clone()).decrement(1);
        metrics::counter!(metric::CALLS, "endpoint" => self.endpoint.name.clone(), "outcome" => self.outcome).increment(1);
    }
}

/// The address of the dialect's requests. A base gets the dialect's path; one without any path gets `/v1` before it.
fn address(dialect: DialectName, base: &str) -> Option<Url> {
    let suffix = match dialect {
        DialectName::ChatCompletions => "/chat/completions",
        DialectName::Responses => "/responses",
        DialectName::Messages => "/messages",
    };
    let mut url: Url = base.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(suffix) {
        let version = if path.is_empty() { "/v1" } else { "" };
        url.set_path(&format!("{path}{version}{suffix}"));
    }
    Some(url)
}

fn headers(config: &EndpointConfig, key: Option<&Key>) -> Result<HeaderMap, ConfigError> {
    let of = config.model.as_str();
    let mut headers = HeaderMap::new();
    if config.dialect == DialectName::Messages {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    for (name, value) in &config.headers {
        let name: HeaderName = name.parse().map_err(|_| ConfigError::value(of, "headers", name))?;
        let value = HeaderValue::from_str(value).map_err(|_| ConfigError::value(of, "headers", &name))?;
        headers.insert(name, value);
    }
    if let Some(key) = key {
        let (name, prefix) = match (&config.key_header, config.dialect) {
            (Some(name), _) => (name.as_str(), ""),
            (None, DialectName::Messages) => ("x-api-key", ""),
            (None, DialectName::ChatCompletions | DialectName::Responses) => ("authorization", "Bearer "),
        };
        let name: HeaderName = name.parse().map_err(|_| ConfigError::value(of, "key_header", name))?;
        headers.extend(key.header(prefix).map(|value| (name, value)));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_path_of_its_dialect() {
        let check = |dialect, base: &str, expected: Option<&str>| {
            assert_eq!(address(dialect, base).map(String::from).as_deref(), expected, "{base}");
        };
        let chat = DialectName::ChatCompletions;
        check(chat, "http://localhost:8080", Some("http://localhost:8080/v1/chat/completions"));
        check(chat, "https://a.example/v1/", Some("https://a.example/v1/chat/completions"));
        check(chat, "https://a.example/api/openai", Some("https://a.example/api/openai/chat/completions"));
        check(chat, "https://a.example/x/chat/completions?v=1", Some("https://a.example/x/chat/completions?v=1"));
        check(DialectName::Responses, "https://a.example/v1", Some("https://a.example/v1/responses"));
        check(DialectName::Messages, "https://a.example", Some("https://a.example/v1/messages"));
        check(chat, "ftp://a.example", None);
        check(chat, "a.example/v1", None);
        check(chat, "", None);
    }

    fn leave(endpoint: &Arc<Endpoint>) -> Result<Leave, Duration> {
        endpoint.leave(endpoint.place().expect("a place"))
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_finds_out_for_all() {
        let config = EndpointConfig { model: "m".into(), url: "http://a.example".into(), ..EndpointConfig::default() };
        let endpoint = Arc::new(Endpoint::new(&config).unwrap());
        (0..5).for_each(|_| leave(&endpoint).unwrap().failed(&CallError::Connect));
        assert!(leave(&endpoint).is_err(), "its circuit is open");

        tokio::time::advance(Duration::from_secs(5)).await;
        let probe = leave(&endpoint).unwrap();
        assert!(probe.probe && leave(&endpoint).is_err(), "one at a time");
        drop(probe);
        let mut probe = leave(&endpoint).unwrap();
        assert!(probe.probe, "one that was given up says nothing");
        probe.spoke();
        assert!(leave(&endpoint).is_ok_and(|leave| !leave.probe), "its first word is enough");
        probe.failed(&CallError::ConnectionLost);
        assert!(leave(&endpoint).is_ok(), "one failure is not enough");
    }
}
