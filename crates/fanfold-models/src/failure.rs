//! What went wrong at a provider, and whether another attempt may go better.

use serde_json::Value;

use crate::json;

/// Words in a code that mean: it would fail again. They win over the others.
const LASTING: [&str; 9] =
    ["quota", "billing", "invalid", "context_length", "authentication", "permission", "not_found", "policy", "too_large"];

/// Words in a code that mean: it may go better next time.
const PASSING: [&str; 11] = [
    "rate_limit",
    "overloaded",
    "server_error",
    "internal",
    "api_error",
    "unavailable",
    "timeout",
    "timed_out",
    "capacity",
    "network",
    "insufficient_system_resource",
];

/// Why an answer broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A word for programs: the provider's code, or `stream_ended` where a stream ends without saying why.
    pub code: String,
    /// A sentence for people. Comes from the provider where it gives one.
    pub message: String,
    /// Whether another attempt may go better. False where a code says nothing about it.
    pub retryable: bool,
}

impl Failure {
    /// The stream ended without a terminal event: a cut connection.
    pub(crate) fn stream_ended() -> Self {
        Self { code: "stream_ended".into(), message: "The model's stream ended before its answer did.".into(), retryable: true }
    }

    /// A finish reason that is really a failure.
    pub(crate) fn from_finish(word: &str) -> Option<Self> {
        let message = match word {
            "error" => "The provider reported an error while the model answered.",
            "network_error" => "The provider lost its connection to the model.",
            "insufficient_system_resource" => "The provider ran out of resources.",
            _ => return None,
        };
        Some(Self { code: word.to_owned(), message: message.to_owned(), retryable: true })
    }

    /// Reads an error as providers write it: an object with code, type and message in any combination, or a sentence.
    pub(crate) fn from_error(error: &Value) -> Self {
        if let Some(sentence) = error.as_str() {
            return Self { code: "error".into(), message: sentence.to_owned(), retryable: false };
        }
        let kind = json::text(error, "type");
        let number = json::number(error, "code").or_else(|| json::number(error, "status"));
        let code = match (json::text(error, "code"), number) {
            ("", Some(number)) => number.to_string(),
            ("", None) if kind.is_empty() => "error".to_owned(),
            ("", None) => kind.to_owned(),
            (word, _) => word.to_owned(),
        };
        let message = [json::text(error, "message"), json::text(error, "detail")].into_iter().find(|text| !text.is_empty());
        let retryable = passing(&[&code, kind], number.or_else(|| code.parse().ok()));
        Self { code, message: message.unwrap_or_default().to_owned(), retryable }
    }
}

/// Whether a provider's words mean that it would fail again.
pub(crate) fn lasting(words: &[&str]) -> bool {
    any(words, &LASTING)
}

fn any(words: &[&str], of: &[&str]) -> bool {
    words.iter().any(|word| of.iter().any(|part| word.to_ascii_lowercase().contains(part)))
}

fn passing(words: &[&str], number: Option<u64>) -> bool {
    !lasting(words) && (any(words, &PASSING) || number.is_some_and(|number| matches!(number, 408 | 409 | 425 | 429 | 500..=599)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_are_read_in_any_shape() {
        let check = |error: Value, code: &str, message: &str, retryable: bool| {
            let expected = Failure { code: code.into(), message: message.into(), retryable };
            assert_eq!(Failure::from_error(&error), expected, "{error}");
        };
        check(json!({"type": "overloaded_error", "message": "Busy"}), "overloaded_error", "Busy", true);
        check(json!({"type": "server_error", "code": null, "message": "Oh"}), "server_error", "Oh", true);
        check(json!({"code": 502, "message": "Bad gateway"}), "502", "Bad gateway", true);
        check(json!({"code": "429", "message": "Slow down"}), "429", "Slow down", true);
        check(json!({"code": 400, "message": "No"}), "400", "No", false);
        check(json!({"code": "insufficient_quota", "type": "rate_limit"}), "insufficient_quota", "", false);
        check(json!({"type": "invalid_request_error", "code": 500}), "500", "", false);
        check(json!("all broken"), "error", "all broken", false);
        check(json!({}), "error", "", false);
        check(json!(null), "error", "", false);
    }
}
