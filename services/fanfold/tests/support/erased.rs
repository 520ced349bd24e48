//! What an erased session looks like to everybody, and a look for its text in files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanfold_client::{Client, RequestError, Transport};
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{ErrorCode, v1};
use rand::RngCore as _;

use super::wire::Wire;
use super::{Node, command, message};

/// Bytes of a value that no compression makes smaller: stored compressed, it stands there as it is, with the text in its midst.
const NOISE_BYTES: usize = 32 * 1024;

/// A text that no program has in its files by itself.
pub fn new_marker() -> String {
    format!("heron-{}", uuid::Uuid::new_v4().simple())
}

/// Files below `folder` that have it.
pub fn files_with(folder: &Path, marker: &str) -> Vec<PathBuf> {
    // A file that goes while it is looked at has nothing.
    let grep = Command::new("grep").args(["-rlaF", marker]).arg(folder).output().unwrap();
    String::from_utf8(grep.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// A session with the marker in its title, its messages and a custom value.
pub async fn write(client: &Client, session: &str, marker: &str, messages: usize) {
    super::open(client, session).await;
    let mut payload = vec![0; NOISE_BYTES];
    rand::rng().fill_bytes(&mut payload);
    payload[NOISE_BYTES / 2..][..marker.len()].copy_from_slice(marker.as_bytes());
    let custom = v1::Custom { kind: "noise".into(), content_type: "x/y".into(), payload };
    client.submit(command("noise", session, Action::Custom(custom))).await.unwrap();
    for n in 0..messages {
        let Action::Send(send) = message(&format!("{marker} {n}")) else { unreachable!() };
        let send = v1::Send { answer: None, ..send };
        client.submit(command(&format!("say{n}"), session, Action::Send(send))).await.unwrap();
    }
}

fn ask(session: &str, cursor: Option<&str>) -> v1::Subscribe {
    v1::Subscribe { session: session.into(), cursor: cursor.map(str::to_owned), window: u32::MAX, ..v1::Subscribe::default() }
}

/// A reader that has everything.
pub async fn read(node: &Node, session: &str) -> Wire {
    let mut wire = Wire::open(node, Transport::WebSocket, vec![ask(session, None)], BTreeMap::new()).await;
    wire.caught_up(1).await;
    wire
}

/// Until the reader is told that its session was erased. It is left with nothing of it.
pub async fn is_told(wire: &mut Wire) {
    loop {
        match wire.next().await {
            Frame::Closed(closed) => {
                assert_eq!(closed.code, "erased");
                assert!(wire.held.values().all(|held| held.view.messages.is_empty()));
                return;
            }
            Frame::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(result: Result<T, RequestError>) {
    let Err(RequestError::Refused(status)) = &result else { panic!("{result:?}") };
    assert!(status.message().starts_with(ErrorCode::SessionErased.row().text), "{status:?}");
}

/// Whoever asks, and how: by gRPC and HTTP, for the state now and then, for records, by resuming on each transport, by writing to it and by
/// opening it anew.
pub async fn check(node: &Node, session: &str, cursor: &str) {
    let client = node.client();
    for at in [None, Some(3)] {
        is_refused(client.state(v1::GetStateRequest { session: session.into(), at, ..v1::GetStateRequest::default() }).await);
    }
    is_refused(client.events(v1::ListEventsRequest { session: session.into(), ..v1::ListEventsRequest::default() }).await);
    for path in ["", "?at=3", "/events"] {
        let answer = reqwest::get(format!("{}/v1/sessions/{session}{path}", node.http)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 410, "{path}");
    }
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc] {
        for cursor in [None, Some(cursor)] {
            is_told(&mut Wire::open(node, transport, vec![ask(session, cursor)], BTreeMap::new()).await).await;
        }
    }
    for action in [Action::Open(v1::SessionOpened::default()), message("again")] {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let receipt = client.submit(command(&id, session, action)).await.unwrap();
        assert_eq!(receipt.refusal, "session_erased");
    }
    let listed = client.list(v1::ListSessionsRequest { limit: 500, ..v1::ListSessionsRequest::default() }).await.unwrap();
    assert!(listed.sessions.iter().all(|row| row.session != session));
}

/// `fanfold erase`, and the stages that it told of.
pub fn erase(node: &Node, session: &str, arguments: &[&str]) -> (i32, Vec<String>) {
    let mut erase = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    erase.args(["erase", session, "--json", "--url", &node.http, "--grpc-url", &node.grpc]).args(arguments);
    let output = erase.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stage = |line: &str| serde_json::from_str::<v1::EraseReply>(line).unwrap().stage().as_str_name().to_owned();
    (output.status.code().unwrap(), text.lines().map(stage).collect())
}
