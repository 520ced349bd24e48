//! What tools see of a session: names, without bytes.

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset};

use super::{Store, alike, new_epoch, new_session};
use crate::port::{KeptSnapshot, Segment, SegmentKey, Snapshot};

fn cut(epoch: Epoch, from: u64, upto: u64) -> Segment {
    let record = |offset| (Offset(offset), 1_773_000_000_000 + offset, Bytes::from("record"));
    Segment::new(epoch, Offset(from - 1), (from..=upto).map(record).collect()).unwrap()
}

/// By offset descending, without those that were let go.
pub async fn snapshots_are_named(store: &dyn Store) {
    let (session, epochs) = (new_session(), [new_epoch(), new_epoch()]);
    assert_eq!(store.snapshots(&session, 9).await.unwrap(), []);
    let names = [(0, 1, 10), (0, 2, 20), (1, 1, 300), (1, 3, 70_000)];
    let names = names.map(|(epoch, fold, offset): (usize, _, _)| KeptSnapshot {
        epoch: epochs[epoch],
        fold: FoldVersion(fold),
        offset: Offset(offset),
    });
    for KeptSnapshot { epoch, offset, fold } in names {
        let snapshot = Snapshot { epoch, offset, fold, state: Bytes::from("state") };
        store.put(&session, &snapshot).await.unwrap();
    }
    let expected = names.into_iter().rev().collect::<Vec<_>>();
    assert_eq!(store.snapshots(&session, 9).await.unwrap(), expected);
    assert_eq!(store.snapshots(&session, 2).await.unwrap(), expected[..2]);
    store.prune(&session, 3).await.unwrap();
    assert_eq!(store.snapshots(&session, 9).await.unwrap(), expected[..3]);
}

/// Of all epochs, each once, over pages; other sessions' not.
pub async fn segments_are_named(store: &dyn Store) {
    let (sessions, epochs) = (alike(), [new_epoch(), new_epoch()]);
    for session in &sessions[..5] {
        let mut expected = Vec::new();
        for (from, upto) in [(1, 4), (1, 4), (3, 9), (5, 9), (300, 300), (10, 10)] {
            for epoch in epochs {
                let segment = cut(epoch, from, upto);
                store.put_segment(session, &segment).await.unwrap();
                expected.push(segment.key);
            }
        }
        expected.sort_by_key(|name| (name.epoch.0, name.last, name.first));
        expected.dedup();
        for rows_max in [1, 3, 100] {
            let (mut found, mut after): (Vec<SegmentKey>, _) = (Vec::new(), None);
            loop {
                let page = store.segments(session, after.as_ref(), rows_max).await.unwrap();
                assert!(page.len() <= rows_max, "I5 bounded: {} rows of {rows_max}", page.len());
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                found.extend(page);
            }
            assert_eq!(found, expected, "{session}, pages of {rows_max}");
        }
    }
}
