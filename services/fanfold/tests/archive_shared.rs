//! Sessions whose records have left the stream, as several nodes archived them; and the ladder down from what is damaged: on real servers.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use fanfold_client::RequestError;
use fanfold_fold::View;
use fanfold_wire::{ErrorCode, v1};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlVarint;
use support::archive::{EAGER, Known, NEVER, archived, check, events, figure, say};
use support::cluster::Cluster;
use support::{DEADLINE, Node, open, state, told};
use tokio::time::Instant;

/// What isn't archived in time is told again, which a backlog of days makes the rule.
const SHORT: [(&str, &str); 2] = [("LOG__JETSTREAM__ARCHIVE_ACK_MS_MAX", "2000"), ("ARCHIVE__KEEP_MS", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn two_archivers_catch_up_and_the_stream_lets_go_of_what_they_have_kept() {
    let Some(cluster) = Cluster::make_with("two archivers", &SHORT) else { return };
    let mut behind = cluster.node_with(&NEVER);
    open(&behind.client(), "s").await;
    let known = Known::write(&behind, 150).await;
    let deadline = Instant::now() + DEADLINE;
    // The figure is looked at every few seconds.
    while figure(&behind, "fanfold_archive_log_fullness ").await.is_none_or(|fullness| fullness == 0.0) {
        assert!(Instant::now() < deadline, "what isn't archived isn't trimmed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    behind.kill();
    // Two at once, one of which dies over it.
    let mut nodes = [cluster.node_with(&EAGER), cluster.node_with(&EAGER)];
    nodes[0].kill();
    archived(&nodes[1]).await;
    check(&nodes[1], &known).await;
    let late = cluster.node_with(&EAGER);
    check(&late, &known).await;
    // It goes on, and what comes is archived behind what was, by both.
    say(&late.client(), 150, 180).await;
    for node in [&nodes[1], &late] {
        archived(node).await;
        let more = events(&node.client()).await;
        assert_eq!(more.len(), known.events.len() + 30);
        assert_eq!(more[..known.events.len()], known.events);
        assert_eq!(figure(node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
    }
}

/// What a node without anything in memory says of the session, and of how it came to know.
struct Hydrated {
    view: Result<View, ErrorCode>,
    skipped: f64,
}

async fn hydrate(node: &Node) -> Hydrated {
    let request = v1::GetStateRequest { session: "s".into(), window: u32::MAX, ..v1::GetStateRequest::default() };
    let view = match node.client().state(request).await {
        Ok(snapshot) => Ok(snapshot.view.unwrap().try_into().unwrap()),
        Err(RequestError::Refused(status)) => {
            let is_named = |code: &&ErrorCode| status.message().starts_with(code.row().text);
            Err(*ErrorCode::ALL.iter().find(is_named).unwrap_or_else(|| panic!("{status:?}")))
        }
        Err(error) => panic!("{error}"),
    };
    Hydrated { view, skipped: figure(node, "fanfold_store_damaged_total{what=\"snapshot\"}").await.unwrap_or(0.0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_is_walked_down_to_the_session_that_is_parked() {
    let what = "the recovery ladder";
    let Some(cluster) = Cluster::make_with(what, &[&SHORT[..], &[("SESSION__HYDRATION_ATTEMPTS_MAX", "2")]].concat()) else {
        return;
    };
    let cql = SessionBuilder::new().known_node(told("FANFOLD_TEST_CQL", what).unwrap()).use_keyspace(&cluster.name, false);
    let cql = cql.build().await.unwrap();
    let mut first = cluster.node_with(&EAGER);
    open(&first.client(), "s").await;
    say(&first.client(), 0, 120).await;
    let truth = state(&first.client(), "s").await;
    archived(&first).await;
    assert!(first.terminate().success());
    // The newest state has lost its content: the one before it serves, and the archive what follows.
    let of_session = "WHERE tenant = 'default' AND session = 's'";
    let newest = format!("SELECT at_offset, epoch, fold FROM snapshots {of_session} LIMIT 1");
    let newest = cql.query_unpaged(newest, ()).await.unwrap().into_rows_result().unwrap();
    let newest = newest.single_row::<(CqlVarint, uuid::Uuid, i32)>().unwrap();
    let delete = format!("DELETE FROM snapshot_chunks {of_session} AND at_offset = ? AND epoch = ? AND fold = ?");
    cql.query_unpaged(delete, newest).await.unwrap();
    let found = hydrate(&cluster.node_with(&NEVER)).await;
    assert_eq!((found.view.as_ref(), found.skipped), (Ok(&truth), 1.0));
    // None is left: the archive has everything.
    for table in ["snapshots", "snapshot_chunks"] {
        run(&cql, &format!("TRUNCATE {table}")).await;
    }
    let found = hydrate(&cluster.node_with(&NEVER)).await;
    assert_eq!((found.view.as_ref(), found.skipped), (Ok(&truth), 0.0));
    // The archive has a hole: never passed over, and after some tries the session is parked, for every node, with the reason.
    for table in ["snapshots", "snapshot_chunks", "segments"] {
        run(&cql, &format!("TRUNCATE {table}")).await;
    }
    let node = cluster.node_with(&NEVER);
    assert_eq!(hydrate(&node).await.view, Err(ErrorCode::HistoryMissing));
    assert_eq!(hydrate(&node).await.view, Err(ErrorCode::SessionParked));
    let other = cluster.node_with(&NEVER);
    assert_eq!(hydrate(&other).await.view, Err(ErrorCode::SessionParked));
    let parked = other.client().parked().await.unwrap().sessions;
    assert_eq!(parked.len(), 1);
    assert!(!parked[0].reason.is_empty(), "{parked:?}");
}

/// Waits until a counter of the node has come that far.
async fn counted(node: &Node, name: &str, least: f64) {
    let deadline = Instant::now() + DEADLINE;
    while figure(node, name).await.is_none_or(|figure| figure < least) {
        assert!(Instant::now() < deadline, "{name} reaches {least}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The archive's index names the session's only segments, and their records never came, or are gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_records_stops_no_archiver_and_hides_no_loss() {
    let what = "an index without records";
    let Some(cluster) = Cluster::make_with(what, &[("LOG__JETSTREAM__ARCHIVE_ACK_MS_MAX", "2000")]) else { return };
    let cql = SessionBuilder::new().known_node(told("FANFOLD_TEST_CQL", what).unwrap()).use_keyspace(&cluster.name, false);
    let cql = cql.build().await.unwrap();
    let kept = [&EAGER[..], &[("ARCHIVE__KEEP_MS", "3600000")]].concat();
    let mut node = cluster.node_with(&kept);
    open(&node.client(), "s").await;
    say(&node.client(), 0, 30).await;
    counted(&node, "fanfold_archive_records_total ", 31.0).await;
    // As after the death of whoever wrote them: the log still has everything.
    run(&cql, "TRUNCATE segments").await;
    say(&node.client(), 30, 40).await;
    counted(&node, "fanfold_archive_records_total ", 31.0 + 41.0).await;
    let truth = state(&node.client(), "s").await;
    node.kill();
    let mut node = cluster.node_with(&EAGER);
    archived(&node).await;
    node.kill();
    for table in ["snapshots", "snapshot_chunks"] {
        run(&cql, &format!("TRUNCATE {table}")).await;
    }
    let mut node = cluster.node_with(&EAGER);
    assert_eq!(hydrate(&node).await.view.as_ref(), Ok(&truth), "it was all written again");
    assert_eq!(figure(&node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
    // The log has let go of them, and they are gone: I2, what comes doesn't join to what is no more.
    run(&cql, "TRUNCATE segments").await;
    say(&node.client(), 40, 45).await;
    counted(&node, "fanfold_archive_gaps_total ", 1.0).await;
    counted(&node, "fanfold_archive_records_total ", 5.0).await;
    node.kill();
    for table in ["snapshots", "snapshot_chunks"] {
        run(&cql, &format!("TRUNCATE {table}")).await;
    }
    assert_eq!(hydrate(&cluster.node_with(&NEVER)).await.view, Err(ErrorCode::HistoryMissing));
}

async fn run(cql: &Session, text: &str) {
    cql.query_unpaged(text, ()).await.unwrap();
}
