//! Messages in passing: to whoever hears them at that moment, at most once. For what is not worth keeping.

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::AbortHandle;

use crate::Nats;

/// Somebody who hears a subject. Ends when dropped.
#[derive(Debug)]
pub struct Hearing(AbortHandle);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Nats {
    /// Hears what is said under the subject, by this connection as well. Says `greeting` there once it does. Returns at once; what is
    /// said while the connection is away isn't heard.
    pub fn hear(&self, subject: String, greeting: Bytes, each: impl Fn(Bytes) + Send + 'static) -> Hearing {
        let nats = self.clone();
        let hearing = async move {
            match nats.client().subscribe(subject.clone()).await {
                Ok(mut subscriber) => {
                    nats.say(subject, greeting);
                    while let Some(message) = subscriber.next().await {
                        each(message.payload);
                    }
                }
                Err(error) => tracing::warn!(%error, subject, "not heard"),
            }
        };
        Hearing(tokio::spawn(hearing).abort_handle())
    }

    /// Says something to whoever hears it. Never waits: false when the connection has too much to send already, and this is dropped.
    pub fn say(&self, subject: String, payload: Bytes) -> bool {
        self.client().publish(subject, payload).now_or_never().is_some_and(|said| said.is_ok())
    }
}
