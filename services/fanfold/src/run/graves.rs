//! Dead letters: runs that failed for good, kept for operators. They stand in the queue; a note beside each lets a queue in memory have
//! them again after a restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};
use fanfold_runs::{DeadLetter, Hint, QueueError, RunQueue};
use fanfold_store::{NoteKind, Notes};

use super::book::Key;
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
            for (name, reason) in page {
                let Some((session, run)) = key(&name) else { continue };
                self.queue.offer(&Hint::new(session, run)).await?;
                if let Some(lease) = self.queue.take("restore", Duration::from_secs(60), Duration::ZERO).await?
                    && let Some(forgotten) = self.queue.bury(lease.id, &String::from_utf8_lossy(&reason)).await?
                {
                    self.let_go(&forgotten).await;
                }
            }
        }
    }

    /// Before it is buried.
    pub(crate) async fn note(&self, key: &Key, reason: &str) {
        let Some(notes) = &self.notes else { return };
        if let Err(error) = notes.put_note(NoteKind::DeadLetter, &name(key), Bytes::from(reason.to_owned())).await {
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
