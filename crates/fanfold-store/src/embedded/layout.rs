//! The keys of the indexes, and where ranges of keys end.

use fanfold_fold::{Epoch, Offset, SessionId, SessionKey, TenantId};

use crate::stored::key::{push_id, segment_from, session_key, split_id};

/// Tells the indexes in one keyspace apart.
const BY_ACTIVITY: u8 = b'a';
const BY_USER: u8 = b'u';
const BY_WORD: u8 = b'w';
const BY_WORD_OF_USER: u8 = b'v';
const OPEN_RUNS: u8 = b'o';

/// Tells counts from parked sessions.
const ATTEMPTS: u8 = b'n';

/// Tells erased sessions, and those of them that are not done.
const ERASED: u8 = b'e';
const UNDONE: u8 = b'u';

/// Tell notes, which are in the same keyspace: dead letters, hooks, and what was used up.
pub(crate) const NOTE_DEAD_LETTER: u8 = b'd';
pub(crate) const NOTE_HOOK: u8 = b'h';
pub(crate) const NOTE_USAGE: u8 = b's';

/// What a compaction writes and removes there.
pub(crate) const FILLER_KEY: &[u8] = b"x";

/// The offset that a snapshot's key ends with.
pub(crate) fn snapshot_offset(key: &[u8]) -> Option<Offset> {
    Some(Offset(u64::from_be_bytes(*key.last_chunk()?)))
}

/// Above all segments of the epoch.
pub(crate) fn segment_end(session: &SessionKey, epoch: Epoch) -> Vec<u8> {
    let mut key = segment_from(session, epoch, Offset(u64::MAX));
    // More than follows in any key.
    key.extend([0xff; 30]);
    key
}

/// The epoch of the segment with this key.
pub(crate) fn segment_epoch(session: &SessionKey, key: &[u8]) -> Option<Epoch> {
    let begin = 2 + session.tenant.as_str().len() + session.session.as_str().len();
    Some(Epoch(uuid::Uuid::from_bytes(*key.get(begin..)?.first_chunk()?)))
}

/// The last offset of the segment with this key.
pub(crate) fn segment_last(session: &SessionKey, key: &[u8]) -> Option<Offset> {
    let begin = 2 + session.tenant.as_str().len() + session.session.as_str().len() + 16;
    Some(Offset(u64::from_be_bytes(*key.get(begin..)?.first_chunk()?)))
}

/// What an index of sessions by activity is of: a tenant's, or a user's. A user's text may be of any length, so its checksum stands
/// for it and the row decides.
pub(crate) fn listing_prefix(tenant: &TenantId, user: Option<&str>) -> Vec<u8> {
    prefix(if user.is_some() { BY_USER } else { BY_ACTIVITY }, tenant, user)
}

fn prefix(index: u8, tenant: &TenantId, user: Option<&str>) -> Vec<u8> {
    let mut key = vec![index];
    push_id(&mut key, tenant.as_str());
    key.extend(user.iter().flat_map(|user| crc32c::crc32c(user.as_bytes()).to_be_bytes()));
    key
}

/// What the index of words has of all words that begin so.
pub(crate) fn word_prefix(tenant: &TenantId, user: Option<&str>, word: &str) -> Vec<u8> {
    let mut key = prefix(if user.is_some() { BY_WORD_OF_USER } else { BY_WORD }, tenant, user);
    key.extend(word.as_bytes());
    key
}

/// A word has no zero in it.
pub(crate) fn word_key(tenant: &TenantId, user: Option<&str>, word: &str, session: &SessionId) -> Vec<u8> {
    let mut key = word_prefix(tenant, user, word);
    key.push(0);
    key.extend(session.as_str().as_bytes());
    key
}

/// Which session an entry of the index of words is of.
pub(crate) fn word_entry(key: &[u8]) -> Option<SessionId> {
    let begin = key.iter().rposition(|byte| *byte == 0)? + 1;
    SessionId::new(std::str::from_utf8(&key[begin..]).ok()?).ok()
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

/// Which session an entry of a tenant's list is of, and when it was active.
pub(crate) fn listing_of_tenant(key: &[u8]) -> Option<(SessionKey, u64)> {
    let (tenant, rest) = split_id(key.strip_prefix(&[BY_ACTIVITY])?)?;
    let (active_at_ms, session) = listing_entry(rest, 0)?;
    Some((SessionKey::new(TenantId::new(tenant).ok()?, session), active_at_ms))
}

pub(crate) const OPEN_RUNS_PREFIX: [u8; 1] = [OPEN_RUNS];

pub(crate) fn open_runs_key(session: &SessionKey) -> Vec<u8> {
    [&OPEN_RUNS_PREFIX, &*session_key(session)].concat()
}

pub(crate) fn attempts_key(session: &SessionKey) -> Vec<u8> {
    [&[ATTEMPTS], &*session_key(session)].concat()
}

pub(crate) const ERASED_PREFIX: [u8; 1] = [ERASED];

pub(crate) fn erased_key(session: &SessionKey) -> Vec<u8> {
    [&[ERASED], &*session_key(session)].concat()
}

pub(crate) const UNDONE_PREFIX: [u8; 1] = [UNDONE];

pub(crate) fn undone_key(session: &SessionKey) -> Vec<u8> {
    [&UNDONE_PREFIX, &*session_key(session)].concat()
}
