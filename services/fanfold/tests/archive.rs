//! Sessions whose records have left the log, runs that only the log knew of, and a log whose archive is behind: on a real node.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::Path;
use std::time::Duration;

use fanfold_client::RequestError;
use fanfold_fold::{SessionKey, TenantId};
use fanfold_store::{EmbeddedStore, SessionIndex as _, SessionRow};
use fanfold_wire::{ErrorCode, v1};
use support::archive::{EAGER, Known, NEVER, archived, check, events, figure, say};
use support::{DEADLINE, Node, command, open, send};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_left_the_log_is_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    let client = node.client();
    open(&client, "s").await;
    let known = Known::write(&node, 200).await;
    node.kill();
    let mut node = Node::start_with(data.path(), &EAGER);
    archived(&node).await;
    check(&node, &known).await;
    node.kill();
    let node = Node::start_with(data.path(), &EAGER);
    check(&node, &known).await;
    // It goes on, and what comes is archived behind what was.
    let client = node.client();
    say(&client, 200, 230).await;
    archived(&node).await;
    let more = events(&client).await;
    assert_eq!(more.len(), known.events.len() + 30);
    assert_eq!(more[..known.events.len()], known.events);
    assert_eq!(figure(&node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
}

/// As after a kill between the end of a run in the log and its row.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_tells_of_ended_runs_is_put_right_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    open(&node.client(), "s").await;
    let row = listed(&node, |_| true).await;
    assert_eq!(row.open_runs, 0);
    node.kill();
    let store = EmbeddedStore::open(data.path().join("store")).unwrap();
    let key = SessionKey::new(TenantId::default(), "s".parse().unwrap());
    let kept = store.row(&key).await.unwrap().unwrap();
    store.put_row(&SessionRow { open_runs: 1, ..kept }).await.unwrap();
    drop(store);
    let node = Node::start_with(data.path(), &NEVER);
    let mended = listed(&node, |row| row.open_runs == 0).await;
    assert_eq!(mended.active_at_ms, row.active_at_ms, "nothing was said in it");
}

/// The one session's row, once it is as wanted.
async fn listed(node: &Node, is_wanted: impl Fn(&v1::SessionRow) -> bool) -> v1::SessionRow {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut rows = node.client().list(v1::ListSessionsRequest::default()).await.unwrap().sessions;
        if let Some(row) = rows.pop().filter(|row| is_wanted(row)) {
            return row;
        }
        assert!(Instant::now() < deadline, "the list is put right");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The kill comes when the log has the request and nothing else does: the row that tells of open runs is the one from before.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_only_the_log_knows_of_is_offered_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    open(&node.client(), "s").await;
    // Its end puts the store on disk as it is.
    assert!(node.terminate().success());
    let before = tempfile::tempdir().unwrap();
    copy(&data.path().join("store"), before.path());
    let mut node = Node::start_with(data.path(), &NEVER);
    let run = send(&node.client(), "ask", "s").await.run;
    node.kill();
    std::fs::remove_dir_all(data.path().join("store")).unwrap();
    copy(before.path(), &data.path().join("store"));
    let node = Node::start_with(data.path(), &EAGER);
    // Nobody reads the session.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let taken = node.client().take_run(v1::TakeRunRequest { wait_ms: 1000 }).await.unwrap();
        if let Some(lease) = taken.lease {
            assert_eq!((lease.session.as_str(), lease.run), ("s", run));
            return;
        }
        assert!(Instant::now() < deadline, "the run is offered");
    }
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

/// I5: the log fills up, says so, loses nothing, and is usable again as soon as the archive has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_archive_is_behind_is_overloaded_until_it_catches_up() {
    let data = tempfile::tempdir().unwrap();
    let full = ("ARCHIVE__LOG_BYTES_MAX", "20000");
    let mut node = Node::start_with(data.path(), &[&NEVER[..], &[full]].concat());
    let client = node.client();
    open(&client, "s").await;
    let mut stored = 0;
    let refused = loop {
        match client.submit(custom(stored)).await {
            Ok(receipt) => assert_eq!(receipt.refusal, ""),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 100, "I5 bounded");
    };
    assert!(is_overloaded(&refused), "{refused:?}");
    assert_eq!(events(&client).await.len(), stored + 1, "what was acknowledged is there");
    node.kill();
    let node = Node::start_with(data.path(), &[&EAGER[..], &[full]].concat());
    let client = node.client();
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = client.submit(custom(stored)).await {
        assert!(is_overloaded(&error) && Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(events(&client).await.len(), stored + 2);
}

/// A record of some bytes.
fn custom(number: usize) -> v1::Command {
    let payload = "x".repeat(500).into_bytes();
    let custom = v1::Custom { kind: "fact".into(), content_type: "text/plain".into(), payload };
    command(&format!("c{number}"), "s", v1::command::Action::Custom(custom))
}

fn is_overloaded(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused(status) if status.message().starts_with(ErrorCode::Overloaded.row().text))
}
