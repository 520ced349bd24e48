//! Into a log and a store, out of a file.
//!
//! A session's records go into the archive, under the epoch that its log had where it was exported, and its row comes last: until then it isn't there for anybody.
//! So what is cut short begins again, and what is there already is compared and left as it is.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use fanfold_fold::{Epoch, FOLD_VERSION, Offset, Record, SessionKey, SessionStatus, State};
use fanfold_runs::{DeadLetter, Hint, RunQueue};
use fanfold_store::{Erasure, NoteKind, Segment, SessionRow, Snapshot, StoreError};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::check::{Checked, decoder, verify};
use super::format::{self, Block, Head, Letter, Stored, Tail};
use super::room::{Needs, make_room};
use super::source::{Source, ensure_stopped};
use crate::archive::ArchiveConfig;
use crate::config::Config;
use crate::run::graves;

/// Records of a session that is there, read at a time.
const PAGE: usize = 1024;

/// What an import came to.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Imported {
    /// Sessions of the file so far.
    pub(crate) sessions: u64,
    /// That came in.
    pub(crate) imported: u64,
    /// That were there already, with the same history.
    pub(crate) already: u64,
    /// That were not taken in, and why. What is there is as it was.
    pub(crate) refused: Vec<String>,
    pub(crate) records: u64,
}

/// What of a file is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Its sessions. What else a backup holds is another deployment's.
    Sessions,
    /// All of it, into nothing.
    Everything,
}

/// Takes in a file that was found whole. `told` hears of each session.
pub(crate) async fn import(
    source: Source,
    config: &Config,
    path: &Path,
    taken: Taken,
    mut told: impl FnMut(&Imported, u64),
) -> anyhow::Result<Imported> {
    if let Some(log) = &source.shared {
        ensure_stopped(log).await?;
    }
    let mut coming = Vec::new();
    let checked = verify(path, |session, last| coming.push((session.clone(), last)))?;
    let mut needs = Needs::default();
    for (session, last) in coming {
        // What is there has its place.
        if source.store.row(&session).await.context("the store can't be read")?.is_none() {
            let shard = source.shared.as_ref().map_or(0, |log| log.shard_of(&session));
            needs.add(shard, &session, last);
        }
    }
    let source = make_room(source, config, &needs).await?;
    let queue = match source.shared {
        Some(_) => Some(source.queue(config).await?),
        None => None,
    };
    let fold_is_ours = checked.header.fold == FOLD_VERSION;
    let mut importer =
        Importer { source: &source, archive: &config.archive, queue, taken, fold_is_ours, done: Imported::default() };
    if taken == Taken::Everything {
        for letter in &checked.letters {
            importer.letter(letter).await?;
        }
    }
    let mut blocks = decoder(path)?;
    let mut incoming = None;
    while let Some(block) = blocks.next()? {
        let before = importer.done.sessions;
        importer.take(block, &mut incoming, &checked).await?;
        if importer.done.sessions > before {
            told(&importer.done, checked.sessions);
        }
    }
    Ok(importer.done)
}

struct Importer<'a> {
    source: &'a Source,
    archive: &'a ArchiveConfig,
    /// Where hints of runs outlive a process. Elsewhere each node offers them when it starts.
    queue: Option<Arc<dyn RunQueue>>,
    taken: Taken,
    /// Whether digests of states can be compared.
    fold_is_ours: bool,
    done: Imported,
}

/// A session on its way in.
struct Incoming {
    key: SessionKey,
    epoch: Epoch,
    active_at_ms: Option<u64>,
    fate: Fate,
    /// No list shows it yet: what is there may be from an import that was cut short at its very end.
    is_unlisted: bool,
    /// What is there of it.
    there: There,
    /// Records that don't make a segment yet, and the record before them.
    previous: Offset,
    records: Vec<(Offset, u64, Bytes)>,
    bytes: usize,
    state: State,
    last_at_ms: u64,
}

/// What becomes of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It comes in.
    New,
    /// It is there, and so far the same.
    Same,
    /// It doesn't come in.
    Refused(String),
    /// It isn't whole in the file.
    LeftOut,
}

/// The records of a session that are there, one after another.
struct There {
    archived_only: bool,
    after: Offset,
    page: VecDeque<(Offset, Bytes)>,
    end: bool,
}

impl There {
    async fn next(&mut self, source: &Source, key: &SessionKey) -> anyhow::Result<Option<(Offset, Bytes)>> {
        while self.page.is_empty() && !self.end {
            if self.archived_only {
                let records = source.store.records(key, self.after, Offset(u64::MAX), PAGE).await?;
                self.end = records.is_empty();
                self.page.extend(records.into_iter().map(|(offset, _, record)| (offset, record)));
            } else {
                let (records, end) = source.sessions.records(key, self.after, PAGE).await?;
                self.end = end;
                self.page.extend(records.into_iter().map(|stored| (stored.offset, stored.record)));
            }
            self.after = self.page.back().map_or(self.after, |(offset, _)| *offset);
        }
        Ok(self.page.pop_front())
    }
}

impl Incoming {
    fn fold(&mut self, record: &[u8], stored_at_ms: u64) {
        if !self.is_unlisted {
            return;
        }
        self.last_at_ms = stored_at_ms;
        // One that can't be read is passed over, as by every node.
        if let Ok(record) = Record::decode(record) {
            self.state.apply(&record);
        }
    }
}

impl Importer<'_> {
    async fn take(&mut self, block: Block, incoming: &mut Option<Incoming>, checked: &Checked) -> anyhow::Result<()> {
        match block {
            Block::Session(head) => *incoming = Some(self.begin(head, checked).await?),
            Block::Records(records) => {
                if let Some(incoming) = incoming {
                    self.records(incoming, records).await?;
                }
            }
            Block::SessionEnd(tail) => {
                if let Some(incoming) = incoming.take() {
                    self.finish(incoming, &tail).await?;
                }
            }
            Block::Left(_) => *incoming = None,
            // Nothing that is there is erased, parked or noted for what was so elsewhere.
            Block::Erased(_) | Block::Parked(_) | Block::Note(_) if self.taken == Taken::Sessions => {}
            Block::Erased(erased) => {
                if let Some(session) = format::key(&erased.tenant, &erased.session) {
                    let erasure = Erasure { session: session.clone(), offset: erased.offset, erased_at_ms: erased.erased_at_ms };
                    self.source.store.erase(&erasure).await?;
                    self.source.store.erase_done(&session).await?;
                }
            }
            Block::Parked(parked) => {
                if let Some(session) = format::key(&parked.tenant, &parked.session) {
                    let format::Parked { attempts, reason, parked_at_ms, .. } = parked;
                    self.source.store.park(&fanfold_store::Parked { session, attempts, reason, parked_at_ms }).await?;
                }
            }
            Block::Note(note) => {
                let kind = match note.kind {
                    format::NoteKind::Hook => NoteKind::Hook,
                    format::NoteKind::Usage => NoteKind::Usage,
                };
                self.source.store.put_note(kind, &note.key, note.note.into()).await?;
            }
            // Seen to before the sessions.
            Block::Letter(_) | Block::Header(_) | Block::End(_) => {}
        }
        Ok(())
    }

    /// A run that failed for good is kept as one.
    async fn letter(&self, letter: &Letter) -> anyhow::Result<()> {
        let session = format::key(&letter.tenant, &letter.session).context("a dead letter of no session")?;
        let run = letter.run.parse().context("a dead letter of no run")?;
        let (reason, deliveries, buried_at_ms) = (letter.reason.clone(), letter.deliveries, letter.buried_at_ms);
        let letter = DeadLetter { hint: Hint::new(session, run), reason, deliveries, buried_at_ms };
        match &self.queue {
            Some(queue) => drop(queue.keep(&letter).await?),
            None => {
                let (name, note) = graves::note_of(&letter);
                self.source.store.put_note(NoteKind::DeadLetter, &name, note).await?;
            }
        }
        Ok(())
    }

    async fn begin(&self, head: Head, checked: &Checked) -> anyhow::Result<Incoming> {
        let key = format::key(&head.tenant, &head.session).context("a session without a name")?;
        let (store, log) = (&self.source.store, &self.source.log);
        let mut there = There { archived_only: false, after: Offset::NONE, page: VecDeque::new(), end: false };
        let row = store.row(&key).await?;
        let is_unlisted = row.is_none();
        let fate = if checked.left_out.contains_key(&key) {
            Fate::LeftOut
        } else if let Some(row) = row {
            match row.status.as_str() {
                "erased" => Fate::Refused("it was erased here".to_owned()),
                _ => Fate::Same,
            }
        } else if log.last(&key).await? > Offset::NONE {
            Fate::Same
        } else {
            // What an import that was cut short has left.
            there.archived_only = true;
            Fate::New
        };
        Ok(Incoming {
            key,
            epoch: head.epoch,
            active_at_ms: head.active_at_ms,
            fate,
            is_unlisted,
            there,
            previous: Offset::NONE,
            records: Vec::new(),
            bytes: 0,
            state: State::default(),
            last_at_ms: 0,
        })
    }

    async fn records(&self, incoming: &mut Incoming, records: Vec<Stored>) -> anyhow::Result<()> {
        for Stored { offset, stored_at_ms, record } in records {
            if matches!(incoming.fate, Fate::Refused(_) | Fate::LeftOut) {
                return Ok(());
            }
            let there = incoming.there.next(self.source, &incoming.key).await?;
            match (&incoming.fate, there) {
                (Fate::New | Fate::Same, Some((at, bytes))) if (at, &bytes[..]) == (offset, &record[..]) => {}
                (Fate::New, None) => {}
                (Fate::Same, None) => {
                    incoming.fate = Fate::Refused(format!("what is there ends before {offset}, the file goes on"));
                    continue;
                }
                (_, Some(_)) => {
                    incoming.fate = Fate::Refused(format!("what is there is another history, at {offset}"));
                    continue;
                }
                (Fate::Refused(_) | Fate::LeftOut, None) => {}
            }
            incoming.fold(&record, stored_at_ms);
            if incoming.fate == Fate::New {
                self.record(incoming, offset, stored_at_ms, record.into()).await?;
            }
        }
        Ok(())
    }

    async fn record(&self, incoming: &mut Incoming, offset: Offset, stored_at_ms: u64, record: Bytes) -> anyhow::Result<()> {
        let full =
            incoming.records.len() >= self.archive.segment_records || incoming.bytes + record.len() > self.archive.segment_bytes;
        if full {
            self.segment(incoming).await?;
        }
        incoming.bytes += record.len();
        incoming.records.push((offset, stored_at_ms, record));
        Ok(())
    }

    async fn segment(&self, incoming: &mut Incoming) -> anyhow::Result<()> {
        incoming.bytes = 0;
        let records = std::mem::take(&mut incoming.records);
        let Some(segment) = Segment::new(incoming.epoch, incoming.previous, records) else { return Ok(()) };
        self.source.store.put_segment(&incoming.key, &segment).await?;
        incoming.previous = segment.key.last;
        Ok(())
    }

    async fn finish(&mut self, mut incoming: Incoming, tail: &Tail) -> anyhow::Result<()> {
        if incoming.fate == Fate::New && incoming.there.next(self.source, &incoming.key).await?.is_some() {
            incoming.fate = Fate::Refused("what is there is another history".to_owned());
        }
        match &incoming.fate {
            Fate::New => {}
            Fate::Same => {
                self.done.sessions += 1;
                self.done.already += 1;
                return if incoming.is_unlisted { self.list(&incoming, tail.last).await } else { Ok(()) };
            }
            Fate::Refused(why) => {
                self.done.sessions += 1;
                self.done.refused.push(format!("{}: {why}", incoming.key));
                return Ok(());
            }
            Fate::LeftOut => return Ok(()),
        }
        self.segment(&mut incoming).await?;
        let (key, encoded) = (&incoming.key, incoming.state.encode());
        let is_same = Sha256::digest(&encoded)[..] == tail.state[..];
        anyhow::ensure!(is_same || !self.fold_is_ours, "session {key} folds to another state here than where it was exported");
        self.source.inventory.adopt(key, tail.last).await?;
        let epoch = self.source.log.epoch(key);
        let snapshot = Snapshot { epoch, offset: tail.last, fold: FOLD_VERSION, state: encoded.into() };
        kept(self.source.store.put(key, &snapshot).await)?;
        self.list(&incoming, tail.last).await?;
        self.done.sessions += 1;
        self.done.imported += 1;
        self.done.records += tail.records;
        Ok(())
    }

    /// From here on it is there, and its runs want workers; or it is erased, and nodes remove what is left.
    async fn list(&self, incoming: &Incoming, last: Offset) -> anyhow::Result<()> {
        let Incoming { key, state, active_at_ms, last_at_ms, .. } = incoming;
        if state.view().session.status == SessionStatus::Erased {
            let erasure = Erasure { session: key.clone(), offset: last, erased_at_ms: *last_at_ms };
            return Ok(self.source.store.erase(&erasure).await?);
        }
        self.source.store.put_row(&row(key, state, last, active_at_ms.unwrap_or(*last_at_ms))).await?;
        if let Some(queue) = &self.queue {
            for run in state.view().open_runs() {
                queue.offer(&Hint::new(key.clone(), run.id.clone())).await?;
            }
        }
        Ok(())
    }
}

/// A state that is too large to be kept keeps nothing else out: the archive has its records, from which nodes fold it.
fn kept(put: Result<(), StoreError>) -> Result<(), StoreError> {
    match put {
        Ok(()) | Err(StoreError::TooLarge { .. }) => Ok(()),
        Err(error @ (StoreError::Overloaded | StoreError::Unavailable(_))) => Err(error),
    }
}

/// What lists show of a session.
fn row(key: &SessionKey, state: &State, last: Offset, active_at_ms: u64) -> SessionRow {
    let view = state.view();
    let status = match view.session.status {
        SessionStatus::Absent | SessionStatus::Open => "open",
        SessionStatus::Closed(_) => "closed",
        SessionStatus::Erased => "erased",
    };
    SessionRow {
        key: key.clone(),
        user: view.session.user.clone(),
        title: view.session.title.clone(),
        status: status.to_owned(),
        opened_at_ms: view.session.opened_at_ms,
        active_at_ms,
        open_runs: u32::try_from(view.open_runs().count()).unwrap_or(u32::MAX),
        offset: last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_too_large_ends_no_import() {
        assert!(kept(Err(StoreError::TooLarge { bytes: 2, limit: 1 })).is_ok());
        assert!(kept(Err(StoreError::Overloaded)).is_err());
    }
}
