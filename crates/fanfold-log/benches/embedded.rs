//! Appends and reads of the embedded log, beside the store beneath it.
//!
//! Each round measures every case once, the control among them, so that a disk that changes its mind changes it for all.
//! Printed are medians over rounds. `FANFOLD_BENCH_ROUNDS` (default 7), `FANFOLD_BENCH_RECORDS` per case (default 65536),
//! `FANFOLD_BENCH_DIR` for the disk to measure (default: the system's temporary directory).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Expect};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures::future::join_all;

const BATCH: usize = 64;
const RECORD_BYTES: usize = 200;
const CONCURRENCY: [usize; 4] = [1, 4, 16, 64];
const READ_RECORDS: usize = 500;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let rounds = setting("FANFOLD_BENCH_ROUNDS", 7);
    let records = setting("FANFOLD_BENCH_RECORDS", 65_536);
    let base = std::env::var_os("FANFOLD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = EmbeddedLogConfig { dir: dir.path().join("log"), ..EmbeddedLogConfig::default() };
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(config.clone(), Arc::new(|| 0)).unwrap());
    let raw = Raw::open(&dir.path().join("raw"));
    let mut cases = CONCURRENCY.map(|concurrency| (concurrency, Vec::new()));
    let (mut control, mut reads) = (Vec::new(), Vec::new());
    let long = long_session(&runtime, &log);
    for _ in 0..rounds {
        control.push(raw.append(records));
        for (concurrency, rates) in &mut cases {
            rates.push(runtime.block_on(append(&log, *concurrency, records)));
        }
        reads.extend(runtime.block_on(read(&log, &long)));
    }
    let raw_rate = median(control);
    println!(
        "{RECORD_BYTES} B records in batches of {BATCH}, every batch synced; medians of {rounds} rounds of {records} records"
    );
    println!("control: raw store, batch + sync      {raw_rate:>9.0} records/s");
    for (concurrency, rates) in cases {
        let rate = median(rates);
        println!(
            "log, {concurrency:>2} batches under way at once   {rate:>9.0} appends/s   {:.2} of the control",
            rate / raw_rate
        );
    }
    println!("read {READ_RECORDS} records of one session       {:>9.0} us", median(reads) * 1e6);
    let last = runtime.block_on(log.last(&session("bench-0"))).unwrap();
    runtime.block_on(log.close());
    drop(log);
    let started = Instant::now();
    drop(EmbeddedLog::open(config, Arc::new(|| 0)).unwrap());
    println!("open again after {last} records          {:>9.0} ms, once", started.elapsed().as_secs_f64() * 1e3);
}

fn session(name: &str) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(name).unwrap())
}

/// Appends by `concurrency` tasks, each with a session and a batch of its own under way. Returns records per second.
async fn append(log: &Arc<dyn EventLog>, concurrency: usize, records: usize) -> f64 {
    let started = Instant::now();
    let tasks = (0..concurrency).map(|number| {
        let log = log.clone();
        tokio::spawn(async move {
            let session = session(&format!("bench-{number}"));
            let record = Bytes::from(vec![b'x'; RECORD_BYTES]);
            for _ in 0..records / BATCH / concurrency {
                let batch = (0..BATCH).map(|_| log.append(&session, record.clone(), Expect::Any, None));
                join_all(batch).await.into_iter().for_each(|result| assert!(result.is_ok()));
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|result| result.unwrap());
    records as f64 / started.elapsed().as_secs_f64()
}

/// A session whose records lie among those of many others.
fn long_session(runtime: &tokio::runtime::Runtime, log: &Arc<dyn EventLog>) -> SessionKey {
    let long = session("long");
    runtime.block_on(async {
        for n in 0..READ_RECORDS {
            let record = Bytes::from(vec![b'y'; RECORD_BYTES]);
            let beside = session(&format!("beside-{}", n % 50));
            let both = tokio::join!(
                log.append(&long, record.clone(), Expect::Any, None),
                log.append(&beside, record.clone(), Expect::Any, None)
            );
            both.0.and(both.1).unwrap();
        }
    });
    long
}

/// Reads the whole session some times. Returns seconds each.
async fn read(log: &Arc<dyn EventLog>, long: &SessionKey) -> Vec<f64> {
    let mut seconds = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        let page = log.read(long, Offset::NONE, READ_RECORDS, 1 << 20).await.unwrap();
        assert_eq!(page.records.len(), READ_RECORDS);
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds
}

/// The store without the log around it: the most that one batch at a time can do.
struct Raw {
    db: Database,
    keyspace: Keyspace,
    next: std::cell::Cell<u64>,
}

impl Raw {
    fn open(dir: &std::path::Path) -> Self {
        let db = Database::builder(dir).worker_threads(1).open().unwrap();
        let keyspace = db.keyspace("raw", KeyspaceCreateOptions::default).unwrap();
        Self { db, keyspace, next: std::cell::Cell::new(0) }
    }

    fn append(&self, records: usize) -> f64 {
        let record = vec![b'x'; RECORD_BYTES];
        let started = Instant::now();
        for _ in 0..records / BATCH {
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
            for _ in 0..BATCH {
                self.next.set(self.next.get() + 1);
                let key = [&b"rdefault/bench-0\0"[..], &self.next.get().to_be_bytes()].concat();
                batch.insert(&self.keyspace, key, record.clone());
            }
            batch.commit().unwrap();
        }
        records as f64 / started.elapsed().as_secs_f64()
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
