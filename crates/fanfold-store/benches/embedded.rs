//! Puts per second by how many callers put at once: what sharing a sync is worth.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people to read")]

use std::time::{Duration, Instant};

use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{EmbeddedStore, Parking, Snapshot, SnapshotStore};

const STATE_BYTES: usize = 8 << 10;
const FOR: Duration = Duration::from_secs(2);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for callers in [1, 8, 64] {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let puts = runtime.block_on(callers_put(&store, callers));
        println!("{callers:>3} callers: {:>7.0} snapshots of {STATE_BYTES} bytes a second", puts as f64 / FOR.as_secs_f64());
    }
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let started = Instant::now();
    let tries = 2000;
    runtime.block_on(async {
        for number in 0..tries {
            store.begin(&session(number), 0).await.unwrap();
            store.clear(&session(number)).await.unwrap();
        }
    });
    println!("a try counted and cleared: {:.0} µs", started.elapsed().as_secs_f64() * 1e6 / tries as f64);
}

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

async fn callers_put(store: &EmbeddedStore, callers: usize) -> usize {
    let until = Instant::now() + FOR;
    let caller = |number: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                let state = vec![number as u8; STATE_BYTES].into();
                let offset = Offset(1 + count as u64);
                let snapshot = Snapshot { epoch: Epoch(uuid::Uuid::from_u128(1)), fold: FoldVersion(1), offset, state };
                store.put(&session(number), &snapshot).await.unwrap();
                count += 1;
            }
            count
        })
    };
    let all = (0..callers).map(caller).collect::<Vec<_>>();
    futures::future::join_all(all).await.into_iter().map(Result::unwrap).sum()
}
