//! Whether nodes run: each says so every second over core NATS, and a tool listens for a while. What a node asks of the servers doesn't
//! tell: one whose store is slow asks for nothing for minutes, and takes appends all the time.

use std::time::Duration;

use bytes::Bytes;
use fanfold_nats::Nats;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::layout::Layout;
use crate::ReadError;

const INTERVAL: Duration = Duration::from_secs(1);

/// How long a node that runs is silent at most.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Says that a node runs, until this is dropped.
pub(super) struct Alive(JoinHandle<()>);

impl Alive {
    pub(super) fn begin(nats: &Nats, layout: &Layout) -> Self {
        let (client, subject) = (nats.client().clone(), layout.alive());
        Self(tokio::spawn(async move {
            let mut turn = tokio::time::interval(INTERVAL);
            turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turn.tick().await;
                // Without a connection nobody is there to hear it.
                let _ = client.publish(subject.clone(), Bytes::new()).await;
            }
        }))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether any node is heard. Where this user may not listen, none is.
pub(super) async fn is_heard(nats: &Nats, layout: &Layout) -> Result<bool, ReadError> {
    let unavailable = |error| ReadError::Unavailable(Box::new(error));
    let mut said = nats.client().subscribe(layout.alive()).await.map_err(unavailable)?;
    let heard = async {
        while let Some(message) = said.next().await {
            // `doctor` tries whether it may say it, in words that no node uses.
            if message.payload.is_empty() {
                return true;
            }
        }
        false
    };
    Ok(tokio::time::timeout(SILENCE_MAX, heard).await.unwrap_or(false))
}
