//! The store beneath: one fjall keyspace. Commits, reads, and what the driver's errors mean.

use std::collections::VecDeque;
use std::path::Path;

use fanfold_fold::{Offset, SessionKey};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable, Slice};

use super::config::EmbeddedLogConfig;
use super::error::{OpenError, StoreError};
use super::group::Group;
use super::identity::{Identity, LostRange};
use super::layout::{
    CONSUMED_KEY, DamagedBytes, IDENTITY_KEY, RECORDS, RECORDS_END, decode_record, decode_upto, encode_record, encode_upto,
    erased_key, group_key, offset_of, record_key, session_of, trimmed_key,
};
use super::queue::Chore;
use crate::{Page, ReadError, StoredRecord};

/// Commits between two looks at how far the tables have come.
const SETTLE_COMMITS: u64 = 64;

/// Threads of the driver. One of several never compacts: while others do, which a compaction of everything keeps waiting, it has what was
/// written put into tables. With a single one that would gather in memory, without a bound (I5).
const WORKERS: usize = 2;

/// fjall asserts that a limit of the journals is not below this.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;

/// No store has written that often: a number above it comes from a damaged manifest, and fjall would panic on the next write.
const WRITES_MAX: u64 = 1 << 62;

pub(crate) struct Store {
    db: Database,
    log: Keyspace,
}

/// What one commit writes.
pub(crate) struct Commit<'a> {
    pub(crate) group: &'a Group,
    pub(crate) records: &'a [(SessionKey, StoredRecord)],
    pub(crate) chores: &'a [Chore],
}

impl Store {
    /// Opens or makes it. Damaged files may make the driver panic here and later: see [`super::disk::guarded`].
    pub(crate) fn open(dir: &Path, config: &EmbeddedLogConfig) -> Result<Self, OpenError> {
        let open = || -> fjall::Result<Self> {
            let db = Database::builder(dir)
                .cache_size(config.cache_bytes)
                .max_journaling_size(config.journal_bytes_max.max(JOURNAL_BYTES_MIN))
                .worker_threads(WORKERS)
                .open()?;
            let memtable = config.memtable_bytes_max;
            let log = db.keyspace("log", || KeyspaceCreateOptions::default().max_memtable_size(memtable))?;
            Ok(Self { db, log })
        };
        let store = open().map_err(|error| match error {
            fjall::Error::Locked => OpenError::Busy,
            other => OpenError::Store(Box::new(other)),
        })?;
        if store.last_write() >= WRITES_MAX {
            return Err(OpenError::Store("the store has lost count of its writes".into()));
        }
        Ok(store)
    }

    /// `None` where there is none: a new store, or one that lost its beginning.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, StoreError> {
        let Some(value) = self.log.get(IDENTITY_KEY)? else { return Ok(None) };
        Ok(Some(Identity::decode(&value)?))
    }

    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.log, IDENTITY_KEY, identity.encode());
        Ok(batch.commit()?)
    }

    /// Whether there is nothing at all in it.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.log.is_empty()?)
    }

    /// What commits after `settled` said they stored, in order. A damaged entry is told by the offset of its last record.
    pub(crate) fn groups(&self, settled: Offset) -> impl Iterator<Item = Result<Result<Group, Offset>, StoreError>> + use<> {
        let range = group_key(Offset(settled.0.saturating_add(1)))..=group_key(Offset(u64::MAX));
        self.log.range(range).map(|entry| {
            let (key, value) = entry.into_inner()?;
            let last = offset_of(&key)?;
            Ok(Group::decode(&key, &value).map_err(|DamagedBytes| last))
        })
    }

    /// The last offset of the last commit. The latest commits' entries are never let go of.
    pub(crate) fn last_group(&self) -> Result<Option<Offset>, StoreError> {
        let Some(entry) = self.log.prefix(b"g").next_back() else { return Ok(None) };
        Ok(Some(offset_of(&entry.key()?)?))
    }

    /// Reads and writes every table anew, as the driver does by itself at some time: an error now is one that would stop the log then.
    pub(crate) fn compact(&self) -> Result<(), StoreError> {
        Ok(self.log.major_compact()?)
    }

    /// Bytes ever stored before the oldest commit that is remembered, and up to the newest.
    pub(crate) fn bytes(&self) -> Result<(u64, u64), StoreError> {
        let mut groups = self.groups(Offset::NONE).filter_map(|group| group.map(Result::ok).transpose());
        let before = groups.next().transpose()?.map_or(0, |group| group.bytes_before());
        let newest = self.last_group()?.map_or(Offset::NONE, |last| Offset(last.0 - 1));
        let upto = self.groups(newest).next().transpose()?.and_then(Result::ok).map_or(before, |group| group.bytes_total);
        Ok((before, upto.max(before)))
    }

    /// Up to where everything is in the archive.
    pub(crate) fn consumed(&self) -> Result<Offset, StoreError> {
        match self.log.get(CONSUMED_KEY)? {
            Some(value) => Ok(decode_upto(CONSUMED_KEY, &value)?),
            None => Ok(Offset::NONE),
        }
    }

    /// The session's last offset up to `visible`, trimmed or not.
    pub(crate) fn last(&self, session: &SessionKey, visible: Offset) -> Result<Offset, StoreError> {
        let view = self.db.snapshot();
        let range = record_key(session, Offset::NONE)..=record_key(session, visible);
        match view.range(&self.log, range).next_back() {
            Some(entry) => Ok(offset_of(&entry.key()?)?),
            None => mark(&view, &self.log, &trimmed_key(session)),
        }
    }

    /// Sessions that have records, found by leaping from one's first key to the next one's.
    pub(crate) fn sessions(&self) -> Result<Vec<SessionKey>, StoreError> {
        let mut sessions = Vec::new();
        let mut from = RECORDS.to_vec();
        while let Some(entry) = self.log.range(&*from..&RECORDS_END[..]).next() {
            let session = session_of(&entry.key()?)?;
            from = record_key(&session, Offset(u64::MAX));
            from.push(0);
            sessions.push(session);
        }
        Ok(sessions)
    }

    /// Offsets of the session's records up to `upto`, the first `max` of them.
    pub(crate) fn offsets(&self, session: &SessionKey, upto: Offset, max: usize) -> Result<Vec<Offset>, StoreError> {
        let range = record_key(session, Offset::NONE)..=record_key(session, upto);
        self.log.range(range).take(max).map(|entry| Ok(offset_of(&entry.key()?)?)).collect()
    }

    /// Offsets of the session's records up to `upto` but `at`, the first `max` of them.
    pub(crate) fn offsets_but(
        &self,
        session: &SessionKey,
        at: Offset,
        upto: Offset,
        max: usize,
    ) -> Result<Vec<Offset>, StoreError> {
        let range = record_key(session, Offset::NONE)..=record_key(session, upto);
        let offsets = self.log.range(range).map(|entry| Ok(offset_of(&entry.key()?)?));
        offsets.filter(|offset| !matches!(offset, Ok(offset) if *offset == at)).take(max).collect()
    }

    /// A page of the session's records in (after, visible]. Whatever can't be vouched for ends the page before it, or is the
    /// error when the page would be empty.
    pub(crate) fn read(&self, query: &Query<'_>) -> Result<Page, ReadError> {
        let view = self.db.snapshot();
        let mark = |key: Vec<u8>| mark(&view, &self.log, &key).map_err(|error| read_error(error, next(query.after)));
        let (trimmed, erased) = (mark(trimmed_key(query.session))?, mark(erased_key(query.session))?);
        let mut page = PageBuilder { query, trimmed, erased, records: Vec::new(), bytes: 0 };
        if query.after < query.visible {
            let range = record_key(query.session, next(query.after))..=record_key(query.session, query.visible);
            for entry in view.range(&self.log, range) {
                let decoded = entry.into_inner().map_err(StoreError::from);
                let decoded = decoded.and_then(|(key, value)| match decode_record(&key, &value) {
                    Ok(record) => Ok(Ok(record)),
                    Err(DamagedBytes) => Ok(Err(offset_of(&key)?)),
                });
                let added = match decoded {
                    Ok(Ok(record)) => page.add(record),
                    Ok(Err(offset)) => Err(ReadError::Damaged { offset }),
                    Err(error) => Err(read_error(error, next(page.upto()))),
                };
                match added {
                    Ok(true) => {}
                    Ok(false) => return Ok(page.part()),
                    Err(error) if page.records.is_empty() => return Err(error),
                    Err(_) => return Ok(page.part()),
                }
            }
        }
        page.whole()
    }

    /// Writes and syncs. When this returns, all of it survives; when it fails, nobody knows.
    pub(crate) fn commit(&self, commit: &Commit<'_>, forget: impl Iterator<Item = Offset>) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for (session, record) in commit.records {
            let key = record_key(session, record.offset);
            let value = encode_record(&key, record);
            batch.insert(&self.log, Slice::from(key), Slice::from(value));
        }
        if !commit.group.entries.is_empty() {
            let (key, value) = commit.group.encode();
            batch.insert(&self.log, key, value);
        }
        for chore in commit.chores {
            match chore {
                Chore::Trim { session, offsets } => {
                    let Some(upto) = offsets.last() else { continue };
                    let key = trimmed_key(session);
                    let value = encode_upto(&key, *upto);
                    batch.insert(&self.log, key, value);
                    for offset in offsets {
                        batch.remove(&self.log, record_key(session, *offset));
                    }
                }
                Chore::Erase { session, at, offsets } => {
                    let key = erased_key(session);
                    let value = encode_upto(&key, *at);
                    batch.insert(&self.log, key, value);
                    for offset in offsets {
                        batch.remove(&self.log, record_key(session, *offset));
                    }
                }
                Chore::Consumed(upto) => batch.insert(&self.log, CONSUMED_KEY, encode_upto(CONSUMED_KEY, *upto)),
                // Told by `forget`, when it is their time.
                Chore::Forget(_) => {}
            }
        }
        for last in forget {
            batch.remove(&self.log, group_key(last));
        }
        Ok(batch.commit()?)
    }

    /// What [`Self::expunge`] works on.
    pub(super) fn parts(&self) -> (&Database, &Keyspace) {
        (&self.db, &self.log)
    }

    /// Number of the last write, to be compared with [`Self::settled_write`].
    fn last_write(&self) -> u64 {
        self.db.seqno().saturating_sub(1)
    }

    /// Writes up to this one are in tables, and no journal is needed for them any more.
    fn settled_write(&self) -> Option<u64> {
        self.log.tree.get_highest_persisted_seqno()
    }
}

/// What a read asks for.
pub(crate) struct Query<'a> {
    pub(crate) session: &'a SessionKey,
    pub(crate) after: Offset,
    /// I1: nothing beyond is acknowledged yet.
    pub(crate) visible: Offset,
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
    /// What was in these isn't here, and may be in the archive.
    pub(crate) given_up: &'a [LostRange],
}

struct PageBuilder<'a> {
    query: &'a Query<'a>,
    trimmed: Offset,
    /// What erased the session; nothing before it is there.
    erased: Offset,
    records: Vec<StoredRecord>,
    bytes: usize,
}

impl PageBuilder<'_> {
    fn upto(&self) -> Offset {
        self.records.last().map_or(self.query.after, |record| record.offset)
    }

    /// Takes the record if it follows and fits. False when the page ends before it.
    fn add(&mut self, mut record: StoredRecord) -> Result<bool, ReadError> {
        let full = self.records.len() >= self.query.records_max || self.bytes + record.record.len() > self.query.bytes_max;
        if full && !self.records.is_empty() {
            return Ok(false);
        }
        let upto = self.upto();
        // What stood between was erased with the session.
        if self.erased > Offset::NONE && record.offset >= self.erased {
            record.previous = upto;
        }
        // The first one's previous may lie below what was asked for; after that the chain is exact.
        let follows = record.previous == upto || (self.records.is_empty() && record.previous < upto);
        if !follows && record.previous <= self.trimmed && self.records.is_empty() {
            return Err(ReadError::Trimmed { first: record.offset, certain: true });
        }
        // Also where the chain goes on over it: it was taken up again from what was left.
        if let Some(given_up) = self.given_up_before(record.offset) {
            return if self.records.is_empty() { Err(trimmed(given_up)) } else { Ok(false) };
        }
        if !follows {
            return Err(ReadError::Damaged { offset: record.previous });
        }
        self.bytes += record.record.len();
        self.records.push(record);
        Ok(true)
    }

    fn part(self) -> Page {
        Page { records: self.records, end: false }
    }

    fn whole(self) -> Result<Page, ReadError> {
        if self.records.is_empty() && self.query.after < self.trimmed {
            return Err(ReadError::Trimmed { first: next(self.trimmed), certain: true });
        }
        match self.given_up_before(next(self.query.visible)) {
            Some(given_up) if self.records.is_empty() => Err(trimmed(given_up)),
            Some(_) => Ok(self.part()),
            None => Ok(Page { records: self.records, end: true }),
        }
    }

    /// The last range before `offset` that was given up, if it reaches beyond what the page has. Of an erased session nothing was lost that
    /// lies before its end.
    fn given_up_before(&self, offset: Offset) -> Option<&LostRange> {
        let upto = self.upto().max(self.erased);
        let between = |range: &&LostRange| range.upto > upto && range.upto < offset;
        self.query.given_up.iter().filter(between).max_by_key(|range| range.upto)
    }
}

/// Only the archive may know what the session had in what was given up.
fn trimmed(given_up: &LostRange) -> ReadError {
    ReadError::Trimmed { first: next(given_up.upto), certain: false }
}

/// Which commits are in tables. A commit that isn't is in a journal only, and must be looked for at the next start-up.
pub(crate) struct Settling {
    window: u64,
    /// Last offset and number of the write of each commit that isn't settled.
    kept: VecDeque<(Offset, u64)>,
    settled: Offset,
    settled_write: Option<u64>,
    commits: u64,
}

impl Settling {
    /// `kept` are the commits found at start-up; they count as unsettled until the tables say otherwise.
    pub(crate) fn new(store: &Store, settled: Offset, window: u64, kept: impl Iterator<Item = Offset>) -> Self {
        let write = store.last_write();
        Self { window, kept: kept.map(|last| (last, write)).collect(), settled, settled_write: None, commits: 0 }
    }

    /// Notes a commit that has been written; tells up to where commits are settled and out of the duplicate window.
    pub(crate) fn committed(&mut self, store: &Store, last: Offset) -> Offset {
        self.kept.push_back((last, store.last_write()));
        if self.commits.is_multiple_of(SETTLE_COMMITS) {
            self.settled_write = store.settled_write();
        }
        self.commits += 1;
        let old = Offset(last.0.saturating_sub(self.window));
        while let Some((last, write)) = self.kept.front().copied()
            && Some(write) <= self.settled_write
            && last <= old
        {
            self.settled = self.settled.max(last);
            self.kept.pop_front();
        }
        self.settled
    }
}

fn next(offset: Offset) -> Offset {
    Offset(offset.0.saturating_add(1))
}

/// The offset that stands under `key`.
fn mark(view: &impl Readable, log: &Keyspace, key: &[u8]) -> Result<Offset, StoreError> {
    match view.get(log, key)? {
        Some(value) => Ok(decode_upto(key, &value)?),
        None => Ok(Offset::NONE),
    }
}

/// Damage beneath concerns a whole block; `offset` is the first record that could not be had.
pub(crate) fn read_error(error: StoreError, offset: Offset) -> ReadError {
    let damaged = match &error {
        StoreError::Damaged(_) => true,
        StoreError::Fjall(fjall::Error::Storage(LsmError::Io(error))) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        StoreError::Fjall(fjall::Error::Storage(_)) => true,
        StoreError::Fjall(_) | StoreError::Mark(_) | StoreError::Poisoned => false,
    };
    if damaged {
        tracing::error!(offset = offset.0, error = &error as &dyn std::error::Error, "the store beneath the log is damaged");
        return ReadError::Damaged { offset };
    }
    ReadError::Unavailable(Box::new(error))
}
