//! What a user may do, tried: servers don't say what they allow, they complain of what they don't.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, ServerError, Subscriber};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::connect::ConnectError;
use crate::options::NatsOptions;

/// What was heard and isn't read yet: a complaint for each subject at most, and the end.
const HEARD_MAX: usize = 1024;

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

/// What a connection tells of beside its messages, in this order.
enum Heard {
    Complaint(String),
    /// All complaints that have come are before it.
    End,
}

impl Needs {
    /// Those that the user of these options may not use. Each subject is tried once, on a connection of its own. Servers read what one
    /// connection sends in order, so they have judged all of it when they have judged what was sent last: that is waited for, for at most
    /// `max`.
    pub async fn refused(&self, options: &NatsOptions, max: Duration) -> Result<Needs, ConnectError> {
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let driver = options.driver()?.event_callback(move |event| {
            let heard = match event {
                Event::ServerError(ServerError::Other(text)) => Some(Heard::Complaint(text)),
                Event::Draining => Some(Heard::End),
                _ => None,
            };
            // A full channel has more than can be asked for, and without its end it is waited for in vain, which is said.
            let _ = heard.map(|heard| sender.try_send(heard));
            async {}
        });
        let client = driver.connect(&options.urls[..]).await.map_err(ConnectError::Unreachable)?;
        // Nobody else knows it. Whether it may be used doesn't matter: one of two things is heard of it.
        let last = client.new_inbox();
        let mut subscriptions = Vec::new();
        for subject in &self.subscribe {
            subscriptions.extend(client.subscribe(subject.clone()).await);
        }
        let echo = client.subscribe(last.clone()).await.map_err(|_| ConnectError::Silent)?;
        for subject in self.publish.iter().chain([&last]) {
            let mut headers = HeaderMap::new();
            REFUSED.iter().for_each(|(name, value)| headers.insert(*name, *value));
            // A connection that is lost meanwhile loses what was sent last, too.
            let _ = client.publish_with_headers(subject.clone(), headers, NOTHING.into()).await;
        }
        let refused = Judged { client, echo, heard, last }.until_the_last(Instant::now() + max).await?;
        let of = |subjects: &[String]| subjects.iter().filter(|subject| refused.contains(*subject)).cloned().collect();
        Ok(Needs { publish: of(&self.publish), subscribe: of(&self.subscribe) })
    }
}

/// What was tried, while the server judges it.
struct Judged {
    client: Client,
    echo: Subscriber,
    heard: mpsc::Receiver<Heard>,
    last: String,
}

impl Judged {
    /// Subjects that the server complained of before the last one came back, or was refused itself.
    async fn until_the_last(mut self, deadline: Instant) -> Result<BTreeSet<String>, ConnectError> {
        let (mut refused, mut is_deaf) = (BTreeSet::new(), false);
        loop {
            let next = tokio::select! {
                heard = self.heard.recv() => heard,
                // Complaints may still be on their way to here, and the end goes the same way.
                Some(_) = self.echo.next(), if !is_deaf => {
                    self.client.drain().await.map_err(|_| ConnectError::Silent)?;
                    timeout_at(deadline, self.rest(&mut refused)).await.map_err(|_| ConnectError::Silent)?;
                    return Ok(refused);
                }
                () = tokio::time::sleep_until(deadline) => None,
            };
            match next.as_ref() {
                Some(Heard::Complaint(text)) => match complaint(text) {
                    Some((Tried::Publish, subject)) if subject == self.last => return Ok(refused),
                    Some((Tried::Subscribe, subject)) if subject == self.last => is_deaf = true,
                    Some((_, subject)) => drop(refused.insert(subject.to_owned())),
                    None => {}
                },
                // Who may publish the last one and not hear it knows of no end.
                Some(Heard::End) | None if is_deaf => return Ok(refused),
                Some(Heard::End) | None => return Err(ConnectError::Silent),
            }
        }
    }

    async fn rest(&mut self, refused: &mut BTreeSet<String>) {
        while let Some(Heard::Complaint(text)) = self.heard.recv().await {
            refused.extend(complaint(&text).map(|(_, subject)| subject.to_owned()));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Publish,
    Subscribe,
}

/// Of `Permissions Violation for Publish to "subject"`.
fn complaint(text: &str) -> Option<(Tried, &str)> {
    let (what, rest) = text.split_once("ermissions ")?.1.split_once('"')?;
    let tried = if what.to_ascii_lowercase().contains("publish") { Tried::Publish } else { Tried::Subscribe };
    rest.split('"').next().map(|subject| (tried, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_its_subject() {
        assert_eq!(complaint("Permissions Violation for Publish to \"a.b\""), Some((Tried::Publish, "a.b")));
        assert_eq!(complaint("permissions violation for subscription to \"a.>\""), Some((Tried::Subscribe, "a.>")));
        assert_eq!(complaint("maximum payload violation"), None);
    }
}
