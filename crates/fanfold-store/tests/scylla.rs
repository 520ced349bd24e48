//! The suite of every store, on one CQL server.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;

use fanfold_store::ScyllaStore;

async fn open() -> Option<(Arc<ScyllaStore>, ())> {
    Some((support::store("the store's suite on CQL").await?, ()))
}

fanfold_store::conformance!(open);
