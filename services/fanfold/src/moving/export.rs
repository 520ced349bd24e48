//! Out of a log and a store, into a file.

use std::collections::BTreeSet;
use std::sync::Arc;

use fanfold_fold::{FOLD_VERSION, Offset, Record, SessionKey, SessionStatus, State};
use fanfold_log::{EventLog, Inventory, ReadError};
use fanfold_runs::{DeadLetter, QueueError, RunQueue};
use fanfold_session::{HostError, Sessions, StoredRecord};
use fanfold_store::{NoteKind, SessionRow, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::format::{self, Block, Encoder, End, Erased, Head, Header, Left, Letter, Note, Parked, RECORDS_BYTES, Stored, Tail};
use crate::backend::Store;
use crate::clock;

/// Rows read at a time.
const PAGE: usize = 1000;

/// Records read at a time.
const RECORDS_PAGE: usize = 1024;

/// Why a session is left out that nobody misses.
pub(crate) const ERASED: &str = "it was erased";

/// Why one is left out that an operator looks after.
const UNREADABLE: &str = "its row can't be read";

/// Between two tries to read a session that has no place at the moment.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// How often that is tried.
const TRIES: usize = 50;

/// What is to be in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// These sessions, as `tenant/session`.
    These(Vec<String>),
    /// Every session of every tenant.
    All,
    /// That, what was erased, and what belongs to no session's history.
    Backup,
}

/// What a file holds, so far.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    /// Sessions to come, those left out included.
    pub(crate) of: u64,
    /// Sessions in it, whole.
    pub(crate) sessions: u64,
    pub(crate) records: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// The highest offset in it.
    pub(crate) last: u64,
    /// Sessions that are not in it, and why.
    pub(crate) left_out: Vec<String>,
}

/// Why there is no whole file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("{0} is no session's name")]
    Name(String),
    #[error("the log can't be read")]
    Log(#[from] ReadError),
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    #[error("the queue can't be read")]
    Queue(#[from] QueueError),
    #[error("session {session} can't be read")]
    Session {
        session: SessionKey,
        #[source]
        source: HostError,
    },
    #[error("the file can't be written")]
    Write(#[from] std::io::Error),
}

/// What sessions are read from.
#[derive(Clone)]
pub(crate) struct Exporter {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) inventory: Arc<dyn Inventory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Sessions,
    pub(crate) queue: Arc<dyn RunQueue>,
}

/// A file in the making.
struct File<'a, W> {
    out: &'a mut W,
    encoder: Encoder,
    summary: Summary,
}

/// What the list of sessions has of one.
enum Row {
    /// It, if there is one.
    Of(Option<SessionRow>),
    /// That it was erased.
    Erased(SessionRow),
    /// Something that can't be read.
    Unreadable,
}

/// What was read of a session.
enum Read {
    /// All of it, and the state it leads to.
    Whole(Tail, Box<State>),
    /// Not all of it, for this reason.
    Not(String),
}

impl<W: AsyncWrite + Unpin> File<'_, W> {
    async fn put(&mut self, block: Block) -> Result<(), ExportError> {
        let bytes = self.encoder.block(&block)?;
        self.bytes(&bytes).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(bytes).await?;
        self.summary.bytes += bytes.len() as u64;
        Ok(())
    }

    async fn erased(&mut self, session: &SessionKey, offset: Offset, erased_at_ms: u64) -> Result<(), ExportError> {
        let (tenant, session) = names(session);
        self.put(Block::Erased(Erased { tenant, session, offset, erased_at_ms })).await
    }

    async fn leave_out(&mut self, session: &SessionKey, why: &str) -> Result<(), ExportError> {
        self.summary.left_out.push(format!("{session}: {why}"));
        let (tenant, session) = names(session);
        self.put(Block::Left(Left { tenant, session, why: why.to_owned() })).await
    }
}

impl Exporter {
    /// Writes the file. What was acknowledged before this was called is in it, and perhaps what came since; each session is whole as of
    /// some moment in between. `told` hears of each session.
    pub(crate) async fn export(
        &self,
        wanted: &Wanted,
        out: &mut (impl AsyncWrite + Unpin),
        mut told: impl FnMut(&Summary),
    ) -> Result<Summary, ExportError> {
        let sessions = self.listed(wanted).await?;
        let is_backup = *wanted == Wanted::Backup;
        let mut file = File { out, encoder: Encoder::default(), summary: Summary::default() };
        file.summary.of = sessions.len() as u64;
        file.bytes(&format::opening()).await?;
        let epochs = sessions.iter().map(|session| self.log.epoch(session)).collect::<BTreeSet<_>>();
        let header = Header {
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_at_ms: clock::now_ms(),
            fold: FOLD_VERSION,
            epochs: epochs.into_iter().collect(),
            sessions: file.summary.of,
            is_backup,
        };
        file.put(Block::Header(header)).await?;
        for session in &sessions {
            self.session(&mut file, session, is_backup).await?;
            told(&file.summary);
        }
        if is_backup {
            self.beside(&mut file).await?;
        }
        let end = End { sessions: file.summary.sessions, records: file.summary.records };
        file.put(Block::End(end)).await?;
        file.out.flush().await?;
        Ok(file.summary)
    }

    /// First what the log has, then what has a row: nothing leaves the log before it has one.
    async fn listed(&self, wanted: &Wanted) -> Result<BTreeSet<SessionKey>, ExportError> {
        if let Wanted::These(names) = wanted {
            let key = |name: &String| named(name).ok_or_else(|| ExportError::Name(name.clone()));
            return names.iter().map(key).collect();
        }
        let mut sessions = self.inventory.sessions().await?.into_iter().collect::<BTreeSet<_>>();
        let mut after = None;
        loop {
            let page = self.store.sessions(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(sessions) };
            after = Some(last.clone());
            sessions.extend(page);
        }
    }

    async fn session<W: AsyncWrite + Unpin>(
        &self,
        file: &mut File<'_, W>,
        session: &SessionKey,
        is_backup: bool,
    ) -> Result<(), ExportError> {
        let row = match self.row(session).await? {
            Row::Of(row) => row,
            Row::Erased(row) if is_backup => return file.erased(session, row.offset, row.active_at_ms).await,
            Row::Erased(_) => return file.leave_out(session, ERASED).await,
            Row::Unreadable => return file.leave_out(session, UNREADABLE).await,
        };
        let (tenant, id) = names(session);
        let epoch = self.log.epoch(session);
        let head = Head { tenant, session: id, epoch, active_at_ms: row.map(|row| row.active_at_ms) };
        file.put(Block::Session(head)).await?;
        let read = self.records(file, session).await?;
        // Asked after the records were read: nothing of an erased session is removed before its row says so.
        let erased = match (self.row(session).await?, read) {
            (Row::Erased(row), _) => (row.offset, row.active_at_ms),
            (Row::Unreadable, _) => return file.leave_out(session, UNREADABLE).await,
            (Row::Of(_), Read::Not(why)) => return file.leave_out(session, &why).await,
            // The log says so, and the store is about to.
            (Row::Of(_), Read::Whole(tail, state)) if state.view().session.status == SessionStatus::Erased => {
                (tail.last, clock::now_ms())
            }
            (Row::Of(_), Read::Whole(mut tail, state)) => {
                tail.state = Sha256::digest(state.encode()).to_vec();
                file.summary.sessions += 1;
                file.summary.records += tail.records;
                file.summary.last = file.summary.last.max(tail.last.0);
                return file.put(Block::SessionEnd(tail)).await;
            }
        };
        file.leave_out(session, ERASED).await?;
        if is_backup { file.erased(session, erased.0, erased.1).await } else { Ok(()) }
    }

    /// The session's row. One that can't be read costs only its session, a store that answers for no other the whole file.
    async fn row(&self, session: &SessionKey) -> Result<Row, ExportError> {
        let mut tries = 0;
        loop {
            match self.store.row(session).await {
                Ok(Some(row)) if row.status == "erased" => return Ok(Row::Erased(row)),
                Ok(row) => return Ok(Row::Of(row)),
                Err(_) if tries < TRIES => tries += 1,
                Err(error) => {
                    self.store.sessions(None, 1).await?;
                    tracing::error!(%session, error = &error as &dyn std::error::Error, "session left out");
                    return Ok(Row::Unreadable);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Writes all records of a session.
    async fn records<W: AsyncWrite + Unpin>(&self, file: &mut File<'_, W>, session: &SessionKey) -> Result<Read, ExportError> {
        let mut tail = Tail { records: 0, last: Offset::NONE, state: Vec::new() };
        let mut state = State::default();
        let mut end = false;
        while !end {
            let page = match self.page(session, tail.last).await {
                Ok(page) => page,
                Err(HostError::Missing { after }) => {
                    return Ok(Read::Not(format!("part of its history is missing after {after}")));
                }
                Err(HostError::Erased { .. }) => return Ok(Read::Not(ERASED.to_owned())),
                Err(source) => return Err(ExportError::Session { session: session.clone(), source }),
            };
            end = page.1;
            for record in &page.0 {
                tail.records += 1;
                tail.last = record.offset;
                // One that can't be read is passed over, as by every node.
                if let Ok(record) = Record::decode(&record.record) {
                    state.apply(&record);
                }
            }
            for records in blocks(page.0) {
                file.put(Block::Records(records)).await?;
            }
        }
        Ok(if tail.records == 0 { Read::Not("it does not exist".to_owned()) } else { Read::Whole(tail, Box::new(state)) })
    }

    /// A log or store that is away for a moment doesn't cost the whole file.
    async fn page(&self, session: &SessionKey, after: Offset) -> Result<(Vec<StoredRecord>, bool), HostError> {
        let mut tries = 0;
        loop {
            match self.sessions.records(session, after, RECORDS_PAGE).await {
                Err(HostError::Busy | HostError::Unavailable(_)) if tries < TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What belongs to no session's history. After the sessions: what it tells of is in them.
    async fn beside<W: AsyncWrite + Unpin>(&self, file: &mut File<'_, W>) -> Result<(), ExportError> {
        let mut after = None;
        loop {
            let page = self.store.parked(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.session.clone());
            for fanfold_store::Parked { session, attempts, reason, parked_at_ms } in page {
                let (tenant, session) = names(&session);
                file.put(Block::Parked(Parked { tenant, session, attempts, reason, parked_at_ms })).await?;
            }
        }
        let mut after = None;
        loop {
            let from = after.as_ref().map(|(session, run)| (session, run));
            let page = self.queue.dead_letters(from, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.hint.session.clone(), last.hint.run.clone()));
            for letter in page {
                let (tenant, session) = names(&letter.hint.session);
                let DeadLetter { hint, reason, deliveries, buried_at_ms } = letter;
                let run = hint.run.to_string();
                file.put(Block::Letter(Letter { tenant, session, run, reason, deliveries, buried_at_ms })).await?;
            }
        }
        self.notes(file, NoteKind::Hook, format::NoteKind::Hook).await?;
        self.notes(file, NoteKind::Usage, format::NoteKind::Usage).await
    }

    async fn notes<W: AsyncWrite + Unpin>(
        &self,
        file: &mut File<'_, W>,
        kind: NoteKind,
        told: format::NoteKind,
    ) -> Result<(), ExportError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.store.notes(kind, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, note) in page {
                file.put(Block::Note(Note { kind: told, key, note: note.to_vec() })).await?;
            }
        }
    }
}

/// Records in blocks of about a size.
fn blocks(records: Vec<StoredRecord>) -> Vec<Vec<Stored>> {
    let (mut blocks, mut block, mut bytes) = (Vec::new(), Vec::new(), 0);
    for StoredRecord { offset, stored_at_ms, record, .. } in records {
        if bytes + record.len() > RECORDS_BYTES && !block.is_empty() {
            blocks.push(std::mem::take(&mut block));
            bytes = 0;
        }
        bytes += record.len();
        block.push(Stored { offset, stored_at_ms, record: record.to_vec() });
    }
    blocks.extend((!block.is_empty()).then_some(block));
    blocks
}

fn names(session: &SessionKey) -> (String, String) {
    (session.tenant.to_string(), session.session.to_string())
}

/// The session of a name like `tenant/session`, or `session` of the tenant that is meant where nobody says.
pub(crate) fn named(name: &str) -> Option<SessionKey> {
    let default = fanfold_fold::TenantId::default();
    let (tenant, session) = name.split_once('/').unwrap_or((default.as_str(), name));
    format::key(tenant, session)
}
