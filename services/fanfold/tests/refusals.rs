//! What each transport makes of the table of errors, where the framework below it would have its own say.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use fanfold_wire::grpc::Details;
use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::v1::append_request::Request;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::v1::workers_client::WorkersClient;
use fanfold_wire::{ErrorCode, Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::Value;
use support::{DEADLINE, Node, open, send};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Over every limit of a request.
const TOO_MANY_BYTES: usize = 2 << 20;

/// Just over it: over HTTP/1.1 a client that goes on sending may never read the answer.
const ONE_BYTE_TOO_MANY: usize = (1 << 20) + 1;

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_over_http_is_a_problem_of_the_table() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    open(&node.client(), "s").await;
    let big = "x".repeat(ONE_BYTE_TOO_MANY);
    let rows = [
        (Method::POST, "/v1/sessions/s/messages", &*big, ErrorCode::TooLarge),
        (Method::POST, "/v1/sessions/s/messages", "{", ErrorCode::BadRequest),
        (Method::POST, "/v1/sessions/s/messages", "{}", ErrorCode::BadRequest),
        (Method::POST, "/v1/sessions/none/messages", r#"{"text":"x"}"#, ErrorCode::SessionNotFound),
        (Method::POST, "/v1/sessions/s/stream", &*big, ErrorCode::TooLarge),
        (Method::PUT, "/v1/sessions/s/messages", "{}", ErrorCode::NotFound),
        (Method::GET, "/v1/nowhere", "", ErrorCode::NotFound),
        (Method::GET, "/assets/nothing.js", "", ErrorCode::NotFound),
        (Method::GET, "/v1/sessions/%FF", "", ErrorCode::BadRequest),
        (Method::GET, "/v1/sessions/s?window=many", "", ErrorCode::BadRequest),
        (Method::GET, "/v1/sessions/s/stream?view=other", "", ErrorCode::BadRequest),
        (Method::GET, "/v1/stream", "", ErrorCode::BadRequest),
        (Method::GET, "/v1/ws", "", ErrorCode::UnsupportedProtocol),
        (Method::POST, "/v1/sessions", r#"{"session":"s"}"#, ErrorCode::SessionExists),
        (Method::GET, "/v1/sessions/s/stream?cursor=x", "", ErrorCode::CursorMalformed),
    ];
    let http = reqwest::Client::new();
    for (method, path, body, code) in rows {
        let request = http.request(method.clone(), format!("{}{path}", node.http)).body(body.to_owned());
        let answer = request.send().await.unwrap();
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap().to_owned());
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((status, kind.as_str()), (code.row().http, "application/problem+json"), "{method} {path}: {problem}");
        assert_eq!((&problem["code"], &problem["status"]), (&code.name().into(), &status.into()), "{method} {path}");
        assert_eq!(problem["type"], format!("urn:fanfold:error:{}", code.name()));
        assert!(!problem["request"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_websocket_is_its_close_code() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let hello = r#"{"hello":{}}"#.to_owned();
    let rows = [
        (vec![hello.clone(), "x".repeat(TOO_MANY_BYTES)], ErrorCode::TooLarge),
        (vec![hello.clone(), "{\"".to_owned()], ErrorCode::BadRequest),
        (vec![hello, "{}".to_owned()], ErrorCode::BadRequest),
        (vec![r#"{"subscribe":{"session":"s"}}"#.to_owned()], ErrorCode::Unauthenticated),
    ];
    for (frames, code) in rows {
        let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let (mut sink, mut answers) = socket.split();
        let sending = tokio::spawn(async move {
            for frame in frames {
                // It may be closed before it has taken all of it.
                let _ = sink.send(Message::text(frame)).await;
            }
            sink
        });
        let close = loop {
            match tokio::time::timeout(DEADLINE, answers.next()).await.expect("an answer in time") {
                Some(Ok(Message::Close(close))) => break close.unwrap(),
                Some(Ok(_)) => {}
                other => panic!("{code:?}: {other:?}"),
            }
        };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (code.row().close, code.name()));
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_grpc_is_told_by_name() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let big = support::command("big", "s", support::message(&"x".repeat(TOO_MANY_BYTES)));
    let code = |status: &tonic::Status| Details::of(status).map(|details| details.code);
    let mut sessions = SessionsClient::connect(node.grpc.clone()).await.unwrap();
    assert_eq!(code(&sessions.submit(big.clone()).await.unwrap_err()), Some(ErrorCode::TooLarge));

    let frames = [In::Hello(v1::Hello::default()), In::Command(big)].map(v1::ClientFrame::from);
    let frames = futures::stream::iter(frames).chain(futures::stream::pending());
    let mut answers = sessions.attach(frames).await.unwrap().into_inner();
    let ended = loop {
        match tokio::time::timeout(DEADLINE, answers.message()).await.expect("an answer in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(code(&ended), Some(ErrorCode::TooLarge));

    let run = send(&client, "send", "s").await.run;
    let start = v1::AppendStart { session: "s".into(), run, ..v1::AppendStart::default() };
    let text = v1::said::Said::Text(v1::Text { text: "x".repeat(TOO_MANY_BYTES) });
    let output = v1::Output { seq: 1, said: vec![v1::Said { said: Some(text) }], ..v1::Output::default() };
    let requests = [Request::Start(start), Request::Output(output)].map(|request| v1::AppendRequest { request: Some(request) });
    let requests = futures::stream::iter(requests).chain(futures::stream::pending());
    let mut workers = WorkersClient::connect(node.grpc.clone()).await.unwrap();
    let mut replies = workers.append(requests).await.unwrap().into_inner();
    let error = loop {
        match tokio::time::timeout(DEADLINE, replies.message()).await.expect("a reply in time").unwrap() {
            Some(v1::AppendReply { reply: Some(Reply::Error(error)) }) => break error,
            Some(_) => {}
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!(error.code, ErrorCode::TooLarge.name());
}
