//! Tools that are HTTP endpoints: what a model calls, we `POST`, and what comes back is the result.
//!
//! Whatever goes wrong is told to the model in a sentence, as it may help itself. Nothing is sent twice from here: a tool may have effects. A
//! worker that doesn't know what became of a call may make it again, with the same key.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::bridge::{self, ERROR_BYTES_MAX};
use crate::key::Key;
use crate::{ConfigError, ToolConfig, ToolSpec, metric};

/// The header that is the same in every request that is made for one call (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Until there is a connection to a tool.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of a tool's own words about an error that the model gets.
const ERROR_TEXT_BYTES_MAX: usize = 2_000;

/// Characters of a tool's name: what every provider allows.
const NAME_CHARS_MAX: usize = 64;

/// The registered tools.
#[derive(Debug, Default)]
pub struct Tools {
    specs: Vec<ToolSpec>,
    tools: BTreeMap<String, Tool>,
}

#[derive(Debug)]
struct Tool {
    client: Client,
    url: Url,
    headers: HeaderMap,
    key: Option<Key>,
    total: Duration,
    result_bytes_max: usize,
    needs_approval: bool,
}

/// What a call gave back, for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// The result, or a sentence about what went wrong.
    pub content: String,
    /// Whether something went wrong.
    pub is_error: bool,
}

/// What went wrong. The sentence is the model's.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("There is no tool of this name.")]
    Unknown,
    #[error("The arguments are not a JSON object.")]
    Arguments,
    #[error("The tool can't be reached.")]
    Unreachable(#[source] reqwest::Error),
    #[error("The tool's answer broke off.")]
    BrokeOff(#[source] reqwest::Error),
    #[error("The tool took longer than {} s.", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("The tool has moved, and is not followed.")]
    Moved,
    #[error("The tool answered {status}: {body}")]
    Status { status: u16, body: String },
    #[error("The tool's result is not text.")]
    NotText,
}

impl Wrong {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Arguments => "arguments",
            Self::Unreachable(_) => "unreachable",
            Self::BrokeOff(_) => "broke_off",
            Self::TimedOut(_) => "timed_out",
            Self::Moved => "moved",
            Self::Status { .. } => "status",
            Self::NotText => "not_text",
        }
    }
}

impl Tools {
    /// Checks the configuration. Nothing is called before a model does.
    pub fn new(configs: &[ToolConfig]) -> Result<Self, ConfigError> {
        let mut tools = Self::default();
        for config in configs {
            let ToolConfig { name, description, parameters, .. } = config;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(allowed) {
                return Err(ConfigError::value("a tool", "name", name));
            }
            if tools.tools.insert(name.clone(), Tool::new(config)?).is_some() {
                return Err(ConfigError::Twice { of: name.clone() });
            }
            let parameters = Value::Object(parameters.clone());
            tools.specs.push(ToolSpec { name: name.clone(), description: description.clone(), parameters });
        }
        Ok(tools)
    }

    /// What models are offered.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Whether a person must allow each call of this tool.
    pub fn needs_approval(&self, name: &str) -> bool {
        self.tools.get(name).is_some_and(|tool| tool.needs_approval)
    }

    /// Calls a tool and waits for its result. Dropping it closes the connection. `key` is the same in every request that is made for one
    /// call: printable characters of ASCII.
    pub async fn call(&self, name: &str, arguments: &str, key: &str) -> ToolAnswer {
        let called = self.try_call(name, arguments, key).await;
        let outcome = called.as_ref().map_or_else(Wrong::kind, |_| "done");
        // A name that a model made up is no label.
        let known = self.tools.get_key_value(name).map_or("unknown", |(name, _)| name).to_owned();
        metrics::counter!(metric::TOOL_CALLS, "tool" => known.clone(), "outcome" => outcome).increment(1);
        match called {
            Ok(content) => ToolAnswer { content, is_error: false },
            Err(wrong) => {
                tracing::warn!(tool = known, outcome, "a tool failed");
                tracing::debug!(tool = name, error = &wrong as &dyn std::error::Error, "what it said");
                ToolAnswer { content: wrong.to_string(), is_error: true }
            }
        }
    }

    async fn try_call(&self, name: &str, arguments: &str, key: &str) -> Result<String, Wrong> {
        let tool = self.tools.get(name).ok_or(Wrong::Unknown)?;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        if !serde_json::from_str(arguments).is_ok_and(|value: Value| value.is_object()) {
            return Err(Wrong::Arguments);
        }
        let called = tokio::time::timeout(tool.total, tool.call(arguments, key));
        called.await.unwrap_or(Err(Wrong::TimedOut(tool.total)))
    }
}

impl Tool {
    fn new(config: &ToolConfig) -> Result<Self, ConfigError> {
        let of = config.name.as_str();
        let url: Option<Url> = config.url.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| ConfigError::value(of, "url", &config.url))?;
        for (key, value) in [("total_ms_max", config.total_ms_max), ("result_bytes_max", config.result_bytes_max as u64)] {
            if value == 0 {
                return Err(ConfigError::value(of, key, 0));
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name: HeaderName = name.parse().map_err(|_| ConfigError::value(of, "headers", name))?;
            let value = HeaderValue::from_str(value).map_err(|_| ConfigError::value(of, "headers", &name))?;
            headers.insert(name, value);
        }
        let key = Key::load(of, config.key_env.as_deref(), config.key_file.as_ref())?;
        headers.extend(key.as_ref().and_then(|key| key.header("Bearer ")).map(|key| (reqwest::header::AUTHORIZATION, key)));
        let client = bridge::client(&url, CONNECT).map_err(|source| ConfigError::Client { of: of.to_owned(), source })?;
        Ok(Self {
            client,
            url,
            headers,
            key,
            total: Duration::from_millis(config.total_ms_max),
            result_bytes_max: config.result_bytes_max,
            needs_approval: config.needs_approval,
        })
    }

    async fn call(&self, arguments: &str, key: &str) -> Result<String, Wrong> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.header(IDEMPOTENCY_KEY, key);
        let sent = request.body(arguments.to_owned()).send().await;
        let response = sent.map_err(|error| Wrong::Unreachable(error.without_url()))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Wrong::Moved);
        }
        let limit = if status.is_success() { self.result_bytes_max } else { ERROR_BYTES_MAX };
        let (bytes, cut) = read(response, limit).await?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&bytes);
            let body = self.key.as_ref().map_or_else(|| body.to_string(), |key| key.hide(&body));
            let body = body[..body.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].trim().to_owned();
            return Err(Wrong::Status { status: status.as_u16(), body });
        }
        text(bytes, cut)
    }
}

/// The body, up to so many bytes, and whether there was more.
async fn read(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), Wrong> {
    let mut bytes = Vec::new();
    while let Some(more) = response.chunk().await.map_err(|error| Wrong::BrokeOff(error.without_url()))? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&more[..more.len().min(room)]);
        if more.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

fn text(mut bytes: Vec<u8>, cut: bool) -> Result<String, Wrong> {
    let limit = bytes.len();
    // The cut may have gone through a character.
    if let (true, Err(error)) = (cut, std::str::from_utf8(&bytes))
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    let mut text = String::from_utf8(bytes).map_err(|_| Wrong::NotText)?;
    if cut {
        text.push_str(&format!("\n(The result was cut off after {limit} bytes.)"));
    }
    Ok(text)
}
