//! Checks of what a tail promises.

use std::sync::Arc;

use fanfold_fold::Offset;
use futures::future::join_all;

use super::{DEADLINE, Follower, append, new_session, read_all, record};
use crate::{EventLog, TAIL_BYTES_MAX, TailItem};

/// Records come as they are stored, and live.
pub async fn a_tail_gets_what_is_appended_after_it(log: Arc<dyn EventLog>) {
    let session = new_session();
    append(&*log, &session, record(0, 10)).await;
    let mut follower = Follower::start(&log, &session).await;
    assert_eq!(follower.seen.len(), 1);
    for n in 1..20 {
        let offset = append(&*log, &session, record(n, 10 * n)).await;
        follower.until(offset).await;
    }
    let stored = read_all(&*log, &session, Offset::NONE).await;
    assert!(follower.live > 0, "tails are for what is live");
    assert!(log.tail_may_lose() || follower.live == 19, "{} of 19 came by the tail", follower.live);
    let facts = |records: &[crate::StoredRecord]| {
        records.iter().map(|stored| (stored.offset, stored.previous, stored.record.clone())).collect::<Vec<_>>()
    };
    assert_eq!(facts(&follower.seen), facts(&stored));
}

/// Tails don't share, and none hears of another session.
pub async fn every_tail_of_a_session_gets_everything_and_only_that(log: Arc<dyn EventLog>) {
    let (session, other) = (new_session(), new_session());
    let mut followers = vec![Follower::start(&log, &session).await, Follower::start(&log, &session).await];
    let mut elsewhere = Follower::start(&log, &other).await;
    let mut last = Offset::NONE;
    for n in 0..20 {
        last = append(&*log, &session, record(n, 10)).await;
        let beside = append(&*log, &other, record(100 + n, 10)).await;
        elsewhere.until(beside).await;
    }
    // One that leaves doesn't take the others' records along.
    drop(Follower::start(&log, &session).await);
    for follower in &mut followers {
        follower.until(last).await;
        assert_eq!(
            follower.seen.iter().map(|seen| seen.record.clone()).collect::<Vec<_>>(),
            (0..20).map(|n| record(n, 10)).collect::<Vec<_>>()
        );
    }
    assert!(elsewhere.seen.iter().map(|seen| seen.record.clone()).eq((100..120).map(|n| record(n, 10))));
}

/// Whoever registers first and reads then has everything, however many append at that moment.
pub async fn nothing_is_missed_between_tail_and_read(log: Arc<dyn EventLog>) {
    let session = new_session();
    let appender = |number: usize| {
        let (log, session) = (log.clone(), session.clone());
        tokio::spawn(async move {
            let mut last = Offset::NONE;
            for n in 0..100 {
                last = append(&*log, &session, record(number * 100 + n, 20)).await;
            }
            last
        })
    };
    let appenders = (0..4).map(appender).collect::<Vec<_>>();
    let mut followers = Vec::new();
    for _ in 0..20 {
        followers.push(Follower::start(&log, &session).await);
        // Somewhere in the middle: once the appenders have come a little further.
        let seen = followers.iter().map(|follower| follower.seen.len()).max().unwrap_or_default();
        let further = async { while read_all(&*log, &session, Offset::NONE).await.len() < (seen + 10).min(400) {} };
        tokio::time::timeout(DEADLINE, further).await.expect("the appenders append");
    }
    let last = join_all(appenders).await.into_iter().map(Result::unwrap).max().unwrap();
    let stored = read_all(&*log, &session, Offset::NONE).await;
    assert_eq!(stored.len(), 400);
    for mut follower in followers {
        follower.until(last).await;
        assert!(follower.seen.iter().map(|seen| seen.offset).eq(stored.iter().map(|stored| stored.offset)), "I2 contiguous");
    }
}

/// A reader who doesn't keep up is told, costs no more memory, and finds the rest in the log.
pub async fn a_tail_that_overflows_says_so(log: Arc<dyn EventLog>) {
    let session = new_session();
    let lazy = log.tail(&session, Arc::new(|| {})).await.unwrap();
    let mut follower = Follower::start(&log, &session).await;
    let bytes = 256 * 1024;
    let count = 2 * TAIL_BYTES_MAX / bytes;
    for n in 0..count {
        let offset = append(&*log, &session, record(n, bytes)).await;
        follower.until(offset).await;
    }
    let items = lazy.take();
    assert!(items.contains(&TailItem::Lost), "I5 bounded: {} items", items.len());
    let held = items.iter().map(|item| if let TailItem::Record(stored) = item { stored.record.len() } else { 0 }).sum::<usize>();
    assert!(held <= TAIL_BYTES_MAX, "I5 bounded: {held} bytes");
    assert_eq!(read_all(&*log, &session, Offset::NONE).await.len(), count);
}
