//! The one resume contract: each case of it over every transport, against a real node. Cuts at random places and a killed node are in
//! `e2e.rs`; a cursor ahead of a node that lags needs two nodes.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fanfold_client::{Client, Transport};
use fanfold_fold::{Cursor, Epoch, FoldVersion, Offset, SessionKey, TenantId};
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::{How, ResetReason};
use fanfold_wire::{ErrorCode, v1};
use support::wire::{Held, Wire};
use support::{Node, fact, open, send, state};

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

fn ask(session: &str, cursor: Option<&str>) -> v1::Subscribe {
    v1::Subscribe { session: session.into(), cursor: cursor.map(str::to_owned), window: u32::MAX, ..v1::Subscribe::default() }
}

/// Reads a session from nothing to its end.
async fn read(node: &Node, transport: Transport, session: &str) -> Held {
    let mut wire = Wire::open(node, transport, vec![ask(session, None)], BTreeMap::new()).await;
    wire.caught_up(1).await;
    let subscribed = &wire.subscribed[session];
    assert_eq!((subscribed.how(), subscribed.recovered), (How::Fresh, false), "{transport:?}");
    wire.held.remove(session).unwrap()
}

/// Comes back with `cursor` and what it had, and reads to the end.
async fn resume(node: &Node, transport: Transport, session: &str, held: &Held, cursor: &str) -> (v1::Subscribed, Held) {
    let before = Held { caught_up: false, ..held.clone() };
    let mut wire =
        Wire::open(node, transport, vec![ask(session, Some(cursor))], BTreeMap::from([(session.to_owned(), before)])).await;
    wire.caught_up(1).await;
    let subscribed = wire.subscribed.remove(session).unwrap();
    assert_eq!(subscribed.recovered, subscribed.how() == How::Resumed);
    (subscribed, wire.held.remove(session).unwrap())
}

/// Resumes over every transport and checks how, and that the reader then has the node's own state.
#[track_caller]
fn check<'a>(node: &'a Node, held: &'a Held, cursor: &'a str, how: How, reset: ResetReason) -> impl Future<Output = ()> + 'a {
    let at = std::panic::Location::caller();
    async move {
        let truth = state(&node.client(), "s").await;
        for transport in TRANSPORTS {
            let (subscribed, after) = resume(node, transport, "s", held, cursor).await;
            assert_eq!((subscribed.how(), subscribed.reset_reason()), (how, reset), "{transport:?} {at}");
            assert_eq!(after.view, truth, "{transport:?} {at}");
        }
    }
}

async fn facts(client: &Client, prefix: &str, count: usize, bytes: usize) {
    for n in 0..count {
        fact(client, &format!("{prefix}{n}"), "s", bytes).await;
    }
}

fn key() -> SessionKey {
    SessionKey::new(TenantId::default(), "s".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_within_the_ring_is_resumed_and_one_that_was_lapped_gets_a_snapshot() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[("SESSION__RING_BYTES_MAX", "4096")]);
    let client = node.client();
    open(&client, "s").await;
    // A session without readers keeps no ring of encoded frames.
    let _reader = Wire::open(&node, Transport::WebSocket, vec![ask("s", None)], BTreeMap::new()).await;
    for transport in TRANSPORTS {
        let held = read(&node, transport, "s").await;
        assert_eq!(held.view, state(&client, "s").await, "{transport:?}");
    }
    let held = read(&node, Transport::WebSocket, "s").await;
    check(&node, &held, &held.cursor, How::Resumed, ResetReason::Unspecified).await;
    facts(&client, "few", 3, 100).await;
    check(&node, &held, &held.cursor, How::Resumed, ResetReason::Unspecified).await;
    facts(&client, "many", 10, 1000).await;
    check(&node, &held, &held.cursor, How::Snapshot, ResetReason::TooOld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_restarted_knows_its_cursors() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    open(&node.client(), "s").await;
    facts(&node.client(), "before", 5, 10).await;
    let held = read(&node, Transport::Sse, "s").await;
    let node = node.restart(data.path(), &["--worker-slots", "0"]);
    check(&node, &held, &held.cursor, How::Resumed, ResetReason::Unspecified).await;
    facts(&node.client(), "after", 5, 10).await;
    check(&node, &held, &held.cursor, How::Resumed, ResetReason::Unspecified).await;
}

/// `fanfold epoch new`, as an operator types it.
fn new_epoch(data: &Path, yes: bool) -> std::process::Output {
    let mut epoch = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    epoch.args(["epoch", "new", "--json", "--data"]).arg(data).args(yes.then_some("--yes"));
    epoch.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_epoch_fold_or_future_gets_a_snapshot_that_says_why() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path(), &["--worker-slots", "0"]);
    open(&node.client(), "s").await;
    facts(&node.client(), "before", 5, 10).await;
    let held = read(&node, Transport::Grpc, "s").await;
    let cursor: Cursor = held.cursor.parse().unwrap();
    let epoch = Epoch(resume(&node, Transport::Grpc, "s", &held, &held.cursor).await.0.epoch.parse().unwrap());
    let ahead = Cursor::new(&key(), epoch, cursor.fold, Offset(cursor.offset.0 + 1_000_000)).to_string();
    check(&node, &held, &ahead, How::Snapshot, ResetReason::AheadOfHistory).await;
    let folded = Cursor::new(&key(), epoch, FoldVersion(cursor.fold.0 + 1), cursor.offset).to_string();
    check(&node, &held, &folded, How::Snapshot, ResetReason::FoldChanged).await;

    assert!(!new_epoch(data.path(), true).status.success(), "a log in use is left alone");
    node.kill();
    assert!(!new_epoch(data.path(), false).status.success(), "it asks first");
    let begun = new_epoch(data.path(), true);
    assert!(begun.status.success(), "{begun:?}");
    let begun: serde_json::Value = serde_json::from_slice(&begun.stdout).unwrap();
    assert_eq!(begun["lost_records"], 0);
    let node = node.restart(data.path(), &["--worker-slots", "0"]);
    check(&node, &held, &held.cursor, How::Snapshot, ResetReason::EpochChanged).await;
    fact(&node.client(), "after", "s", 10).await;
    let after = read(&node, Transport::Grpc, "s").await;
    assert!(after.cursor.parse::<Cursor>().unwrap().offset > cursor.offset, "offsets grow across epochs");
    check(&node, &after, &after.cursor, How::Resumed, ResetReason::Unspecified).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_a_long_session_says_where_it_begins_and_resumes() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let said = |n: usize| {
        let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: format!("message {n}") })) };
        let send = v1::Send { parts: vec![part], role: v1::Role::User.into(), ..v1::Send::default() };
        support::command(&format!("say{n}"), "s", v1::command::Action::Send(send))
    };
    for n in 0..30 {
        assert_eq!(client.submit(said(n)).await.unwrap().refusal, "");
    }
    for (at, transport) in TRANSPORTS.into_iter().enumerate() {
        let window = |cursor| v1::Subscribe { window: 10, ..ask("s", cursor) };
        let mut wire = Wire::open(&node, transport, vec![window(None)], BTreeMap::new()).await;
        let older = loop {
            if let Out::Snapshot(snapshot) = wire.next().await {
                break snapshot.older_messages;
            }
        };
        wire.caught_up(1).await;
        let held = wire.held["s"].clone();
        assert!(older > 0, "{transport:?}: it says that there are older ones");
        assert_eq!(held.view.messages.len(), 10, "{transport:?}");
        assert_eq!(client.submit(said(100 + at)).await.unwrap().refusal, "");
        wire.until(|wire| wire.held["s"].view.messages.len() == 11).await;
        let before = Held { caught_up: false, ..held.clone() };
        let mut again =
            Wire::open(&node, transport, vec![window(Some(&held.cursor))], BTreeMap::from([("s".to_owned(), before)])).await;
        again.caught_up(1).await;
        assert_eq!(again.subscribed["s"].how(), How::Resumed, "{transport:?}");
        assert_eq!(again.held["s"].view, wire.held["s"].view, "{transport:?}: as if it had never left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_tells_what_its_connection_was_sent_also_while_it_is_behind() {
    let data = tempfile::tempdir().unwrap();
    let settings =
        [("LIMITS__PING_INTERVAL_MS", "20"), ("LIMITS__SEND_BUFFER_BYTES", "4096"), ("LIMITS__WRITE_BYTES_MAX", "2000")];
    let node = Node::start_with(data.path(), &settings);
    let client = node.client();
    open(&client, "s").await;
    for transport in TRANSPORTS {
        let mut wire = Wire::open(&node, transport, vec![ask("s", None)], BTreeMap::new()).await;
        wire.caught_up(1).await;
        // Nothing is read meanwhile: more than everything between the node and this reader can hold.
        facts(&client, &format!("{transport:?}"), 40, 100_000).await;
        let truth = state(&client, "s").await;
        let (mut pings, mut behind) = (0, 0);
        while pings < 5 || wire.held["s"].view != truth {
            if let Out::Ping(ping) = wire.next().await
                && let [position] = ping.positions.as_slice()
            {
                let held: Cursor = wire.held["s"].cursor.parse().unwrap();
                assert_eq!(position.cursor, wire.held["s"].cursor, "{transport:?}: what was sent, never the head");
                assert!(position.head >= held.offset.0);
                pings += 1;
                behind += usize::from(position.head > held.offset.0);
            }
        }
        assert!(behind > 0, "{transport:?}: it was behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_on_one_connection_resume_each_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    for session in ["a", "b"] {
        open(&client, session).await;
    }
    for (at, transport) in TRANSPORTS.into_iter().enumerate() {
        let asks = |held: &BTreeMap<String, Held>| {
            ["a", "b"].map(|session| ask(session, held.get(session).map(|held| held.cursor.as_str()))).to_vec()
        };
        let mut wire = Wire::open(&node, transport, asks(&BTreeMap::new()), BTreeMap::new()).await;
        wire.caught_up(2).await;
        let mut held = std::mem::take(&mut wire.held);
        held.values_mut().for_each(|held| held.caught_up = false);
        drop(wire);
        send(&client, &format!("send{at}"), "b").await;
        let mut wire = Wire::open(&node, transport, asks(&held), held).await;
        wire.caught_up(2).await;
        for session in ["a", "b"] {
            assert_eq!(wire.subscribed[session].how(), How::Resumed, "{transport:?} {session}");
            assert_eq!(wire.held[session].view, state(&client, session).await, "{transport:?} {session}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_cursor_and_one_of_another_session_are_refused_by_name() {
    use fanfold_client::{FollowError, FollowOptions, Start, Update};
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    open(&client, "other").await;
    let own = read(&node, Transport::Sse, "s").await.cursor;
    let flipped = format!("{}{}{}", &own[..4], if &own[4..5] == "A" { 'B' } else { 'A' }, &own[5..]);
    let rows = [
        ("s", "not a cursor", ErrorCode::CursorMalformed),
        ("s", &"A".repeat(31), ErrorCode::CursorMalformed),
        ("s", &own[..30], ErrorCode::CursorMalformed),
        ("other", &own, ErrorCode::CursorOfOtherSession),
        ("nobody", &own, ErrorCode::SessionNotFound),
    ];
    for transport in TRANSPORTS {
        for (session, cursor, code) in rows {
            let options = FollowOptions { transport, start: Start::Cursor(cursor.into()), ..FollowOptions::default() };
            match client.follow(session, options).unwrap().next().await {
                Err(FollowError::Refused { code: refused, .. }) => {
                    assert_eq!(refused, code.name(), "{transport:?} {session} {cursor}");
                }
                other => panic!("{transport:?} {session} {cursor}: {other:?}"),
            }
        }
        // Bits that flip on the way never lead to a wrong resume: these name another incarnation.
        let options = FollowOptions { transport, start: Start::Cursor(flipped.clone()), ..FollowOptions::default() };
        match client.follow("s", options).unwrap().next().await {
            Ok(Update::Subscribed { how, .. }) => assert_eq!(how, How::Snapshot, "{transport:?}"),
            other => panic!("{transport:?}: {other:?}"),
        }
    }
}
