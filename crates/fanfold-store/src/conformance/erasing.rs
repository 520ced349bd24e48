//! Erasing: nothing of the session is read any more, whoever writes late, and the others are left alone.

use std::collections::BTreeSet;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionKey};

use super::{Store, alike, new_epoch, new_session};
use crate::port::{Erasure, Segment, SessionQuery, SessionRow, Snapshot};

const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

fn row(session: &SessionKey, offset: u64) -> SessionRow {
    SessionRow {
        key: session.clone(),
        user: Some("ann".into()),
        title: Some("a secret".into()),
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms: 1_773_000_000_000 + offset,
        open_runs: 1,
        offset: Offset(offset),
    }
}

fn erasure(session: &SessionKey) -> Erasure {
    Erasure { session: session.clone(), offset: Offset(9), erased_at_ms: 1_773_000_100_000 }
}

/// A row, a snapshot, and records from `offset` on.
async fn fill(store: &dyn Store, session: &SessionKey, epoch: Epoch, offset: u64) {
    let record = |offset| (Offset(offset), 1_773_000_000_000, Bytes::from(format!("a secret at {offset}")));
    let segment = Segment::new(epoch, Offset(offset - 1), vec![record(offset), record(offset + 1)]).unwrap();
    let snapshot = Snapshot { epoch, fold: FOLD, offset: Offset(offset + 1), state: Bytes::from("secrets") };
    store.put_row(&row(session, offset + 1)).await.unwrap();
    store.put_segment(session, &segment).await.unwrap();
    store.put(session, &snapshot).await.unwrap();
}

/// Whether anything of the session is read but its erasure; the tenant has no other session.
async fn is_gone(store: &dyn Store, session: &SessionKey, epoch: Epoch) -> bool {
    let query = |user, words| SessionQuery { user, words, ..SessionQuery::new(session.tenant.clone(), 10) };
    let snapshot = store.newest(session, epoch, FOLD, LAST).await.unwrap();
    let records = store.records(session, Offset::NONE, LAST, 100).await.unwrap();
    let mut listed = Vec::new();
    for (user, words) in [(None, None), (Some("ann".into()), None), (None, Some("secret".into()))] {
        listed.extend(store.list(&query(user, words)).await.unwrap().rows);
    }
    let unfinished = store.unfinished(None, usize::MAX).await.unwrap();
    assert_eq!(store.row(session).await.unwrap(), Some(erasure(session).row()), "{session}");
    let names = (store.snapshots(session, 9).await.unwrap(), store.segments(session, None, 9).await.unwrap());
    names == (Vec::new(), Vec::new())
        && snapshot.is_none()
        && records.is_empty()
        && listed.is_empty()
        && !unfinished.contains(session)
}

/// From the first call on, in every way of reading.
pub async fn an_erased_session_is_not_read(store: &dyn Store) {
    let (session, other, epoch) = (new_session(), new_session(), new_epoch());
    for session in [&session, &other] {
        fill(store, session, epoch, 1).await;
        fill(store, session, new_epoch(), 7).await;
    }
    store.erase(&erasure(&session)).await.unwrap();
    assert!(is_gone(store, &session, epoch).await);
    assert_eq!(store.row(&other).await.unwrap(), Some(row(&other, 8)), "others are left alone");
    assert_eq!(store.records(&other, Offset::NONE, LAST, 100).await.unwrap().len(), 2);
    assert!(store.newest(&other, epoch, FOLD, LAST).await.unwrap().is_some());
    store.erase_done(&session).await.unwrap();
    assert!(is_gone(store, &session, epoch).await);
}

/// Before the erasure is done, and after it; each is told that it is done.
pub async fn late_writers_do_not_bring_an_erased_session_back(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    fill(store, &session, epoch, 1).await;
    store.erase(&erasure(&session)).await.unwrap();
    fill(store, &session, epoch, 3).await;
    fill(store, &session, epoch, 20).await;
    assert!(is_gone(store, &session, epoch).await);
    store.erase(&erasure(&session)).await.unwrap();
    assert!(is_gone(store, &session, epoch).await);
    store.erase_done(&session).await.unwrap();
    fill(store, &session, epoch, 30).await;
    assert!(is_gone(store, &session, epoch).await);
    store.prune(&session, 1).await.unwrap();
    assert!(is_gone(store, &session, epoch).await);
}

/// Until they are done, over pages; also of sessions that the store has never seen.
pub async fn erasures_are_listed_until_they_are_done(store: &dyn Store) {
    let own = alike().into_iter().collect::<BTreeSet<_>>();
    for session in &own {
        store.erase(&erasure(session)).await.unwrap();
    }
    let listed = async || {
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let page = store.erasures(after.as_ref(), 7).await.unwrap();
            assert!(page.len() <= 7, "I5 bounded: {} rows of 7", page.len());
            let Some(last) = page.last() else { return all };
            after = Some(last.session.clone());
            for found in page.into_iter().filter(|found| own.contains(&found.session)) {
                assert_eq!(found, erasure(&found.session));
                assert!(all.insert(found.session), "each on one page");
            }
        }
    };
    assert_eq!(listed().await, own);
    assert!(!store.is_erasing(&new_session()).await.unwrap());
    for session in own.iter().skip(1) {
        assert!(store.is_erasing(session).await.unwrap());
        store.erase_done(session).await.unwrap();
        assert!(!store.is_erasing(session).await.unwrap());
        store.erase_done(session).await.unwrap();
    }
    assert_eq!(listed().await.into_iter().collect::<Vec<_>>(), own.iter().take(1).cloned().collect::<Vec<_>>());
    for session in own.iter().take(1) {
        store.erase_done(session).await.unwrap();
    }
}
