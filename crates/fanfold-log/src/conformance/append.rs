//! Checks of what an append promises.

use std::sync::Arc;

use fanfold_fold::{Offset, RECORD_BYTES_MAX};
use futures::future::join_all;

use super::{append, new_session, read_all, record};
use crate::{AppendError, EventLog, Expect};

/// Each record has a later offset than the one before it, and the bytes it was given.
pub async fn offsets_grow_and_records_are_read_as_written(log: Arc<dyn EventLog>) {
    let session = new_session();
    let mut offsets = vec![];
    let records = (0..50).map(|n| record(n, n * 20)).chain([bytes::Bytes::from_static(b"\0\xff\n\r")]).collect::<Vec<_>>();
    for record in &records {
        offsets.push(append(&*log, &session, record.clone()).await);
        assert_eq!(log.last(&session).await.unwrap(), *offsets.last().unwrap(), "the leader knows what it has acknowledged");
    }
    assert!(offsets[0] > Offset::NONE);
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
    let stored = read_all(&*log, &session, Offset::NONE).await;
    assert_eq!(stored.iter().map(|stored| stored.offset).collect::<Vec<_>>(), offsets);
    assert_eq!(stored.iter().map(|stored| stored.record.clone()).collect::<Vec<_>>(), records);
    assert_eq!(stored[0].previous, Offset::NONE);
}

/// Of several who want to open a session, one does.
pub async fn an_expectation_of_an_empty_session_holds_once(log: Arc<dyn EventLog>) {
    let session = new_session();
    let results = join_all((0..8).map(|n| log.append(&session, record(n, 10), Expect::Empty, None))).await;
    let stored = results.iter().filter_map(|result| result.as_ref().ok()).collect::<Vec<_>>();
    assert_eq!(stored.len(), 1, "{results:?}");
    let again = log.append(&session, record(9, 10), Expect::Empty, None).await;
    assert!(matches!(&again, Err(AppendError::Conflict { last }) if last == stored[0]), "{again:?}");
    assert_eq!(read_all(&*log, &session, Offset::NONE).await.len(), 1, "a conflict stores nothing");
}

/// A conditional append is stored behind the record it names and nowhere else.
pub async fn an_expected_last_offset_must_be_the_last(log: Arc<dyn EventLog>) {
    let session = new_session();
    let early = log.append(&session, record(0, 10), Expect::Last(Offset(u64::MAX >> 2)), None).await;
    assert!(matches!(early, Err(AppendError::Conflict { last: Offset::NONE })), "{early:?}");
    let first = append(&*log, &session, record(1, 10)).await;
    let second = log.append(&session, record(2, 10), Expect::Last(first), None).await.unwrap();
    let late = log.append(&session, record(3, 10), Expect::Last(first), None).await;
    assert!(matches!(late, Err(AppendError::Conflict { last }) if last == second), "{late:?}");
    // Other sessions' records are nobody's conflict.
    append(&*log, &new_session(), record(4, 10)).await;
    let third = log.append(&session, record(5, 10), Expect::Last(second), None).await.unwrap();
    let offsets = read_all(&*log, &session, Offset::NONE).await.iter().map(|stored| stored.offset).collect::<Vec<_>>();
    assert_eq!(offsets, [first, second, third]);
}

/// Whoever didn't hear the answer asks again and hears the first one's.
pub async fn a_repeated_append_id_is_stored_once(log: Arc<dyn EventLog>) {
    let session = new_session();
    let id = |n: usize| format!("{}-{n}", session.session);
    let mut offsets = Vec::new();
    for n in 0..20 {
        offsets.push(log.append(&session, record(n, 10), Expect::Any, Some(&id(n))).await.unwrap());
    }
    for n in (0..20).rev() {
        let again = log.append(&session, record(n, 10), Expect::Any, Some(&id(n))).await.unwrap();
        assert_eq!(again, offsets[n], "repetition of {n}");
    }
    let racing = join_all((0..8).map(|_| log.append(&session, record(20, 10), Expect::Any, Some("race")))).await;
    let answered = racing.iter().filter_map(|result| result.as_ref().ok()).collect::<Vec<_>>();
    assert!(!answered.is_empty() && answered.iter().all(|offset| *offset == answered[0]), "{racing:?}");
    let unsure = |result: &Result<Offset, AppendError>| {
        matches!(result, Ok(_) | Err(AppendError::Unknown(_)) | Err(AppendError::Overloaded))
    };
    assert!(racing.iter().all(unsure), "{racing:?}");
    // The same bytes without an id, or under another one, are another record: a repeated token is legal content.
    append(&*log, &session, record(0, 10)).await;
    log.append(&session, record(0, 10), Expect::Any, Some(&id(21))).await.unwrap();
    assert_eq!(read_all(&*log, &session, Offset::NONE).await.len(), 23);
}

/// The limit is exact, and what is over it leaves no trace.
pub async fn a_record_may_be_as_large_as_the_limit_and_no_larger(log: Arc<dyn EventLog>) {
    let session = new_session();
    let large = record(0, RECORD_BYTES_MAX);
    assert_eq!(large.len(), RECORD_BYTES_MAX);
    let stored = append(&*log, &session, large.clone()).await;
    let refused = log.append(&session, record(1, RECORD_BYTES_MAX + 1), Expect::Any, None).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { bytes }) if bytes == RECORD_BYTES_MAX + 1), "{refused:?}");
    let empty = append(&*log, &session, bytes::Bytes::new()).await;
    let records = read_all(&*log, &session, Offset::NONE).await;
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [stored, empty]);
    assert_eq!(records[0].record, large);
    assert!(records[1].record.is_empty());
}

/// Appends that wait for each other keep their order, whoever appends beside them; nothing is lost and nothing doubled.
pub async fn concurrent_appenders_keep_their_own_order(log: Arc<dyn EventLog>) {
    const APPENDERS: usize = 8;
    const EACH: usize = 40;
    let session = new_session();
    let appender = |number: usize| {
        let (log, session) = (log.clone(), session.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..EACH {
                let record = record(number * EACH + n, 50);
                acknowledged.push((append(&*log, &session, record.clone()).await, record));
            }
            assert!(acknowledged.is_sorted_by_key(|(offset, _)| *offset), "offsets grow in the order of acknowledgement");
            acknowledged
        })
    };
    let mut expected = join_all((0..APPENDERS).map(appender)).await.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>();
    expected.sort();
    let stored = read_all(&*log, &session, Offset::NONE).await;
    assert_eq!(stored.into_iter().map(|stored| (stored.offset, stored.record)).collect::<Vec<_>>(), expected);
}

/// A closed log says so, and keeps what it acknowledged.
pub async fn a_closed_log_takes_nothing(log: Arc<dyn EventLog>) {
    let session = new_session();
    append(&*log, &session, record(0, 10)).await;
    log.close().await;
    let refused = log.append(&session, record(1, 10), Expect::Any, None).await;
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    log.close().await;
}
