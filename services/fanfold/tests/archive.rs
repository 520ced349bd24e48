//! Sessions whose records have left the log, runs that only the log knew of, and a log whose archive is behind: on a real node.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use fanfold_client::{Client, RequestError, Transport};
use fanfold_fold::View;
use fanfold_wire::v1::How;
use fanfold_wire::{ErrorCode, v1};
use support::wire::{Held, Wire};
use support::{DEADLINE, Node, command, fact, open, replay, send, state, until};
use tokio::time::Instant;

/// Everything is archived at once and leaves the log at once; little stays in memory.
const EAGER: [(&str, &str); 9] = [
    ("ARCHIVE__QUIET_MS", "50"),
    ("ARCHIVE__WAIT_MS_MAX", "200"),
    ("ARCHIVE__SEGMENT_RECORDS", "20"),
    ("ARCHIVE__KEEP_MS", "0"),
    ("SESSION__RING_BYTES_MAX", "4096"),
    ("SESSION__MERGE_ABOVE_BYTES", "1024"),
    ("SESSION__IDLE_MS", "300"),
    ("SESSION__SNAPSHOT_RECORDS", "50"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "10"),
];

/// Nothing is archived.
const NEVER: [(&str, &str); 2] = [("ARCHIVE__QUIET_MS", "3600000"), ("ARCHIVE__WAIT_MS_MAX", "3600000")];

/// A figure that the node reports. `None` before it is first reported.
async fn figure(node: &Node, name: &str) -> Option<f64> {
    let page = reqwest::get(format!("{}/metrics", node.http)).await.unwrap().text().await.unwrap();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until nothing is left in the log.
async fn archived(node: &Node) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let figures = [figure(node, "fanfold_archive_lag_records ").await, figure(node, "fanfold_archive_log_fullness ").await];
        if figures == [Some(0.0), Some(0.0)] {
            return;
        }
        assert!(Instant::now() < deadline, "everything is archived and leaves the log: {figures:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn state_at(client: &Client, at: u64) -> View {
    let request = v1::GetStateRequest { session: "s".into(), at: Some(at), window: u32::MAX, ..v1::GetStateRequest::default() };
    client.state(request).await.unwrap().view.unwrap().try_into().unwrap()
}

/// All records, over as many pages as it takes.
async fn events(client: &Client) -> Vec<v1::Record> {
    let mut records = Vec::<v1::Record>::new();
    loop {
        let after = records.last().map_or(0, |record| record.offset);
        let request = v1::ListEventsRequest { session: "s".into(), after, limit: 64, ..v1::ListEventsRequest::default() };
        let page = client.events(request).await.unwrap();
        records.extend(page.records);
        if page.end {
            return records;
        }
    }
}

/// Reads the session to its end, as a new reader.
async fn read(node: &Node, transport: Transport, cursor: Option<(&Held, &str)>) -> (v1::Subscribed, Held) {
    let asked = v1::Subscribe {
        session: "s".into(),
        cursor: cursor.map(|(_, cursor)| cursor.to_owned()),
        window: u32::MAX,
        ..v1::Subscribe::default()
    };
    let held = cursor.map(|(held, _)| ("s".to_owned(), Held { caught_up: false, ..held.clone() }));
    let mut wire = Wire::open(node, transport, vec![asked], BTreeMap::from_iter(held)).await;
    wire.caught_up(1).await;
    (wire.subscribed.remove("s").unwrap(), wire.held.remove("s").unwrap())
}

/// What a session said at several offsets while all of it was in the log.
struct Known {
    states: Vec<(u64, View)>,
    events: Vec<v1::Record>,
    early: Held,
    last: View,
}

/// History, states of the past, a replay and an old cursor: as if nothing had left the log.
async fn check(node: &Node, known: &Known) {
    let client = node.client();
    assert_eq!(state(&client, "s").await, known.last);
    assert_eq!(events(&client).await, known.events);
    for (offset, view) in &known.states {
        assert_eq!(state_at(&client, *offset).await, *view, "at {offset}");
    }
    let mut replayed = replay(&client, "s", Transport::WebSocket);
    until(&mut replayed, |view| *view == known.last).await;
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc] {
        let (subscribed, held) = read(node, transport, Some((&known.early, &known.early.cursor))).await;
        assert_ne!(subscribed.how(), How::Fresh, "{transport:?}");
        assert_eq!(held.view, known.last, "{transport:?}");
    }
}

async fn say(client: &Client, from: usize, upto: usize) {
    for n in from..upto {
        fact(client, &format!("f{n}"), "s", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_left_the_log_is_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &NEVER);
    let client = node.client();
    open(&client, "s").await;
    say(&client, 0, 40).await;
    let (_, early) = read(&node, Transport::WebSocket, None).await;
    say(&client, 40, 200).await;
    let events = events(&client).await;
    let mut states = Vec::new();
    for record in events.iter().step_by(23) {
        states.push((record.offset, state_at(&client, record.offset).await));
    }
    let known = Known { states, early, last: state(&client, "s").await, events };
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
    let more = self::events(&client).await;
    assert_eq!(more.len(), known.events.len() + 30);
    assert_eq!(more[..known.events.len()], known.events);
    assert_eq!(figure(&node, "fanfold_archive_gaps_total ").await.unwrap_or(0.0), 0.0);
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
