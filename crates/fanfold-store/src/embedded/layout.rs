//! The keys of what is stored. No key is the beginning of another session's: ids stand behind their length, or last.

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};

use crate::month::Month;
use crate::port::SegmentKey;

/// Tells the indexes in one keyspace apart.
const BY_ACTIVITY: u8 = b'a';
const BY_USER: u8 = b'u';
const OPEN_RUNS: u8 = b'o';

/// Tells counts from parked sessions.
const ATTEMPTS: u8 = b'n';
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

/// The offset that a snapshot's key ends with.
pub(crate) fn snapshot_offset(key: &[u8]) -> Option<Offset> {
    Some(Offset(u64::from_be_bytes(*key.last_chunk()?)))
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

/// Above all segments of the epoch.
pub(crate) fn segment_end(session: &SessionKey, epoch: Epoch) -> Vec<u8> {
    let mut key = segment_from(session, epoch, Offset(u64::MAX));
    // More than follows in any key.
    key.extend([0xff; 30]);
    key
}

/// The last offset of the segment with this key.
pub(crate) fn segment_last(session: &SessionKey, key: &[u8]) -> Option<Offset> {
    let begin = 2 + session.tenant.as_str().len() + session.session.as_str().len() + 16;
    Some(Offset(u64::from_be_bytes(*key.get(begin..)?.first_chunk()?)))
}

/// What an index of sessions by activity is of: a tenant's, or a user's. A user's text may be of any length, so its checksum stands
/// for it and the row decides.
pub(crate) fn listing_prefix(tenant: &TenantId, user: Option<&str>) -> Vec<u8> {
    let mut key = vec![if user.is_some() { BY_USER } else { BY_ACTIVITY }];
    push_id(&mut key, tenant.as_str());
    key.extend(user.iter().flat_map(|user| crc32c::crc32c(user.as_bytes()).to_be_bytes()));
    key
}

pub(crate) fn listing_key(tenant: &TenantId, user: Option<&str>, active_at_ms: u64, session: &SessionId) -> Vec<u8> {
    let mut key = listing_prefix(tenant, user);
    key.extend(active_at_ms.to_be_bytes());
    key.extend(session.as_str().as_bytes());
    key
}

/// When, and which session, of an entry whose key begins with a prefix of so many bytes.
pub(crate) fn listing_entry(key: &[u8], prefix_bytes: usize) -> Option<(u64, SessionId)> {
    let (active_at_ms, session) = key.get(prefix_bytes..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*active_at_ms), SessionId::new(std::str::from_utf8(session).ok()?).ok()?))
}

pub(crate) const OPEN_RUNS_PREFIX: [u8; 1] = [OPEN_RUNS];

pub(crate) fn open_runs_key(session: &SessionKey) -> Vec<u8> {
    [&OPEN_RUNS_PREFIX, &*session_key(session)].concat()
}

pub(crate) fn attempts_key(session: &SessionKey) -> Vec<u8> {
    [&[ATTEMPTS], &*session_key(session)].concat()
}

pub(crate) const PARKED_PREFIX: [u8; 1] = [PARKED];

pub(crate) fn parked_key(session: &SessionKey) -> Vec<u8> {
    [&PARKED_PREFIX, &*session_key(session)].concat()
}

fn push_id(key: &mut Vec<u8>, id: &str) {
    // An id has 1 to 64 characters.
    key.push(id.len() as u8);
    key.extend(id.as_bytes());
}

fn split_id(key: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = key.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(id).ok()?, rest))
}
