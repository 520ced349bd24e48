//! The connection and what becomes of it.

use std::time::Duration;

use async_nats::{Client, Event};

use crate::metric;
use crate::options::{NatsOptions, OptionsError};

/// The oldest server that keeps what it acknowledges and judges expectations rightly.
pub const VERSION_MIN: (i64, i64, i64) = (2, 12, 0);

/// Between two signs of life. A server that misses a few is given up for another.
const PING: Duration = Duration::from_secs(5);

/// What bounds a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages that a subscription holds until it is read. One more is lost.
    pub subscription_messages_max: usize,
    /// How long a question waits for its answer.
    pub request_max: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options don't make sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No server of the list answers, or none takes this user.
    #[error("no NATS server can be reached")]
    Unreachable(#[source] async_nats::ConnectError),
    /// It was reached, and what it should have said never came.
    #[error("the NATS server didn't answer in time")]
    Silent,
    /// An older one has lost acknowledged records.
    #[error("the NATS server is version {found}; {}.{} is the oldest that will do", VERSION_MIN.0, VERSION_MIN.1)]
    Version {
        /// What it is.
        found: String,
    },
}

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Nats {
    client: Client,
    pub(crate) request_max: Duration,
}

impl Nats {
    /// Connects to one of the servers and checks its version. Later losses of the connection mend themselves.
    pub async fn connect(options: &NatsOptions, limits: Limits) -> Result<Self, ConnectError> {
        let driver = options
            .driver()?
            .ping_interval(PING)
            .subscription_capacity(limits.subscription_messages_max)
            .request_timeout(Some(limits.request_max))
            .event_callback(|event| async move { note(&event) });
        let client = driver.connect(&options.urls[..]).await.map_err(ConnectError::Unreachable)?;
        let (major, minor, patch) = VERSION_MIN;
        if !client.is_server_compatible(major, minor, patch) {
            return Err(ConnectError::Version { found: client.server_info().version });
        }
        Ok(Self { client, request_max: limits.request_max })
    }

    /// For subscriptions.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

fn note(event: &Event) {
    match event {
        Event::Connected => {
            metrics::gauge!(metric::CONNECTED).set(1.0);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            metrics::gauge!(metric::CONNECTED).set(0.0);
            metrics::counter!(metric::DISCONNECTS).increment(1);
            tracing::warn!("connection to NATS lost");
        }
        Event::SlowConsumer(_) => metrics::counter!(metric::SLOW).increment(1),
        Event::ServerError(error) => {
            metrics::counter!(metric::SERVER_ERRORS).increment(1);
            tracing::warn!(error = error as &dyn std::error::Error, "NATS server complains");
        }
        Event::ClientError(error) => {
            tracing::warn!(%error, "connection to NATS has an error");
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!("connection to NATS: {event}"),
    }
}
