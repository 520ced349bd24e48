//! Answers that are refusals: statuses, their bodies, and when to come back.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::CallError;
use crate::key::Key;
use crate::{Failure, failure, json};

/// Bytes of an error's body that are read. What lies behind isn't missed.
pub(crate) const ERROR_BYTES_MAX: usize = 64 << 10;

/// Bytes of a provider's sentence that are passed on.
const MESSAGE_BYTES_MAX: usize = 500;

/// Longest wait that a provider may ask for. A longer one is this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Reads a refusal, for at most `patience`.
pub(super) async fn refused(mut response: Response, key: Option<&Key>, patience: Duration) -> CallError {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    if response.status().is_redirection() {
        return CallError::Redirected { origin: origin(&response) };
    }
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(bytes)) = response.chunk().await {
            body.extend_from_slice(&bytes[..bytes.len().min(ERROR_BYTES_MAX - body.len())]);
            if body.len() == ERROR_BYTES_MAX {
                return;
            }
        }
    };
    // What hasn't come by then isn't missed: the status is known.
    let _ = tokio::time::timeout(patience, read).await;
    let said = said(&body);
    let words = said.as_ref().map_or([""; 2], |said| [json::text(said, "code"), json::text(said, "type")]);
    let passing = matches!(status, 408 | 409 | 425 | 429 | 500..) && !failure::lasting(&words);
    let message = said.map(|said| Failure::from_error(&said).message).filter(|message| !message.is_empty());
    let message = message.unwrap_or_else(|| response.status().canonical_reason().unwrap_or("no reason given").to_owned());
    let message = key.map_or(message.clone(), |key| key.hide(&message));
    let message = message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
    CallError::Status { status, message, retryable: passing, retry_after: retry_after(&headers) }
}

/// The error in a body: under `error`, in an array, or the body itself.
fn said(body: &[u8]) -> Option<Value> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let body = if let Value::Array(items) = body { items.into_iter().next()? } else { body };
    json::some(&body, "error").cloned().or(Some(body))
}

/// The origin that a redirection leads to.
fn origin(response: &Response) -> String {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| response.url().join(location).ok());
    url.map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization())
}

/// How long an HTTP answer asks to be left alone, an hour at most: in seconds, in milliseconds as some say, or until a date. A date is
/// compared with the server's own, so no clock of ours is asked.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds =
        |text: &str, unit: f64| text.parse().ok().and_then(|number: f64| Duration::try_from_secs_f64(number * unit).ok());
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let wait = text("retry-after-ms").and_then(|text| seconds(text, 0.001)).or_else(|| {
        let asked = text(RETRY_AFTER.as_str())?;
        let until = || Some(date(asked)?.duration_since(date(text(DATE.as_str())?)?).unwrap_or_default());
        seconds(asked, 1.0).or_else(until)
    });
    wait.map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_seconds_and_dates() {
        let check = |headers: &[(&'static str, &'static str)], expected: Option<u64>| {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(retry_after(&headers), expected.map(Duration::from_millis), "{headers:?}");
        };
        let now = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", " 0.5 ")], Some(500));
        check(&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1_500));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:57 GMT"), now], Some(20_000));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), now], Some(0));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:57 GMT")], None);
        check(&[("retry-after", "1e30")], None);
        check(&[("retry-after", "999999")], Some(3_600_000));
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "soon")], None);
        check(&[], None);
    }
}
