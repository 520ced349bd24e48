//! The names of what is stored, as bytes. No name is the beginning of another session's: ids stand behind their length, or last.
//! Checksums cover them, so that a value under another name is a damaged one.

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};

use super::month::Month;
use crate::port::SegmentKey;

/// Tells parked sessions from the counts beside them.
const PARKED: u8 = b'p';

pub(crate) fn session_key(session: &SessionKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(80);
    push_id(&mut key, session.tenant.as_str());
    push_id(&mut key, session.session.as_str());
    key
}

/// The session that a key ends with, if it does.
pub(crate) fn session_at_end(key: &[u8]) -> Option<SessionKey> {
    let (tenant, rest) = split_id(key)?;
    let (session, rest) = split_id(rest)?;
    rest.is_empty().then_some(())?;
    Some(SessionKey::new(TenantId::new(tenant).ok()?, SessionId::new(session).ok()?))
}

pub(crate) fn snapshot_key(session: &SessionKey, epoch: Epoch, fold: FoldVersion, offset: Offset) -> Vec<u8> {
    let mut key = session_key(session);
    key.extend(epoch.0.as_bytes());
    key.extend(fold.0.to_be_bytes());
    key.extend(offset.0.to_be_bytes());
    key
}

/// Ordered by the last offset, so that what follows an offset is one range; after the first come month and digest, so that two
/// different cuts are never the same row.
pub(crate) fn segment_key(session: &SessionKey, segment: &SegmentKey, month: Month, digest: [u8; 16]) -> Vec<u8> {
    let mut key = segment_from(session, segment.epoch, segment.last);
    key.extend(segment.first.0.to_be_bytes());
    key.extend(month.to_bytes());
    key.extend(digest);
    key
}

/// Below all segments whose last offset is `last` or more.
pub(crate) fn segment_from(session: &SessionKey, epoch: Epoch, last: Offset) -> Vec<u8> {
    let mut key = session_key(session);
    key.extend(epoch.0.as_bytes());
    key.extend(last.0.to_be_bytes());
    key
}

pub(crate) const PARKED_PREFIX: [u8; 1] = [PARKED];

pub(crate) fn parked_key(session: &SessionKey) -> Vec<u8> {
    [&PARKED_PREFIX, &*session_key(session)].concat()
}

pub(crate) fn push_id(key: &mut Vec<u8>, id: &str) {
    // An id has 1 to 64 characters.
    key.push(id.len() as u8);
    key.extend(id.as_bytes());
}

pub(crate) fn split_id(key: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = key.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(id).ok()?, rest))
}
