//! The suite of every store, on the embedded one.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::sync::Arc;

use fanfold_store::EmbeddedStore;

async fn open() -> (Arc<EmbeddedStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let store = tokio::task::spawn_blocking(|| EmbeddedStore::open(path)).await.unwrap().unwrap();
    (Arc::new(store), dir)
}

fanfold_store::conformance!(open);
