//! What a user may do, tried: servers don't say what they allow, they complain of what they don't.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::{Event, HeaderMap, ServerError};
use tokio::sync::mpsc;

use crate::connect::ConnectError;
use crate::options::NatsOptions;

/// How long a complaint may be on its way after the server has answered what was sent behind its cause.
const SILENCE: Duration = Duration::from_millis(500);

/// Complaints that are kept until they are read; one for each subject at most comes.
const COMPLAINTS_MAX: usize = 1024;

/// What is published to see whether it may be: the beginning of an object and no more, which every call of JetStream refuses. Not less than
/// that: to a purge, what isn't an object says nothing, and it purges all.
const NOTHING: &str = "{";

/// What makes servers refuse it besides: calls are for a server of the far future, messages for another stream.
const REFUSED: [(&str, &str); 2] = [("Nats-Required-Api-Level", "1000000"), ("Nats-Expected-Stream", "none")];

/// Subjects that somebody must be able to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// To publish to. Servers refuse what is tried, for two reasons each; a call that destroys something is still to be named for a stream
    /// that isn't there.
    pub publish: Vec<String>,
    /// To subscribe to.
    pub subscribe: Vec<String>,
}

impl Needs {
    /// Those that the user of these options may not use. Each subject is tried once, on a connection of its own.
    pub async fn refused(&self, options: &NatsOptions) -> Result<Needs, ConnectError> {
        let (sender, mut complaints) = mpsc::channel(COMPLAINTS_MAX);
        let driver = options.driver()?.event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                // A full channel has more than can be asked for.
                let _ = sender.try_send(text);
            }
            async {}
        });
        let client = driver.connect(&options.urls[..]).await.map_err(ConnectError::Unreachable)?;
        let mut heard = Vec::new();
        for subject in &self.subscribe {
            heard.extend(client.subscribe(subject.clone()).await);
        }
        for subject in &self.publish {
            let mut headers = HeaderMap::new();
            REFUSED.iter().for_each(|(name, value)| headers.insert(*name, *value));
            // A connection that is lost meanwhile is noticed by the flush.
            let _ = client.publish_with_headers(subject.clone(), headers, NOTHING.into()).await;
        }
        let _ = client.flush().await;
        let mut refused = BTreeSet::new();
        while let Ok(Some(text)) = tokio::time::timeout(SILENCE, complaints.recv()).await {
            refused.extend(subject(&text).map(str::to_owned));
        }
        let of = |subjects: &[String]| subjects.iter().filter(|subject| refused.contains(*subject)).cloned().collect();
        Ok(Needs { publish: of(&self.publish), subscribe: of(&self.subscribe) })
    }
}

/// Of `Permissions Violation for Publish to "subject"`.
fn subject(complaint: &str) -> Option<&str> {
    let (_, rest) = complaint.split_once("ermissions ")?.1.split_once('"')?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_its_subject() {
        assert_eq!(subject("Permissions Violation for Publish to \"a.b\""), Some("a.b"));
        assert_eq!(subject("permissions violation for subscription to \"a.>\""), Some("a.>"));
        assert_eq!(subject("maximum payload violation"), None);
    }
}
