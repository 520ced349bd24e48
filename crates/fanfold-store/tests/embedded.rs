//! The suite of every store, on the embedded one.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::collections::HashMap;
use std::sync::Arc;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{EmbeddedStore, SessionIndex, SessionQuery, SessionRow};

async fn open() -> Option<(Arc<EmbeddedStore>, tempfile::TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let store = tokio::task::spawn_blocking(|| EmbeddedStore::open(path)).await.unwrap().unwrap();
    Some((Arc::new(store), dir))
}

fanfold_store::conformance!(open);

/// Checksums stand for users in the index's keys.
#[tokio::test]
async fn users_whose_checksums_are_alike_do_not_see_each_other() {
    let mut seen = HashMap::new();
    let (ann, bob) = (0_u64..)
        .find_map(|number| {
            let user = format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let other = seen.insert(crc32c::crc32c(user.as_bytes()), user.clone())?;
            Some((user, other))
        })
        .unwrap();
    assert_ne!(ann, bob);
    let (store, _dir) = open().await.unwrap();
    let row = |user: &str, active_at_ms| SessionRow {
        key: SessionKey::new(TenantId::default(), SessionId::new(user).unwrap()),
        user: Some(user.into()),
        title: None,
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms,
        open_runs: 0,
        offset: Offset(1),
    };
    for row in [row(&ann, 1), row(&bob, 2)] {
        store.put_row(&row).await.unwrap();
    }
    let query = SessionQuery { user: Some(ann.clone()), ..SessionQuery::new(TenantId::default(), 1) };
    assert_eq!(store.list(&query).await.unwrap().rows, [row(&ann, 1)], "nor do they take each other's room on a page");
}
