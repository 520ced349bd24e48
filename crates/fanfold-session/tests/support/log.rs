//! A log in memory whose tail and appends misbehave on purpose, by a seed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, SessionKey};
use fanfold_log::{AppendError, EventLog, Expect, Page, ReadError, StoredRecord, Tail, TailItem, TailSender, Wake};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// More than any test needs.
const READS_MAX: u64 = 1_000_000;

/// Chances out of a hundred.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// A live record never comes.
    pub lost: u32,
    /// A live record comes twice.
    pub doubled: u32,
    /// A live record comes after the next one.
    pub late: u32,
    /// An append is stored but never confirmed.
    pub unconfirmed: u32,
    /// An append is refused as overloaded.
    pub refused: u32,
    /// The tail says that it lost something.
    pub gap: u32,
}

pub struct SimLog {
    pub epoch: Epoch,
    /// Reads fail while this is set.
    pub away: AtomicBool,
    /// Nobody is told where this session ends, as if its shard had no leader.
    pub silent: Mutex<Option<SessionKey>>,
    /// Appends that come while this is set begin to be stored when it no longer is.
    pub stuck: AtomicBool,
    /// How long the confirmation of an append takes.
    pub confirm_ms: AtomicU64,
    /// Reads panic while this is set.
    pub panics: AtomicBool,
    /// Whether it knows that sessions had what was trimmed.
    pub certain: AtomicBool,
    /// How long each read takes.
    pub read_ms: AtomicU64,
    pub reads: AtomicU64,
    /// How long the leader's answer to a question for a session's end is on its way.
    pub last_ms: AtomicU64,
    /// How often all tails were made anew.
    pub tails: AtomicU64,
    /// Whether the guard looks after tails; without it only the chain does.
    pub guarded: AtomicBool,
    faults: Faults,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: StdRng,
    last: u64,
    /// What is at or below it was trimmed, whosever it was.
    trimmed: Offset,
    records: HashMap<SessionKey, Vec<StoredRecord>>,
    tails: HashMap<SessionKey, Vec<TailSender>>,
    held: HashMap<SessionKey, StoredRecord>,
}

impl SimLog {
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let inner = Inner {
            rng: StdRng::seed_from_u64(seed),
            last: 0,
            trimmed: Offset::NONE,
            records: HashMap::new(),
            tails: HashMap::new(),
            held: HashMap::new(),
        };
        Arc::new(Self {
            epoch: Epoch(uuid::Uuid::from_u128(7)),
            away: AtomicBool::new(false),
            silent: Mutex::new(None),
            stuck: AtomicBool::new(false),
            confirm_ms: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            certain: AtomicBool::new(false),
            read_ms: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            tails: AtomicU64::new(0),
            guarded: AtomicBool::new(true),
            faults,
            inner: Mutex::new(inner),
        })
    }

    pub fn records(&self, key: &SessionKey) -> Vec<StoredRecord> {
        self.inner.lock().unwrap().records.get(key).cloned().unwrap_or_default()
    }

    fn store(&self, session: &SessionKey, record: Bytes, expect: Expect) -> Result<Offset, AppendError> {
        let mut inner = self.inner.lock().unwrap();
        if inner.chance(self.faults.refused) {
            return Err(AppendError::Overloaded);
        }
        let last = inner.records.get(session).and_then(|records| records.last()).map_or(Offset::NONE, |last| last.offset);
        match expect {
            Expect::Any => {}
            Expect::Empty if last == Offset::NONE => {}
            Expect::Last(expected) if last == expected => {}
            Expect::Empty | Expect::Last(_) => return Err(AppendError::Conflict { last }),
        }
        let stored = inner.store(session, record);
        let offset = stored.offset;
        inner.deliver(session, stored, self.faults);
        if inner.chance(self.faults.unconfirmed) {
            return Err(AppendError::Unknown("lost answer".into()));
        }
        Ok(offset)
    }

    /// Loses what the session has, as a log does that was given up: what comes next follows on nothing.
    pub fn lose(&self, key: &SessionKey) {
        self.inner.lock().unwrap().records.remove(key);
    }

    /// Stores a record as another node would: no tail here hears of it.
    pub fn append_elsewhere(&self, key: &SessionKey, record: Bytes) -> Offset {
        self.inner.lock().unwrap().store(key, record).offset
    }
}

impl Inner {
    fn store(&mut self, key: &SessionKey, record: Bytes) -> StoredRecord {
        // Offsets skip, as in a stream that many sessions share.
        self.last += self.rng.random_range(1..4);
        let records = self.records.entry(key.clone()).or_default();
        let previous = records.last().map_or(Offset::NONE, |last| last.offset);
        let stored = StoredRecord { offset: Offset(self.last), previous, stored_at_ms: self.last, record };
        records.push(stored.clone());
        stored
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn deliver(&mut self, key: &SessionKey, stored: StoredRecord, faults: Faults) {
        if self.chance(faults.lost) {
            return;
        }
        if self.chance(faults.gap) {
            return self.send(key, TailItem::Lost);
        }
        if self.chance(faults.late) && !self.held.contains_key(key) {
            self.held.insert(key.clone(), stored);
            return;
        }
        let doubled = self.chance(faults.doubled);
        self.send(key, TailItem::Record(stored.clone()));
        if doubled {
            self.send(key, TailItem::Record(stored));
        }
        if let Some(held) = self.held.remove(key) {
            self.send(key, TailItem::Record(held));
        }
    }

    fn send(&mut self, key: &SessionKey, item: TailItem) {
        if let Some(tails) = self.tails.get_mut(key) {
            tails.retain(|tail| tail.send(item.clone()));
        }
    }
}

#[async_trait::async_trait]
impl EventLog for SimLog {
    fn epoch(&self, _session: &SessionKey) -> Epoch {
        self.epoch
    }

    async fn append(
        &self,
        session: &SessionKey,
        record: Bytes,
        expect: Expect,
        _id: Option<&str>,
    ) -> Result<Offset, AppendError> {
        tokio::task::yield_now().await;
        while self.stuck.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let stored = self.store(session, record, expect);
        tokio::time::sleep(Duration::from_millis(self.confirm_ms.load(Ordering::Relaxed))).await;
        stored
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, ReadError> {
        if self.silent.lock().unwrap().as_ref() == Some(session) {
            return Err(ReadError::Unavailable("silent".into()));
        }
        let last = self.records(session).last().map_or(Offset::NONE, |last| last.offset);
        tokio::time::sleep(Duration::from_millis(self.last_ms.load(Ordering::Relaxed))).await;
        Ok(last)
    }

    async fn must_have(&self, _session: &SessionKey, _offset: Offset) -> Result<(), ReadError> {
        Ok(())
    }

    fn tail_may_lose(&self) -> bool {
        self.guarded.load(Ordering::Relaxed)
    }

    fn tails_made_anew(&self) -> u64 {
        self.tails.load(Ordering::Relaxed)
    }

    async fn read(&self, session: &SessionKey, after: Offset, records_max: usize, _bytes_max: usize) -> Result<Page, ReadError> {
        assert!(self.reads.fetch_add(1, Ordering::Relaxed) < READS_MAX, "somebody reads without end");
        match self.read_ms.load(Ordering::Relaxed) {
            0 => tokio::task::yield_now().await,
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        assert!(!self.panics.load(Ordering::Relaxed), "as told");
        if self.away.load(Ordering::Relaxed) {
            return Err(ReadError::Unavailable("away".into()));
        }
        let trimmed = self.inner.lock().unwrap().trimmed;
        if after < trimmed {
            return Err(ReadError::Trimmed { first: Offset(trimmed.0 + 1), certain: self.certain.load(Ordering::Relaxed) });
        }
        let all = self.records(session);
        let from = all.partition_point(|record| record.offset <= after);
        let records: Vec<_> = all[from..].iter().take(records_max).cloned().collect();
        Ok(Page { end: from + records.len() == all.len(), records })
    }

    async fn tail(&self, session: &SessionKey, wake: Wake) -> Result<Tail, ReadError> {
        Ok(Tail::new(wake, |sender| {
            self.inner.lock().unwrap().tails.entry(session.clone()).or_default().push(sender);
            Box::new(())
        }))
    }

    async fn trim(&self, _session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        let mut inner = self.inner.lock().unwrap();
        inner.trimmed = upto;
        inner.records.values_mut().for_each(|records| records.retain(|record| record.offset > upto));
        Ok(())
    }

    async fn erase(&self, session: &SessionKey, at: Offset) -> Result<(), ReadError> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(records) = inner.records.get_mut(session) {
            records.retain(|record| record.offset == at);
            records.iter_mut().for_each(|record| record.previous = Offset::NONE);
        }
        Ok(())
    }

    async fn close(&self) {}
}
