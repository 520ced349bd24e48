//! What operators see: buried runs, and what is under way.

use std::sync::Arc;

use super::{LETTERS_MAX, LONG, hint, nothing, offer, take};
use crate::port::{DeadLetter, Depth, Offered, Place, REASON_BYTES_MAX, RunQueue};

/// With its reason; the session goes on without it.
pub async fn a_buried_run_is_kept_for_operators(queue: Arc<dyn RunQueue>) {
    for run in ["r1", "r2"] {
        offer(&*queue, &hint("t", "s", run)).await;
    }
    let lease = take(&*queue, LONG).await;
    queue.bury(lease.id, "too many attempts").await.unwrap();
    let second = take(&*queue, LONG).await;
    assert_eq!(second.hint, hint("t", "s", "r2"));
    assert_eq!(queue.offer(&lease.hint).await.unwrap(), Offered::Known, "an offer does not wake it");
    queue.bury(second.id, &"ü".repeat(REASON_BYTES_MAX)).await.unwrap();
    nothing(&*queue).await;
    let letters = queue.dead_letters(None, 9).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!((&letters[0].hint, &*letters[0].reason, letters[0].deliveries), (&lease.hint, "too many attempts", 1));
    assert!(letters[1].reason.len() <= REASON_BYTES_MAX, "I5 bounded: {} bytes", letters[1].reason.len());
    assert_eq!(queue.depth().await.unwrap(), Depth { dead: 2, ..Depth::default() });
    assert_eq!(queue.list(None, 9).await.unwrap(), []);
}

/// I5: the one buried first goes, and its run can be offered again.
pub async fn buried_runs_have_a_limit(queue: Arc<dyn RunQueue>) {
    let mut hints = Vec::new();
    for number in 0..=LETTERS_MAX {
        let hint = hint("t", "s", &format!("r{number}"));
        offer(&*queue, &hint).await;
        let lease = take(&*queue, LONG).await;
        queue.bury(lease.id, "why").await.unwrap();
        hints.push(hint);
    }
    let letters = queue.dead_letters(None, 2 * LETTERS_MAX).await.unwrap();
    assert_eq!(letters.len(), LETTERS_MAX);
    assert!(letters.iter().all(|letter| letter.hint != hints[0]), "the first one is gone");
    assert!(!queue.redrive(&hints[0].session, &hints[0].run).await.unwrap());
    offer(&*queue, &hints[0]).await;
}

/// One of a session's, or all of them and of no other.
pub async fn what_is_forgotten_is_neither_buried_nor_tried_again(queue: Arc<dyn RunQueue>) {
    let hints = [("s", "r1"), ("s", "r2"), ("s", "r3"), ("s-", "r1")].map(|(session, run)| hint("t", session, run));
    for hint in &hints {
        offer(&*queue, hint).await;
        let lease = take(&*queue, LONG).await;
        assert_eq!(queue.bury(lease.id, "why").await.unwrap(), None, "there is room");
    }
    let [first, .., other] = &hints;
    queue.forget(&first.session, Some(&first.run)).await.unwrap();
    let buried = async || queue.dead_letters(None, 9).await.unwrap().into_iter().map(|letter| letter.hint).collect::<Vec<_>>();
    assert_eq!(buried().await, hints[1..]);
    assert_eq!(queue.dead_letter(&first.session, &first.run).await.unwrap(), None);
    let letter = queue.dead_letter(&other.session, &other.run).await.unwrap().unwrap();
    assert_eq!((&letter.hint, &*letter.reason), (other, "why"));
    assert!(!queue.redrive(&first.session, &first.run).await.unwrap(), "it is not buried any more");
    queue.forget(&first.session, None).await.unwrap();
    queue.forget(&first.session, None).await.unwrap();
    assert_eq!(buried().await, std::slice::from_ref(other));
    nothing(&*queue).await;
}

/// As if it were new, behind the others.
pub async fn a_redriven_run_is_tried_again(queue: Arc<dyn RunQueue>) {
    let buried = hint("t", "s", "r1");
    offer(&*queue, &buried).await;
    assert!(!queue.redrive(&buried.session, &buried.run).await.unwrap(), "it is not buried");
    let lease = take(&*queue, LONG).await;
    queue.bury(lease.id, "why").await.unwrap();
    offer(&*queue, &hint("t", "s", "r2")).await;
    assert!(queue.redrive(&buried.session, &buried.run).await.unwrap());
    assert!(!queue.redrive(&buried.session, &buried.run).await.unwrap(), "it is not buried any more");
    assert_eq!(queue.dead_letters(None, 9).await.unwrap(), []);
    let next = take(&*queue, LONG).await;
    assert_eq!(next.hint, hint("t", "s", "r2"));
    queue.done(next.id).await.unwrap();
    let again = take(&*queue, LONG).await;
    assert_eq!((again.hint, again.deliveries), (buried, 1));
}

/// Of a backup, or of an earlier process.
pub async fn a_run_that_was_buried_before_is_as_it_was(queue: Arc<dyn RunQueue>) {
    let hint = hint("t", "s", "r1");
    let letter = DeadLetter { hint: hint.clone(), reason: "why".into(), deliveries: 3, buried_at_ms: 1_700_000_000_123 };
    for _ in 0..2 {
        queue.keep(&letter).await.unwrap();
        assert_eq!(queue.dead_letters(None, 9).await.unwrap(), std::slice::from_ref(&letter));
    }
    nothing(&*queue).await;
    assert!(queue.redrive(&hint.session, &hint.run).await.unwrap());
    assert_eq!(take(&*queue, LONG).await.hint, hint);
}

/// Each hint once, in the order of sessions and runs.
pub async fn lists_are_in_pages(queue: Arc<dyn RunQueue>) {
    let names = [("t", "a", "r2"), ("t", "a", "r1"), ("t", "a", "r10"), ("t", "a-b", "r0"), ("t-", "a", "r"), ("u", "a", "r")];
    for (tenant, session, run) in names {
        offer(&*queue, &hint(tenant, session, run)).await;
    }
    let mut expected = names.map(|(tenant, session, run)| hint(tenant, session, run));
    expected.sort_by_key(|hint| (hint.session.clone(), hint.run.clone()));
    for hints_max in [1, 2, 3, 100] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = queue.list(after.as_ref().map(|(session, run)| (session, run)), hints_max).await.unwrap();
            assert!(page.len() <= hints_max, "I5 bounded: {} hints of {hints_max}", page.len());
            let Some(last) = page.last() else { break };
            after = Some((last.hint.session.clone(), last.hint.run.clone()));
            assert!(page.iter().all(|listed| listed.place == Place::Waiting && listed.deliveries == 0));
            all.extend(page.into_iter().map(|listed| listed.hint));
        }
        assert_eq!(all, expected, "pages of {hints_max}");
    }
    for _ in names {
        let lease = take(&*queue, LONG).await;
        queue.bury(lease.id, "why").await.unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = queue.dead_letters(after.as_ref().map(|(session, run)| (session, run)), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.hint.session.clone(), last.hint.run.clone()));
        all.extend(page.into_iter().map(|letter| letter.hint));
    }
    assert_eq!(all, expected);
}
