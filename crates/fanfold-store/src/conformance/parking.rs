//! Parking: failures are counted until a try succeeds, and a parked session is not tried.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfold_fold::SessionKey;

use super::{Store, alike, new_session};
use crate::port::{Begun, HYDRATION_SILENCE_MAX, Parked, Tries};

const NOW_MS: u64 = 1_773_000_000_000;

fn parked(session: &SessionKey, reason: &str) -> Parked {
    Parked { session: session.clone(), attempts: 4, reason: reason.into(), parked_at_ms: NOW_MS }
}

/// A try that has not come to its end says nothing to the process whose it is: it lives.
pub async fn own_tries_count_for_nothing(store: &dyn Store) {
    let session = new_session();
    for try_ in 0..8 {
        let begun = store.begin(&session, NOW_MS + try_ * ms(HYDRATION_SILENCE_MAX)).await.unwrap();
        assert_eq!(begun, Begun::Attempt(Tries::default()), "try {try_}");
    }
}

/// Each session for itself, until one comes to its end.
pub async fn failures_are_counted_and_cleared(store: &dyn Store) {
    let sessions = alike();
    let failed = |failed| Begun::Attempt(Tries { broken_off: 0, failed });
    for (number, session) in sessions.iter().enumerate() {
        for before in 0..1 + number as u32 % 3 {
            assert_eq!(store.begin(session, NOW_MS).await.unwrap(), failed(before), "{session}");
            store.fail(session, NOW_MS).await.unwrap();
        }
    }
    store.clear(&sessions[0]).await.unwrap();
    store.clear(&sessions[0]).await.unwrap();
    assert_eq!(store.begin(&sessions[0], NOW_MS).await.unwrap(), failed(0));
    assert_eq!(store.begin(&sessions[1], NOW_MS).await.unwrap(), failed(2));
}

/// Until an operator lets it, and then as if it never had been.
pub async fn a_parked_session_is_not_tried(store: &dyn Store) {
    let session = new_session();
    let unknown = Begun::Attempt(Tries::default());
    assert!(!store.unpark(&session).await.unwrap());
    assert_eq!(store.begin(&session, NOW_MS).await.unwrap(), unknown);
    store.fail(&session, NOW_MS).await.unwrap();
    store.park(&parked(&session, "first")).await.unwrap();
    store.park(&parked(&session, "second")).await.unwrap();
    store.clear(&session).await.unwrap();
    store.fail(&session, NOW_MS).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.begin(&session, NOW_MS).await.unwrap(), Begun::Parked(parked(&session, "second")));
    }
    assert!(store.unpark(&session).await.unwrap());
    assert!(!store.unpark(&session).await.unwrap());
    assert_eq!(store.begin(&session, NOW_MS).await.unwrap(), unknown);
}

/// Each once, over pages.
pub async fn parked_sessions_are_listed(store: &dyn Store) {
    let own = alike().into_iter().collect::<BTreeSet<_>>();
    for session in &own {
        store.park(&parked(session, session.session.as_str())).await.unwrap();
    }
    for rows_max in [1, 7, 1000] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.parked(after.as_ref(), rows_max).await.unwrap();
            assert!(page.len() <= rows_max, "I5 bounded: {} rows of {rows_max}", page.len());
            let Some(last) = page.last() else { break };
            after = Some(last.session.clone());
            all.extend(page.into_iter().filter(|parked| own.contains(&parked.session)));
        }
        assert_eq!(all.len(), own.len(), "pages of {rows_max}");
        assert!(all.iter().all(|one| *one == parked(&one.session, one.session.session.as_str())));
        assert_eq!(all.into_iter().map(|parked| parked.session).collect::<BTreeSet<_>>(), own);
    }
    for session in &own {
        store.unpark(session).await.unwrap();
    }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
