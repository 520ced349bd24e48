//! Checks of what a read promises.

use std::sync::Arc;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use super::{append, check_chain, new_session, read_all, record};
use crate::{EventLog, ReadError};

/// A session that nobody has written to is empty, not an error, and reading it doesn't make it.
pub async fn a_session_begins_empty(log: Arc<dyn EventLog>) {
    let session = new_session();
    assert_eq!(log.last(&session).await.unwrap(), Offset::NONE);
    let page = log.read(&session, Offset::NONE, 10, 1000).await.unwrap();
    assert!(page.records.is_empty() && page.end);
    assert_eq!(log.epoch(&session), log.epoch(&session), "an incarnation has one epoch");
}

/// Names that begin alike, in tenants that begin alike, have nothing to do with each other.
pub async fn sessions_are_independent(log: Arc<dyn EventLog>) {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let name = |tenant: &str, session: &str| {
        let tenant = TenantId::new(&format!("{}{tenant}", &unique[..16])).unwrap();
        SessionKey::new(tenant, SessionId::new(session).unwrap())
    };
    let sessions =
        [name("", "a"), name("", "aa"), name("", "a-"), name("", "a_b"), name("a", "a"), name("-", "a"), name("", "A")];
    for round in 0..3 {
        for (index, session) in sessions.iter().enumerate() {
            append(&*log, session, record(index * 10 + round, 20)).await;
        }
    }
    for (index, session) in sessions.iter().enumerate() {
        let stored = read_all(&*log, session, Offset::NONE).await;
        let expected = (0..3).map(|round| record(index * 10 + round, 20)).collect::<Vec<_>>();
        assert_eq!(stored.iter().map(|stored| stored.record.clone()).collect::<Vec<_>>(), expected, "{session}");
        assert_eq!(log.last(session).await.unwrap(), stored[2].offset);
    }
}

/// Pages of any size join to the whole, and only the last one says that it is.
pub async fn pages_are_bounded_in_records(log: Arc<dyn EventLog>) {
    let session = new_session();
    for n in 0..23 {
        append(&*log, &session, record(n, 30)).await;
        append(&*log, &new_session(), record(n, 30)).await;
    }
    let whole = read_all(&*log, &session, Offset::NONE).await;
    assert_eq!(whole.len(), 23);
    for records_max in [1, 2, 7, 23, 24] {
        let (mut upto, mut joined) = (Offset::NONE, Vec::new());
        loop {
            let page = log.read(&session, upto, records_max, 1 << 20).await.unwrap();
            check_chain(&page, upto);
            assert!(page.records.len() <= records_max, "{} records of at most {records_max}", page.records.len());
            upto = page.records.last().map_or(upto, |record| record.offset);
            joined.extend(page.records.into_iter().map(|stored| (stored.offset, stored.record)));
            if page.end {
                break;
            }
            assert!(joined.len() <= 23, "reading comes to an end");
        }
        assert!(
            joined.into_iter().eq(whole.iter().map(|stored| (stored.offset, stored.record.clone()))),
            "pages of {records_max}"
        );
    }
    let rest = read_all(&*log, &session, whole[9].offset).await;
    assert!(rest.iter().map(|stored| stored.offset).eq(whole[10..].iter().map(|stored| stored.offset)));
    let between = Offset(whole[10].offset.0 - 1);
    assert_eq!(
        read_all(&*log, &session, between).await[0].offset,
        whole[10].offset,
        "an offset between two records is a position, too"
    );
}

/// A page holds about as many bytes as it may, and never nothing.
pub async fn pages_are_bounded_in_bytes(log: Arc<dyn EventLog>) {
    let session = new_session();
    for n in 0..12 {
        append(&*log, &session, record(n, 1000)).await;
    }
    let page = log.read(&session, Offset::NONE, 100, 3500).await.unwrap();
    let bytes = page.records.iter().map(|stored| stored.record.len()).sum::<usize>();
    assert!((1..=4).contains(&page.records.len()) && bytes <= 4500, "{} records, {bytes} bytes", page.records.len());
    assert!(!page.end);
    let page = log.read(&session, Offset::NONE, 100, 1).await.unwrap();
    assert_eq!(page.records.len(), 1, "at least one");
    check_chain(&page, Offset::NONE);
}

/// Whoever remembers an offset finds out whether the log does.
pub async fn a_log_that_has_lost_an_offset_says_so(log: Arc<dyn EventLog>) {
    let session = new_session();
    log.must_have(&session, Offset::NONE).await.unwrap();
    let last = append(&*log, &session, record(0, 10)).await;
    log.must_have(&session, last).await.unwrap();
    log.must_have(&session, Offset(u64::MAX >> 2)).await.unwrap_err();
}

/// Nothing is there yet: that is a fact, not an error.
pub async fn a_read_beyond_the_end_is_empty(log: Arc<dyn EventLog>) {
    let session = new_session();
    let last = append(&*log, &session, record(0, 10)).await;
    for after in [last, Offset(last.0 + 1), Offset(last.0 + 1_000_000), Offset(u64::MAX >> 2)] {
        let page = log.read(&session, after, 10, 1000).await.unwrap();
        assert!(page.records.is_empty() && page.end, "after {after}: {page:?}");
    }
}

/// A reader from before the trim is told where the log begins, and reads on from there.
pub async fn trimmed_records_are_said_to_be_trimmed(log: Arc<dyn EventLog>) {
    let (session, other) = (new_session(), new_session());
    let mut offsets = Vec::new();
    for n in 0..10 {
        offsets.push(append(&*log, &session, record(n, 20)).await);
        append(&*log, &other, record(n, 20)).await;
    }
    for upto in [offsets[3], offsets[5], offsets[5], offsets[1]] {
        log.trim(&session, upto).await.unwrap();
    }
    for after in [Offset::NONE, offsets[0], offsets[4]] {
        let trimmed = log.read(&session, after, 10, 1000).await;
        let Err(ReadError::Trimmed { first, .. }) = trimmed else { panic!("after {after}: {trimmed:?}") };
        assert!(first > offsets[5] && first <= offsets[6], "after {after}: the log begins at {first}");
    }
    let rest = read_all(&*log, &session, offsets[5]).await;
    assert!(rest.iter().map(|stored| stored.offset).eq(offsets[6..].iter().copied()));
    assert_eq!(log.last(&session).await.unwrap(), offsets[9]);
    let next = append(&*log, &session, record(10, 20)).await;
    let rest = read_all(&*log, &session, offsets[9]).await;
    assert_eq!((rest.len(), rest[0].offset, rest[0].previous), (1, next, offsets[9]));
    // A session that shares the shard was trimmed up to there, another one not at all.
    let kept = match log.read(&other, Offset::NONE, 100, 1 << 20).await {
        Ok(page) => page.records,
        Err(ReadError::Trimmed { first, .. }) => read_all(&*log, &other, Offset(first.0 - 1)).await,
        Err(error) => panic!("{error:?}"),
    };
    assert!(matches!(kept.len(), 5 | 10), "{} records of another session", kept.len());
    assert_eq!(kept[kept.len() - 5].record, record(5, 20));
}

/// One question for many sessions, in their order, the empty ones included.
pub async fn many_sessions_are_asked_for_at_once(log: Arc<dyn EventLog>) {
    let sessions = (0..20).map(|_| new_session()).collect::<Vec<_>>();
    let mut expected = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        expected.push(Some(if n % 3 == 0 { Offset::NONE } else { append(&*log, session, record(n, 10)).await }));
    }
    // It may be a little behind the leader.
    let agreed = async { while log.last_of(&sessions).await != expected {} };
    tokio::time::timeout(super::DEADLINE, agreed).await.expect("it catches up");
}
