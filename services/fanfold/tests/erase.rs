//! Erasing a session on one node: nobody gets anything of it, no file has its text, and a node that dies in the midst finishes later.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};

use fanfold_client::RequestError;
use fanfold_wire::v1;
use support::erased::{check, erase, files_with, is_told, new_marker, read, write};
use support::{DEADLINE, Node, command, fact, open, send, state};
use tokio::time::Instant;

/// Archived and kept at once, and done as soon as it can be.
const EAGER: [(&str, &str); 8] = [
    ("ARCHIVE__QUIET_MS", "50"),
    ("ARCHIVE__WAIT_MS_MAX", "200"),
    ("ARCHIVE__SEGMENT_RECORDS", "20"),
    ("SESSION__SNAPSHOT_RECORDS", "10"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "10"),
    ("SESSION__IDLE_MS", "300"),
    ("ERASE__SETTLE_MS", "300"),
    ("ERASE__COMPACT_MS", "0"),
];

/// Nothing comes to its end: not the archive, not an erasure.
const NEVER: [(&str, &str); 3] =
    [("ARCHIVE__QUIET_MS", "3600000"), ("ARCHIVE__WAIT_MS_MAX", "3600000"), ("ERASE__SETTLE_MS", "3600000")];

async fn figure(node: &Node, name: &str) -> f64 {
    let page = reqwest::get(format!("{}/metrics", node.http)).await.unwrap().text().await.unwrap();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}

async fn until_figure(node: &Node, name: &str, reached: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let figure = figure(node, name).await;
        if reached(figure) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {figure}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_session_is_told_refused_and_in_no_file() {
    let (data, marker) = (tempfile::tempdir().unwrap(), new_marker());
    let mut node = Node::start_with(data.path(), &EAGER);
    let client = node.client();
    write(&client, "s", &marker, 60).await;
    write(&client, "t", &new_marker(), 60).await;
    let stays = state(&client, "t").await;
    until_figure(&node, "fanfold_archive_records_total ", |records| records >= 120.0).await;
    let (log, store) = (data.path().join("log"), data.path().join("store"));
    assert!(!files_with(&log, &marker).is_empty() && !files_with(&store, &marker).is_empty());
    let mut reader = read(&node, "s").await;
    let cursor = reader.held["s"].cursor.clone();
    assert_eq!(erase(&node, "s", &[]), (1, vec![]), "nobody said yes");
    let (code, stages) = erase(&node, "s", &["--yes"]);
    assert_eq!((code, stages.last().map(String::as_str)), (0, Some("ERASURE_STAGE_REMOVED")));
    is_told(&mut reader).await;
    check(&node, "s", &cursor).await;
    let (code, stages) = erase(&node, "s", &["--yes", "--wait"]);
    assert_eq!((code, stages.last().map(String::as_str)), (0, Some("ERASURE_STAGE_DONE")));
    assert_eq!(files_with(data.path(), &marker), [] as [PathBuf; 0]);
    check(&node, "s", &cursor).await;
    // Also for a node that starts with what is left, and after the log has let go of the erasure, too.
    assert!(node.terminate().success());
    let node = Node::start_with(data.path(), &[&EAGER[..], &[("ARCHIVE__KEEP_MS", "0")]].concat());
    until_figure(&node, "fanfold_archive_log_fullness ", |fullness| fullness == 0.0).await;
    check(&node, "s", &cursor).await;
    assert_eq!(state(&node.client(), "t").await, stays, "others are left alone");
    assert_eq!(files_with(data.path(), &marker), [] as [PathBuf; 0]);
    assert_eq!(erase(&node, "s", &["--yes"]).0, 0, "again");
}

/// By the list in the store: all was removed, and late writers were still waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_while_it_waits_finishes_later() {
    let (data, marker) = (tempfile::tempdir().unwrap(), new_marker());
    let mut node = Node::start_with(data.path(), &NEVER);
    write(&node.client(), "s", &marker, 10).await;
    let cursor = read(&node, "s").await.held["s"].cursor.clone();
    let reply = node.client().erase("s").await.unwrap();
    assert_eq!(reply.stage(), v1::ErasureStage::Removed);
    node.kill();
    let node = Node::start_with(data.path(), &EAGER);
    check(&node, "s", &cursor).await;
    until_figure(&node, "fanfold_erase_done_total ", |done| done >= 1.0).await;
    assert_eq!(node.client().erase("s").await.unwrap().stage(), v1::ErasureStage::Done);
    assert_eq!(files_with(data.path(), &marker), [] as [PathBuf; 0]);
    check(&node, "s", &cursor).await;
}

/// By the log: it had the erasure when the node died, and the store knew nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_before_the_store_knows_finishes_later() {
    let (data, marker) = (tempfile::tempdir().unwrap(), new_marker());
    let mut node = Node::start_with(data.path(), &EAGER);
    write(&node.client(), "s", &marker, 60).await;
    until_figure(&node, "fanfold_archive_records_total ", |records| records >= 60.0).await;
    assert!(node.terminate().success());
    let before = tempfile::tempdir().unwrap();
    copy(&data.path().join("store"), before.path());
    let mut node = Node::start_with(data.path(), &NEVER);
    let cursor = read(&node, "s").await.held["s"].cursor.clone();
    node.client().erase("s").await.unwrap();
    node.kill();
    std::fs::remove_dir_all(data.path().join("store")).unwrap();
    copy(before.path(), &data.path().join("store"));
    assert!(!files_with(&data.path().join("store"), &marker).is_empty());
    // Nobody asks for the session: the archiver meets its erasure.
    let node = Node::start_with(data.path(), &EAGER);
    until_figure(&node, "fanfold_erase_done_total ", |done| done >= 1.0).await;
    assert_eq!(files_with(data.path(), &marker), [] as [PathBuf; 0]);
    check(&node, "s", &cursor).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Runs that wait, one that a worker has, and the command by which browsers erase.
#[tokio::test(flavor = "multi_thread")]
async fn runs_of_an_erased_session_are_over() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &EAGER);
    let client = node.client();
    open(&client, "s").await;
    let first = send(&client, "one", "s").await.run;
    send(&client, "two", "s").await;
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 10_000 }).await.unwrap();
    assert_eq!(taken.lease.unwrap().run, first);
    let erased = v1::command::Action::Erase(v1::SessionErased {});
    let receipt = client.submit(command("erase", "s", erased)).await.unwrap();
    assert_eq!(receipt.refusal, "");
    // Nothing is left to be taken, and nothing is in the way of others.
    open(&client, "t").await;
    let other = send(&client, "one", "t").await.run;
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 10_000 }).await.unwrap();
    assert_eq!(taken.lease.unwrap().run, other);
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 200 }).await.unwrap();
    assert!(taken.lease.is_none(), "{taken:?}");
    until_figure(&node, "fanfold_erase_begun_total ", |begun| begun >= 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_was_can_not_be_erased() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &EAGER);
    let refused = node.client().erase("nobody").await;
    assert!(matches!(refused, Err(RequestError::Refused(_))), "{refused:?}");
    let answer = reqwest::Client::new().delete(format!("{}/v1/sessions/nobody", node.http)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);
    assert_eq!(erase(&node, "nobody", &["--yes"]).0, 3);
    // And its id is free.
    open(&node.client(), "nobody").await;
    fact(&node.client(), "f", "nobody", 10).await;
    let erased = reqwest::Client::new().delete(format!("{}/v1/sessions/nobody", node.http)).send().await.unwrap();
    assert_eq!(erased.status().as_u16(), 200);
    let reply: serde_json::Value = erased.json().await.unwrap();
    assert_eq!(reply["stage"], "ERASURE_STAGE_REMOVED");
}
