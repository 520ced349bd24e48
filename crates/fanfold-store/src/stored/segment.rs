//! Segments as they are stored: a map with named keys, compressed, sealed.

use bytes::Bytes;
use fanfold_fold::{Offset, SessionKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::segment_key;
use super::month::Month;
use super::seal::{open, seal};
use super::unavailable;
use crate::port::{Segment, StoreError};

/// Bytes of one segment before it is compressed. More is refused as [`StoreError::TooLarge`]: cut it smaller.
pub const SEGMENT_BYTES_MAX: usize = 64 << 20;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    previous: Offset,
    records: Vec<StoredRecord>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    offset: Offset,
    at: u64,
    #[serde(with = "serde_bytes")]
    record: Vec<u8>,
}

/// Key and value of a segment.
pub(crate) struct Packed {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    #[cfg_attr(not(feature = "scylla"), allow(dead_code, reason = "the embedded key has it"))]
    pub(crate) digest: Uuid,
}

/// A segment without what its key says.
pub(crate) struct Unpacked {
    pub(crate) previous: Offset,
    pub(crate) records: Vec<(Offset, u64, Bytes)>,
}

/// The digest is of what is stored before it is compressed, so that it doesn't depend on the compressor's version.
pub(crate) fn pack(session: &SessionKey, segment: &Segment) -> Result<Packed, StoreError> {
    let record = |(offset, at, record): &(Offset, u64, Bytes)| StoredRecord { offset: *offset, at: *at, record: record.to_vec() };
    let records_bytes = segment.records.iter().map(|(_, _, record)| record.len()).sum::<usize>();
    check(records_bytes)?;
    let stored = StoredSegment { previous: segment.previous, records: segment.records.iter().map(record).collect() };
    let plain = rmp_serde::to_vec_named(&stored).map_err(unavailable)?;
    check(plain.len())?;
    let digest = Uuid::new_v5(&segment.key.epoch.0, &plain);
    let key = segment_key(session, &segment.key, Month::of(segment.first_stored_at_ms), digest.into_bytes());
    let packed = zstd::bulk::compress(&plain, ZSTD_LEVEL).map_err(unavailable)?;
    let plain_bytes = (plain.len() as u32).to_be_bytes();
    Ok(Packed { value: seal(&key, &[&plain_bytes, &packed]), key, digest })
}

/// `None` if it is damaged.
pub(crate) fn unpack(key: &[u8], value: &[u8]) -> Option<Unpacked> {
    let (plain_bytes, packed) = open(key, value)?.split_first_chunk()?;
    let plain_bytes = u32::from_be_bytes(*plain_bytes) as usize;
    check(plain_bytes).ok()?;
    let plain = zstd::bulk::decompress(packed, plain_bytes).ok()?;
    let stored: StoredSegment = rmp_serde::from_slice(&plain).ok()?;
    let records = stored.records.into_iter().map(|record| (record.offset, record.at, record.record.into()));
    Some(Unpacked { previous: stored.previous, records: records.collect() })
}

fn check(bytes: usize) -> Result<(), StoreError> {
    if bytes > SEGMENT_BYTES_MAX { Err(StoreError::TooLarge { bytes, limit: SEGMENT_BYTES_MAX }) } else { Ok(()) }
}
