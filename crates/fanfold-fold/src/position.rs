//! Where a reader stands in a session's history, and the token it carries to come back.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::SessionKey;

/// The position of a record in its log. Issued by the log, grows within a session, may skip.
///
/// ```text
/// offset: NONE      4 … 9      12 … 31     32
///         │         └trimmed┘  └readable┘  └ nothing at or after it yet
///         └ "before the first record"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first record.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of one incarnation of the log. An offset means nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub Uuid);

impl Epoch {
    /// The half of the UUID that a cursor carries: 62 random bits in version 4 and 7.
    fn short(self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0.as_bytes()[8..]);
        short
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of the fold that made a state. Two versions may read one log differently, so
/// neither a snapshot nor a delta crosses from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FoldVersion(pub u16);

/// What a reader has seen of one session, as a token of 31 URL-safe characters.
///
/// Clients keep it and hand it back; they never look inside. It is unsigned and grants nothing:
/// it only says where to go on. [`Cursor::fits`] tells whether it was issued for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    epoch: [u8; 8],
    session: u32,
    /// The fold whose deltas the reader has applied.
    pub fold: FoldVersion,
    /// The last offset that the reader's state includes.
    pub offset: Offset,
}

/// Characters of every cursor of this format.
pub const CURSOR_CHARS: usize = 31;

/// The first byte of a cursor. Another layout gets another byte, so an old token is told apart.
const FORMAT: u8 = 1;

/// The text is not a cursor of a format this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

impl Cursor {
    /// The cursor of a reader of `session` that has seen everything up to `offset`.
    pub fn new(session: &SessionKey, epoch: Epoch, fold: FoldVersion, offset: Offset) -> Self {
        Self { epoch: epoch.short(), session: fingerprint(session), fold, offset }
    }

    /// Whether it was issued for this session. A wrong one is a client's mix-up, not history.
    pub fn fits(&self, session: &SessionKey) -> bool {
        self.session == fingerprint(session)
    }

    /// Whether its offset belongs to this incarnation of the log.
    pub fn is_of(&self, epoch: Epoch) -> bool {
        self.epoch == epoch.short()
    }
}

fn fingerprint(session: &SessionKey) -> u32 {
    // '/' is in no id, so no two keys share the bytes.
    crc32c::crc32c_append(crc32c::crc32c(session.tenant.as_str().as_bytes()), format!("/{}", session.session).as_bytes())
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 23];
        bytes[0] = FORMAT;
        bytes[1..9].copy_from_slice(&self.epoch);
        bytes[9..13].copy_from_slice(&self.session.to_be_bytes());
        bytes[13..15].copy_from_slice(&self.fold.0.to_be_bytes());
        bytes[15..23].copy_from_slice(&self.offset.0.to_be_bytes());
        let mut text = [0; CURSOR_CHARS];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut bytes = [0; 23];
        if text.len() != CURSOR_CHARS || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok() != Some(23) || bytes[0] != FORMAT {
            return Err(CursorError);
        }
        fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut out = [0; N];
            out.copy_from_slice(bytes);
            out
        }
        Ok(Self {
            epoch: array(&bytes[1..9]),
            session: u32::from_be_bytes(array(&bytes[9..13])),
            fold: FoldVersion(u16::from_be_bytes(array(&bytes[13..15]))),
            offset: Offset(u64::from_be_bytes(array(&bytes[15..23]))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SessionId, TenantId};

    fn key(session: &str) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(session).unwrap())
    }

    #[test]
    fn a_cursor_survives_its_text() {
        let epoch = Epoch(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));
        let cursor = Cursor::new(&key("s"), epoch, FoldVersion(7), Offset(u64::MAX));
        let text = cursor.to_string();
        assert_eq!(text.len(), CURSOR_CHARS);
        assert_eq!(text.parse::<Cursor>(), Ok(cursor));
        assert!(cursor.fits(&key("s")) && !cursor.fits(&key("t")));
        assert!(cursor.is_of(epoch) && !cursor.is_of(Epoch(Uuid::nil())));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "0", "not a cursor", "////////////////////////////////", &"A".repeat(CURSOR_CHARS), &"é".repeat(16)] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
