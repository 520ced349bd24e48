//! What one append stores: a version, a key id, and the events of one command or one batch of output.

use serde::{Deserialize, Serialize};

use crate::{CommandId, Event};

/// The record version that this build writes, and the highest it reads.
pub const RECORD_VERSION: u8 = 1;

/// The key id of records that are not encrypted.
const KEY_PLAIN: u8 = 0;

/// Bytes of one encoded record at most, in every log.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// How deep maps and lists may nest in a record. Reading is recursive: without a limit a record could overflow the stack,
/// and no supervisor survives that. Deeper ones are malformed.
const NESTING_MAX: usize = 128;

/// One or more events that stand or fall together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The command it came from; absent in a producer's output, which is told apart by attempt and sequence.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Milliseconds since 1970 by the sender's clock. Shown to people, never compared.
    #[serde(rename = "at")]
    pub at_ms: u64,
    /// Who sent it, as the authenticator named them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What happened, in order.
    #[serde(rename = "ev")]
    pub events: Vec<Event>,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its header.
    #[error("a record of {0} bytes has no header")]
    Short(usize),
    /// Written by a later release.
    #[error("record version {0} is not known to this build")]
    Version(u8),
    /// Encrypted with a key this build can't use.
    #[error("record is encrypted with key {0}")]
    Key(u8),
    /// The body isn't what its version says.
    #[error("record body is malformed")]
    Body(#[source] rmp_serde::decode::Error),
}

impl Record {
    /// The stored bytes: version, key id, then a MessagePack map with named keys.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION, KEY_PLAIN];
        let written = rmp_serde::encode::write_named(&mut bytes, self);
        assert!(written.is_ok(), "writing a record to memory can't fail: {written:?}");
        bytes
    }

    /// Reads what [`Self::encode`] of this or an earlier release wrote. Unknown keys are skipped, unknown events kept.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes {
            [RECORD_VERSION, KEY_PLAIN, body @ ..] => read(body).map_err(RecordError::Body),
            [RECORD_VERSION, key, ..] => Err(RecordError::Key(*key)),
            [version, _, ..] => Err(RecordError::Version(*version)),
            [] | [_] => Err(RecordError::Short(bytes.len())),
        }
    }
}

/// Reads a MessagePack body, of a record or of a state.
pub(crate) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    reader.set_max_depth(NESTING_MAX);
    T::deserialize(&mut reader)
}
