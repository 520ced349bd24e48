//! Notes in the local database, beside the parked sessions.

use bytes::Bytes;

use super::EmbeddedStore;
use super::disk::Disk;
use super::layout::{NOTE_DEAD_LETTER, NOTE_HOOK, NOTE_USAGE};
use super::writer::Durable;
use crate::notes::{NOTE_BYTES_MAX, NoteKind, Notes};
use crate::port::StoreError;
use crate::stored::seal::{HEADER_BYTES, open, seal};
use crate::stored::{damaged, too_large, unavailable};

/// What keys of this kind begin with, in the keyspace of parked sessions.
fn prefix(kind: NoteKind) -> u8 {
    match kind {
        NoteKind::DeadLetter => NOTE_DEAD_LETTER,
        NoteKind::Hook => NOTE_HOOK,
        NoteKind::Usage => NOTE_USAGE,
    }
}

fn note_key(kind: NoteKind, key: &str) -> Vec<u8> {
    [&[prefix(kind)], key.as_bytes()].concat()
}

impl Disk {
    fn note(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.parking.get(key).map_err(unavailable)? else { return Ok(None) };
        if open(key, &value).is_none() {
            damaged("note");
            return Ok(None);
        }
        Ok(Some(Bytes::from_owner(value).slice(HEADER_BYTES..)))
    }

    fn notes(&self, kind: NoteKind, after: Option<&str>, notes_max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        let begin = after.map_or(vec![prefix(kind)], |after| [&*note_key(kind, after), &[0]].concat());
        let end = [prefix(kind) + 1];
        let mut notes = Vec::new();
        for entry in self.parking.range(&*begin..&end[..]) {
            if notes.len() == notes_max {
                break;
            }
            let (key, value) = entry.into_inner().map_err(unavailable)?;
            match (open(&key, &value), std::str::from_utf8(&key[1..])) {
                (Some(_), Ok(name)) => notes.push((name.to_owned(), Bytes::from_owner(value).slice(HEADER_BYTES..))),
                (Some(_) | None, _) => damaged("note"),
            }
        }
        Ok(notes)
    }
}

#[async_trait::async_trait]
impl Notes for EmbeddedStore {
    async fn put_note(&self, kind: NoteKind, key: &str, note: Bytes) -> Result<(), StoreError> {
        if note.len() > NOTE_BYTES_MAX {
            too_large("note");
            return Err(StoreError::TooLarge { bytes: note.len(), limit: NOTE_BYTES_MAX });
        }
        let key = note_key(kind, key);
        let put = move |disk: &Disk| {
            let value = seal(&key, &[&note]);
            disk.parking.insert(key, value).map_err(unavailable)
        };
        self.writer.write(0, Durable::Synced, put).await
    }

    async fn remove_note(&self, kind: NoteKind, key: &str) -> Result<(), StoreError> {
        let key = note_key(kind, key);
        self.writer.write(0, Durable::Synced, move |disk: &Disk| disk.parking.remove(key).map_err(unavailable)).await
    }

    async fn note(&self, kind: NoteKind, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = note_key(kind, key);
        self.call(move |disk| disk.note(&key)).await
    }

    async fn notes(&self, kind: NoteKind, after: Option<&str>, notes_max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        let after = after.map(str::to_owned);
        self.call(move |disk| disk.notes(kind, after.as_deref(), notes_max)).await
    }
}
