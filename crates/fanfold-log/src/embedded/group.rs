//! What one commit stored: the evidence by which a start-up finds out that records are gone, and whose they were.

use std::collections::HashMap;
use std::sync::Arc;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use super::layout::{DamagedBytes, FORMAT, Fields, group_key, put_text, seal, unseal};

/// One commit's records, without their bytes. Offsets within a commit are contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first: Offset,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) session: SessionKey,
    pub(crate) previous: Offset,
    pub(crate) id: Option<Arc<str>>,
}

impl Group {
    pub(crate) fn last(&self) -> Offset {
        Offset(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// Each entry with its offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, &Entry)> {
        (self.first.0..).map(Offset).zip(&self.entries)
    }

    /// Format, first offset, sessions once each, then per record the session's index, `previous` and append id.
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
            put_text(&mut records, entry.id.as_deref().unwrap_or_default());
        }
        let mut value = Vec::with_capacity(21 + sessions.len() + records.len());
        value.push(FORMAT);
        value.extend_from_slice(&self.first.0.to_be_bytes());
        value.extend_from_slice(&(indices.len() as u32).to_be_bytes());
        value.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        value.extend_from_slice(&sessions);
        value.extend_from_slice(&records);
        let key = group_key(self.last());
        (key, seal(&key, value))
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, DamagedBytes> {
        let mut fields = Fields(unseal(key, value)?);
        if fields.u8()? != FORMAT {
            return Err(DamagedBytes);
        }
        let first = Offset(fields.u64()?);
        let (sessions, records) = (fields.u32()?, fields.u32()?);
        let sessions = (0..sessions).map(|_| session(&mut fields)).collect::<Result<Vec<_>, _>>()?;
        let entries = (0..records).map(|_| entry(&mut fields, &sessions)).collect::<Result<Vec<_>, _>>()?;
        let group = Self { first, entries };
        if group.entries.is_empty() || group_key(group.last()) != key { Err(DamagedBytes) } else { Ok(group) }
    }
}

fn session(fields: &mut Fields<'_>) -> Result<SessionKey, DamagedBytes> {
    let tenant = TenantId::new(fields.text()?).map_err(|_| DamagedBytes)?;
    let session = SessionId::new(fields.text()?).map_err(|_| DamagedBytes)?;
    Ok(SessionKey::new(tenant, session))
}

fn entry(fields: &mut Fields<'_>, sessions: &[SessionKey]) -> Result<Entry, DamagedBytes> {
    let session = sessions.get(fields.u32()? as usize).ok_or(DamagedBytes)?.clone();
    let previous = Offset(fields.u64()?);
    let id = Some(fields.text()?).filter(|id| !id.is_empty()).map(Arc::from);
    Ok(Entry { session, previous, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(session: &str, previous: u64, id: Option<&str>) -> Entry {
        let session = SessionKey::new(TenantId::default(), SessionId::new(session).unwrap());
        Entry { session, previous: Offset(previous), id: id.map(Arc::from) }
    }

    #[test]
    fn a_group_survives_its_bytes_and_notices_damage() {
        let group = Group { first: Offset(7), entries: vec![entry("a", 0, None), entry("b", 3, Some("x")), entry("a", 7, None)] };
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
}
