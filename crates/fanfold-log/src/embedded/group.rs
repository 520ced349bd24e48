//! What one commit stored: the evidence by which a start-up finds out that records are gone, and whose they were; and the list by
//! which everything that was appended is carried into the archive.

use std::collections::HashMap;
use std::sync::Arc;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use super::layout::{DamagedBytes, Fields, group_key, put_text, seal, unseal};

/// The layout of a commit's entry. Layout 1 had neither time nor bytes; what it tells of is taken for old and small.
const FORMAT: u8 = 2;
const FORMAT_WITHOUT_BYTES: u8 = 1;

/// One commit's records, without their bytes. Offsets within a commit are contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first: Offset,
    /// Milliseconds since 1970, by the log's clock.
    pub(crate) stored_at_ms: u64,
    /// Bytes of all records that the log has ever stored, up to the end of this commit: the difference of two commits is what lies
    /// between them.
    pub(crate) bytes_total: u64,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) session: SessionKey,
    pub(crate) previous: Offset,
    pub(crate) bytes: u32,
    pub(crate) id: Option<Arc<str>>,
}

impl Group {
    pub(crate) fn last(&self) -> Offset {
        Offset(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// Bytes of all that was ever stored before it.
    pub(crate) fn bytes_before(&self) -> u64 {
        self.bytes_total - self.entries.iter().map(|entry| u64::from(entry.bytes)).sum::<u64>()
    }

    /// Each entry with its offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, &Entry)> {
        (self.first.0..).map(Offset).zip(&self.entries)
    }

    /// Format, first offset, time, total bytes, sessions once each, then per record the session's index, `previous`, bytes and append id.
    pub(crate) fn encode(&self) -> ([u8; 9], Vec<u8>) {
        let mut indices = HashMap::new();
        let mut sessions = Vec::new();
        let mut records = Vec::with_capacity(self.entries.len() * 16);
        for entry in &self.entries {
            let next = indices.len() as u32;
            let index = *indices.entry(&entry.session).or_insert(next);
            if index == next {
                put_text(&mut sessions, entry.session.tenant.as_str());
                put_text(&mut sessions, entry.session.session.as_str());
            }
            records.extend_from_slice(&index.to_be_bytes());
            records.extend_from_slice(&entry.previous.0.to_be_bytes());
            records.extend_from_slice(&entry.bytes.to_be_bytes());
            put_text(&mut records, entry.id.as_deref().unwrap_or_default());
        }
        let mut value = Vec::with_capacity(37 + sessions.len() + records.len());
        value.push(FORMAT);
        value.extend_from_slice(&self.first.0.to_be_bytes());
        value.extend_from_slice(&self.stored_at_ms.to_be_bytes());
        value.extend_from_slice(&self.bytes_total.to_be_bytes());
        value.extend_from_slice(&(indices.len() as u32).to_be_bytes());
        value.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        value.extend_from_slice(&sessions);
        value.extend_from_slice(&records);
        let key = group_key(self.last());
        (key, seal(&key, value))
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, DamagedBytes> {
        let mut fields = Fields(unseal(key, value)?);
        let with_bytes = match fields.u8()? {
            FORMAT => true,
            FORMAT_WITHOUT_BYTES => false,
            _newer => return Err(DamagedBytes),
        };
        let first = Offset(fields.u64()?);
        let (stored_at_ms, bytes_total) = if with_bytes { (fields.u64()?, fields.u64()?) } else { (0, 0) };
        let (sessions, records) = (fields.u32()?, fields.u32()?);
        let sessions = (0..sessions).map(|_| session(&mut fields)).collect::<Result<Vec<_>, _>>()?;
        let entries = (0..records).map(|_| entry(&mut fields, &sessions, with_bytes)).collect::<Result<Vec<_>, _>>()?;
        let group = Self { first, stored_at_ms, bytes_total, entries };
        let bytes = group.entries.iter().map(|entry| u64::from(entry.bytes)).sum::<u64>();
        let whole = !group.entries.is_empty() && group_key(group.last()) == key && bytes <= bytes_total;
        if whole { Ok(group) } else { Err(DamagedBytes) }
    }
}

fn session(fields: &mut Fields<'_>) -> Result<SessionKey, DamagedBytes> {
    let tenant = TenantId::new(fields.text()?).map_err(|_| DamagedBytes)?;
    let session = SessionId::new(fields.text()?).map_err(|_| DamagedBytes)?;
    Ok(SessionKey::new(tenant, session))
}

fn entry(fields: &mut Fields<'_>, sessions: &[SessionKey], with_bytes: bool) -> Result<Entry, DamagedBytes> {
    let session = sessions.get(fields.u32()? as usize).ok_or(DamagedBytes)?.clone();
    let previous = Offset(fields.u64()?);
    let bytes = if with_bytes { fields.u32()? } else { 0 };
    let id = Some(fields.text()?).filter(|id| !id.is_empty()).map(Arc::from);
    Ok(Entry { session, previous, bytes, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(session: &str, previous: u64, id: Option<&str>) -> Entry {
        let session = SessionKey::new(TenantId::default(), SessionId::new(session).unwrap());
        Entry { session, previous: Offset(previous), bytes: 10, id: id.map(Arc::from) }
    }

    #[test]
    fn a_group_survives_its_bytes_and_notices_damage() {
        let entries = vec![entry("a", 0, None), entry("b", 3, Some("x")), entry("a", 7, None)];
        let group = Group { first: Offset(7), stored_at_ms: 5, bytes_total: 100, entries };
        assert_eq!(group.bytes_before(), 70);
        let (key, value) = group.encode();
        assert_eq!(group.last(), Offset(9));
        assert_eq!(Group::decode(&key, &value), Ok(group));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Group::decode(&key, &damaged), Err(DamagedBytes), "bit {bit}");
        }
        assert_eq!(Group::decode(&group_key(Offset(10)), &value), Err(DamagedBytes));
    }

    /// What a release before the archiver wrote.
    #[test]
    fn an_entry_without_bytes_is_read() {
        let key = group_key(Offset(7));
        let mut value = vec![1];
        value.extend(7_u64.to_be_bytes());
        value.extend([1_u32.to_be_bytes(), 1_u32.to_be_bytes()].concat());
        put_text(&mut value, "default");
        put_text(&mut value, "a");
        value.extend(0_u32.to_be_bytes());
        value.extend(3_u64.to_be_bytes());
        put_text(&mut value, "x");
        let group = Group {
            first: Offset(7),
            stored_at_ms: 0,
            bytes_total: 0,
            entries: vec![Entry { bytes: 0, ..entry("a", 3, Some("x")) }],
        };
        assert_eq!(Group::decode(&key, &seal(&key, value)), Ok(group));
    }
}
