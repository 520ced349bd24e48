//! Cancel from every transport: before the first token, and while a worker writes as fast as it can.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use fanfold_client::{Append, AppendEnd, Client, Transport};
use fanfold_fold::RunStatus;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use support::{DEADLINE, Node, all_ended, command, follow, last, open, send, state, text, until};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Ways to ask for it.
#[derive(Debug, Clone, Copy)]
enum Way {
    WebSocket,
    Rest,
    Grpc,
}

const WAYS: [Way; 3] = [Way::WebSocket, Way::Rest, Way::Grpc];

/// Cancels, and returns the receipt.
async fn cancel(node: &Node, way: Way, session: &str, run: &str) -> v1::Receipt {
    let action = v1::Cancel { run: Some(run.into()), reason: "enough".into() };
    let asked = async {
        match way {
            Way::WebSocket => over_websocket(node, command("cancel", session, Action::Cancel(action))).await,
            Way::Rest => {
                let body = serde_json::json!({ "run": run, "reason": "enough", "id": "cancel" }).to_string();
                let request = reqwest::Client::new().post(format!("{}/v1/sessions/{session}/cancel", node.http)).body(body);
                let answer = request.send().await.unwrap().error_for_status().unwrap();
                serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
            }
            Way::Grpc => node.client().submit(command("cancel", session, Action::Cancel(action))).await.unwrap(),
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("a receipt in time")
}

async fn over_websocket(node: &Node, command: v1::Command) -> v1::Receipt {
    let mut request = format!("{}/v1/ws", node.http.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", Format::Json.subprotocol().parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    for frame in [In::Hello(v1::Hello::default()), In::Command(command)] {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        socket.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
    }
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            match Format::Json.decode_server(text.as_bytes()).unwrap().frame {
                Some(Out::Receipt(receipt)) => return receipt,
                Some(Out::Error(error)) => panic!("{error:?}"),
                _ => {}
            }
        }
    }
}

/// Says numbers until the attempt is over.
async fn count(mut append: Append) -> AppendEnd {
    for number in 0.. {
        let said = v1::Said { said: Some(v1::said::Said::Text(v1::Text { text: format!("{number} ") })) };
        if let Some(end) = append.say(vec![said]).await.unwrap() {
            return end;
        }
    }
    unreachable!("it is cancelled")
}

async fn begin(client: &Client, session: &str) -> String {
    open(client, session).await;
    send(client, "send", session).await.run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_before_its_first_token() {
    let data = tempfile::tempdir().unwrap();
    // Nobody takes runs by itself.
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    for way in WAYS {
        let session = format!("s-{way:?}");
        let run = begin(&client, &session).await;
        let receipt = cancel(&node, way, &session, &run).await;
        assert_eq!((receipt.verdict(), receipt.refusal.as_str()), (v1::Verdict::Applied, ""), "{way:?}");
        assert_eq!(state(&client, &session).await.runs[0].status, RunStatus::Cancelled, "{way:?}");
        let again = cancel(&node, way, &session, &run).await;
        assert_eq!((again.verdict(), again.first_applied), (v1::Verdict::Repeated, true), "{way:?}: sent twice, it acts once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_while_its_worker_writes_as_fast_as_it_can() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    for way in WAYS {
        let session = format!("s-{way:?}");
        let run = begin(&client, &session).await;
        let start = v1::AppendStart { session: session.clone(), run: run.clone(), ..v1::AppendStart::default() };
        let writing = tokio::spawn(count(client.append(start).await.unwrap()));
        let mut reader = follow(&client, &session, Transport::WebSocket);
        until(&mut reader, |view| !view.runs.is_empty() && !text(&last(view).1).is_empty()).await;
        assert_eq!(cancel(&node, way, &session, &run).await.refusal, "", "{way:?}");
        let end = tokio::time::timeout(DEADLINE, writing).await.expect("the worker is told in time").unwrap();
        let AppendEnd::Over(run) = end else { panic!("{way:?}: the worker is told") };
        assert_eq!(run.status(), v1::RunStatus::Cancelled, "{way:?}");
        until(&mut reader, |view| all_ended(view, 1)).await;
        let partial = text(&last(reader.view()).1);
        let numbers: Vec<usize> = partial.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "{way:?}: the partial text stays, whole and in order");
    }
}
