//! Dead letters: runs that failed for good, kept for operators. They stand in the queue; a note beside each lets a queue in memory have
//! them again after a restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};
use fanfold_runs::{DeadLetter, Hint, QueueError, RunQueue};
use fanfold_store::{NoteKind, Notes};

use super::book::Key;

/// Letters read at a time.
const PAGE: usize = 500;

/// Dead letters that are kept. A run that fails beyond it is in the log, and in no list.
const DEAD_LETTERS_MAX: usize = 10_000;

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
                if let Some(lease) = self.queue.take("restore", Duration::from_secs(60), Duration::ZERO).await? {
                    self.queue.bury(lease.id, &String::from_utf8_lossy(&reason)).await?;
                }
            }
        }
    }

    /// Whether one more is kept; if so it is noted, before it is buried.
    pub(crate) async fn note(&self, key: &Key, reason: &str) -> Result<bool, QueueError> {
        if self.queue.depth().await?.dead >= DEAD_LETTERS_MAX {
            metrics::counter!("fanfold_runs_dead_letters_dropped_total").increment(1);
            return Ok(false);
        }
        let note = Bytes::from(reason.to_owned());
        let Some(notes) = &self.notes else { return Ok(true) };
        if let Err(error) = notes.put_note(NoteKind::DeadLetter, &name(key), note).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter won't outlive the process");
        }
        Ok(true)
    }

    /// A page of a tenant's letters, from after the given one on, and whether there may be more.
    pub async fn list(
        &self,
        tenant: &TenantId,
        mut after: Option<Key>,
        letters_max: usize,
    ) -> Result<(Vec<DeadLetter>, bool), QueueError> {
        let mut letters = Vec::new();
        loop {
            let from = after.as_ref().map(|(session, run)| (session, run));
            let page = self.queue.dead_letters(from, PAGE).await?;
            let end = page.len() < PAGE;
            after = page.last().map(|letter| (letter.hint.session.clone(), letter.hint.run.clone()));
            letters.extend(page.into_iter().filter(|letter| letter.hint.session.tenant == *tenant));
            if end || letters.len() > letters_max {
                let more = letters.len() > letters_max;
                letters.truncate(letters_max);
                return Ok((letters, more));
            }
        }
    }

    /// Of an erased session none is kept: they are hints again, which whoever takes them drops.
    pub async fn forget(&self, session: &SessionKey) -> Result<(), QueueError> {
        let (letters, _) = self.list(&session.tenant, None, DEAD_LETTERS_MAX).await?;
        for letter in letters.into_iter().filter(|letter| letter.hint.session == *session) {
            self.open(&(letter.hint.session, letter.hint.run)).await?;
        }
        Ok(())
    }

    /// One letter.
    pub async fn get(&self, (session, run): &Key) -> Result<Option<DeadLetter>, QueueError> {
        let (letters, _) = self.list(&session.tenant, None, DEAD_LETTERS_MAX).await?;
        Ok(letters.into_iter().find(|letter| letter.hint.session == *session && letter.hint.run == *run))
    }

    /// Its run is to be tried again, or another has been asked for: it is a letter no more.
    pub async fn open(&self, key: &Key) -> Result<(), QueueError> {
        // Where the run has ended, whoever takes the hint drops it.
        self.queue.redrive(&key.0, &key.1).await?;
        let Some(notes) = &self.notes else { return Ok(()) };
        if let Err(error) = notes.remove_note(NoteKind::DeadLetter, &name(key)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter comes back after the next restart");
        }
        Ok(())
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
