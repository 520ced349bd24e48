//! Tries of many processes on one CQL server: who may still be at it says nothing against a session.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use fanfold_fold::{SessionId, SessionKey, TenantId};
use fanfold_store::{Begun, HYDRATION_SIGN, HYDRATION_SILENCE_MAX, Parking, ScyllaConfig, ScyllaStore, Tries};
use scylla::client::session_builder::SessionBuilder;

const NOW_MS: u64 = 1_773_000_000_000;
const SIGN_MS: u64 = HYDRATION_SIGN.as_millis() as u64;
const SILENCE_MS: u64 = HYDRATION_SILENCE_MAX.as_millis() as u64;

fn session() -> SessionKey {
    SessionKey::new(TenantId::new(&uuid::Uuid::new_v4().simple().to_string()).unwrap(), SessionId::new("s").unwrap())
}

/// As many nodes.
async fn stores(config: &ScyllaConfig, count: usize) -> Vec<ScyllaStore> {
    let mut stores = Vec::new();
    for _ in 0..count {
        stores.push(ScyllaStore::open(config).await.unwrap());
    }
    stores
}

async fn broken_off(store: &ScyllaStore, session: &SessionKey, now_ms: u64) -> u32 {
    match store.begin(session, now_ms).await.unwrap() {
        Begun::Attempt(Tries { broken_off, failed: 0 }) => broken_off,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_at_it_do_not_count_and_silent_ones_count_once() {
    let Some(config) = support::shared("tries on CQL").await else { return };
    let (stores, session) = (stores(&config, 5).await, session());
    for (at, store) in (0..).zip(&stores) {
        assert_eq!(broken_off(store, &session, NOW_MS + at).await, 0, "all at once");
    }
    // Its process lives, and tries again and again.
    for again in 0..4 {
        broken_off(&stores[0], &session, NOW_MS + again * SIGN_MS).await;
    }
    assert_eq!(broken_off(&stores[4], &session, NOW_MS + SILENCE_MS + 10).await, 3, "the first has given a sign");
    assert_eq!(broken_off(&stores[1], &session, NOW_MS + 2 * SILENCE_MS - 1).await, 2, "the last has, too");
    stores[2].clear(&session).await.unwrap();
    assert_eq!(broken_off(&stores[1], &session, u64::MAX >> 17).await, 0);
}

/// They don't say whose they are, nor when that was: during an upgrade other nodes may be at it.
#[tokio::test(flavor = "multi_thread")]
async fn tries_of_an_earlier_release_are_read_and_count_for_nothing() {
    let Some(config) = support::shared("tries of an earlier release on CQL").await else { return };
    let (stores, session) = (stores(&config, 2).await, session());
    let builder = SessionBuilder::new().known_nodes(&config.nodes).use_keyspace(&config.keyspace, false);
    let raw = builder.default_execution_profile_handle(support::patient()).build().await.unwrap();
    for _ in 0..9 {
        let insert = "INSERT INTO attempts (tenant, session, generation, attempt) VALUES (?, 's', 3, ?)";
        raw.query_unpaged(insert, (session.tenant.as_str(), uuid::Uuid::new_v4())).await.unwrap();
    }
    assert_eq!(broken_off(&stores[0], &session, NOW_MS).await, 0);
    assert_eq!(broken_off(&stores[1], &session, NOW_MS + SILENCE_MS).await, 1, "newer ones beside them count");
    stores[1].clear(&session).await.unwrap();
    assert_eq!(broken_off(&stores[1], &session, NOW_MS + 9 * SILENCE_MS).await, 0, "all are of an older generation now");
}
