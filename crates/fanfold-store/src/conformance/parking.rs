//! Parking: tries are counted until one succeeds, and a parked session is not tried.

use std::collections::BTreeSet;

use fanfold_fold::SessionKey;

use super::{Store, alike, new_session};
use crate::port::{Begun, Parked};

fn parked(session: &SessionKey, reason: &str) -> Parked {
    Parked { session: session.clone(), attempts: 4, reason: reason.into(), parked_at_ms: 1_773_000_000_000 }
}

/// From one on, each session for itself.
pub async fn attempts_are_counted_and_cleared(store: &dyn Store) {
    let sessions = alike();
    for (number, session) in sessions.iter().enumerate() {
        for attempt in 1..=1 + number as u32 % 3 {
            assert_eq!(store.begin(session).await.unwrap(), Begun::Attempt(attempt), "{session}");
        }
    }
    store.clear(&sessions[0]).await.unwrap();
    store.clear(&sessions[0]).await.unwrap();
    assert_eq!(store.begin(&sessions[0]).await.unwrap(), Begun::Attempt(1));
    assert_eq!(store.begin(&sessions[1]).await.unwrap(), Begun::Attempt(3));
}

/// Until an operator lets it, and then from one on.
pub async fn a_parked_session_is_not_tried(store: &dyn Store) {
    let session = new_session();
    assert!(!store.unpark(&session).await.unwrap());
    assert_eq!(store.begin(&session).await.unwrap(), Begun::Attempt(1));
    assert_eq!(store.begin(&session).await.unwrap(), Begun::Attempt(2));
    store.park(&parked(&session, "first")).await.unwrap();
    store.park(&parked(&session, "second")).await.unwrap();
    store.clear(&session).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.begin(&session).await.unwrap(), Begun::Parked(parked(&session, "second")));
    }
    assert!(store.unpark(&session).await.unwrap());
    assert!(!store.unpark(&session).await.unwrap());
    assert_eq!(store.begin(&session).await.unwrap(), Begun::Attempt(1));
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
