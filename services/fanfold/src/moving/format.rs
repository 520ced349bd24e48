//! The file that sessions are moved in: blocks, each compressed and with a checksum of its own, from a header to an end that counts them.
//!
//! ```text
//! FANFOLDX · version 2 · block · block · …
//! block = compressed bytes 4 · bytes 4 · crc32c 4 · zstd of one [`Block`] as a MessagePack map
//! header (session records* session_end | left | erased)* (parked | letter | note)* end
//! ```
//!
//! Numbers are big-endian. A checksum covers the block's number, too, so that none is missing, twice, or elsewhere. Unknown keys of a block
//! are skipped; whatever an older reader must not skip gets another version. `docs/backup.md` says what the blocks are for.

use std::io::Read;

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};
use serde::{Deserialize, Serialize};

/// What every file begins with.
const MAGIC: &[u8; 8] = b"FANFOLDX";

/// The version that this build writes; it reads all up to it.
pub(crate) const VERSION: u16 = 1;

/// Bytes of records that one block gathers. A record is larger at most by its own limit.
pub(crate) const RECORDS_BYTES: usize = 256 << 10;

/// Bytes of one block before compression. A larger one is damage.
const BLOCK_BYTES_MAX: usize = 4 << 20;

const LEVEL: i32 = 3;

/// One thing that a file tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Block {
    Header(Header),
    Session(Head),
    Records(Vec<Stored>),
    SessionEnd(Tail),
    Left(Left),
    Erased(Erased),
    Parked(Parked),
    Letter(Letter),
    Note(Note),
    End(End),
}

/// What is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The release that wrote it.
    pub(crate) made_by: String,
    pub(crate) made_at_ms: u64,
    /// The fold that made the digests of states.
    pub(crate) fold: FoldVersion,
    /// Whose offsets these are.
    pub(crate) epochs: Vec<Epoch>,
    /// Sessions to come, those included that are left out.
    pub(crate) sessions: u64,
    /// Whether everything is in it, and what belongs to no session's history besides.
    pub(crate) is_backup: bool,
}

/// A session begins. Its records follow, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) epoch: Epoch,
    /// When it was last active, if a list knows.
    #[serde(default)]
    pub(crate) active_at_ms: Option<u64>,
}

/// A record as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) offset: Offset,
    pub(crate) stored_at_ms: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) record: Vec<u8>,
}

/// A session is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) records: u64,
    pub(crate) last: Offset,
    /// SHA-256 of the encoded state that the records lead to.
    #[serde(with = "serde_bytes")]
    pub(crate) state: Vec<u8>,
}

/// A session isn't in the file; what came of it since its head doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) why: String,
}

/// A session was erased: its id stays taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Erased {
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) offset: Offset,
    pub(crate) erased_at_ms: u64,
}

/// A session that no node loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parked {
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    pub(crate) parked_at_ms: u64,
}

/// A run that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) run: String,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) deliveries: u32,
    #[serde(default)]
    pub(crate) buried_at_ms: u64,
}

/// What is still to be done, or was used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    pub(crate) key: String,
    #[serde(with = "serde_bytes")]
    pub(crate) note: Vec<u8>,
}

/// Dead letters are blocks of their own: where they stand depends on the side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoteKind {
    Hook,
    Usage,
}

/// Nothing follows. Without it the file was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) sessions: u64,
    pub(crate) records: u64,
}

/// A file can't be taken for what it says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// Something else.
    #[error("this is no export of fanfold's")]
    Foreign,
    /// Of a later release.
    #[error("the file has format {0}, this build reads up to {VERSION}")]
    Newer(u16),
    /// Its end is missing.
    #[error("the file is cut at byte {at}{}", within(.session))]
    Cut {
        /// Where it ends.
        at: u64,
        /// In the midst of which session.
        session: Option<SessionKey>,
    },
    /// A block fails its checksum, or is not what can be there.
    #[error("the file is damaged at byte {at}{}: {what}", within(.session))]
    Damaged {
        /// Where the block begins.
        at: u64,
        /// In the midst of which session.
        session: Option<SessionKey>,
        /// What is wrong.
        what: &'static str,
    },
    /// The disk.
    #[error("the file can't be read")]
    Io(#[source] std::io::Error),
}

fn within(session: &Option<SessionKey>) -> String {
    session.as_ref().map_or_else(String::new, |session| format!(", in session {session}"))
}

/// The first bytes of a file.
pub(crate) fn opening() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_be_bytes()].concat()
}

/// Bytes of blocks, in their order.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    number: u64,
}

impl Encoder {
    pub(crate) fn block(&mut self, block: &Block) -> std::io::Result<Vec<u8>> {
        let raw = rmp_serde::to_vec_named(block).map_err(std::io::Error::other)?;
        assert!(raw.len() <= BLOCK_BYTES_MAX, "I5 bounded: a block of {} bytes", raw.len());
        let packed = zstd::bulk::compress(&raw, LEVEL)?;
        let mut bytes = Vec::with_capacity(12 + packed.len());
        bytes.extend((packed.len() as u32).to_be_bytes());
        bytes.extend((raw.len() as u32).to_be_bytes());
        let crc = checksum(self.number, &bytes, &packed);
        bytes.extend(crc.to_be_bytes());
        bytes.extend(packed);
        self.number += 1;
        Ok(bytes)
    }
}

fn checksum(number: u64, lengths: &[u8], packed: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&number.to_be_bytes()), lengths);
    crc32c::crc32c_append(crc, packed)
}

/// Reads a file block by block, and tells where it fails.
pub(crate) struct Decoder<R> {
    bytes: R,
    at: u64,
    number: u64,
    session: Option<SessionKey>,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Of a file, which must be one of ours.
    pub(crate) fn open(mut bytes: R) -> Result<Self, FormatError> {
        let mut opening = [0; 10];
        let got = fill(&mut bytes, &mut opening).map_err(FormatError::Io)?;
        if opening[..8] != MAGIC[..got.min(8)] || got < 8 {
            return Err(FormatError::Foreign);
        }
        if got < opening.len() {
            return Err(FormatError::Cut { at: got as u64, session: None });
        }
        match u16::from_be_bytes([opening[8], opening[9]]) {
            1..=VERSION => Ok(Self { bytes, at: 10, number: 0, session: None, ended: false }),
            0 => Err(FormatError::Foreign),
            newer => Err(FormatError::Newer(newer)),
        }
    }

    /// The next block; `None` behind the end.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, FormatError> {
        let mut lead = [0; 12];
        match (fill(&mut self.bytes, &mut lead).map_err(FormatError::Io)?, self.ended) {
            (0, true) => return Ok(None),
            (_, true) => return Err(self.damaged("something follows the end")),
            (12, false) => {}
            (got, false) => return Err(self.cut(got)),
        }
        let number = |from: usize| u32::from_be_bytes([lead[from], lead[from + 1], lead[from + 2], lead[from + 3]]);
        let (packed_bytes, raw_bytes, crc) = (number(0) as usize, number(4) as usize, number(8));
        if packed_bytes > zstd::zstd_safe::compress_bound(BLOCK_BYTES_MAX) || raw_bytes > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block's length can't be"));
        }
        let mut packed = vec![0; packed_bytes];
        let got = fill(&mut self.bytes, &mut packed).map_err(FormatError::Io)?;
        if got < packed_bytes {
            return Err(self.cut(lead.len() + got));
        }
        if checksum(self.number, &lead[..8], &packed) != crc {
            return Err(self.damaged("a block fails its checksum"));
        }
        let raw = zstd::bulk::decompress(&packed, raw_bytes).map_err(|_| self.damaged("a block can't be unpacked"))?;
        let block: Block = rmp_serde::from_slice(&raw).map_err(|_| self.damaged("a block can't be read"))?;
        self.at += (lead.len() + packed_bytes) as u64;
        self.number += 1;
        match &block {
            Block::Session(head) => self.session = Some(self.key(&head.tenant, &head.session)?),
            Block::Records(_) => {}
            Block::End(_) => (self.session, self.ended) = (None, true),
            Block::Header(_)
            | Block::SessionEnd(_)
            | Block::Left(_)
            | Block::Erased(_)
            | Block::Parked(_)
            | Block::Letter(_)
            | Block::Note(_) => self.session = None,
        }
        Ok(Some(block))
    }

    /// What two texts of a block name.
    pub(crate) fn key(&self, tenant: &str, session: &str) -> Result<SessionKey, FormatError> {
        key(tenant, session).ok_or_else(|| self.damaged("a session's name can't be"))
    }

    /// What is wrong with the last block.
    pub(crate) fn damaged(&self, what: &'static str) -> FormatError {
        FormatError::Damaged { at: self.at, session: self.session.clone(), what }
    }

    fn cut(&self, got: usize) -> FormatError {
        FormatError::Cut { at: self.at + got as u64, session: self.session.clone() }
    }
}

pub(crate) fn key(tenant: &str, session: &str) -> Option<SessionKey> {
    Some(SessionKey::new(tenant.parse().ok()?, session.parse().ok()?))
}

/// Reads until `buffer` is full or nothing more comes.
fn fill(bytes: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match bytes.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> Vec<Block> {
        let (tenant, session) = ("default".to_owned(), "s1".to_owned());
        let record = |offset| Stored { offset: Offset(offset), stored_at_ms: 7, record: vec![offset as u8; 40] };
        let epoch = Epoch(uuid::Uuid::from_u128(9));
        vec![
            Block::Header(Header {
                made_by: "0.1.0".into(),
                made_at_ms: 1,
                fold: FoldVersion(1),
                epochs: vec![epoch],
                sessions: 1,
                is_backup: true,
            }),
            Block::Session(Head { tenant, session, epoch, active_at_ms: Some(3) }),
            Block::Records((1..9).map(record).collect()),
            Block::SessionEnd(Tail { records: 8, last: Offset(8), state: vec![1; 32] }),
            Block::Note(Note { kind: NoteKind::Hook, key: "k".into(), note: vec![0, 255] }),
            Block::End(End { sessions: 1, records: 8 }),
        ]
    }

    fn file() -> Vec<u8> {
        let mut encoder = Encoder::default();
        let blocks = blocks().iter().map(|block| encoder.block(block).unwrap()).collect::<Vec<_>>();
        [opening(), blocks.concat()].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Block>, FormatError> {
        let mut decoder = Decoder::open(bytes)?;
        std::iter::from_fn(|| decoder.next().transpose()).collect()
    }

    /// Version 1 as it is in people's files: names, order and checksums. This test changes with a new version only.
    #[test]
    fn a_file_is_read_as_written() {
        assert_eq!(read(&file()).unwrap(), blocks());
        let mut encoder = Encoder::default();
        let bytes = encoder.block(&Block::End(End { sessions: 1, records: 2 })).unwrap();
        let raw = zstd::bulk::decompress(&bytes[12..], 100).unwrap();
        assert_eq!(raw, b"\x81\xa3end\x82\xa8sessions\x01\xa7records\x02");
        assert_eq!(opening(), b"FANFOLDX\0\x01");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused_and_named() {
        let file = file();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x40;
            read(&damaged).unwrap_err();
            match read(&file[..at]) {
                Err(FormatError::Foreign) => assert!(at < 8),
                Err(FormatError::Cut { at: said, .. }) => assert_eq!(said, at as u64),
                other => panic!("cut at {at}: {other:?}"),
            }
        }
        read(&[&file[..], b"x"].concat()).unwrap_err();
    }

    #[test]
    fn a_missing_or_repeated_block_is_refused_in_its_session() {
        let mut encoder = Encoder::default();
        let parts = blocks().iter().map(|block| encoder.block(block).unwrap()).collect::<Vec<_>>();
        let file = |order: &[usize]| [opening(), order.iter().flat_map(|at| parts[*at].clone()).collect()].concat();
        for order in [&[0, 1, 3, 4, 5][..], &[0, 1, 2, 2, 3, 4, 5]] {
            let error = read(&file(order)).unwrap_err().to_string();
            assert!(error.contains("session default/s1") && error.contains("checksum"), "{error}");
        }
    }

    #[test]
    fn a_later_version_is_refused() {
        let mut file = file();
        file[9] = 2;
        assert!(matches!(read(&file), Err(FormatError::Newer(2))));
        assert!(matches!(read(b"something else"), Err(FormatError::Foreign)));
    }
}
