//! The list of sessions: each once, the newest activity first.

use std::collections::BTreeSet;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use super::{Store, alike, new_session, new_tenant, session_of};
use crate::port::{SessionQuery, SessionRow};

fn row(key: &SessionKey, offset: u64, active_at_ms: u64) -> SessionRow {
    SessionRow {
        key: key.clone(),
        user: None,
        title: Some(format!("at {offset}")),
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms,
        open_runs: 0,
        offset: Offset(offset),
    }
}

fn query(tenant: &TenantId, rows_max: usize) -> SessionQuery {
    SessionQuery { tenant: tenant.clone(), user: None, before: None, rows_max }
}

/// Ids on each page, by following the pages to the end.
async fn pages(store: &dyn Store, query: SessionQuery) -> Vec<(u64, SessionId)> {
    let (mut all, mut query) = (Vec::new(), query);
    loop {
        let rows = store.list(&query).await.unwrap();
        assert!(rows.len() <= query.rows_max, "I5 bounded: {} rows of {}", rows.len(), query.rows_max);
        all.extend(rows.iter().map(|row| (row.active_at_ms, row.key.session.clone())));
        match rows.last() {
            Some(last) => query.before = Some((last.active_at_ms, last.key.session.clone())),
            None => return all,
        }
    }
}

/// With everything in it, or with nothing.
pub async fn a_row_is_read_as_written(store: &dyn Store) {
    let session = new_session();
    assert_eq!(store.row(&session).await.unwrap(), None);
    let long = "ü\0/\u{10ffff} ".repeat(10_000);
    let full = SessionRow { user: Some(long.clone()), title: Some(long), open_runs: 3, ..row(&session, u64::MAX, u64::MAX) };
    for expected in [row(&session, 1, 0), SessionRow { title: None, ..row(&session, 2, 5) }, full] {
        store.put_row(&expected).await.unwrap();
        assert!(store.row(&session).await.unwrap() == Some(expected));
    }
}

/// Whoever wakes up late changes nothing; whoever is at the same offset may.
pub async fn a_lower_offset_never_replaces_a_higher_one(store: &dyn Store) {
    let session = new_session();
    store.put_row(&row(&session, 10, 100)).await.unwrap();
    store.put_row(&row(&session, 9, 200)).await.unwrap();
    assert_eq!(store.row(&session).await.unwrap(), Some(row(&session, 10, 100)));
    assert_eq!(store.list(&query(&session.tenant, 10)).await.unwrap(), [row(&session, 10, 100)]);
    store.put_row(&row(&session, 10, 300)).await.unwrap();
    assert_eq!(store.list(&query(&session.tenant, 10)).await.unwrap(), [row(&session, 10, 300)]);
}

/// Two nodes host one session, and both keep its row.
pub async fn rows_put_at_once_leave_the_highest(store: &dyn Store) {
    let session = new_session();
    let rows = (0..40).map(|number| row(&session, 1 + number * 17 % 40, 1000 - number)).collect::<Vec<_>>();
    futures_join(rows.iter().map(|row| store.put_row(row))).await;
    let highest = rows.iter().max_by_key(|row| row.offset).unwrap().clone();
    assert_eq!(store.row(&session).await.unwrap(), Some(highest.clone()));
    assert_eq!(store.list(&query(&session.tenant, 10)).await.unwrap(), [highest], "it is listed once");
}

async fn futures_join<T>(all: impl Iterator<Item = impl Future<Output = Result<T, crate::port::StoreError>>>) {
    let mut all = all.map(Box::pin).collect::<Vec<_>>();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(result) => result.map(|_| false).unwrap(),
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The newest first, and of two at one time the higher id.
pub async fn sessions_are_listed_by_activity(store: &dyn Store) {
    let tenant = new_tenant();
    let sessions = [("b", 5), ("a", 300), ("a-b", 300), ("a_b", 300), ("c", 256), ("z", 0), ("A", 1 << 40)];
    for (id, active_at_ms) in sessions {
        store.put_row(&row(&session_of(&tenant, id), 1, active_at_ms)).await.unwrap();
    }
    let listed = store.list(&query(&tenant, 100)).await.unwrap();
    let ids = listed.iter().map(|row| row.key.session.as_str()).collect::<Vec<_>>();
    assert_eq!(ids, ["A", "a_b", "a-b", "a", "c", "b", "z"]);
    assert_eq!(listed[1], row(&session_of(&tenant, "a_b"), 1, 300));
}

/// Every session on exactly one page, also where many share a time.
pub async fn pages_of_rows_join(store: &dyn Store) {
    let tenant = new_tenant();
    let mut expected = BTreeSet::new();
    for number in 0..23_u64 {
        let key = session_of(&tenant, &format!("{}-{}", "s".repeat(1 + number as usize % 3), number / 3));
        store.put_row(&row(&key, 1, number / 5)).await.unwrap();
        expected.insert((number / 5, key.session));
    }
    let expected = expected.into_iter().rev().collect::<Vec<_>>();
    for rows_max in [1, 2, 5, 23, 24] {
        assert_eq!(pages(store, query(&tenant, rows_max)).await, expected, "pages of {rows_max}");
    }
    assert_eq!(store.list(&query(&tenant, 0)).await.unwrap(), []);
}

/// And is not left where it was.
pub async fn a_session_that_becomes_active_moves_to_the_top(store: &dyn Store) {
    let tenant = new_tenant();
    let ids = ["a", "b", "c"];
    for (number, id) in ids.iter().enumerate() {
        store.put_row(&row(&session_of(&tenant, id), 1, number as u64)).await.unwrap();
    }
    store.put_row(&row(&session_of(&tenant, "a"), 2, 9)).await.unwrap();
    let listed = store.list(&query(&tenant, 100)).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.key.session.as_str()).collect::<Vec<_>>(), ["a", "c", "b"]);
    assert_eq!(listed[0].offset, Offset(2));
}

/// Each once, where its last row says, however far it moved: within a minute, a day, over years, and back.
pub async fn sessions_move_over_minutes_and_years(store: &dyn Store) {
    const TIMES_MS: [u64; 9] = [0, 1, 59_999, 60_000, 60_001, 86_399_999, 86_400_000, 1_773_000_000_000, 1_773_000_060_000];
    let tenant = new_tenant();
    let mut expected = BTreeSet::new();
    for number in 0..TIMES_MS.len() {
        let key = session_of(&tenant, &format!("s{number}"));
        let mut last = 0;
        for step in 0..4_usize {
            last = TIMES_MS[(number * 7 + step * (number + 2)) % TIMES_MS.len()];
            let row = SessionRow { user: Some("ann".into()), ..row(&key, 1 + step as u64, last) };
            store.put_row(&row).await.unwrap();
        }
        expected.insert((last, key.session));
    }
    let expected = expected.into_iter().rev().collect::<Vec<_>>();
    for user in [None, Some("ann".to_owned())] {
        for rows_max in [1, 4, 100] {
            let found = pages(store, SessionQuery { user: user.clone(), ..query(&tenant, rows_max) }).await;
            assert_eq!(found, expected, "{user:?}, pages of {rows_max}");
        }
    }
}

/// Only theirs, in the same order, over pages; and of a session that changed hands only the last owner's.
pub async fn rows_of_a_user_are_found(store: &dyn Store) {
    let tenant = new_tenant();
    let by = |user: &str, number: u64, offset| SessionRow {
        user: Some(user.into()),
        ..row(&session_of(&tenant, &format!("s{number}")), offset, number)
    };
    for number in 0..20 {
        store.put_row(&by(["ann", "ann ", "bob"][number as usize % 3], number, 1)).await.unwrap();
    }
    store.put_row(&row(&session_of(&tenant, "nobody"), 1, 99)).await.unwrap();
    store.put_row(&by("bob", 0, 2)).await.unwrap();
    let expected = (1..20).rev().filter(|number| number % 3 == 0).map(|number| (number, by("ann", number, 1).key.session));
    let found = pages(store, SessionQuery { user: Some("ann".into()), ..query(&tenant, 2) }).await;
    assert_eq!(found, expected.collect::<Vec<_>>());
    let none = store.list(&SessionQuery { user: Some("eve".into()), ..query(&tenant, 10) }).await.unwrap();
    assert_eq!(none, []);
}

/// Whatever their ids.
pub async fn tenants_do_not_see_each_other(store: &dyn Store) {
    let sessions = alike();
    for (number, session) in sessions.iter().enumerate() {
        store.put_row(&row(session, 1, number as u64 % 4)).await.unwrap();
    }
    let tenants = sessions.iter().map(|session| &session.tenant).collect::<BTreeSet<_>>();
    assert_eq!(tenants.len(), 4);
    for tenant in tenants {
        let listed = store.list(&query(tenant, 1000)).await.unwrap();
        assert!(listed.iter().all(|row| row.key.tenant == *tenant), "{tenant}");
        let listed = listed.into_iter().map(|row| row.key).collect::<BTreeSet<_>>();
        let expected = sessions.iter().filter(|session| session.tenant == *tenant).cloned().collect::<BTreeSet<_>>();
        assert_eq!(listed, expected, "{tenant}");
    }
    for (number, session) in sessions.iter().enumerate() {
        assert_eq!(store.row(session).await.unwrap(), Some(row(session, 1, number as u64 % 4)), "{session}");
    }
}

/// As long as they have one.
pub async fn sessions_with_open_runs_are_found(store: &dyn Store) {
    let tenant = new_tenant();
    let own = async || {
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            let page = store.unfinished(after.as_ref(), 2).await.unwrap();
            assert!(page.len() <= 2, "I5 bounded: {} sessions of 2", page.len());
            let Some(last) = page.last() else { return found };
            after = Some(last.clone());
            let own = page.into_iter().filter(|key| key.tenant == tenant);
            own.for_each(|key| assert!(found.insert(key.session.to_string()), "{key} is on one page"));
        }
    };
    let with = |id, open_runs, offset| SessionRow { open_runs, ..row(&session_of(&tenant, id), offset, offset) };
    for (id, open_runs) in [("a", 1), ("a-b", 0), ("ab", 2), ("a_b", u32::MAX)] {
        store.put_row(&with(id, open_runs, 5)).await.unwrap();
    }
    assert_eq!(own().await, BTreeSet::from(["a", "ab", "a_b"].map(String::from)));
    store.put_row(&with("a", 0, 4)).await.unwrap();
    store.put_row(&with("ab", 0, 6)).await.unwrap();
    assert_eq!(own().await, BTreeSet::from(["a", "a_b"].map(String::from)), "an older row changes nothing");
}
