//! Leases: they end by time or by word, and afterwards have no effect.

use std::sync::Arc;
use std::time::Duration;

use super::{DEADLINE, LONG, SHORT, hint, nothing, offer, take};
use crate::port::{LeaseError, LeaseId, Place, RunQueue};

/// To whoever asks next, before the session's other runs.
pub async fn a_lease_that_ends_is_delivered_again(queue: Arc<dyn RunQueue>) {
    offer(&*queue, &hint("t", "s", "r1")).await;
    offer(&*queue, &hint("t", "s", "r2")).await;
    // Long enough to look at it meanwhile.
    let first = queue.take("silent", SHORT * 3, DEADLINE).await.unwrap().unwrap();
    nothing(&*queue).await;
    let listed = queue.list(None, 9).await.unwrap();
    assert!(matches!(&listed[0].place, Place::Leased { worker, .. } if worker == "silent"), "{listed:?}");
    let second = take(&*queue, LONG).await;
    assert_eq!((&second.hint, second.deliveries), (&first.hint, 2));
    assert_ne!(second.id, first.id);
    assert!(matches!(queue.done(first.id).await, Err(LeaseError::Lost)), "the hint is another worker's");
    queue.done(second.id).await.unwrap();
    assert_eq!(take(&*queue, LONG).await.hint, hint("t", "s", "r2"));
}

/// The fold decides when a run has failed.
pub async fn there_is_no_largest_number_of_deliveries(queue: Arc<dyn RunQueue>) {
    offer(&*queue, &hint("t", "s", "r")).await;
    for deliveries in 1..50 {
        let lease = take(&*queue, LONG).await;
        assert_eq!(lease.deliveries, deliveries);
        queue.give_back(lease.id, Duration::ZERO).await.unwrap();
    }
}

/// As long as the worker says so.
pub async fn a_lease_that_is_extended_lasts(queue: Arc<dyn RunQueue>) {
    offer(&*queue, &hint("t", "s", "r")).await;
    let lease = take(&*queue, SHORT).await;
    // Longer than the lease in all, and each time far shorter.
    for _ in 0..6 {
        queue.extend(lease.id, SHORT).await.unwrap();
        assert_eq!(queue.take("other", LONG, SHORT / 4).await.unwrap(), None);
    }
    queue.extend(lease.id, LONG).await.unwrap();
    assert_eq!(queue.take("other", LONG, SHORT * 3).await.unwrap(), None);
    queue.extend(lease.id, SHORT / 4).await.unwrap();
    let second = take(&*queue, LONG).await;
    assert_eq!(second.deliveries, 2, "an extension may be shorter than what was left");
    assert!(matches!(queue.extend(lease.id, LONG).await, Err(LeaseError::Lost)));
}

/// After the delay, and before the session's other runs.
pub async fn what_is_given_back_comes_back_in_its_place(queue: Arc<dyn RunQueue>) {
    for run in ["r1", "r2"] {
        offer(&*queue, &hint("t", "s", run)).await;
    }
    let lease = take(&*queue, LONG).await;
    let (delay, started) = (SHORT * 3, tokio::time::Instant::now());
    queue.give_back(lease.id, delay).await.unwrap();
    nothing(&*queue).await;
    let lease = take(&*queue, LONG).await;
    assert!(started.elapsed() >= delay.saturating_sub(Duration::from_millis(50)), "after {:?}", started.elapsed());
    assert_eq!((lease.hint, lease.deliveries), (hint("t", "s", "r1"), 2));
    queue.give_back(lease.id, Duration::ZERO).await.unwrap();
    assert_eq!(take(&*queue, LONG).await.hint, hint("t", "s", "r1"));
}

/// Whatever is said of it, and whatever ended it.
pub async fn an_ended_lease_has_no_effect(queue: Arc<dyn RunQueue>) {
    offer(&*queue, &hint("t", "s", "r")).await;
    let given_back = take(&*queue, LONG).await.id;
    queue.give_back(given_back, Duration::ZERO).await.unwrap();
    let ended_by_time = take(&*queue, SHORT).await.id;
    let held = take(&*queue, LONG).await.id;
    for ended in [given_back, ended_by_time, LeaseId(u64::MAX)] {
        assert!(matches!(queue.extend(ended, LONG).await, Err(LeaseError::Lost)), "{ended:?}");
        assert!(matches!(queue.done(ended).await, Err(LeaseError::Lost)), "{ended:?}");
        assert!(matches!(queue.give_back(ended, Duration::ZERO).await, Err(LeaseError::Lost)), "{ended:?}");
        assert!(matches!(queue.bury(ended, "why").await, Err(LeaseError::Lost)), "{ended:?}");
        nothing(&*queue).await;
    }
    queue.done(held).await.unwrap();
    assert!(matches!(queue.done(held).await, Err(LeaseError::Lost)));
    nothing(&*queue).await;
}
