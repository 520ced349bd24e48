//! What readers are told of values that were damaged under the driver's own checksums, or by it.

use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fjall::Keyspace;

use super::EmbeddedStore;
use super::layout::attempts_key;
use crate::port::{
    Archive, Begun, Parked, Parking, Segment, SessionIndex, SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError, Tries,
};
use crate::stored::key::parked_key;

const EPOCH: Epoch = Epoch(uuid::Uuid::from_u128(7));
const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

fn open() -> (EmbeddedStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(dir.path()).unwrap(), dir)
}

fn session() -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new("s").unwrap())
}

fn snapshot(offset: u64) -> Snapshot {
    Snapshot { epoch: EPOCH, fold: FOLD, offset: Offset(offset), state: Bytes::from(format!("the state at {offset}")) }
}

fn row(id: &str, offset: u64, active_at_ms: u64) -> SessionRow {
    SessionRow {
        key: SessionKey::new(TenantId::default(), SessionId::new(id).unwrap()),
        user: Some("ann".into()),
        title: None,
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms,
        open_runs: 1,
        offset: Offset(offset),
    }
}

/// Damages the value of the `nth` key.
fn damage(keyspace: &Keyspace, nth: usize, damage: impl FnOnce(&mut Vec<u8>)) {
    let (key, value) = keyspace.iter().nth(nth).unwrap().into_inner().unwrap();
    let mut value = value.to_vec();
    damage(&mut value);
    keyspace.insert(key, value).unwrap();
}

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::Unavailable(_)) => true,
        Err(StoreError::TooLarge { .. } | StoreError::Overloaded) | Ok(_) => false,
    }
}

#[tokio::test]
async fn a_damaged_snapshot_gives_way_to_an_older_one() {
    let (store, _dir) = open();
    for offset in 1..=3 {
        store.put(&session(), &snapshot(offset)).await.unwrap();
    }
    let bytes = store.disk.snapshots.iter().nth(2).unwrap().into_inner().unwrap().1.len();
    for byte in 0..bytes {
        damage(&store.disk.snapshots, 2, |value| value[byte] ^= 0x10);
        assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(2)), "byte {byte}");
        damage(&store.disk.snapshots, 2, |value| value[byte] ^= 0x10);
    }
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(3)));
    damage(&store.disk.snapshots, 2, Vec::clear);
    damage(&store.disk.snapshots, 1, |value| value.truncate(9));
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(1)));
    damage(&store.disk.snapshots, 0, |value| value.push(0));
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), None);
    store.put(&session(), &snapshot(3)).await.unwrap();
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(3)), "put again, it is whole again");
}

#[tokio::test]
async fn a_snapshot_under_another_key_is_damaged() {
    let (store, _dir) = open();
    store.put(&session(), &snapshot(1)).await.unwrap();
    store.put(&session(), &snapshot(2)).await.unwrap();
    let (_, first) = store.disk.snapshots.iter().next().unwrap().into_inner().unwrap();
    damage(&store.disk.snapshots, 1, |value| *value = first.to_vec());
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(1)));
}

#[tokio::test]
async fn a_damaged_segment_is_a_gap_unless_another_cut_has_its_records() {
    let (store, _dir) = open();
    let record = |number: u64| (Offset(number), number, Bytes::from(format!("record {number}")));
    let put = async |from: u64, upto: u64| {
        let segment = Segment::new(EPOCH, Offset(from - 1), (from..=upto).map(record).collect()).unwrap();
        store.put_segment(&session(), &segment).await.unwrap();
    };
    let read = async |after| store.records(&session(), Offset(after), LAST, 100).await;
    put(1, 4).await;
    put(5, 8).await;
    put(9, 12).await;
    let bytes = store.disk.segments.iter().nth(1).unwrap().into_inner().unwrap().1.len();
    for byte in 0..bytes {
        damage(&store.disk.segments, 1, |value| value[byte] ^= 1);
        assert_eq!(read(0).await.unwrap(), (1..=4).map(record).collect::<Vec<_>>(), "byte {byte}");
        assert!(is_unavailable(read(4).await), "byte {byte}");
        assert!(is_unavailable(read(7).await), "byte {byte}");
        assert_eq!(read(8).await.unwrap(), (9..=12).map(record).collect::<Vec<_>>(), "byte {byte}");
        damage(&store.disk.segments, 1, |value| value[byte] ^= 1);
    }
    damage(&store.disk.segments, 1, Vec::clear);
    put(3, 10).await;
    assert_eq!(read(0).await.unwrap(), (1..=12).map(record).collect::<Vec<_>>(), "another cut has its records");
    damage(&store.disk.segments, 3, Vec::clear);
    assert_eq!(read(0).await.unwrap(), (1..=10).map(record).collect::<Vec<_>>());
    assert!(is_unavailable(read(10).await), "the last is known by its key");
}

#[tokio::test]
async fn a_damaged_row_is_never_absent_and_spoils_no_list() {
    let (store, _dir) = open();
    store.put_row(&row("a", 5, 50)).await.unwrap();
    store.put_row(&row("b", 5, 60)).await.unwrap();
    damage(&store.disk.rows, 0, |value| value[20] ^= 1);
    assert!(is_unavailable(store.row(&row("a", 5, 50).key).await));
    for user in [None, Some("ann".into())] {
        let list = async || {
            let query = SessionQuery { user: user.clone(), ..SessionQuery::new(TenantId::default(), 9) };
            store.list(&query).await.unwrap().rows
        };
        assert_eq!(list().await, [row("b", 5, 60)]);
    }
    store.put_row(&row("a", 6, 55)).await.unwrap();
    let query = SessionQuery::new(TenantId::default(), 9);
    assert_eq!(
        store.list(&query).await.unwrap().rows,
        [row("b", 5, 60), row("a", 6, 55)],
        "once, though its old entry is left over"
    );
}

/// As where the driver has lost a table and doesn't know it.
#[tokio::test]
async fn rows_and_entries_that_are_just_not_there_are_noticed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let list = async |store: &EmbeddedStore| {
        let query = SessionQuery { user: Some("ann".into()), ..SessionQuery::new(TenantId::default(), 9) };
        store.list(&query).await.unwrap().rows.into_iter().map(|row| row.key.session.to_string()).collect::<Vec<_>>()
    };
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        store.put_row(&row(id, 5, number as u64)).await.unwrap();
    }
    let entries = store.disk.listing.iter().map(|entry| entry.key().unwrap()).collect::<Vec<_>>();
    assert_eq!(entries.len(), 3 * 5, "by tenant, by user, by the id as a word for both, and for the open run");
    entries.into_iter().for_each(|key| store.disk.listing.remove(key).unwrap());
    assert_eq!(list(&store).await, Vec::<String>::new());
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(list(&store).await, ["c", "b", "a"], "entries are made from the rows");
    assert_eq!(store.unfinished(None, 9).await.unwrap().len(), 3);
    let key = |id| crate::stored::key::session_key(&row(id, 0, 0).key);
    // Two rows are lost, of one of them an older one comes up.
    let older = crate::stored::row::Stored::encode(&row("b", 2, 0), &key("b")).unwrap();
    store.disk.rows.remove(key("a")).unwrap();
    store.disk.rows.insert(key("b"), older).unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert!(is_unavailable(store.row(&row("a", 0, 0).key).await), "never absent");
    assert!(is_unavailable(store.row(&row("b", 0, 0).key).await), "never an older one");
    assert_eq!(store.row(&row("c", 0, 0).key).await.unwrap(), Some(row("c", 5, 2)));
    assert_eq!(list(&store).await, ["c"]);
    store.put_row(&row("a", 6, 7)).await.unwrap();
    store.put_row(&row("b", 6, 8)).await.unwrap();
    drop(store);
    assert_eq!(list(&EmbeddedStore::open(dir.path()).unwrap()).await, ["b", "a", "c"], "put again, all is well");
}

#[tokio::test]
async fn a_damaged_count_counts_as_none_and_a_damaged_parking_stays() {
    let (store, _dir) = open();
    let begun = |failed| Begun::Attempt(Tries { broken_off: 0, failed });
    assert_eq!(store.begin(&session(), 1).await.unwrap(), begun(0));
    store.fail(&session(), 1).await.unwrap();
    assert_eq!(store.begin(&session(), 1).await.unwrap(), begun(1));
    store.disk.parking.insert(attempts_key(&session()), b"nonsense").unwrap();
    assert_eq!(store.begin(&session(), 1).await.unwrap(), begun(0));
    let parked = Parked { session: session(), attempts: 3, reason: "why".into(), parked_at_ms: 9 };
    store.park(&parked).await.unwrap();
    store.disk.parking.insert(parked_key(&session()), b"nonsense").unwrap();
    assert!(is_unavailable(store.begin(&session(), 1).await));
    assert_eq!(store.parked(None, 9).await.unwrap()[0].session, session());
    assert!(store.unpark(&session()).await.unwrap());
    assert_eq!(store.begin(&session(), 1).await.unwrap(), begun(0));
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_free_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let config = super::EmbeddedStoreConfig { dir: dir.path().into(), calls_max: 1, ..Default::default() };
    let store = EmbeddedStore::open_with(&config).unwrap();
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let (let_go, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let busy = store.call(move |_| {
        entered.send(()).unwrap();
        gate.recv().unwrap();
        Ok(())
    });
    tokio::select! {
        biased;
        result = busy => panic!("it waits: {result:?}"),
        entered = is_in => entered.unwrap(),
    }
    assert_eq!(store.calls.available_permits(), 0, "I5 bounded: the thread is still at it");
    let_go.send(()).unwrap();
    assert_eq!(store.row(&session()).await.unwrap(), None);
}

#[tokio::test]
async fn a_write_that_panics_takes_no_other_with_it() {
    let (store, _dir) = open();
    let panics = store.writer.write(0, super::Durable::Synced, |_| -> Result<(), StoreError> { panic!("as a driver might") });
    assert!(is_unavailable(panics.await));
    store.put(&session(), &snapshot(1)).await.unwrap();
    assert_eq!(store.newest(&session(), EPOCH, FOLD, LAST).await.unwrap(), Some(snapshot(1)));
}

#[test]
fn dropped_it_has_written_everything_and_can_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..4 {
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let count = runtime.block_on(async {
            let puts = (0..20).map(|number| {
                let store = store.clone();
                tokio::spawn(async move { store.put_row(&row(&format!("s{number}"), round, round)).await })
            });
            for put in puts.collect::<Vec<_>>() {
                put.await.unwrap().unwrap();
            }
            let query = SessionQuery::new(TenantId::default(), 99);
            store.list(&query).await.unwrap().rows.iter().filter(|row| row.offset == Offset(round)).count()
        });
        assert_eq!(count, 20);
        let weak = Arc::downgrade(&store.disk);
        drop(runtime);
        drop(store);
        assert!(weak.upgrade().is_none(), "the database is closed");
    }
}
