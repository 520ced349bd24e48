//! What is in the streams, and how room is made below what they issue.

use std::collections::HashMap;

use async_nats::jetstream::stream::{Config, Info};
use bytes::Bytes;
use fanfold_fold::{Offset, SessionKey};
use fanfold_nats::RequestError;
use serde::Deserialize;
use serde_json::json;

use super::alive;
use super::log::JetStreamLog;
use super::migrate::raise;
use super::read::Trouble;
use super::shard::Shard;
use crate::{Inventory, ReadError};

#[derive(Deserialize)]
struct Subjects {
    /// Of all subjects, which come over several answers.
    #[serde(default)]
    total: usize,
    state: SubjectState,
}

#[derive(Deserialize)]
struct SubjectState {
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Waiting {
    num_waiting: u64,
}

/// A shard that takes no appends, as its stream listens to no session.
///
/// A tool that dies in between leaves it so: appends are refused as overloaded until `migrate` has mended the stream.
#[derive(Debug)]
#[must_use = "the shard takes no appends until it is opened again"]
pub struct ClosedShard {
    shard: u32,
    config: Config,
}

impl JetStreamLog {
    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.reader.layout.shards
    }

    /// Which shard a session is in.
    pub fn shard_of(&self, session: &SessionKey) -> u32 {
        self.reader.layout.shard(session)
    }

    /// Whether nodes are running: they say so, or ask for notices at the moment, as those of releases before do. Takes some seconds where
    /// none is.
    pub async fn is_served(&self) -> Result<bool, ReadError> {
        let name = self.reader.layout.consumer();
        for shard in self.reader.shards.iter() {
            let call = format!("$JS.API.CONSUMER.INFO.{}.{name}", shard.stream);
            match self.reader.nats.ask::<Waiting>(call, Bytes::new(), None, None).await {
                Ok(Waiting { num_waiting }) if num_waiting > 0 => return Ok(true),
                Ok(_) => {}
                // No node has ever run on it.
                Err(error) if error.is(async_nats::jetstream::ErrorCode::CONSUMER_NOT_FOUND) => {}
                Err(error) => return Err(Trouble::from(error).into()),
            }
        }
        alive::is_heard(&self.reader.nats, &self.reader.layout).await
    }

    /// Has the shard take no appends: producers wait, and try again. What was acknowledged before is there when this returns.
    pub async fn close_shard(&self, shard: u32) -> Result<ClosedShard, ReadError> {
        let config = self.info(shard).await?.config;
        let nobody = vec![format!("{}.closed.{shard}", self.reader.layout.prefix())];
        self.update(&Config { subjects: nobody, republish: None, ..config.clone() }).await?;
        Ok(ClosedShard { shard, config })
    }

    /// Lets go of all the shard's records, which must be in the archive, and has it go on above `above`.
    pub async fn raise(&self, closed: &ClosedShard, above: Offset) -> Result<(), ReadError> {
        let first = above.0.max(self.info(closed.shard).await?.state.last_sequence) + 1;
        raise(&self.reader.nats, &self.shard(closed.shard).stream, first).await.map_err(Trouble::from)?;
        Ok(())
    }

    /// Has the shard take appends again.
    pub async fn open_shard(&self, closed: ClosedShard) -> Result<(), ReadError> {
        self.update(&closed.config).await
    }

    fn shard(&self, shard: u32) -> &Shard {
        &self.reader.shards[shard as usize]
    }

    async fn info(&self, shard: u32) -> Result<Info, ReadError> {
        let stream = &self.shard(shard).stream;
        let info = self.reader.nats.stream(stream).await.map_err(Trouble::from)?;
        Ok(info.ok_or_else(|| Trouble::Gone(stream.clone()))?)
    }

    async fn update(&self, config: &Config) -> Result<(), ReadError> {
        self.reader.nats.change_stream(config).await.map_err(Trouble::from)?;
        Ok(())
    }

    async fn subjects(&self, stream: &str) -> Result<Vec<String>, RequestError> {
        let mut subjects = Vec::new();
        loop {
            let question = json!({ "subjects_filter": ">", "offset": subjects.len() });
            let page: Subjects = self.reader.nats.api(&format!("STREAM.INFO.{stream}"), &question).await?;
            let end = page.state.subjects.is_empty();
            subjects.extend(page.state.subjects.into_keys());
            if end || subjects.len() >= page.total {
                return Ok(subjects);
            }
        }
    }
}

#[async_trait::async_trait]
impl Inventory for JetStreamLog {
    async fn sessions(&self) -> Result<Vec<SessionKey>, ReadError> {
        let mut sessions = Vec::new();
        for shard in self.reader.shards.iter() {
            let subjects = self.subjects(&shard.stream).await.map_err(Trouble::from)?;
            sessions.extend(subjects.iter().filter_map(|subject| self.reader.layout.session(subject)).map(|(_, key)| key));
        }
        Ok(sessions)
    }

    /// A reader looks into the archive for what lies below the stream's first record, and nowhere else.
    async fn room(&self, session: &SessionKey) -> Result<Offset, ReadError> {
        let (first, _) = self.reader.ends(session).await?;
        Ok(Offset(first.0.saturating_sub(1)))
    }

    async fn adopt(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        let room = self.room(session).await?;
        assert!(upto <= room, "offsets grow: {upto} is above {room}");
        Ok(())
    }
}
