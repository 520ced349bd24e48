//! What tools see of a session: names, without bytes.

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};

use super::{Store, alike, new_epoch, new_session};
use crate::port::{Erasure, KeptSnapshot, Segment, SegmentKey, SessionRow, Snapshot};

fn cut(epoch: Epoch, from: u64, upto: u64) -> Segment {
    let record = |offset| (Offset(offset), 1_773_000_000_000 + offset, Bytes::from("record"));
    Segment::new(epoch, Offset(from - 1), (from..=upto).map(record).collect()).unwrap()
}

/// Each once, over pages of any size, and erased ones with the others.
pub async fn sessions_of_all_tenants_are_named(store: &dyn Store) {
    let sessions = alike();
    for session in &sessions {
        let row = SessionRow { offset: Offset(3), ..row(session) };
        store.put_row(&row).await.unwrap();
        store.put_row(&SessionRow { offset: Offset(4), active_at_ms: 9, ..row }).await.unwrap();
    }
    let erasure = Erasure { session: sessions[1].clone(), offset: Offset(5), erased_at_ms: 1 };
    store.erase(&erasure).await.unwrap();
    store.erase_done(&sessions[1]).await.unwrap();
    for rows_max in [7, 10_000] {
        let (mut found, mut after): (Vec<SessionKey>, _) = (Vec::new(), None);
        loop {
            let page = store.sessions(after.as_ref(), rows_max).await.unwrap();
            assert!(page.len() <= rows_max, "I5 bounded: {} rows of {rows_max}", page.len());
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page);
        }
        // Others may use the store, too.
        found.retain(|session| sessions.contains(session));
        found.sort();
        let mut expected = sessions.clone();
        expected.sort();
        assert_eq!(found, expected, "pages of {rows_max}");
    }
}

fn row(session: &SessionKey) -> SessionRow {
    SessionRow {
        key: session.clone(),
        user: None,
        title: None,
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms: 2,
        open_runs: 0,
        offset: Offset(1),
    }
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
