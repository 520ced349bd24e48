//! Checks of erasing: nothing of the session is left but the record that says so, and the others are left alone.

use std::sync::Arc;

use fanfold_fold::{Offset, SessionKey};

use super::{Follower, append, new_session, read_all, record};
use crate::{AppendError, EventLog, Expect, ReadError, StoredRecord};

/// So many that no implementation removes them in one step.
const MANY: usize = 1500;

async fn append_many(log: &dyn EventLog, session: &SessionKey, count: usize) -> Vec<Offset> {
    let appends = (0..count).map(|n| append(log, session, record(n, 20)));
    let mut offsets = futures::future::join_all(appends).await;
    offsets.sort_unstable();
    offsets
}

/// What a session finds after an offset: where sessions share a shard, an erasure may move the beginning of all of them.
async fn left(log: &dyn EventLog, session: &SessionKey, after: Offset) -> Vec<StoredRecord> {
    match log.read(session, after, 1, 1000).await {
        Err(ReadError::Trimmed { first, certain: false }) => read_all(log, session, Offset(first.0 - 1)).await,
        _ => read_all(log, session, after).await,
    }
}

/// Where it is read from doesn't matter, and it isn't taken for a session that never was.
pub async fn of_an_erased_session_one_record_is_left(log: Arc<dyn EventLog>) {
    let (session, other) = (new_session(), new_session());
    let before = append_many(&*log, &session, MANY).await;
    append(&*log, &other, record(0, 20)).await;
    let at = append(&*log, &session, record(1, 20)).await;
    append(&*log, &other, record(1, 20)).await;
    for _ in 0..2 {
        log.erase(&session, at).await.unwrap();
        for after in [Offset::NONE, before[0], before[MANY - 1]] {
            let found = left(&*log, &session, after).await;
            assert_eq!(found.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [at], "after {after}");
        }
        assert_eq!(left(&*log, &session, at).await, []);
        assert_eq!(log.last(&session).await.unwrap(), at);
        let again = log.append(&session, record(0, 20), Expect::Empty, None).await;
        assert!(matches!(again, Err(AppendError::Conflict { last }) if last == at), "{again:?}");
    }
    assert_eq!(left(&*log, &other, Offset::NONE).await.len(), 2, "others are left alone");
}

/// An append that was on its way is stored behind the erasure, and removed by the next one.
pub async fn what_is_stored_behind_an_erasure_goes_when_it_is_repeated(log: Arc<dyn EventLog>) {
    let session = new_session();
    let mut follower = Follower::start(&log, &session).await;
    append_many(&*log, &session, 3).await;
    let at = append(&*log, &session, record(3, 20)).await;
    log.erase(&session, at).await.unwrap();
    let late = append_many(&*log, &session, 150).await;
    let found = left(&*log, &session, Offset::NONE).await;
    assert_eq!((found.len(), found[0].offset), (151, at));
    follower.until(late[149]).await;
    log.erase(&session, at).await.unwrap();
    let found = left(&*log, &session, Offset::NONE).await;
    assert_eq!(found.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [at]);
    assert_eq!(log.last(&session).await.unwrap(), at);
    // And once more, by one who knows nothing of all that.
    let last = append(&*log, &session, record(5, 20)).await;
    let found = left(&*log, &session, at).await;
    assert_eq!(found.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [last]);
    log.erase(&session, at).await.unwrap();
    assert_eq!(left(&*log, &session, at).await, []);
}

/// The log remembers ids of appends, not what was appended: a repetition stores nothing.
pub async fn a_repetition_of_what_was_erased_is_not_stored(log: Arc<dyn EventLog>) {
    let session = new_session();
    let first = log.append(&session, record(0, 20), Expect::Empty, Some("first")).await.unwrap();
    let at = append(&*log, &session, record(1, 20)).await;
    log.erase(&session, at).await.unwrap();
    assert_eq!(log.append(&session, record(0, 20), Expect::Any, Some("first")).await.unwrap(), first);
    assert_eq!(left(&*log, &session, Offset::NONE).await.len(), 1);
}
