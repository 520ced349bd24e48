//! Small facts that must outlive the process and belong to no session's history.

use bytes::Bytes;

use crate::port::StoreError;

/// Bytes of a note. A larger one is refused as [`StoreError::TooLarge`].
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// What a note is about. Each kind has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// A run that failed for good.
    DeadLetter,
    /// A run whose end somebody is to be told.
    Hook,
    /// What a tenant has used up.
    Usage,
}

/// Notes by kind and key. The log is the truth about runs; a note only says where to look, or what is still to be done.
#[async_trait::async_trait]
pub trait Notes: Send + Sync + 'static {
    /// Keeps a note in place of one of that key. Durable on return.
    async fn put_note(&self, kind: NoteKind, key: &str, note: Bytes) -> Result<(), StoreError>;

    /// Lets a note go. Durable on return; there may have been none.
    async fn remove_note(&self, kind: NoteKind, key: &str) -> Result<(), StoreError>;

    /// One note, if there is one and it isn't damaged.
    async fn note(&self, kind: NoteKind, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// A page of notes by key, from after the given one on. One that is damaged is passed over and counted.
    async fn notes(&self, kind: NoteKind, after: Option<&str>, notes_max: usize) -> Result<Vec<(String, Bytes)>, StoreError>;
}
