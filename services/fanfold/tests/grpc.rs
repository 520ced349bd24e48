//! What only gRPC has: reflection, an end by age, snapshots in pieces.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use fanfold_wire::grpc::Details;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::{ErrorCode, v1};
use prost::Message as _;
use support::{DEADLINE, Node, open, state};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn ask() -> v1::Subscribe {
    v1::Subscribe { session: "s".into(), ..v1::Subscribe::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_finds_every_service_by_reflection() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let channel = tonic::transport::Endpoint::from_shared(node.grpc.clone()).unwrap().connect().await.unwrap();
    let mut reflection = ServerReflectionClient::new(channel);
    let question = tonic_reflection::pb::v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = reflection.server_reflection_info(futures::stream::iter([question])).await.unwrap().into_inner();
    let answer = tokio::time::timeout(DEADLINE, answers.message()).await.expect("an answer in time").unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["fanfold.v1.Sessions", "fanfold.v1.Workers", "fanfold.v1.Operations", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == service), "{service}: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_its_age_ends_by_name_and_says_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &[("LIMITS__GRPC_STREAM_MS_MAX", "500")]);
    open(&node.client(), "s").await;
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let mut frames = sessions.subscribe(ask()).await.unwrap().into_inner();
    let (mut cursor, mut last) = (String::new(), None);
    let status = loop {
        match tokio::time::timeout(DEADLINE, frames.message()).await.expect("a frame in time") {
            Ok(frame) => {
                last = frame.expect("it doesn't end without a word").frame;
                if let Some(Out::Snapshot(snapshot)) = &last {
                    cursor.clone_from(&snapshot.cursor);
                }
            }
            Err(status) => break status,
        }
    };
    assert_eq!(Details::of(&status).map(|details| details.code), Some(ErrorCode::Expired));
    assert_eq!(status.metadata().get("fanfold-cursor").unwrap(), &*format!("s={cursor}"));
    assert!(matches!(last, Some(Out::Ping(ping)) if ping.positions[0].cursor == cursor), "the last frame says it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_snapshot_comes_in_pieces_that_are_it() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    for n in 0..8 {
        let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: format!("{n}{}", "ü".repeat(150_000)) })) };
        let send = v1::Send { parts: vec![part], role: v1::Role::User.into(), ..v1::Send::default() };
        let sent = client.submit(support::command(&format!("send{n}"), "s", v1::command::Action::Send(send))).await.unwrap();
        assert_eq!(sent.refusal, "");
    }
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    let mut frames = sessions.subscribe(ask()).await.unwrap().into_inner();
    let (mut bytes, mut parts) = (Vec::new(), 0);
    let snapshot = loop {
        let frame = tokio::time::timeout(DEADLINE, frames.message()).await.expect("a frame in time").unwrap().unwrap();
        assert!(frame.encoded_len() <= (1 << 20) + 1024, "clients refuse more than 4 MB");
        match frame.frame {
            Some(Out::SnapshotPart(part)) => {
                bytes.extend_from_slice(&part.bytes);
                parts += 1;
                if part.last {
                    break v1::Snapshot::decode(&*bytes).unwrap();
                }
            }
            Some(Out::Snapshot(_)) => panic!("it is too large for one frame"),
            _ => {}
        }
    };
    assert!(parts > 1);
    let view: fanfold_fold::View = snapshot.view.unwrap().try_into().unwrap();
    assert_eq!(view, state(&client, "s").await);
}
