//! Who is present on other nodes: told over core NATS, one subject for each hosted session, and never stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::SessionKey;
use fanfold_log::JetStreamLogConfig;
use fanfold_nats::{ConnectError, Hearing, Limits, Nats};
use fanfold_session::{Appearance, Hear, Heard, Neighbour, Neighbours};
use serde::{Deserialize, Serialize};

use crate::namesake::Namesakes;

/// Messages of one session that wait to be heard. One more is lost, as any may be.
const WAITING_MAX: usize = 64;

/// The other nodes of a deployment.
pub struct NatsNeighbours {
    /// Of its own, so that nobody's typing holds up a record.
    nats: Nats,
    prefix: String,
    /// This process, whose own messages come back to it.
    process: Arc<str>,
}

/// What is said under a session's subject. Keys of later versions are skipped.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    from: &'a str,
    /// Whether the sender wants to know who is there.
    #[serde(default)]
    asks: bool,
    #[serde(default)]
    said: Vec<Said>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    who: String,
    doing: String,
    age_ms: u64,
}

impl NatsNeighbours {
    /// Connects to where the log is.
    pub async fn open(config: &JetStreamLogConfig) -> Result<Self, ConnectError> {
        let request_max = Duration::from_millis(config.read_ms_max);
        let limits = Limits { subscription_messages_max: WAITING_MAX, request_max };
        let nats = Nats::connect(&config.nats, limits).await?;
        Ok(Self { nats, prefix: config.prefix.clone(), process: uuid::Uuid::new_v4().to_string().into() })
    }

    /// Asks who else is called this, and answers who asks from now on.
    pub(crate) fn namesakes(&self, name: &str) -> Namesakes {
        Namesakes::listen(&self.nats, &self.prefix, &self.process, name)
    }
}

impl Neighbours for NatsNeighbours {
    fn join(&self, session: &SessionKey, hear: Hear) -> Box<dyn Neighbour> {
        let subject = format!("{}.presence.{}.{}", self.prefix, session.tenant, session.session);
        let own = Arc::clone(&self.process);
        let greeting = encode(&Message { from: &own, asks: true, said: Vec::new() });
        let each = move |payload: Bytes| {
            let Ok(message) = serde_json::from_slice::<Message<'_>>(&payload) else { return };
            if message.from != &*own {
                take(message, &hear);
            }
        };
        let hearing = self.nats.hear(subject.clone(), greeting, each);
        Box::new(Member { nats: self.nats.clone(), subject, process: Arc::clone(&self.process), _hearing: hearing })
    }
}

fn take(message: Message<'_>, hear: &Hear) {
    metrics::counter!("fanfold_presence_heard_total").increment(1);
    if message.asks {
        hear(Heard::Asked);
    }
    let appeared = message.said.into_iter().map(|said| {
        let age = Duration::from_millis(said.age_ms);
        Appearance { who: said.who, doing: said.doing, age }
    });
    let appeared: Vec<_> = appeared.collect();
    if !appeared.is_empty() {
        hear(Heard::Appeared(appeared));
    }
}

/// This node in one session.
struct Member {
    nats: Nats,
    subject: String,
    process: Arc<str>,
    _hearing: Hearing,
}

impl Neighbour for Member {
    fn tell(&self, appeared: &[Appearance]) {
        let said = appeared.iter().map(|one| {
            let age_ms = u64::try_from(one.age.as_millis()).unwrap_or(u64::MAX);
            Said { who: one.who.clone(), doing: one.doing.clone(), age_ms }
        });
        let message = encode(&Message { from: &self.process, asks: false, said: said.collect() });
        let outcome = if self.nats.say(self.subject.clone(), message) { "sent" } else { "dropped" };
        metrics::counter!("fanfold_presence_told_total", "outcome" => outcome).increment(1);
    }
}

fn encode(message: &Message<'_>) -> Bytes {
    serde_json::to_vec(message).unwrap_or_default().into()
}
