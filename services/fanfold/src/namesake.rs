//! Whether another process serves under this node's name. Runs, budgets and logs know a node by its name alone, so each needs its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_nats::{Hearing, Nats};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How long a namesake that lives may take to answer. One that hangs longer is taken for gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const HEARD: &str = "fanfold_node_namesakes_heard_total";

/// What nodes say to each other when one starts. Keys of later versions are skipped.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    /// Which process.
    from: &'a str,
    name: &'a str,
    /// Whether it wants to know who else has this name.
    #[serde(default)]
    asks: bool,
}

/// Hears who starts under this node's name, and answers. Ends with this value.
pub(crate) struct Namesakes {
    heard: watch::Receiver<bool>,
    _hearing: Hearing,
}

impl Namesakes {
    /// `process`: tells this one's own words from others'.
    pub(crate) fn listen(nats: &Nats, prefix: &str, process: &Arc<str>, name: &str) -> Self {
        // No tenant is called that, and what nodes may do covers it.
        let subject = format!("{prefix}.presence.$nodes.names");
        let (known, heard) = watch::channel(false);
        let (own, name, nats_again, back) = (Arc::clone(process), name.to_owned(), nats.clone(), subject.clone());
        let greeting = encode(&Message { from: &own, name: &name, asks: true });
        let each = move |payload: Bytes| {
            let Ok(message) = serde_json::from_slice::<Message<'_>>(&payload) else { return };
            if message.from == &*own || message.name != name {
                return;
            }
            tracing::error!(name, "another node of this name serves as well; give each a node.name of its own");
            metrics::counter!(HEARD).increment(1);
            known.send_replace(true);
            if message.asks {
                nats_again.say(back.clone(), encode(&Message { from: &own, name: &name, asks: false }));
            }
        };
        Self { heard, _hearing: nats.hear(subject, greeting, each) }
    }

    /// Whether nobody has answered in time.
    pub(crate) async fn is_alone(&self) -> bool {
        let mut heard = self.heard.clone();
        tokio::time::timeout(ANSWER_WITHIN, heard.wait_for(|heard| *heard)).await.is_err()
    }
}

fn encode(message: &Message<'_>) -> Bytes {
    serde_json::to_vec(message).unwrap_or_default().into()
}
