//! The bytes of a stored record: its key, its header and their checksum.
//!
//! ```text
//! 'r' tenant '/' session 00 offset            → a record    format 1 · key id 4 · offset 8 · previous 8 · stored at 8 · crc 4 · bytes
//! 't' tenant '/' session                      → trimmed     format 1 · upto 8 · crc 4
//! 'e' tenant '/' session                      → erased      format 1 · at 8 · crc 4
//! 'g' last offset of a commit                 → the commit  see `group`
//! 'c'                                         → consumer    format 1 · done upto 8 · crc 4
//! 'm'                                         → identity    see `identity`
//! 'x'                                         → nothing that lasts: see `compact`
//! ```
//!
//! Everything is in one keyspace, so that a commit is in one memtable and one journal batch: it is lost as a whole or not
//! at all, and the commit's own entry is evidence of its records. Numbers are big-endian. Neither '/' nor 00 is in an id.

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use crate::StoredRecord;

/// The layout of a record's value. Another layout gets another byte; this one stays readable.
pub(crate) const FORMAT: u8 = 1;

/// The record is in the clear. Other ids are reserved for keys that encrypt it.
pub(crate) const KEY_ID_PLAIN: u32 = 0;

/// Bytes before the record itself.
pub(crate) const HEADER_BYTES: usize = 33;

const CRC_AT: usize = HEADER_BYTES - 4;

pub(crate) const IDENTITY_KEY: &[u8] = b"m";

/// Where it says up to where everything has been carried into the archive.
pub(crate) const CONSUMED_KEY: &[u8] = b"c";

/// What a compaction writes and removes.
pub(crate) const FILLER_KEY: &[u8] = b"x";

/// The bytes are not what this log wrote under that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored bytes fail their checksum")]
pub(crate) struct DamagedBytes;

fn session_key(kind: u8, session: &SessionKey, spare: usize) -> Vec<u8> {
    let (tenant, id) = (session.tenant.as_str(), session.session.as_str());
    let mut key = Vec::with_capacity(2 + tenant.len() + id.len() + spare);
    key.push(kind);
    key.extend_from_slice(tenant.as_bytes());
    key.push(b'/');
    key.extend_from_slice(id.as_bytes());
    key
}

/// Where one record is.
pub(crate) fn record_key(session: &SessionKey, offset: Offset) -> Vec<u8> {
    let mut key = session_key(b'r', session, 9);
    key.push(0);
    key.extend_from_slice(&offset.0.to_be_bytes());
    key
}

/// What the keys of all records lie between.
pub(crate) const RECORDS: [u8; 1] = [b'r'];
pub(crate) const RECORDS_END: [u8; 1] = [b'r' + 1];

/// Whose record is under a key.
pub(crate) fn session_of(key: &[u8]) -> Result<SessionKey, DamagedBytes> {
    let names = key.strip_prefix(&RECORDS).and_then(|key| key.get(..key.len().checked_sub(9)?)).ok_or(DamagedBytes)?;
    let names = std::str::from_utf8(names).ok().and_then(|names| names.split_once('/')).ok_or(DamagedBytes)?;
    let tenant = TenantId::new(names.0).map_err(|_| DamagedBytes)?;
    Ok(SessionKey::new(tenant, SessionId::new(names.1).map_err(|_| DamagedBytes)?))
}

/// Where it says up to where a session is trimmed.
pub(crate) fn trimmed_key(session: &SessionKey) -> Vec<u8> {
    session_key(b't', session, 0)
}

/// Where it says by which record a session was erased.
pub(crate) fn erased_key(session: &SessionKey) -> Vec<u8> {
    session_key(b'e', session, 0)
}

/// Where the commit whose last record is at `last` says what it stored.
pub(crate) fn group_key(last: Offset) -> [u8; 9] {
    let mut key = [b'g'; 9];
    key[1..].copy_from_slice(&last.0.to_be_bytes());
    key
}

/// The offset at a key's end.
pub(crate) fn offset_of(key: &[u8]) -> Result<Offset, DamagedBytes> {
    let bytes = key.last_chunk::<8>().ok_or(DamagedBytes)?;
    Ok(Offset(u64::from_be_bytes(*bytes)))
}

/// A record as it is stored under `key`. The checksum covers the key too, so that no record answers for another one.
pub(crate) fn encode_record(key: &[u8], stored: &StoredRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + stored.record.len());
    value.push(FORMAT);
    value.extend_from_slice(&KEY_ID_PLAIN.to_be_bytes());
    value.extend_from_slice(&stored.offset.0.to_be_bytes());
    value.extend_from_slice(&stored.previous.0.to_be_bytes());
    value.extend_from_slice(&stored.stored_at_ms.to_be_bytes());
    let checksum = checksum(&[key, &value, &stored.record]);
    value.extend_from_slice(&checksum.to_be_bytes());
    value.extend_from_slice(&stored.record);
    value
}

/// The record that [`encode_record`] stored under `key`.
pub(crate) fn decode_record(key: &[u8], value: &[u8]) -> Result<StoredRecord, DamagedBytes> {
    let (header, record) = value.split_at_checked(HEADER_BYTES).ok_or(DamagedBytes)?;
    let (covered, crc) = header.split_at(CRC_AT);
    if checksum(&[key, covered, record]).to_be_bytes() != crc || header[0] != FORMAT || header[1..5] != KEY_ID_PLAIN.to_be_bytes()
    {
        return Err(DamagedBytes);
    }
    let mut fields = Fields(&covered[5..]);
    let (offset, previous, stored_at_ms) = (Offset(fields.u64()?), Offset(fields.u64()?), fields.u64()?);
    if offset_of(key)? != offset {
        return Err(DamagedBytes);
    }
    Ok(StoredRecord { offset, previous, stored_at_ms, record: Bytes::copy_from_slice(record) })
}

/// An offset with its checksum, as under `t`, `e` and `c`.
pub(crate) fn encode_upto(key: &[u8], upto: Offset) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&upto.0.to_be_bytes());
    seal(key, value)
}

pub(crate) fn decode_upto(key: &[u8], value: &[u8]) -> Result<Offset, DamagedBytes> {
    let mut fields = Fields(unseal(key, value)?);
    match fields.u8()? {
        FORMAT => Ok(Offset(fields.u64()?)),
        _newer => Err(DamagedBytes),
    }
}

/// Adds the checksum of key and value at the value's end.
pub(crate) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&[key, &value]);
    value.extend_from_slice(&checksum.to_be_bytes());
    value
}

/// The value without the checksum that [`seal`] added, if it holds.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], DamagedBytes> {
    let (value, crc) = value.split_last_chunk::<4>().ok_or(DamagedBytes)?;
    if checksum(&[key, value]).to_be_bytes() == *crc { Ok(value) } else { Err(DamagedBytes) }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// Takes numbers and texts off the front of what a checksum has already vouched for.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DamagedBytes> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DamagedBytes)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DamagedBytes> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(DamagedBytes)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DamagedBytes> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DamagedBytes> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DamagedBytes> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DamagedBytes> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DamagedBytes> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.bytes(length)?).map_err(|_| DamagedBytes)
    }
}

/// Appends a text of at most 65,535 bytes, as [`Fields::text`] takes it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("ids and append ids are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(id).unwrap())
    }

    fn example() -> (Vec<u8>, StoredRecord) {
        let stored =
            StoredRecord { offset: Offset(9), previous: Offset(4), stored_at_ms: 1000, record: Bytes::from_static(b"hi") };
        (record_key(&session("s"), Offset(9)), stored)
    }

    /// The layout of format 1, byte by byte. It is on people's disks: this test changes with a new format only.
    #[test]
    fn golden_record() {
        let (key, stored) = example();
        assert_eq!(key, b"rdefault/s\x00\0\0\0\0\0\0\0\x09");
        assert_eq!(session_of(&key), Ok(session("s")));
        let value = encode_record(&key, &stored);
        let crc = crc32c::crc32c(&[&key[..], &value[..29], b"hi"].concat()).to_be_bytes();
        let expected = [&b"\x01\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x03\xe8"[..], &crc, b"hi"].concat();
        assert_eq!(value, expected);
        assert_eq!(decode_record(&key, &value), Ok(stored));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (key, stored) = example();
        let value = encode_record(&key, &stored);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(&key, &damaged), Err(DamagedBytes), "bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut other = key.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(&other, &value), Err(DamagedBytes), "key bit {bit}");
        }
        for cut in 0..value.len() {
            assert_eq!(decode_record(&key, &value[..cut]), Err(DamagedBytes), "cut at {cut}");
        }
    }

    /// Sessions are neighbours in the store; none reaches into another's range.
    #[test]
    fn ranges_of_sessions_are_apart() {
        let names = ["a", "a-", "a0", "aa", "b"];
        for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (one, other))).filter(|(a, b)| a != b) {
            let key = record_key(&session(one), Offset(7));
            let range = record_key(&session(other), Offset::NONE)..=record_key(&session(other), Offset(u64::MAX));
            assert!(!range.contains(&key), "{one} in {other}");
        }
    }
}
