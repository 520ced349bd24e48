//! `fanfold epoch new` on a folder whose log has lost what the archive has: it is still the sessions' history.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::Path;
use std::process::Command;

use support::archive::{EAGER, Known, NEVER, archived, check, events, figure, say};
use support::{Node, open, state};

fn new_epoch(data: &Path) -> serde_json::Value {
    let mut epoch = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    let begun = epoch.args(["epoch", "new", "--yes", "--json", "--data"]).arg(data).output().unwrap();
    assert!(begun.status.success(), "{begun:?}");
    serde_json::from_slice(&begun.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_outlives_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    let client = node.client();
    for session in ["s", "small"] {
        open(&client, session).await;
    }
    let (known, small) = (Known::write(&node, 200).await, state(&client, "small").await);
    node.kill();
    let mut node = Node::start_with(data.path(), &EAGER);
    archived(&node).await;
    check(&node, &known).await;
    node.kill();
    std::fs::remove_dir_all(data.path().join("log/store")).unwrap();
    assert!(new_epoch(data.path())["lost_records"].as_u64().unwrap() > 200);

    let mut node = Node::start_with(data.path(), &EAGER);
    check(&node, &known).await;
    let client = node.client();
    // One record and no snapshot: nothing but the archive knows that it was ever opened.
    assert_eq!(state(&client, "small").await, small);
    // Each goes on, and what comes is archived behind what was.
    say(&client, 200, 230).await;
    support::fact(&client, "small-fact", "small", 10).await;
    archived(&node).await;
    let more = events(&client).await;
    assert_eq!((more.len(), &more[..known.events.len()]), (known.events.len() + 30, &known.events[..]));
    let small = state(&client, "small").await;
    node.kill();
    let node = Node::start_with(data.path(), &EAGER);
    assert_eq!(events(&node.client()).await, more);
    assert_eq!(state(&node.client(), "small").await, small);
    assert_eq!(figure(&node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
}

/// The log as it was before half of it was written: it is sound, and would issue offsets a second time.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_log_goes_on_above_what_the_store_knows() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    open(&node.client(), "s").await;
    say(&node.client(), 0, 20).await;
    assert!(node.terminate().success());
    let older = tempfile::tempdir().unwrap();
    copy(&data.path().join("log"), older.path());
    let mut node = Node::start_with(data.path(), &NEVER);
    let known = Known::write(&node, 200).await;
    node.kill();
    let mut node = Node::start_with(data.path(), &EAGER);
    archived(&node).await;
    node.kill();
    std::fs::remove_dir_all(data.path().join("log")).unwrap();
    copy(older.path(), &data.path().join("log"));
    let begun = new_epoch(data.path());
    assert!(begun["lost_records"].as_u64().unwrap() >= 150 && begun["first_offset"].as_u64().unwrap() > 200, "{begun}");

    let node = Node::start_with(data.path(), &EAGER);
    check(&node, &known).await;
    let client = node.client();
    say(&client, 200, 230).await;
    archived(&node).await;
    let more = events(&client).await;
    assert_eq!((more.len(), &more[..known.events.len()]), (known.events.len() + 30, &known.events[..]));
    assert_eq!(figure(&node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
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
