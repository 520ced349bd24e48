//! Stored bytes: what was ever written is read the same way for ever.
//!
//! `FANFOLD_GOLDEN=write cargo test -p fanfold-store --lib golden` writes the files anew. Never for a format that a release has written.

use std::path::Path;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use uuid::Uuid;

use super::key::{parked_key, session_key, snapshot_key};
use super::row::Stored;
use super::seal::{open, seal};
use super::segment::{pack, unpack};
use super::tries::{Process, StoredTries};
use crate::port::{Parked, Segment, SessionRow};

/// Compares with a committed file, or writes it when asked.
#[track_caller]
pub(crate) fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let stored = stored(name, bytes);
    assert!(stored == bytes, "{name}: this build writes {} bytes that differ from the {} stored", bytes.len(), stored.len());
    stored
}

/// The committed file, which is written when asked.
#[track_caller]
fn stored(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FANFOLD_GOLDEN").is_some_and(|wish| wish == "write") {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn session() -> SessionKey {
    SessionKey::new(TenantId::new("acme").unwrap(), SessionId::new("s-1_x").unwrap())
}

pub(crate) fn epoch() -> Epoch {
    Epoch(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
}

#[test]
fn rows_of_sessions_are_read() {
    let row = SessionRow {
        key: session(),
        user: Some("ada@example.org".into()),
        title: Some("Grüezi 👋".into()),
        status: "open".into(),
        opened_at_ms: 1_700_000_000_123,
        active_at_ms: 1_700_000_100_456,
        open_runs: 2,
        offset: Offset(u64::MAX),
    };
    let bare = SessionRow { user: None, title: None, open_runs: 0, ..row.clone() };
    let key = session_key(&session());
    for (name, row) in [("row-1.bin", row), ("row-1-bare.bin", bare)] {
        let stored = golden(name, &row.encode(&key).unwrap());
        assert_eq!(SessionRow::decode(&key, &stored).unwrap(), row);
    }
}

#[test]
fn parked_sessions_are_read() {
    let parked = Parked { session: session(), attempts: 5, reason: "it kills".into(), parked_at_ms: 1_700_000_000_123 };
    let key = parked_key(&session());
    let stored = golden("parked-1.bin", &parked.encode(&key).unwrap());
    assert_eq!(Parked::decode(&key, &stored).unwrap(), parked);
}

/// When, what and whose: a row of a try is nothing but its name.
#[test]
fn tries_keep_their_names_and_are_read() {
    let process = Process::from_bits(0x2bad_cafe_0123_4567);
    let name = golden("try-1.key", process.begins(1_700_000_000_123).as_bytes());
    let begun = Uuid::from_slice(&name).unwrap();
    assert_eq!(process.last_of(&[begun]), Some(1_700_000_000_123));
    let key = session_key(&session());
    let tries = StoredTries { tries: vec![begun] };
    let stored = golden("tries-1.bin", &tries.encode(&key).unwrap());
    assert_eq!(StoredTries::decode(&key, &stored).tries, [begun]);
}

/// A compressor may write other bytes tomorrow; what it says stays, and so does the name it has.
#[test]
fn segments_are_read_and_keep_their_names() {
    let records = (5..25).map(|at| (Offset(at), 1_700_000_000_000 + at, Bytes::from(vec![at as u8; 100]))).collect();
    let segment = Segment::new(epoch(), Offset(3), records).unwrap();
    let packed = pack(&session(), &segment).unwrap();
    let key = golden("segment-1.key", &packed.key);
    let unpacked = unpack(&key, &stored("segment-1.bin", &packed.value)).unwrap();
    assert_eq!((unpacked.previous, unpacked.records), (segment.previous, segment.records));
}

#[test]
fn snapshots_are_read() {
    let key = golden("snapshot-1.key", &snapshot_key(&session(), epoch(), FoldVersion(2), Offset(7)));
    let stored = golden("snapshot-1.bin", &seal(&key, &[b"a state"]));
    assert_eq!(open(&key, &stored), Some(&b"a state"[..]));
}
