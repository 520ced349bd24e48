//! Notes.

use bytes::Bytes;

use super::{Store, new_tenant};
use crate::notes::{NOTE_BYTES_MAX, NoteKind};
use crate::port::StoreError;

/// Each kind has its own, by key.
pub async fn notes_are_kept_in_pages_of_their_kind(store: &dyn Store) {
    let tenant = new_tenant();
    let key = |end: &str| format!("{tenant}/s/{end}");
    for end in ["a", "b", "c"] {
        store.put_note(NoteKind::Hook, &key(end), "first".into()).await.unwrap();
    }
    store.put_note(NoteKind::Hook, &key("b"), "second".into()).await.unwrap();
    store.put_note(NoteKind::DeadLetter, &key("bb"), "another kind".into()).await.unwrap();
    store.remove_note(NoteKind::Hook, &key("a")).await.unwrap();
    store.remove_note(NoteKind::Hook, &key("never")).await.unwrap();
    assert_eq!(store.note(NoteKind::Hook, &key("b")).await.unwrap(), Some(Bytes::from("second")));
    for (kind, end) in [(NoteKind::Hook, "a"), (NoteKind::Hook, "bb"), (NoteKind::DeadLetter, "b")] {
        assert_eq!(store.note(kind, &key(end)).await.unwrap(), None, "{end}");
    }
    let first = store.notes(NoteKind::Hook, Some(&key("")), 1).await.unwrap();
    assert_eq!(first, [(key("b"), Bytes::from("second"))]);
    let rest = store.notes(NoteKind::Hook, Some(&key("b")), 1).await.unwrap();
    assert_eq!(rest, [(key("c"), Bytes::from("first"))]);
    let all = store.notes(NoteKind::DeadLetter, None, usize::MAX).await.unwrap();
    assert!(all.contains(&(key("bb"), Bytes::from("another kind"))));
}

/// A larger one is refused, and nothing of it kept.
pub async fn a_note_over_the_limit_is_refused(store: &dyn Store) {
    let key = format!("{}/large", new_tenant());
    let refused = store.put_note(NoteKind::Usage, &key, vec![0; NOTE_BYTES_MAX + 1].into()).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { limit: NOTE_BYTES_MAX, .. })), "{refused:?}");
    store.put_note(NoteKind::Usage, &key, vec![0; NOTE_BYTES_MAX].into()).await.unwrap();
    let notes = store.notes(NoteKind::Usage, None, usize::MAX).await.unwrap();
    assert_eq!(notes.iter().filter(|(known, _)| *known == key).count(), 1);
}
