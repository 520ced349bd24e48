//! What an operator says of models and tools, for a node's configuration file.
//!
//! ```toml
//! [[models.endpoints]]
//! model = "large"
//! url = "https://models.example/v1"
//! key_env = "MODELS_KEY"
//!
//! [[models.tools]]
//! name = "weather"
//! description = "The weather in a city."
//! url = "https://tools.example/weather"
//! parameters = { type = "object", properties = { city = { type = "string" } }, required = ["city"] }
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::DialectName;

/// `[models]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Where models are served. Several for one model are tried in this order. The first one's model is the default.
    pub endpoints: Vec<EndpointConfig>,
    /// Tools that models may call.
    pub tools: Vec<ToolConfig>,
    /// Which model finds titles. Without it a session keeps the first words of its first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<TitleConfig>,
}

/// `[models.title]`: what a model is asked after a session's first answer. A title that a person gave stays, and where nothing comes of it
/// so do the first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TitleConfig {
    /// Which of the models above.
    pub model: String,
    /// Tokens that it may say, reasoning included, as estimated. Then it is no longer listened to.
    pub tokens_max: u64,
    /// From the request to the whole title.
    pub total_ms_max: u64,
}

impl Default for TitleConfig {
    fn default() -> Self {
        Self { model: String::new(), tokens_max: 1_000, total_ms_max: 30_000 }
    }
}

/// `[[models.endpoints]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointConfig {
    /// The name that runs ask for.
    pub model: String,
    /// What this endpoint is called in events, logs and metrics. The address's host if empty.
    pub name: String,
    /// Its address, such as `https://models.example/v1`: the dialect's path is added unless it stands there already.
    pub url: String,
    /// `chat_completions`, `responses` or `messages`.
    pub dialect: DialectName,
    /// What the endpoint calls the model. The same as `model` if empty.
    pub provider_model: String,
    /// The variable of the environment that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The file that holds the key and nothing else. Either this or `key_env`; without both no key is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The header that carries the key. Where it isn't said: `x-api-key` for `messages`, else `authorization` with `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_header: Option<String>,
    /// More headers of each request. Not for keys: configurations are printed.
    pub headers: BTreeMap<String, String>,
    /// More fields of each request's body, such as `temperature` or `max_tokens`. They win over what is there already.
    pub fields: Map<String, Value>,
    /// The field of its own messages in which a model gets its reasoning back, such as `reasoning_content`; of `chat_completions` only.
    /// Where it isn't said none is sent: most servers ignore it, and some refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_field: Option<String>,
    /// Tokens of history that a request may hold, as estimated. What is older is left out. The smallest of a model's endpoints counts.
    pub context_tokens_max: u64,
    /// Until there is a connection. Then the next endpoint is tried, like after each failure before the first token.
    pub connect_ms_max: u64,
    /// From the request to the first token.
    pub first_token_ms_max: u64,
    /// Without anything coming, once the first token has. Then the attempt fails.
    pub idle_ms_max: u64,
    /// From the request to the end. Then the attempt fails.
    pub total_ms_max: u64,
    /// Tries of one answer at this endpoint, before its first token.
    pub tries_max: u32,
    /// Answers at a time. Above, the next endpoint is asked, or one waits.
    pub concurrent_max: usize,
    /// Bytes of one answer, as it comes over the wire. A longer one fails.
    pub answer_bytes_max: u64,
    /// What it costs. Nothing is counted where it isn't said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceConfig>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            model: String::new(),
            name: String::new(),
            url: String::new(),
            dialect: DialectName::ChatCompletions,
            provider_model: String::new(),
            key_env: None,
            key_file: None,
            key_header: None,
            headers: BTreeMap::new(),
            fields: Map::new(),
            reasoning_field: None,
            context_tokens_max: 100_000,
            connect_ms_max: 5_000,
            first_token_ms_max: 60_000,
            idle_ms_max: 60_000,
            total_ms_max: 600_000,
            tries_max: 3,
            concurrent_max: 64,
            answer_bytes_max: 64 << 20,
            price: None,
        }
    }
}

/// `[models.endpoints.price]`: money for a million tokens, in whatever currency the operator counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Tokens read.
    pub input: f64,
    /// Tokens read from the provider's cache. The same as `input` if it isn't said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Tokens written, reasoning included.
    pub output: f64,
}

/// `[[models.tools]]`: a tool that is called by `POST` with the arguments as the body. Its answer's body is the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolConfig {
    /// What the model calls it by: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Map<String, Value>,
    /// Where it is.
    pub url: String,
    /// The variable of the environment that holds the tool's key, sent as `authorization` with `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The file that holds the key and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// More headers of each request. Not for keys: configurations are printed.
    pub headers: BTreeMap<String, String>,
    /// From the request to the whole result. Then the model is told that it took too long.
    pub total_ms_max: u64,
    /// Bytes of a result. A longer one is cut off, and the model is told so.
    pub result_bytes_max: usize,
    /// Whether a person must allow each call.
    pub needs_approval: bool,
}

impl Default for ToolConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            parameters: json!({ "type": "object" }).as_object().cloned().unwrap_or_default(),
            url: String::new(),
            key_env: None,
            key_file: None,
            headers: BTreeMap::new(),
            total_ms_max: 30_000,
            result_bytes_max: 64 << 10,
            needs_approval: false,
        }
    }
}

/// Why a configuration can't be used. `of` names the endpoint's model, or the tool.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that must be given is empty, or has a value that can't be.
    #[error("{of}: {key} is {value:?}, which can't be")]
    Value {
        /// Whose.
        of: String,
        /// Which key.
        key: &'static str,
        /// What it is.
        value: String,
    },
    /// The variable that shall hold a key is not set, or no text.
    #[error("{of}: no key in the environment's {name}")]
    KeyEnv {
        /// Whose.
        of: String,
        /// The variable.
        name: String,
    },
    /// The file that shall hold a key can't be read.
    #[error("{of}: {} can't be read", path.display())]
    KeyFile {
        /// Whose.
        of: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Both a variable and a file shall hold the key.
    #[error("{of}: either key_env or key_file")]
    TwoKeys {
        /// Whose.
        of: String,
    },
    /// Two have one name.
    #[error("{of}: given twice")]
    Twice {
        /// Whose.
        of: String,
    },
    /// The client for it can't be made.
    #[error("{of}: no HTTP client")]
    Client {
        /// Whose.
        of: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl ConfigError {
    pub(crate) fn value(of: &str, key: &'static str, value: impl ToString) -> Self {
        Self::Value { of: of.to_owned(), key, value: value.to_string() }
    }
}
