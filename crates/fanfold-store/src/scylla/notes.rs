//! Notes: a partition for each kind. They are few, and one that is let go of leaves its tombstone for three hours only.

use bytes::Bytes;

use super::ScyllaStore;
use crate::notes::{NOTE_BYTES_MAX, NoteKind, Notes};
use crate::port::StoreError;
use crate::stored::seal::{HEADER_BYTES, open, seal};
use crate::stored::{damaged, too_large};

fn partition(kind: NoteKind) -> i8 {
    match kind {
        NoteKind::DeadLetter => 1,
        NoteKind::Hook => 2,
        NoteKind::Usage => 3,
    }
}

#[async_trait::async_trait]
impl Notes for ScyllaStore {
    async fn put_note(&self, kind: NoteKind, key: &str, note: Bytes) -> Result<(), StoreError> {
        if note.len() > NOTE_BYTES_MAX {
            too_large("note");
            return Err(StoreError::TooLarge { bytes: note.len(), limit: NOTE_BYTES_MAX });
        }
        let content = seal(key.as_bytes(), &[&note]);
        self.cql.call().execute(&self.statements.put_note, (partition(kind), key, content)).await
    }

    async fn remove_note(&self, kind: NoteKind, key: &str) -> Result<(), StoreError> {
        self.cql.call().execute(&self.statements.drop_note, (partition(kind), key)).await
    }

    async fn note(&self, kind: NoteKind, key: &str) -> Result<Option<Bytes>, StoreError> {
        let row: Option<(Option<Bytes>,)> = self.cql.call().row(&self.statements.note, (partition(kind), key)).await?;
        let Some((content,)) = row else { return Ok(None) };
        let content = content.unwrap_or_default();
        if open(key.as_bytes(), &content).is_none() {
            damaged("note");
            return Ok(None);
        }
        Ok(Some(content.slice(HEADER_BYTES..)))
    }

    async fn notes(&self, kind: NoteKind, after: Option<&str>, notes_max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        // No key is empty.
        let values = (partition(kind), after.unwrap_or_default());
        let mut pages = self.cql.call().pages::<(String, Option<Bytes>)>(&self.statements.notes, values)?;
        let mut found = Vec::new();
        while let Some(page) = pages.next().await? {
            for (key, content) in page {
                if found.len() >= notes_max {
                    return Ok(found);
                }
                let content = content.unwrap_or_default();
                match open(key.as_bytes(), &content) {
                    Some(_) => found.push((key, content.slice(HEADER_BYTES..))),
                    None => damaged("note"),
                }
            }
        }
        Ok(found)
    }
}
