//! Keys of providers: read once, sent, never shown.

use std::fmt;
use std::path::PathBuf;

use reqwest::header::HeaderValue;

use crate::ConfigError;

/// A provider's key.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Key {
    /// Reads the key that a configuration names, if it names one.
    pub(crate) fn load(of: &str, env: Option<&str>, file: Option<&PathBuf>) -> Result<Option<Self>, ConfigError> {
        let of = || of.to_owned();
        let text = match (env, file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(ConfigError::TwoKeys { of: of() }),
            (Some(name), None) => std::env::var(name).map_err(|_| ConfigError::KeyEnv { of: of(), name: name.to_owned() })?,
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::KeyFile { of: of(), path: path.clone(), source })?
            }
        };
        let key = Self(text.trim().to_owned());
        // The value is not shown, whatever is wrong with it.
        if key.0.is_empty() || key.header("").is_none() {
            return Err(ConfigError::value(&of(), "key", "empty or not one line of ASCII"));
        }
        Ok(Some(key))
    }

    /// The key behind `prefix` as a header's value that is left out of every debug print.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A provider's text without the key in it: some repeat what they were sent.
    pub(crate) fn hide(&self, text: &str) -> String {
        text.replace(&self.0, "(key)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(key)")
    }
}
