//! Dead letters: runs that failed for good, kept for operators. They stand in the queue; a note beside each lets a queue in memory have
//! them again after a restart.

use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};
use fanfold_runs::{DeadLetter, Hint, QueueError, RunQueue};
use fanfold_store::{NoteKind, Notes};
use serde::{Deserialize, Serialize};

use super::book::Key;
use crate::clock;
use crate::erase::EraseError;

/// Letters read at a time.
const PAGE: usize = 500;

/// See the module.
pub struct Graves {
    queue: Arc<dyn RunQueue>,
    notes: Option<Arc<dyn Notes>>,
}

impl Graves {
    /// Of this queue. `notes`: where they stand besides, for a queue that is a process's memory.
    pub fn new(queue: Arc<dyn RunQueue>, notes: Option<Arc<dyn Notes>>) -> Self {
        Self { queue, notes }
    }

    /// Buries what the notes tell of, in a queue that is empty: nothing else is to be had while this goes on.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let Some(notes) = &self.notes else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let page = notes.notes(NoteKind::DeadLetter, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (name, note) in page {
                let (Some(key), Ok(noted)) = (key(&name), serde_json::from_slice::<Noted>(&note)) else {
                    tracing::warn!(name, "the note of a dead letter can't be read");
                    continue;
                };
                if let Some(forgotten) = self.queue.keep(&noted.letter(key)).await? {
                    self.let_go(&forgotten).await;
                }
            }
        }
    }

    /// Before it is buried, so that it is found whatever becomes of this process.
    pub(crate) async fn note(&self, key: &Key, reason: &str) {
        self.put(key, &Noted { reason: reason.to_owned(), deliveries: 0, buried_at_ms: clock::now_ms() }).await;
    }

    /// Once it is buried: with what the queue says of it.
    pub(crate) async fn note_buried(&self, key: &Key) {
        if self.notes.is_some()
            && let Ok(Some(letter)) = self.queue.dead_letter(&key.0, &key.1).await
        {
            self.put(key, &Noted::of(&letter)).await;
        }
    }

    async fn put(&self, key: &Key, noted: &Noted) {
        let Some(notes) = &self.notes else { return };
        if let Err(error) = notes.put_note(NoteKind::DeadLetter, &name(key), noted.encode()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter won't outlive the process");
        }
    }

    /// It went for a newer one.
    pub(crate) async fn let_go(&self, key: &Key) {
        metrics::counter!("fanfold_runs_dead_letters_dropped_total").increment(1);
        self.remove_note(&name(key)).await;
    }

    async fn remove_note(&self, name: &str) {
        let Some(notes) = &self.notes else { return };
        if let Err(error) = notes.remove_note(NoteKind::DeadLetter, name).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter comes back after the next restart");
        }
    }

    /// A page of a tenant's letters, from after the given one on, and whether there may be more.
    pub async fn list(
        &self,
        tenant: &TenantId,
        after: Option<Key>,
        letters_max: usize,
    ) -> Result<(Vec<DeadLetter>, bool), QueueError> {
        // All at once: where the queue is shared, each question reads them all.
        let all = self.queue.dead_letters(after.as_ref().map(|(session, run)| (session, run)), usize::MAX).await?;
        let mut letters: Vec<_> = all.into_iter().filter(|letter| letter.hint.session.tenant == *tenant).collect();
        let more = letters.len() > letters_max;
        letters.truncate(letters_max);
        Ok((letters, more))
    }

    /// One letter.
    pub async fn get(&self, (session, run): &Key) -> Result<Option<DeadLetter>, QueueError> {
        self.queue.dead_letter(session, run).await
    }

    /// Its run is to be tried again: it is a letter no more.
    pub async fn open(&self, key: &Key) -> Result<(), QueueError> {
        self.queue.redrive(&key.0, &key.1).await?;
        self.remove_note(&name(key)).await;
        Ok(())
    }

    /// Its run has ended, and another has been asked for: it is a letter no more.
    pub async fn forget(&self, key: &Key) -> Result<(), QueueError> {
        self.queue.forget(&key.0, Some(&key.1)).await?;
        self.remove_note(&name(key)).await;
        Ok(())
    }

    /// Of an erased session none is kept.
    pub async fn forget_session(&self, session: &SessionKey) -> Result<(), EraseError> {
        self.queue.forget(session, None).await?;
        let Some(notes) = &self.notes else { return Ok(()) };
        // A session's names stand together.
        let of_session = format!("{}/{}/", session.tenant, session.session);
        let mut after = of_session.clone();
        loop {
            let page = notes.notes(NoteKind::DeadLetter, Some(&after), PAGE).await?;
            let names: Vec<_> = page.into_iter().map(|(name, _)| name).take_while(|name| name.starts_with(&of_session)).collect();
            let Some(last) = names.last() else { return Ok(()) };
            after.clone_from(last);
            for name in &names {
                notes.remove_note(NoteKind::DeadLetter, name).await?;
            }
        }
    }
}

/// What a note says of a dead letter beside its name. Unknown keys are skipped.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Noted {
    reason: String,
    #[serde(default)]
    deliveries: u32,
    #[serde(default)]
    buried_at_ms: u64,
}

impl Noted {
    fn of(letter: &DeadLetter) -> Self {
        Self { reason: letter.reason.clone(), deliveries: letter.deliveries, buried_at_ms: letter.buried_at_ms }
    }

    fn letter(self, (session, run): Key) -> DeadLetter {
        let Self { reason, deliveries, buried_at_ms } = self;
        DeadLetter { hint: Hint::new(session, run), reason, deliveries, buried_at_ms }
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The note of a dead letter where there is no queue to keep it in: its name and what it says.
pub(crate) fn note_of(letter: &DeadLetter) -> (String, Bytes) {
    (name(&(letter.hint.session.clone(), letter.hint.run.clone())), Noted::of(letter).encode())
}

/// What a run's notes are called. No id holds a stroke.
pub(crate) fn name((session, run): &Key) -> String {
    format!("{}/{}/{run}", session.tenant, session.session)
}

/// The run that a note of this name is about.
pub(crate) fn key(name: &str) -> Option<Key> {
    let mut ids = name.splitn(3, '/');
    let session = SessionKey::new(TenantId::new(ids.next()?).ok()?, SessionId::new(ids.next()?).ok()?);
    Some((session, RunId::new(ids.next()?).ok()?))
}

#[cfg(test)]
mod tests {
    use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig};
    use fanfold_store::EmbeddedStore;
    use std::time::Duration;

    use super::*;

    async fn graves(store: &Arc<EmbeddedStore>, now_ms: u64) -> Graves {
        let queue = EmbeddedRunQueue::new(EmbeddedRunQueueConfig::default(), Arc::new(move || now_ms));
        let graves = Graves::new(Arc::new(queue), Some(store.clone()));
        graves.restore().await.unwrap();
        graves
    }

    #[tokio::test]
    async fn a_letter_is_after_a_restart_what_it_was_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(dir.path().join("store")).unwrap());
        let (first, key) = (graves(&store, 1_000).await, key("t/s/r").unwrap());
        first.queue.offer(&Hint::new(key.0.clone(), key.1.clone())).await.unwrap();
        let lease = first.queue.take("w", Duration::from_secs(60), Duration::ZERO).await.unwrap().unwrap();
        first.note(&key, "why").await;
        // A process that ends here has it all the same.
        assert_eq!(graves(&store, 2_000).await.get(&key).await.unwrap().unwrap().reason, "why");
        first.queue.bury(lease.id, "why").await.unwrap();
        first.note_buried(&key).await;
        let letter = first.get(&key).await.unwrap().unwrap();
        assert_eq!((letter.deliveries, letter.buried_at_ms), (1, 1_000));
        assert_eq!(graves(&store, 3_000).await.get(&key).await.unwrap(), Some(letter));
        first.forget(&key).await.unwrap();
        assert_eq!(graves(&store, 4_000).await.get(&key).await.unwrap(), None);
    }
}
