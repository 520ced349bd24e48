//! Who wants to know that a run has ended is told: signed, again until it answers, and also after a node that died.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use fanfold_client::Transport;
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, StatusCode};
use support::{DEADLINE, Node, all_ended, follow, open, send, until};
use tokio::sync::mpsc;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// An application that refuses the first requests and keeps the bodies of the others.
struct Application {
    url: String,
    told: mpsc::UnboundedReceiver<serde_json::Value>,
    refused: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Desk {
    refuse: usize,
    refused: Arc<AtomicUsize>,
    told: mpsc::UnboundedSender<serde_json::Value>,
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["fanfold-signature"].to_str().unwrap();
    let (at, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{at}.").as_bytes());
    mac.update(&body);
    let bytes = (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap());
    mac.verify_slice(&bytes.collect::<Vec<_>>()).unwrap();
    if desk.refused.load(Ordering::Relaxed) < desk.refuse {
        desk.refused.fetch_add(1, Ordering::Relaxed);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["fanfold-delivery"].to_str().unwrap(), body["run"]["id"]);
    desk.told.send(body).unwrap();
    StatusCode::NO_CONTENT
}

impl Application {
    async fn start(refuse: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        #[allow(clippy::disallowed_methods, reason = "a test sends a handful")]
        let (sender, told) = mpsc::unbounded_channel();
        let refused = Arc::new(AtomicUsize::new(0));
        let desk = Desk { refuse, refused: Arc::clone(&refused), told: sender };
        let router = Router::new().route("/told", post(take)).with_state(desk);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, told, refused }
    }

    async fn next(&mut self) -> serde_json::Value {
        tokio::time::timeout(DEADLINE, self.told.recv()).await.expect("told in time").unwrap()
    }
}

fn node(data: &Path, url: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Node {
    std::fs::write(data.join("secret"), SECRET).unwrap();
    let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    dev.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
    dev.env("FANFOLD_HOOKS__URL", url).env("FANFOLD_HOOKS__SECRET", data.join("secret"));
    dev.envs(settings.iter().copied());
    Node::spawn(dev)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_is_told_until_it_is_heard() {
    let data = tempfile::tempdir().unwrap();
    let mut application = Application::start(2).await;
    let node = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let run = send(&client, "one", "s").await.run;
    let told = application.next().await;
    assert_eq!(application.refused.load(Ordering::Relaxed), 2);
    assert_eq!((told["type"].as_str(), told["tenant"].as_str()), (Some("run_ended"), Some("default")));
    assert_eq!((told["session"].as_str(), told["run"]["id"].as_str()), (Some("s"), Some(run.as_str())));
    assert_eq!(told["run"]["status"], "RUN_STATUS_COMPLETED");
    // The state of the cursor has what is told.
    let at_least = told["cursor"].as_str().unwrap();
    let state = reqwest::get(format!("{}/v1/sessions/s?at_least={at_least}", node.http)).await.unwrap();
    assert!(state.status().is_success());
    let state: serde_json::Value = serde_json::from_slice(&state.bytes().await.unwrap()).unwrap();
    assert_eq!(state["view"]["session"]["title"], "hello", "the first words of the first message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_tells_when_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    // Nobody hears it before the node dies.
    let mut application = Application::start(0).await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}/told", deaf.local_addr().unwrap());
    let mut first = node(data.path(), &nowhere, &[], &["--model-pace", "0"]);
    let client = first.client();
    open(&client, "s").await;
    let mut reader = follow(&client, "s", Transport::WebSocket);
    let ended = send(&client, "one", "s").await.run;
    until(&mut reader, |view| all_ended(view, 1)).await;
    first.kill();
    // One that is told of when it ends, another that was waiting to be told.
    let mut second = node(data.path(), &nowhere, &[], &["--worker-slots", "0"]);
    let open = send(&second.client(), "two", "s").await.run;
    second.kill();
    let _third = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let mut told =
        [application.next().await, application.next().await].map(|told| told["run"]["id"].as_str().unwrap().to_owned());
    let mut runs = [ended, open];
    told.sort();
    runs.sort();
    assert_eq!(told, runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_needs_no_telling() {
    let data = tempfile::tempdir().unwrap();
    let mut application = Application::start(0).await;
    let unwatched = [("FANFOLD_HOOKS__UNWATCHED_ONLY", "true")];
    let node = node(data.path(), &application.url, &unwatched, &["--model-pace", "1"]);
    let client = node.client();
    open(&client, "watched").await;
    open(&client, "alone").await;
    let mut reader = follow(&client, "watched", Transport::Sse);
    until(&mut reader, |view| view.session.opened_at_ms > 0).await;
    send(&client, "one", "watched").await;
    until(&mut reader, |view| all_ended(view, 1)).await;
    let alone = send(&client, "one", "alone").await.run;
    assert_eq!(application.next().await["run"]["id"], serde_json::json!(alone), "the first that is told");
    assert!(application.told.try_recv().is_err());
}
