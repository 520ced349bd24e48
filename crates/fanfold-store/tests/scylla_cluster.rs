//! What holds on three CQL nodes, a copy on each: the suite, and what happens when some of them are away.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use fanfold_store::{ScyllaConfig, ScyllaStore};

use support::cluster::Cluster;

/// One test, as the nodes take longer to start than all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes() {
    let started = std::time::Instant::now();
    let Some(cluster) = Cluster::start("the store on three CQL nodes", 3, |_| String::new()).await else { return };
    cluster.agree().await;
    println!("three nodes after {:?}", started.elapsed());
    let config = migrated_by_all_at_once(&cluster).await;
    println!("migrated after {:?}", started.elapsed());
    let store = ScyllaStore::open(&config).await.unwrap();
    fanfold_store::conformance!(together & store);
}

/// Each through another node: one keyspace with one set of tables comes of it.
async fn migrated_by_all_at_once(cluster: &Cluster) -> ScyllaConfig {
    let config = cluster.config("m");
    let by = |number: usize| ScyllaConfig { nodes: vec![cluster.address(number)], ..config.clone() };
    let (first, second, third) = (by(0), by(1), by(2));
    let migrations = tokio::join!(ScyllaStore::migrate(&first), ScyllaStore::migrate(&second), ScyllaStore::migrate(&third));
    for migrated in [migrations.0, migrations.1, migrations.2] {
        assert_eq!(migrated.unwrap().to, 1);
    }
    let again = ScyllaStore::migrate(&config).await.unwrap();
    assert_eq!((again.from, again.to), (1, 1));
    config
}
