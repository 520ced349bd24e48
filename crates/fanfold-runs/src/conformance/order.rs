//! Offering and taking: once, in order, fairly, within bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::AttemptId;

use super::{DEADLINE, HINTS_MAX, LONG, SHORT, hint, nothing, offer, take};
use crate::port::{Depth, Hint, OfferError, Offered, QueueError, RunQueue};

/// And says so after the wait, not before.
pub async fn an_empty_queue_has_nothing(queue: Arc<dyn RunQueue>) {
    nothing(&*queue).await;
    let started = tokio::time::Instant::now();
    assert_eq!(queue.take("worker", LONG, SHORT).await.unwrap(), None);
    assert!(started.elapsed() >= SHORT);
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// All of it.
pub async fn a_hint_is_taken_as_offered(queue: Arc<dyn RunQueue>) {
    let attempt = Some(AttemptId::new("a-1").unwrap());
    let expected = Hint { attempt, not_before_ms: Some(1), ..hint("t", "s", "r") };
    offer(&*queue, &expected).await;
    assert_eq!(queue.depth().await.unwrap(), Depth { waiting: 1, ..Depth::default() });
    let lease = take(&*queue, LONG).await;
    assert_eq!((lease.hint, lease.deliveries), (expected, 1));
    assert_eq!(queue.depth().await.unwrap(), Depth { leased: 1, ..Depth::default() });
    queue.done(lease.id).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// Whoever appends and the archiver both offer it.
pub async fn a_run_is_known_until_it_is_done(queue: Arc<dyn RunQueue>) {
    let hint = hint("t", "s", "r");
    offer(&*queue, &hint).await;
    assert_eq!(queue.offer(&hint).await.unwrap(), Offered::Known, "waiting");
    let lease = take(&*queue, LONG).await;
    assert_eq!(queue.offer(&hint).await.unwrap(), Offered::Known, "leased");
    queue.done(lease.id).await.unwrap();
    nothing(&*queue).await;
    offer(&*queue, &hint).await;
}

/// The second is not to be had before the first is done.
pub async fn one_hint_of_a_session_is_leased_at_a_time_in_order(queue: Arc<dyn RunQueue>) {
    let runs = ["r3", "r1", "r2"];
    for run in runs {
        offer(&*queue, &hint("t", "s", run)).await;
    }
    offer(&*queue, &hint("t", "other", "r9")).await;
    let mut other = 0;
    for run in runs {
        let mut lease = take(&*queue, LONG).await;
        if lease.hint.session.session.as_str() == "other" {
            other += 1;
            lease = take(&*queue, LONG).await;
        }
        assert_eq!(lease.hint, hint("t", "s", run));
        if other == 1 {
            nothing(&*queue).await;
        }
        queue.done(lease.id).await.unwrap();
    }
    if other == 0 {
        assert_eq!(take(&*queue, LONG).await.hint, hint("t", "other", "r9"), "sessions do not wait for each other");
    }
    nothing(&*queue).await;
}

/// Nor do tenants share sessions.
pub async fn runs_of_two_sessions_may_have_one_name(queue: Arc<dyn RunQueue>) {
    let hints =
        [hint("t", "a", "r"), hint("t", "a-b", "r"), hint("t-a", "b", "r"), hint("t_a", "b", "r"), hint("t-a-b", "a", "r")];
    for hint in &hints {
        offer(&*queue, hint).await;
    }
    let mut taken = Vec::new();
    for _ in &hints {
        taken.push(take(&*queue, LONG).await.hint);
    }
    assert!(hints.iter().all(|hint| taken.contains(hint)), "{taken:?}");
    nothing(&*queue).await;
}

/// Until its time, and in order even then.
pub async fn a_hint_of_later_is_held_back_with_those_behind_it(queue: Arc<dyn RunQueue>) {
    // The queue's clock is only known by what it says of a delay.
    offer(&*queue, &hint("t", "clock", "r")).await;
    let lease = take(&*queue, LONG).await;
    queue.give_back(lease.id, SHORT * 5).await.unwrap();
    let listed = queue.list(None, 9).await.unwrap();
    let crate::Place::Delayed { until_ms } = listed[0].place else { panic!("{listed:?}") };
    let later = Hint { not_before_ms: Some(until_ms + 1000), ..hint("t", "s", "r1") };
    offer(&*queue, &later).await;
    offer(&*queue, &hint("t", "s", "r2")).await;
    assert_eq!(queue.depth().await.unwrap(), Depth { waiting: 1, delayed: 2, ..Depth::default() });
    nothing(&*queue).await;
    let clock = take(&*queue, LONG).await;
    assert_eq!(clock.hint.session.session.as_str(), "clock");
    let first = take(&*queue, LONG).await;
    assert_eq!(first.hint, later);
    queue.done(first.id).await.unwrap();
    assert_eq!(take(&*queue, LONG).await.hint, hint("t", "s", "r2"));
}

/// Tenants' buckets take turns: of forty small tenants most do not wait for one that offered a hundred sessions before them.
pub async fn a_tenant_that_offers_much_waits_for_itself(queue: Arc<dyn RunQueue>) {
    for number in 0..100 {
        offer(&*queue, &hint("greedy", &format!("s{number}"), "r")).await;
    }
    for number in 0..40 {
        offer(&*queue, &hint(&format!("t{number}"), "s", "r")).await;
    }
    let mut small = 0;
    for _ in 0..70 {
        small += usize::from(take(&*queue, LONG).await.hint.session.tenant.as_str() != "greedy");
    }
    assert!(small >= 30, "only {small} of 40 small tenants had a turn among 70");
    for _ in 0..70 {
        take(&*queue, LONG).await;
    }
    nothing(&*queue).await;
}

/// By an offer, by a session's next run, and by a redelivery.
pub async fn whoever_waits_is_woken(queue: Arc<dyn RunQueue>) {
    let waiting = |queue: &Arc<dyn RunQueue>| {
        let queue = queue.clone();
        tokio::spawn(async move { take(&*queue, SHORT * 3).await })
    };
    let taker = waiting(&queue);
    tokio::task::yield_now().await;
    offer(&*queue, &hint("t", "s", "r1")).await;
    offer(&*queue, &hint("t", "s", "r2")).await;
    let first = taker.await.unwrap();
    let taker = waiting(&queue);
    tokio::task::yield_now().await;
    queue.done(first.id).await.unwrap();
    let second = taker.await.unwrap();
    assert_eq!(second.hint, hint("t", "s", "r2"));
    let again = waiting(&queue).await.unwrap();
    assert_eq!((again.hint, again.deliveries), (second.hint, 2));
}

/// Also when another who waited longer has gone by then.
pub async fn a_hint_held_back_finds_whoever_still_waits(queue: Arc<dyn RunQueue>) {
    offer(&*queue, &hint("t", "s", "r")).await;
    let lease = take(&*queue, LONG).await;
    let [impatient, patient] = [SHORT / 2, DEADLINE].map(|wait| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.take("worker", LONG, wait).await.unwrap() })
    });
    tokio::task::yield_now().await;
    let started = tokio::time::Instant::now();
    queue.give_back(lease.id, SHORT * 3).await.unwrap();
    assert_eq!(impatient.await.unwrap(), None);
    let taken = patient.await.unwrap().expect("it can be had after a while");
    assert_eq!(taken.hint, hint("t", "s", "r"));
    assert!(started.elapsed() < DEADLINE / 2, "after {:?}", started.elapsed());
}

/// All of them, and none twice.
pub async fn every_hint_is_taken_once_by_many_takers(queue: Arc<dyn RunQueue>) {
    let takers = (0..20).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 5 {
                let lease = take(&*queue, LONG).await;
                queue.done(lease.id).await.unwrap();
                taken.push((lease.hint.session, lease.hint.run));
            }
            taken
        })
    });
    let takers = takers.collect::<Vec<_>>();
    for number in 0..100 {
        offer(&*queue, &hint(&format!("t{}", number % 3), &format!("s{}", number % 17), &format!("r{number}"))).await;
        tokio::task::yield_now().await;
    }
    let mut all = BTreeSet::new();
    for taker in takers {
        let taken = tokio::time::timeout(DEADLINE, taker).await.expect("every taker gets its share").unwrap();
        for one in taken {
            assert!(all.insert(one), "taken twice");
        }
    }
    assert_eq!(all.len(), 100);
}

/// Nor the wake-up that was meant for another.
pub async fn a_taker_that_goes_away_takes_nothing_with_it(queue: Arc<dyn RunQueue>) {
    for round in 0..20 {
        let takers = [(); 2].map(|()| {
            let queue = queue.clone();
            tokio::spawn(async move { take(&*queue, LONG).await })
        });
        tokio::task::yield_now().await;
        let [gone, stays] = takers;
        gone.abort();
        assert!(gone.await.is_err_and(|error| error.is_cancelled()));
        offer(&*queue, &hint("t", "s", &format!("r{round}"))).await;
        let lease = tokio::time::timeout(DEADLINE, stays).await.expect("the other is woken").unwrap();
        queue.done(lease.id).await.unwrap();
    }
}

/// I5: by name, without harm to what is there; and takes more when there is room.
pub async fn a_full_queue_says_so(queue: Arc<dyn RunQueue>) {
    for number in 0..HINTS_MAX {
        offer(&*queue, &hint("t", &format!("s{}", number % 10), &format!("r{number}"))).await;
    }
    let more = hint("t", "s", "more");
    let refused = queue.offer(&more).await.unwrap_err();
    assert!(matches!(refused, OfferError::Full { limit: HINTS_MAX }), "{refused:?}");
    assert_eq!(queue.offer(&hint("t", "s3", "r3")).await.unwrap(), Offered::Known, "it is there already");
    let lease = take(&*queue, LONG).await;
    assert!(matches!(queue.offer(&more).await, Err(OfferError::Full { .. })), "a leased hint has its room");
    queue.bury(lease.id, "why").await.unwrap();
    offer(&*queue, &more).await;
    let redriven = queue.redrive(&lease.hint.session, &lease.hint.run).await;
    assert!(matches!(redriven, Err(QueueError::Unavailable(_))), "{redriven:?}");
    assert_eq!(queue.depth().await.unwrap().dead, 1, "it is still buried");
    let next = queue.take("worker", LONG, Duration::ZERO).await.unwrap().unwrap();
    queue.done(next.id).await.unwrap();
    assert!(queue.redrive(&lease.hint.session, &lease.hint.run).await.unwrap());
}
