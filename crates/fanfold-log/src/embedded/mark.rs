//! The high-water mark: what the log has acknowledged, kept apart from the store that may lose it.
//!
//! Two slots of one sector each, written in turn and synced after the store and before any acknowledgement. A torn write
//! costs the slot being written and leaves the other one, which is at most one commit older.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use fanfold_fold::{Epoch, Offset};

use super::layout::{DamagedBytes, Fields, seal, unseal};

/// Bytes between the slots: no sector and no page holds two.
const SLOT_BYTES: usize = 4096;

/// What each slot begins with, the version of its layout included.
const MAGIC: &[u8; 8] = b"FANFMRK1";

const VALUE_BYTES: usize = 8 + 8 + 16 + 8 + 8 + 8 + 4;

/// What the log vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The incarnation.
    pub(crate) epoch: Epoch,
    /// The first offset of this incarnation.
    pub(crate) first: Offset,
    /// The last durable offset. As offsets are contiguous within an epoch, this one has stored `last + 1 - first` records.
    pub(crate) last: Offset,
    /// Commits up to here are in tables, and their entries may be gone from the store. Later ones must all be there.
    pub(crate) settled: Offset,
}

/// Why there is no mark to go by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    #[error("the file can't be read")]
    Io(#[from] io::Error),
    #[error("both slots fail their checksums")]
    Damaged,
}

/// The file, with its newest slot.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
    generation: u64,
    newest: Mark,
    /// What the other slot says, if it says anything: a start-up may have to go by it.
    other: Option<Mark>,
}

impl MarkFile {
    /// Makes the file, or overwrites one that was given up. It exists, with both slots in place, when this returns.
    pub(crate) fn create(path: &Path, mark: Mark) -> io::Result<Self> {
        let aside = path.with_extension("new");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&aside)?;
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        for (generation, slot) in [0, 1].into_iter().zip(bytes.chunks_mut(SLOT_BYTES)) {
            slot[..VALUE_BYTES].copy_from_slice(&encode(generation, &mark));
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Self { file, generation: 1, newest: mark, other: Some(mark) })
    }

    /// The newest slot that holds; `None` if there is no file.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, MarkError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::with_capacity(2 * SLOT_BYTES);
        (&mut file).take(2 * SLOT_BYTES as u64).read_to_end(&mut bytes)?;
        bytes.resize(2 * SLOT_BYTES, 0);
        let mut slots = bytes.chunks(SLOT_BYTES).map(|slot| decode(&slot[..VALUE_BYTES]).ok()).collect::<Vec<_>>();
        slots.sort_by_key(|slot| slot.as_ref().map(|(generation, _)| *generation));
        let Some((generation, newest)) = slots.pop().flatten() else { return Err(MarkError::Damaged) };
        let other = slots.pop().flatten().map(|(_, mark)| mark);
        if other.is_none() {
            tracing::warn!(last = newest.last.0, "one slot of the high-water mark is damaged; going by the other");
        }
        Ok(Some(Self { file, generation, newest, other }))
    }

    pub(crate) fn newest(&self) -> Mark {
        self.newest
    }

    /// Up to where both slots allow entries to be gone.
    pub(crate) fn settled(&self) -> Offset {
        self.other.map_or(Offset::NONE, |other| other.settled.min(self.newest.settled))
    }

    /// Writes the slot that is not the newest, and returns when it is on disk.
    pub(crate) fn write(&mut self, mark: Mark) -> io::Result<()> {
        let generation = self.generation + 1;
        self.file.seek(SeekFrom::Start((generation % 2) * SLOT_BYTES as u64))?;
        self.file.write_all(&encode(generation, &mark))?;
        self.file.sync_data()?;
        self.generation = generation;
        self.other = Some(std::mem::replace(&mut self.newest, mark));
        Ok(())
    }
}

fn encode(generation: u64, mark: &Mark) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_BYTES);
    value.extend_from_slice(MAGIC);
    value.extend_from_slice(&generation.to_be_bytes());
    value.extend_from_slice(mark.epoch.0.as_bytes());
    for offset in [mark.first, mark.last, mark.settled] {
        value.extend_from_slice(&offset.0.to_be_bytes());
    }
    seal(b"mark", value)
}

fn decode(slot: &[u8]) -> Result<(u64, Mark), DamagedBytes> {
    let mut fields = Fields(unseal(b"mark", slot)?);
    if fields.array::<8>()? != *MAGIC {
        return Err(DamagedBytes);
    }
    let generation = fields.u64()?;
    let epoch = Epoch(uuid::Uuid::from_bytes(fields.array()?));
    let (first, last, settled) = (Offset(fields.u64()?), Offset(fields.u64()?), Offset(fields.u64()?));
    Ok((generation, Mark { epoch, first, last, settled }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(last: u64) -> Mark {
        Mark { epoch: Epoch(uuid::Uuid::from_u128(7)), first: Offset(1), last: Offset(last), settled: Offset(last / 2) }
    }

    #[test]
    fn the_newest_slot_counts_and_either_one_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert!(MarkFile::open(&path).unwrap().is_none());
        let mut file = MarkFile::create(&path, mark(0)).unwrap();
        for last in 1..=5 {
            file.write(mark(last)).unwrap();
            assert_eq!(MarkFile::open(&path).unwrap().unwrap().newest(), mark(last));
        }
        // Five commits after the two slots of the creation: generation 6 is in slot 0.
        let bytes = std::fs::read(&path).unwrap();
        for byte in 0..VALUE_BYTES {
            for (slot, expected) in [(0, mark(4)), (1, mark(5))] {
                let mut damaged = bytes.clone();
                damaged[slot * SLOT_BYTES + byte] ^= 0x10;
                std::fs::write(&path, &damaged).unwrap();
                assert_eq!(MarkFile::open(&path).unwrap().unwrap().newest(), expected, "slot {slot} byte {byte}");
            }
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1;
            damaged[SLOT_BYTES + byte] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(matches!(MarkFile::open(&path), Err(MarkError::Damaged)), "byte {byte}");
        }
    }

    #[test]
    fn a_cut_file_is_damage_or_the_other_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::create(&path, mark(1)).unwrap();
        file.write(mark(2)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..SLOT_BYTES]).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().unwrap().newest(), mark(2));
        std::fs::write(&path, &bytes[..10]).unwrap();
        assert!(matches!(MarkFile::open(&path), Err(MarkError::Damaged)));
    }
}
