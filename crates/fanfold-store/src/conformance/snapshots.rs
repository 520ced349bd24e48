//! Snapshots: the newest valid one, of this fold and epoch only.

use bytes::Bytes;
use fanfold_fold::{FoldVersion, Offset};

use super::{Store, alike, new_epoch, new_session};
use crate::port::{Snapshot, SnapshotStore, StoreError};

const FOLD: FoldVersion = FoldVersion(3);
const LAST: Offset = Offset(u64::MAX);

fn state(number: u64) -> Bytes {
    Bytes::from(format!("the state at {number} ").repeat(number as usize % 7 * 300 + 1))
}

/// What was put is found, whole, be it empty or large.
pub async fn a_snapshot_is_read_as_written(store: &dyn Store) {
    for (bytes, offset) in [(0, 1), (1, 2), (900, 3), (300_000, 4), (3 << 20, u64::MAX)] {
        let (session, epoch) = (new_session(), new_epoch());
        let state = (0..bytes).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let snapshot = Snapshot { epoch, fold: FOLD, offset: Offset(offset), state };
        store.put(&session, &snapshot).await.unwrap();
        assert!(store.newest(&session, epoch, FOLD, LAST).await.unwrap() == Some(snapshot), "{bytes} bytes");
    }
}

/// At or below the offset asked for; none below the first.
pub async fn the_newest_snapshot_up_to_an_offset_is_found(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    // Out of order, and across every byte of an offset.
    let offsets = [300, 5, 70_000, 255, 256, 1 << 40, 65_536, u64::MAX - 1];
    for offset in offsets {
        let snapshot = Snapshot { epoch, fold: FOLD, offset: Offset(offset), state: state(offset % 100) };
        store.put(&session, &snapshot).await.unwrap();
    }
    for upto in offsets.iter().flat_map(|offset| [offset - 1, *offset, offset + 1]) {
        let expected = offsets.iter().copied().filter(|offset| *offset <= upto).max();
        let found = store.newest(&session, epoch, FOLD, Offset(upto)).await.unwrap();
        assert_eq!(found.as_ref().map(|found| found.offset.0), expected, "up to {upto}");
        assert_eq!(found.map(|found| found.state), expected.map(|offset| state(offset % 100)));
    }
}

/// Another fold reads the log differently, and another epoch's offsets are another history's.
pub async fn a_snapshot_of_another_fold_or_epoch_is_absent(store: &dyn Store) {
    let (session, epoch, other) = (new_session(), new_epoch(), new_epoch());
    let snapshot =
        |epoch, fold, offset| Snapshot { epoch, fold: FoldVersion(fold), offset: Offset(offset), state: state(offset) };
    for (epoch, fold, offset) in [(epoch, 2, 50), (epoch, 4, 60), (epoch, 259, 65), (other, 3, 70)] {
        store.put(&session, &snapshot(epoch, fold, offset)).await.unwrap();
    }
    assert_eq!(store.newest(&session, epoch, FOLD, LAST).await.unwrap(), None);
    store.put(&session, &snapshot(epoch, 3, 40)).await.unwrap();
    assert_eq!(store.newest(&session, epoch, FOLD, LAST).await.unwrap(), Some(snapshot(epoch, 3, 40)));
    assert_eq!(store.newest(&session, other, FOLD, LAST).await.unwrap(), Some(snapshot(other, 3, 70)));
}

/// A writer that heard nothing repeats itself.
pub async fn a_snapshot_put_again_changes_nothing(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    let snapshot = |offset| Snapshot { epoch, fold: FOLD, offset: Offset(offset), state: state(offset) };
    for offset in [3, 8, 3, 8, 3] {
        store.put(&session, &snapshot(offset)).await.unwrap();
    }
    assert_eq!(store.newest(&session, epoch, FOLD, LAST).await.unwrap(), Some(snapshot(8)));
    store.prune(&session, 2).await.unwrap();
    assert_eq!(store.newest(&session, epoch, FOLD, Offset(7)).await.unwrap(), Some(snapshot(3)), "it counts once");
}

/// The newest by offset stay, of whatever fold; other sessions' are left alone.
pub async fn pruning_keeps_the_newest(store: &dyn Store) {
    let (session, other, epoch) = (new_session(), new_session(), new_epoch());
    let snapshot = |fold, offset| Snapshot { epoch, fold: FoldVersion(fold), offset: Offset(offset), state: state(offset) };
    for (fold, offset) in [(3, 10), (3, 20), (4, 30), (3, 40)] {
        store.put(&session, &snapshot(fold, offset)).await.unwrap();
    }
    store.put(&other, &snapshot(3, 10)).await.unwrap();
    store.prune(&session, 2).await.unwrap();
    let newest = async |fold, upto| store.newest(&session, epoch, FoldVersion(fold), Offset(upto)).await.unwrap();
    assert_eq!(newest(3, 100).await, Some(snapshot(3, 40)));
    assert_eq!(newest(3, 39).await, None);
    assert_eq!(newest(4, 100).await, Some(snapshot(4, 30)));
    assert_eq!(store.newest(&other, epoch, FOLD, LAST).await.unwrap(), Some(snapshot(3, 10)));
    store.prune(&session, 2).await.unwrap();
    assert_eq!(newest(4, 100).await, Some(snapshot(4, 30)), "pruning again changes nothing");
}

/// Refused whole, and what was there stays.
pub async fn a_snapshot_over_the_limit_is_refused(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    let snapshot = |offset, state| Snapshot { epoch, fold: FOLD, offset: Offset(offset), state };
    store.put(&session, &snapshot(1, state(1))).await.unwrap();
    let huge = Bytes::from(vec![7; 256 << 20]);
    let refused = store.put(&session, &snapshot(2, huge)).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { bytes, limit } if bytes == 256 << 20 && limit < bytes), "{refused:?}");
    assert_eq!(store.newest(&session, epoch, FOLD, LAST).await.unwrap(), Some(snapshot(1, state(1))));
}

/// Whatever their ids.
pub async fn snapshots_of_sessions_never_mix(store: &dyn Store) {
    let (sessions, epoch) = (alike(), new_epoch());
    let snapshot = |number: usize| Snapshot {
        epoch,
        fold: FOLD,
        offset: Offset(1 + number as u64),
        state: Bytes::from(format!("{number}")),
    };
    let put = sessions.iter().enumerate().filter(|(number, _)| number % 2 == 0);
    for (number, session) in put {
        store.put(session, &snapshot(number)).await.unwrap();
    }
    for (number, session) in sessions.iter().enumerate() {
        let expected = (number % 2 == 0).then(|| snapshot(number));
        assert_eq!(store.newest(session, epoch, FOLD, LAST).await.unwrap(), expected, "{session}");
    }
    store.prune(&sessions[0], 0).await.unwrap();
    assert_eq!(SnapshotStore::newest(store, &sessions[0], epoch, FOLD, LAST).await.unwrap(), None);
    assert_eq!(store.newest(&sessions[2], epoch, FOLD, LAST).await.unwrap(), Some(snapshot(2)));
}
