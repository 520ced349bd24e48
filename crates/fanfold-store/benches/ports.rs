//! What snapshots, segments and loading a long session cost, embedded and on the CQL server that `FANFOLD_TEST_CQL` names, in one run:
//! medians of calls one after another.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people to read")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::conformance::Store;
use fanfold_store::{EmbeddedStore, ScyllaConfig, ScyllaStore, Segment, Snapshot};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const EPOCH: Epoch = Epoch(uuid::Uuid::from_u128(1));
const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

/// Records of the long session, and of each of its segments.
const RECORDS: u64 = 10_000;
const SEGMENT_RECORDS: u64 = 256;

/// Records behind the newest snapshot that loading reads as well.
const TAIL: u64 = 200;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let embedded = EmbeddedStore::open(dir.path()).unwrap();
        let mut stores: Vec<(&str, Box<dyn Store>)> = vec![("embedded", Box::new(embedded))];
        match std::env::var("FANFOLD_TEST_CQL") {
            Ok(address) => stores.push(("CQL", Box::new(cql(address).await))),
            Err(_) => println!("CQL: FANFOLD_TEST_CQL names no server"),
        }
        println!("{:<10} {:<46} {:>9} {:>9}", "store", "median and 99th percentile of", "p50 ms", "p99 ms");
        for (name, store) in &stores {
            measure(name, &**store).await;
        }
    });
}

async fn cql(address: String) -> ScyllaStore {
    let keyspace = format!("b_{}", uuid::Uuid::new_v4().simple());
    let config = ScyllaConfig { nodes: vec![address], keyspace, replicas: 1, ..ScyllaConfig::default() };
    ScyllaStore::migrate(&config).await.unwrap();
    ScyllaStore::open(&config).await.unwrap()
}

async fn measure(name: &str, store: &dyn Store) {
    let mut random = StdRng::seed_from_u64(1);
    for bytes in [20 << 10, 1 << 20] {
        let key = session(&format!("snapshots-{bytes}"));
        let state = Bytes::from((0..bytes).map(|_| random.random::<u8>()).collect::<Vec<_>>());
        let snapshot = |offset| Snapshot { epoch: EPOCH, fold: FOLD, offset: Offset(offset), state: state.clone() };
        let calls = if bytes > 100_000 { 60 } else { 300 };
        let mut write = Vec::new();
        for offset in 1..=calls {
            write.push(timed(async || store.put(&key, &snapshot(offset)).await.unwrap()).await);
        }
        print(name, &format!("snapshot of {} KiB written", bytes >> 10), write);
        let mut read = Vec::new();
        for _ in 0..calls {
            read.push(timed(async || assert!(store.newest(&key, EPOCH, FOLD, LAST).await.unwrap().is_some())).await);
        }
        print(name, &format!("snapshot of {} KiB read", bytes >> 10), read);
    }
    long_session(name, store).await;
}

async fn long_session(name: &str, store: &dyn Store) {
    let key = session("long");
    let mut random = StdRng::seed_from_u64(2);
    let mut record = |offset| (Offset(offset), 1_773_000_000_000 + offset, words(&mut random));
    let records = (1..=RECORDS).map(&mut record).collect::<Vec<_>>();
    let mut write = Vec::new();
    for cut in records.chunks(SEGMENT_RECORDS as usize) {
        let segment = Segment::new(EPOCH, Offset(cut[0].0.0 - 1), cut.to_vec()).unwrap();
        write.push(timed(async || store.put_segment(&key, &segment).await.unwrap()).await);
    }
    print(name, &format!("segment of {SEGMENT_RECORDS} records written"), write);
    let mut one = Vec::new();
    for turn in 0..100 {
        let after = Offset(turn * 97 % (RECORDS - SEGMENT_RECORDS));
        one.push(timed(async || assert_eq!(store.records(&key, after, LAST, 256).await.unwrap().len(), 256)).await);
    }
    print(name, "256 archived records read", one);
    let state = Bytes::from((0..300 << 10).map(|_| random.random::<u8>()).collect::<Vec<_>>());
    let at = Offset(RECORDS - TAIL);
    store.put(&key, &Snapshot { epoch: EPOCH, fold: FOLD, offset: at, state }).await.unwrap();
    let (mut newest, mut all) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let load = async || {
            let snapshot = store.newest(&key, EPOCH, FOLD, LAST).await.unwrap().unwrap();
            let tail = store.records(&key, snapshot.offset, LAST, 2048).await.unwrap();
            assert_eq!(tail.len() as u64, TAIL);
        };
        newest.push(timed(load).await);
    }
    print(name, &format!("{RECORDS} records: snapshot of 300 KiB, {TAIL} after it"), newest);
    for _ in 0..15 {
        let load = async || {
            let mut upto = Offset::NONE;
            while let Some((last, ..)) = store.records(&key, upto, LAST, 2048).await.unwrap().last() {
                upto = *last;
            }
            assert_eq!(upto, Offset(RECORDS));
        };
        all.push(timed(load).await);
    }
    print(name, &format!("{RECORDS} records: all of the archive"), all);
}

fn session(id: &str) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(id).unwrap())
}

/// About 200 bytes that compress like text does.
fn words(random: &mut StdRng) -> Bytes {
    const WORDS: [&str; 12] =
        ["stream", "of", "a", "the", "session", "answer", "token", "is", "log", "reader", "offset", "continues"];
    let text = (0..35).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect::<Vec<_>>().join(" ");
    Bytes::from(text)
}

async fn timed(call: impl AsyncFnOnce()) -> Duration {
    let started = Instant::now();
    call().await;
    started.elapsed()
}

fn print(store: &str, what: &str, mut took: Vec<Duration>) {
    // The first tenth warms both sides up.
    took.drain(..took.len() / 10);
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{store:<10} {what:<46} {:>9.2} {:>9.2}", at(0.5), at(0.99));
}
