//! Sessions that are written to and followed while servers fall.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test, and not every one needs everything")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionKey};
use fanfold_log::{AppendError, EventLog, Expect, StoredRecord, Tail, TailItem};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// For things that take an election or two.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How long a tail is silent before the log is asked.
const SILENCE: Duration = Duration::from_millis(300);

/// Appends until told to stop; repeats with the same id what the log is not sure of, as producers do.
pub struct Writer {
    pub acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<(Offset, Bytes)>>,
}

impl Writer {
    pub fn start(log: Arc<dyn EventLog>, session: SessionKey) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut stored = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let record = Bytes::from(format!("{session} {}", stored.len()));
                let id = format!("id-{}", stored.len());
                let offset = until_stored(&*log, &session, &record, &id).await;
                stored.push((offset, record));
                count.fetch_add(1, Ordering::Relaxed);
            }
            stored
        });
        Self { acknowledged, stop, task }
    }

    /// Waits for some more to be acknowledged.
    pub async fn goes_on(&self, more: usize) {
        let upto = self.acknowledged.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + DEADLINE;
        while self.acknowledged.load(Ordering::Relaxed) < upto {
            assert!(Instant::now() < deadline, "appends go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// All that was acknowledged, in order.
    pub async fn end(self) -> Vec<(Offset, Bytes)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn until_stored(log: &dyn EventLog, session: &SessionKey, record: &Bytes, id: &str) -> Offset {
    loop {
        match log.append(session, record.clone(), Expect::Any, Some(id)).await {
            Ok(offset) => return offset,
            Err(AppendError::Unknown(_) | AppendError::Overloaded) => {}
            Err(error @ (AppendError::Conflict { .. } | AppendError::TooLarge { .. } | AppendError::Closed)) => panic!("{error}"),
        }
    }
}

/// Follows a session as an actor does: the tail when its chain fits, the log for what is missing, the guard's question in silence.
pub struct Follower {
    log: Arc<dyn EventLog>,
    session: SessionKey,
    tail: Tail,
    woken: Arc<Notify>,
    pub seen: Vec<StoredRecord>,
    pub live: usize,
    pub gaps: usize,
    pub found_by_guard: usize,
}

impl Follower {
    pub async fn start(log: Arc<dyn EventLog>, session: SessionKey) -> Self {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let tail = log.tail(&session, Arc::new(move || wake.notify_one())).await.unwrap();
        Self { log, session, tail, woken, seen: Vec::new(), live: 0, gaps: 0, found_by_guard: 0 }
    }

    fn upto(&self) -> Offset {
        self.seen.last().map_or(Offset::NONE, |record| record.offset)
    }

    /// Follows until told, and then as far as `end` says.
    pub async fn until(mut self, end: tokio::sync::oneshot::Receiver<Offset>) -> Self {
        let mut end = Box::pin(end);
        let last = loop {
            tokio::select! {
                last = &mut end => break last.unwrap(),
                () = self.step() => {}
            }
        };
        let deadline = Instant::now() + DEADLINE;
        while self.upto() < last {
            assert!(Instant::now() < deadline, "{} comes to {last}, not only to {}", self.session, self.upto());
            self.step().await;
        }
        self
    }

    async fn step(&mut self) {
        if tokio::time::timeout(SILENCE, self.woken.notified()).await.is_err()
            && self.log.last_of(std::slice::from_ref(&self.session)).await[0].is_some_and(|last| last > self.upto())
        {
            self.found_by_guard += 1;
            self.backfill().await;
        }
        for item in self.tail.take() {
            match item {
                TailItem::Record(record) if record.offset <= self.upto() => {}
                TailItem::Record(record) if record.previous == self.upto() => {
                    self.live += 1;
                    self.seen.push(record);
                }
                TailItem::Record(_) | TailItem::Lost => {
                    self.gaps += 1;
                    self.backfill().await;
                }
            }
        }
    }

    /// As far as it goes; a log that is away is asked again later.
    async fn backfill(&mut self) {
        while let Ok(page) = self.log.read(&self.session, self.upto(), 200, 1 << 20).await {
            for record in page.records {
                assert!(record.previous <= self.upto() && record.offset > self.upto(), "I2 contiguous");
                self.seen.push(record);
            }
            if page.end {
                return;
            }
        }
    }
}
