//! Over server-sent events.

use std::pin::Pin;

use eventsource_stream::Eventsource as _;
use fanfold_wire::{Format, v1};
use futures::{Stream, StreamExt as _};

use super::{Dialer, LinkError, lost};

type Events = Pin<Box<dyn Stream<Item = Result<eventsource_stream::Event, String>> + Send>>;

pub(crate) struct Sse(Events);

impl Sse {
    pub(super) async fn open(dialer: &Dialer, subscribe: v1::Subscribe) -> Result<Self, LinkError> {
        let mut request = dialer.http.get(format!("{}/v1/sessions/{}/stream", dialer.config.http, subscribe.session));
        if subscribe.mode() == v1::Mode::Full {
            request = request.query(&[("mode", "full")]);
        }
        if let Some(offset) = subscribe.replay {
            request = request.query(&[("replay", offset)]);
        }
        request = request.query(&[("window", subscribe.window)]);
        if let Some(cursor) = subscribe.cursor {
            request = request.header("last-event-id", cursor);
        }
        if let Some(token) = &dialer.config.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let events = response.bytes_stream().eventsource().map(|event| event.map_err(|error| error.to_string()));
        Ok(Self(Box::pin(events)))
    }

    pub(super) async fn next(&mut self) -> Result<v1::ServerFrame, LinkError> {
        match self.0.next().await {
            Some(Ok(event)) => {
                // The event's name is the frame's.
                let frame = format!("{{\"{}\":{}}}", event.event, event.data);
                Format::Json.decode_server(frame.as_bytes()).map_err(lost)
            }
            Some(Err(error)) => Err(lost(error)),
            None => Err(lost("it ended")),
        }
    }
}

async fn refused(response: reqwest::Response) -> LinkError {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let body: serde_json::Value = response.json().await.unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let code = text("code");
    if code.is_empty() {
        return lost(format!("answered with {status}"));
    }
    LinkError::Refused { code, message: text("title"), retry_after_ms: retry_after.unwrap_or(0) * 1000 }
}
