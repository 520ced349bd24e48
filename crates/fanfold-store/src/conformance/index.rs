//! The list of sessions: each once, the newest activity first.

use std::collections::BTreeSet;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

use super::{Store, alike, new_session, new_tenant, session_of};
use crate::port::{SessionPage, SessionQuery, SessionRow};

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
    SessionQuery::new(tenant.clone(), rows_max)
}

async fn list(store: &dyn Store, query: &SessionQuery) -> Vec<SessionRow> {
    store.list(query).await.unwrap().rows
}

/// Ids on each page, by following the pages to the end.
async fn pages(store: &dyn Store, query: SessionQuery) -> Vec<(u64, SessionId)> {
    let (mut all, mut query) = (Vec::new(), query);
    loop {
        let SessionPage { rows, next } = store.list(&query).await.unwrap();
        assert!(rows.len() <= query.rows_max, "I5 bounded: {} rows of {}", rows.len(), query.rows_max);
        all.extend(rows.into_iter().map(|row| (row.active_at_ms, row.key.session)));
        assert!(next.is_none() || query.before.is_none() || next < query.before, "each page is below the last one");
        match next {
            Some(next) => query.before = Some(next),
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
    assert_eq!(list(store, &query(&session.tenant, 10)).await, [row(&session, 10, 100)]);
    store.put_row(&row(&session, 10, 300)).await.unwrap();
    assert_eq!(list(store, &query(&session.tenant, 10)).await, [row(&session, 10, 300)]);
}

/// Two nodes host one session, and both keep its row.
pub async fn rows_put_at_once_leave_the_highest(store: &dyn Store) {
    let session = new_session();
    let rows = (0..40).map(|number| row(&session, 1 + number * 17 % 40, 1000 - number)).collect::<Vec<_>>();
    futures_join(rows.iter().map(|row| store.put_row(row))).await;
    let highest = rows.iter().max_by_key(|row| row.offset).unwrap().clone();
    assert_eq!(store.row(&session).await.unwrap(), Some(highest.clone()));
    assert_eq!(list(store, &query(&session.tenant, 10)).await, [highest], "it is listed once");
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
    let listed = list(store, &query(&tenant, 100)).await;
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
    assert_eq!(list(store, &query(&tenant, 0)).await, []);
}

/// And is not left where it was.
pub async fn a_session_that_becomes_active_moves_to_the_top(store: &dyn Store) {
    let tenant = new_tenant();
    let ids = ["a", "b", "c"];
    for (number, id) in ids.iter().enumerate() {
        store.put_row(&row(&session_of(&tenant, id), 1, number as u64)).await.unwrap();
    }
    store.put_row(&row(&session_of(&tenant, "a"), 2, 9)).await.unwrap();
    let listed = list(store, &query(&tenant, 100)).await;
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
    let none = list(store, &SessionQuery { user: Some("eve".into()), ..query(&tenant, 10) }).await;
    assert_eq!(none, []);
}

/// From the first moment on and up to the last, both sides of each boundary, over pages.
pub async fn rows_of_a_time_are_found(store: &dyn Store) {
    const TIMES_MS: [u64; 8] = [0, 59_999, 60_000, 60_001, 86_399_999, 86_400_000, 86_460_000, 1_773_000_000_000];
    let tenant = new_tenant();
    for (number, at) in TIMES_MS.into_iter().enumerate() {
        let key = session_of(&tenant, &format!("s{number}"));
        store.put_row(&SessionRow { user: Some("ann".into()), ..row(&key, 1, at) }).await.unwrap();
    }
    let bounds = || std::iter::once(None).chain(TIMES_MS.into_iter().flat_map(|at| [Some(at), Some(at + 1)]));
    for (since_ms, until_ms) in bounds().flat_map(|since| bounds().map(move |until| (since, until))) {
        let fits = |at: &u64| since_ms.is_none_or(|since| *at >= since) && until_ms.is_none_or(|until| *at < until);
        let expected = TIMES_MS.into_iter().filter(fits).rev().collect::<Vec<_>>();
        let asked = SessionQuery { since_ms, until_ms, user: Some("ann".into()), ..query(&tenant, 3) };
        let found = pages(store, asked).await.into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(found, expected, "{since_ms:?} to {until_ms:?}");
    }
}

/// Of the title as it is now and of the id; each word of the query begins one of the session's.
pub async fn rows_with_words_are_found(store: &dyn Store) {
    let tenant = new_tenant();
    let titled = |id: &str, user: &str, title: &str, offset: u64| SessionRow {
        title: Some(title.into()),
        user: Some(user.into()),
        ..row(&session_of(&tenant, id), offset, offset)
    };
    let rows = [
        titled("s1", "ann", "Night trains to Ústí", 1),
        titled("s2", "bob", "Training a model", 2),
        titled("s3", "ann", "電車の旅", 3),
        titled("report-7", "ann", "", 4),
        titled("s5", "ann", "The night before", 5),
        titled("s6", "ann", "A night train, and another train", 6),
    ];
    for row in &rows {
        store.put_row(row).await.unwrap();
    }
    store.put_row(&titled("s5", "ann", "The morning after", 7)).await.unwrap();
    let check = async |words: &str, user: Option<&str>, expected: &[&str]| {
        for rows_max in [1, 10] {
            let words = Some(words.to_owned());
            let asked = SessionQuery { words, user: user.map(str::to_owned), ..query(&tenant, rows_max) };
            let found = pages(store, asked.clone()).await;
            let ids = found.iter().map(|(_, session)| session.as_str()).collect::<Vec<_>>();
            assert_eq!(ids, expected, "{asked:?}");
        }
    };
    check("train", None, &["s6", "s2", "s1"]).await;
    check("TRAIN", Some("ann"), &["s6", "s1"]).await;
    check("train nig", None, &["s6", "s1"]).await;
    check("rain", None, &[]).await;
    check("ústí", None, &["s1"]).await;
    check("電車", None, &["s3"]).await;
    check("report", None, &["report-7"]).await;
    check("7", None, &["report-7"]).await;
    check("night", Some("eve"), &[]).await;
    check("night", None, &["s6", "s1"]).await;
    check("morning", Some("ann"), &["s5"]).await;
    check(" … ", Some("bob"), &["s2"]).await;
    let until = SessionQuery { words: Some("train".into()), since_ms: Some(2), until_ms: Some(6), ..query(&tenant, 10) };
    assert_eq!(pages(store, until).await.len(), 1, "words within a time");
}

/// Where a word leads to very many sessions, pages are found by walking; one that leads nowhere ends it at once.
pub async fn common_words_are_found(store: &dyn Store) {
    const SESSIONS: u64 = 2100;
    let tenant = new_tenant();
    let titled = |number: u64| {
        let kind = if number.is_multiple_of(2) { "even" } else { "odd" };
        let title = Some(format!("{kind} number{number}"));
        SessionRow { title, user: Some("ann".into()), ..row(&session_of(&tenant, &format!("s{number}")), 1, number * 100) }
    };
    let rows = (0..SESSIONS).map(titled).collect::<Vec<_>>();
    // Few at a time: other checks may have the same small servers.
    for some in rows.chunks(8) {
        futures_join(some.iter().map(|row| store.put_row(row))).await;
    }
    let find = async |words: &str, rows_max: usize| {
        let words = Some(words.to_owned());
        pages(store, SessionQuery { words, user: Some("ann".into()), ..query(&tenant, rows_max) }).await
    };
    let odd = (0..SESSIONS).rev().filter(|number| number % 2 == 1).map(|number| number * 100).collect::<Vec<_>>();
    assert_eq!(find("odd", 300).await.into_iter().map(|(at, _)| at).collect::<Vec<_>>(), odd);
    assert_eq!(find("odd number", 700).await.len(), odd.len());
    assert_eq!(find("odd number777", 5).await, [(77_700, SessionId::new("s777").unwrap())]);
    assert_eq!(find("even odd", 5).await, [], "both are common, and none has both");
    assert_eq!(find("odd absent", 5).await, []);
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
        let listed = list(store, &query(tenant, 1000)).await;
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
