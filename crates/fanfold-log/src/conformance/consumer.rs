//! Checks of what a consumer promises. Each gets a log and a consumer that nobody else uses, as a trim concerns all sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};

use super::{DEADLINE, append, new_session, read_all, record};
use crate::{Consumer, EventLog, Notice, ReadError};

/// A log, its consumer, and what must outlive them.
pub type Consumed = (Arc<dyn EventLog>, Arc<dyn Consumer>);

/// One `#[tokio::test]` per check. `$open` is an async function that returns a log, its consumer and whatever must outlive them, or
/// `None` where there is none to be had. A notice that isn't given back may take a second to come again, and it takes no more.
/// `consumer_conformance!(together opened)` runs all checks in one test, one after another, with a log and a consumer of their own each.
#[macro_export]
macro_rules! consumer_conformance {
    (together $opened:expr) => { $crate::consumer_conformance!(@each (@run $opened)); };
    ($open:path) => { $crate::consumer_conformance!(@each (@test $open)); };
    (@each $how:tt) => {
        $crate::consumer_conformance!(@split $how,
            every_record_is_noticed_in_its_sessions_order,
            notices_are_bounded,
            nothing_above_the_floor_is_let_go_of,
            what_is_new_is_not_let_go_of,
            what_was_erased_holds_nothing_up,
            the_lag_is_known,
        );
    };
    (@split $how:tt, $($check:ident),+ $(,)?) => { $( $crate::consumer_conformance!(@one $how, $check); )+ };
    (@one (@run $opened:expr), $check:ident) => { $crate::conformance::$check($opened).await; };
    (@one (@test $open:path), $check:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let opened = Option::<(std::sync::Arc<dyn $crate::EventLog>, std::sync::Arc<dyn $crate::Consumer>, _)>::from($open().await);
            let Some((log, consumer, _alive)) = opened else { return };
            $crate::conformance::$check((log, consumer)).await;
        }
    };
}

/// Takes until as many have come.
async fn take(consumer: &dyn Consumer, count: usize) -> Vec<Notice> {
    let mut notices = Vec::new();
    let all = async {
        while notices.len() < count {
            notices.extend(consumer.take(count - notices.len(), Duration::from_secs(1)).await.expect("a healthy log notices"));
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("everything is noticed");
    notices
}

/// Whether the session's first record has left the log.
async fn is_trimmed(log: &dyn EventLog, session: &SessionKey) -> bool {
    match log.read(session, Offset::NONE, 1, 1000).await {
        Ok(_) => false,
        Err(ReadError::Trimmed { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Trims until the session's first record has gone: a floor may follow its tickets after a while.
async fn trim_away(consumer: &dyn Consumer, log: &dyn EventLog, session: &SessionKey) {
    let gone = async {
        while !is_trimmed(log, session).await {
            consumer.trim(u64::MAX >> 20).await.expect("a healthy log is trimmed");
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("what is done goes");
}

/// Also what was appended while nobody took.
pub async fn every_record_is_noticed_in_its_sessions_order((log, consumer): Consumed) {
    let sessions = [new_session(), new_session(), new_session()];
    let mut expected = BTreeMap::<SessionKey, Vec<(Offset, usize)>>::new();
    for round in 0..3 {
        for n in 0..30 {
            let (session, record) = (&sessions[n % 3], record(n, 10 * (n + 1)));
            let bytes = record.len();
            expected.entry(session.clone()).or_default().push((append(&*log, session, record).await, bytes));
        }
        if round == 0 {
            continue;
        }
        let count = expected.values().map(Vec::len).sum();
        let notices = take(&*consumer, count).await;
        let mut noticed = BTreeMap::<SessionKey, Vec<(Offset, usize)>>::new();
        for notice in &notices {
            noticed.entry(notice.session.clone()).or_default().push((notice.offset, notice.bytes));
        }
        assert_eq!(noticed, expected);
        let stored = read_all(&*log, &sessions[0], Offset::NONE).await;
        let first = notices.iter().find(|notice| (&notice.session, notice.offset) == (&sessions[0], stored[0].offset));
        assert!(first.is_none_or(|first| first.stored_at_ms == stored[0].stored_at_ms));
        consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
        expected.clear();
    }
}

/// Pages, and an end of waiting where there is nothing.
pub async fn notices_are_bounded((log, consumer): Consumed) {
    assert_eq!(consumer.take(10, Duration::from_millis(50)).await.unwrap(), []);
    let session = new_session();
    for n in 0..20 {
        append(&*log, &session, record(n, 10)).await;
    }
    for _ in 0..4 {
        let page = take(&*consumer, 5).await;
        assert_eq!(page.len(), 5, "I5 bounded");
    }
}

/// The floor is below the first ticket that isn't given back; in whatever order they are.
pub async fn nothing_above_the_floor_is_let_go_of((log, consumer): Consumed) {
    let session = new_session();
    let mut offsets = Vec::new();
    for n in 0..6 {
        offsets.push(append(&*log, &session, record(n, 10)).await);
    }
    let mut tickets = take(&*consumer, 6).await.into_iter().map(|notice| notice.ticket).collect::<Vec<_>>();
    let first = tickets.remove(0);
    let last = tickets.pop().expect("six");
    consumer.done(tickets.clone()).await.unwrap();
    consumer.trim(u64::MAX >> 20).await.unwrap();
    assert_eq!(read_all(&*log, &session, Offset::NONE).await.len(), 6, "the first is not given back");
    consumer.working(std::slice::from_ref(&last)).await.unwrap();
    consumer.done(vec![first]).await.unwrap();
    consumer.done(tickets).await.unwrap();
    trim_away(&*consumer, &*log, &session).await;
    let rest = read_all(&*log, &session, Offset(offsets[5].0 - 1)).await;
    assert_eq!(rest.iter().map(|stored| stored.offset).collect::<Vec<_>>(), offsets[5..], "the last is not given back");
    let next = append(&*log, &session, record(6, 10)).await;
    assert_eq!(log.last(&session).await.unwrap(), next);
}

/// Recent history stays a while, archived or not.
pub async fn what_is_new_is_not_let_go_of((log, consumer): Consumed) {
    let session = new_session();
    append(&*log, &session, record(0, 10)).await;
    let stored_at_ms = read_all(&*log, &session, Offset::NONE).await[0].stored_at_ms;
    let tickets = take(&*consumer, 1).await.into_iter().map(|notice| notice.ticket).collect();
    consumer.done(tickets).await.unwrap();
    // However often: the floor may need its time.
    for _ in 0..10 {
        consumer.trim(stored_at_ms).await.unwrap();
        assert!(!is_trimmed(&*log, &session).await);
    }
    trim_away(&*consumer, &*log, &session).await;
}

/// Noticed or not, given back or not: the floor gets past records that are gone.
pub async fn what_was_erased_holds_nothing_up((log, consumer): Consumed) {
    let (session, other) = (new_session(), new_session());
    for n in 0..20 {
        append(&*log, &session, record(n, 10)).await;
    }
    let mut tickets = take(&*consumer, 10).await.into_iter().map(|notice| notice.ticket).collect::<Vec<_>>();
    let first = tickets.split_off(5);
    consumer.done(tickets).await.unwrap();
    let at = append(&*log, &session, record(20, 10)).await;
    let last = append(&*log, &other, record(0, 10)).await;
    log.erase(&session, at).await.unwrap();
    consumer.done(first).await.unwrap();
    let taken = async {
        let mut left = vec![at, last];
        while !left.is_empty() {
            for notice in take(&*consumer, 1).await {
                left.retain(|offset| *offset != notice.offset);
                consumer.done(vec![notice.ticket]).await.unwrap();
            }
        }
        while consumer.lag().await.unwrap().records > 0 {}
    };
    tokio::time::timeout(DEADLINE, taken).await.expect("what is left is noticed");
    trim_away(&*consumer, &*log, &other).await;
    assert_ne!(log.read(&session, Offset::NONE, 1, 1000).await.ok().map(|page| page.records.len()), Some(1), "trimmed like any");
    // Erased again after that: nothing is there.
    log.erase(&session, at).await.unwrap();
}

/// What nobody has given back, noticed or not.
pub async fn the_lag_is_known((log, consumer): Consumed) {
    let session = new_session();
    for n in 0..10 {
        append(&*log, &session, record(n, 1000)).await;
    }
    let tickets = take(&*consumer, 4).await.into_iter().map(|notice| notice.ticket).collect();
    assert_eq!(consumer.lag().await.unwrap().records, 10);
    assert!((0.0..1.0).contains(&consumer.lag().await.unwrap().fullness));
    consumer.done(tickets).await.unwrap();
    let agreed = async { while consumer.lag().await.unwrap().records != 6 {} };
    tokio::time::timeout(DEADLINE, agreed).await.expect("it is told");
}
