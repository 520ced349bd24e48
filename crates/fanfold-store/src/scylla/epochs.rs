//! Which incarnations of the log this store has known.

use fanfold_fold::{Epoch, Offset};
use scylla::value::CqlVarint;
use uuid::Uuid;

use super::ScyllaStore;
use super::value::{offset, varint};
use crate::port::StoreError;

/// One incarnation of one shard of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEpoch {
    /// The shard.
    pub shard: u32,
    /// The incarnation.
    pub epoch: Epoch,
    /// Its first offset: above every one of the incarnations before it.
    pub first: Offset,
    /// Milliseconds since 1970 when it began, by the clock of whoever began it.
    pub begun_at_ms: u64,
}

impl ScyllaStore {
    /// Notes an incarnation. The log itself decides which one it is; the store only remembers. Again changes nothing.
    pub async fn put_epoch(&self, epoch: &LogEpoch) -> Result<(), StoreError> {
        let begun_at_ms = i64::try_from(epoch.begun_at_ms).unwrap_or(i64::MAX);
        let values = (epoch.shard.cast_signed(), varint(epoch.first.0), epoch.epoch.0, begun_at_ms);
        self.cql.call().execute(&self.statements.put_epoch, values).await
    }

    /// All incarnations of a shard, the newest first: a node whose log has another refuses the shard.
    pub async fn epochs(&self, shard: u32) -> Result<Vec<LogEpoch>, StoreError> {
        let rows: Vec<(CqlVarint, Uuid, i64)> = self.cql.call().rows(&self.statements.epochs, (shard.cast_signed(),)).await?;
        let epoch = |(first, epoch, begun_at_ms): (CqlVarint, Uuid, i64)| {
            let begun_at_ms = u64::try_from(begun_at_ms).unwrap_or(0);
            Some(LogEpoch { shard, epoch: Epoch(epoch), first: offset(&first)?, begun_at_ms })
        };
        Ok(rows.into_iter().filter_map(epoch).collect())
    }
}
