//! Snapshots: chunks first, then the row that says they are whole. What is let go of is let go by partition.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::value::CqlVarint;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ScyllaStore;
use super::call::{Call, Pages};
use super::value::{offset, varint};
use crate::SNAPSHOT_BYTES_MAX;
use crate::port::{Snapshot, StoreError};
use crate::stored::key::snapshot_key;
use crate::stored::seal::{open, seal};
use crate::stored::{damaged, unavailable};

/// Bytes of the state in one cell.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// Chunks on their way at one time.
const CHUNKS_AT_ONCE: usize = 8;

/// Its chunks are there.
pub(crate) const WHOLE: i8 = 2;

/// erased, kept_from, at_offset, epoch, fold, stage, content
pub(crate) type Row = (Option<bool>, Option<CqlVarint>, Option<CqlVarint>, Option<Uuid>, Option<i32>, Option<i8>, Option<Bytes>);

/// What the chunks of a snapshot come to.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) bytes: u64,
    chunks: u32,
    /// Over the whole state: chunks of two writers that don't agree are not a state.
    crc: u32,
}

/// Which snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) offset: Offset,
    pub(crate) epoch: Epoch,
    pub(crate) fold: FoldVersion,
}

impl ScyllaStore {
    pub(crate) async fn put_snapshot(&self, session: &SessionKey, snapshot: &Snapshot) -> Result<(), StoreError> {
        let call = self.cql.call();
        let Snapshot { epoch, offset, fold, state } = snapshot;
        let key = snapshot_key(session, *epoch, *fold, *offset);
        let (tenant, id, at) = (session.tenant.as_str(), session.session.as_str(), varint(offset.0));
        let name = (tenant, id, &at, epoch.0, i32::from(fold.0));
        // Chunks of a writer that dies here are found by this row.
        call.execute(&self.statements.begin_snapshot, name).await?;
        let count = state.len().div_ceil(CHUNK_BYTES);
        let chunks = (0..count).map(|number| {
            let chunk = &state[number * CHUNK_BYTES..state.len().min((number + 1) * CHUNK_BYTES)];
            let number = number as i32;
            let content = seal(&chunk_key(&key, number), &[chunk]);
            let values = (tenant, id, epoch.0, at.clone(), i32::from(fold.0), number, content);
            async move { call.execute(&self.statements.put_chunk, values).await }
        });
        stream::iter(chunks).buffer_unordered(CHUNKS_AT_ONCE).try_collect::<()>().await?;
        let manifest = Manifest { bytes: state.len() as u64, chunks: count as u32, crc: crc32c::crc32c(state) };
        let manifest = seal(&key, &[&rmp_serde::to_vec_named(&manifest).map_err(unavailable)?]);
        call.execute(&self.statements.put_snapshot, (tenant, id, &at, epoch.0, i32::from(fold.0), manifest)).await?;
        self.forget_late_snapshot(call, session, Name { offset: *offset, epoch: *epoch, fold: *fold }).await
    }

    /// What was written behind an erasure, or below what is kept, is never read: it need not stay.
    async fn forget_late_snapshot(&self, call: Call<'_>, session: &SessionKey, name: Name) -> Result<(), StoreError> {
        let ids = (session.tenant.as_str(), session.session.as_str());
        let state: Option<(Option<bool>, Option<CqlVarint>)> = call.row(&self.statements.snapshots_state, ids).await?;
        let Some((erased, kept_from)) = state else { return Ok(()) };
        let too_old = kept_from.as_ref().and_then(offset).is_some_and(|kept_from| name.offset < kept_from);
        if erased == Some(true) || too_old { self.drop_chunks(call, session, name).await } else { Ok(()) }
    }

    pub(crate) async fn drop_chunks(&self, call: Call<'_>, session: &SessionKey, name: Name) -> Result<(), StoreError> {
        let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
        let values = (tenant, id, name.epoch.0, varint(name.offset.0), i32::from(name.fold.0));
        call.execute(&self.statements.drop_chunks, values).await
    }

    pub(crate) async fn newest_snapshot(
        &self,
        session: &SessionKey,
        epoch: Epoch,
        fold: FoldVersion,
        upto: Offset,
    ) -> Result<Option<Snapshot>, StoreError> {
        let call = self.cql.call();
        let mut pages = self.snapshot_rows(call, session, upto)?;
        while let Some(rows) = pages.next().await? {
            for row in rows {
                let Some((name, stage, content)) = visible(row) else { return Ok(None) };
                if stage != WHOLE || name.epoch != epoch || name.fold != fold {
                    continue;
                }
                if let Some(state) = self.state(call, session, name, content).await? {
                    return Ok(Some(Snapshot { epoch, offset: name.offset, fold, state }));
                }
                damaged("snapshot");
                tracing::warn!(%session, offset = name.offset.0, "damaged snapshot skipped");
            }
        }
        Ok(None)
    }

    /// Rows of snapshots up to an offset, the newest first.
    pub(crate) fn snapshot_rows<'a>(
        &'a self,
        call: Call<'a>,
        session: &SessionKey,
        upto: Offset,
    ) -> Result<Pages<'a, Row>, StoreError> {
        call.pages(&self.statements.snapshots, (session.tenant.as_str(), session.session.as_str(), varint(upto.0)))
    }

    /// The state, put together again. `None` if a part is missing or damaged.
    async fn state(
        &self,
        call: Call<'_>,
        session: &SessionKey,
        name: Name,
        manifest: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = snapshot_key(session, name.epoch, name.fold, name.offset);
        let Some(manifest) = manifest.as_deref().and_then(|content| read_manifest(&key, content)) else { return Ok(None) };
        let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
        let values = (tenant, id, name.epoch.0, varint(name.offset.0), i32::from(name.fold.0));
        let chunks: Vec<(i32, Option<Bytes>)> = call.rows(&self.statements.chunks, values).await?;
        let mut state = BytesMut::with_capacity(manifest.bytes.min(SNAPSHOT_BYTES_MAX as u64) as usize);
        for (number, content) in chunks.iter().take(manifest.chunks as usize) {
            let content = content.as_deref().unwrap_or_default();
            let Some(chunk) = open(&chunk_key(&key, *number), content) else { return Ok(None) };
            state.extend_from_slice(chunk);
        }
        let is_whole = state.len() as u64 == manifest.bytes && crc32c::crc32c(&state) == manifest.crc;
        Ok(is_whole.then(|| state.freeze()))
    }

    pub(crate) async fn prune_snapshots(&self, session: &SessionKey, keep: usize) -> Result<(), StoreError> {
        let call = self.cql.call();
        let mut pages = self.snapshot_rows(call, session, Offset(u64::MAX))?;
        let (mut whole, mut kept_from, mut gone) = (0, None, BTreeSet::new());
        'rows: while let Some(rows) = pages.next().await? {
            for row in rows {
                // Below what was kept before, all is gone already.
                let Some((name, stage, _)) = visible(row) else { break 'rows };
                match kept_from {
                    Some(from) if name.offset < from => drop(gone.insert(name)),
                    Some(_) | None => {}
                }
                whole += usize::from(stage == WHOLE);
                if kept_from.is_none() && whole >= keep.max(1) {
                    kept_from = Some(if keep == 0 { Offset(name.offset.0.saturating_add(1)) } else { name.offset });
                    if keep == 0 {
                        gone.insert(name);
                    }
                }
            }
        }
        let Some(kept_from) = kept_from.filter(|_| !gone.is_empty()) else { return Ok(()) };
        // In this order: cut short, it begins again.
        for name in gone {
            self.drop_chunks(call, session, name).await?;
        }
        let values = (session.tenant.as_str(), session.session.as_str(), varint(kept_from.0));
        call.execute(&self.statements.keep_from, values).await
    }
}

/// Which snapshot a row is about, unless it and all older ones are gone.
pub(crate) fn visible(row: Row) -> Option<(Name, i8, Option<Bytes>)> {
    let (erased, kept_from, at, epoch, fold, stage, content) = row;
    let at = offset(&at?)?;
    let is_gone = erased == Some(true) || kept_from.as_ref().and_then(offset).is_some_and(|kept_from| at < kept_from);
    let fold = FoldVersion(u16::try_from(fold?).ok()?);
    (!is_gone).then_some((Name { offset: at, epoch: Epoch(epoch?), fold }, stage?, content))
}

pub(crate) fn read_manifest(key: &[u8], content: &[u8]) -> Option<Manifest> {
    rmp_serde::from_slice(open(key, content)?).ok()
}

fn chunk_key(key: &[u8], number: i32) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::golden;

    #[test]
    fn manifests_and_chunks_are_read() {
        let key = snapshot_key(&golden::session(), golden::epoch(), FoldVersion(2), Offset(7));
        let manifest = Manifest { bytes: 7, chunks: 1, crc: crc32c::crc32c(b"a state") };
        let sealed = seal(&key, &[&rmp_serde::to_vec_named(&manifest).unwrap()]);
        let read = read_manifest(&key, &golden::golden("manifest-1.bin", &sealed)).unwrap();
        assert_eq!((read.bytes, read.chunks, read.crc), (manifest.bytes, manifest.chunks, manifest.crc));
        let key = chunk_key(&key, 3);
        let chunk = golden::golden("chunk-1.bin", &seal(&key, &[b"a state"]));
        assert_eq!(open(&key, &chunk), Some(&b"a state"[..]));
    }
}
