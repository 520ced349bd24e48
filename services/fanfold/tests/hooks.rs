//! Who wants to know that a run has ended is told: signed, again until it answers, and also after a node that died.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use fanfold_client::Transport;
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, StatusCode};
use support::{DEADLINE, Node, all_ended, follow, missing, open, send, until};
use tokio::sync::mpsc;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// An application that refuses the first requests and keeps the bodies of the others.
struct Application {
    url: String,
    told: mpsc::UnboundedReceiver<serde_json::Value>,
    refused: Refused,
    last: Last,
}

/// When requests were refused.
type Refused = Arc<Mutex<Vec<Instant>>>;

/// The signature and body of the last request.
type Last = Arc<Mutex<Option<(String, Bytes)>>>;

#[derive(Clone)]
struct Desk {
    refuse: usize,
    refusal: StatusCode,
    retry_after: String,
    refused: Refused,
    told: mpsc::UnboundedSender<serde_json::Value>,
    last: Last,
}

impl Desk {
    fn refuses(&self) -> bool {
        let mut refused = self.refused.lock().unwrap();
        if refused.len() < self.refuse {
            refused.push(Instant::now());
            return true;
        }
        false
    }
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> (StatusCode, [(&'static str, String); 1]) {
    let signature = headers["fanfold-signature"].to_str().unwrap();
    *desk.last.lock().unwrap() = Some((signature.to_owned(), body.clone()));
    let (at, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{at}.").as_bytes());
    mac.update(&body);
    let bytes = (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap());
    mac.verify_slice(&bytes.collect::<Vec<_>>()).unwrap();
    if desk.refuses() {
        return (desk.refusal, [("retry-after", desk.retry_after.clone())]);
    }
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["fanfold-delivery"].to_str().unwrap(), body["run"]["id"]);
    desk.told.send(body).unwrap();
    (StatusCode::NO_CONTENT, [("retry-after", String::new())])
}

impl Application {
    async fn start(refuse: usize) -> Self {
        Self::refusing(refuse, StatusCode::SERVICE_UNAVAILABLE, "").await
    }

    async fn refusing(refuse: usize, refusal: StatusCode, retry_after: &str) -> Self {
        let retry_after = retry_after.to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        #[allow(clippy::disallowed_methods, reason = "a test sends a handful")]
        let (sender, told) = mpsc::unbounded_channel();
        let refused = Refused::default();
        let desk = Desk { refuse, refusal, retry_after, refused: Arc::clone(&refused), told: sender, last: Last::default() };
        let last = Arc::clone(&desk.last);
        let router = Router::new().route("/told", post(take)).with_state(desk);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, told, refused, last }
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
    assert_eq!(application.refused.lock().unwrap().len(), 2);
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

/// Both nodes have the session in memory, so both see each end.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_one_tells() {
    let mut application = Application::start(0).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let hooks = [("HOOKS__URL", &*application.url), ("HOOKS__SECRET", secret.path().to_str().unwrap())];
    let Some(cluster) = support::cluster::Cluster::make_with("hooks of two nodes", &hooks) else { return };
    let work = [("RUNS__WORKER_SLOTS", "1"), ("RUNS__MODEL_PACE_MS", "0")];
    let nodes = ["first", "second"].map(|name| cluster.node_with(&[work[0], work[1], ("NODE__NAME", name)]));
    let client = nodes[0].client();
    open(&client, "s").await;
    let mut readers = nodes.each_ref().map(|node| follow(&node.client(), "s", Transport::WebSocket));
    let mut asked = Vec::new();
    for n in 1..=10 {
        // Requested of either.
        asked.push(send(&nodes[n % 2].client(), &format!("send{n}"), "s").await.run);
        for reader in &mut readers {
            until(reader, |view| all_ended(view, n)).await;
        }
    }
    let mut told = Vec::new();
    while !asked.iter().all(|run| told.contains(run)) {
        told.push(application.next().await["run"]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(told.len(), asked.len(), "each once: {told:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_left_alone_for_as_long_as_it_asks() {
    let data = tempfile::tempdir().unwrap();
    let mut application = Application::refusing(1, StatusCode::TOO_MANY_REQUESTS, "4").await;
    let node = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "one", "s").await;
    let heard = async {
        while application.refused.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.unwrap();
    let refused_at = application.refused.lock().unwrap()[0];
    application.next().await;
    // By itself it would be told again within a second.
    assert!(refused_at.elapsed() >= Duration::from_millis(3_500), "{:?}", refused_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_told_no_more_also_not_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut application = Application::refusing(1, StatusCode::GONE, "").await;
    let mut first = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let client = first.client();
    open(&client, "s").await;
    let gone = send(&client, "one", "s").await.run;
    let heard = async {
        while application.refused.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.unwrap();
    // What ends later is told: the application may be back.
    let next = send(&client, "two", "s").await.run;
    let told = application.next().await;
    assert_eq!(told["run"]["id"], serde_json::json!(next));
    assert_ne!(next, gone);
    assert!(first.terminate().success());
    let second = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let last = send(&second.client(), "three", "s").await.run;
    assert_eq!(application.next().await["run"]["id"], serde_json::json!(last), "the next that is told");
    assert!(application.told.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_in_the_documentation_knows_what_is_genuine() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workers.md")).unwrap();
    let snippet = document.split("```python\n").find(|block| block.contains("def genuine")).unwrap().split("```").next().unwrap();
    if Command::new("python3").arg("--version").output().is_err() {
        return missing("no python3: the snippet that checks signatures");
    }
    let data = tempfile::tempdir().unwrap();
    let mut application = Application::start(0).await;
    let node = node(data.path(), &application.url, &[], &["--model-pace", "0"]);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "one", "s").await;
    application.next().await;
    let (signature, body) = application.last.lock().unwrap().clone().unwrap();
    std::fs::write(data.path().join("body"), &body).unwrap();
    let says = |what: &str| {
        let script = format!(
            "{snippet}\nimport sys\nbody = open(sys.argv[1], 'rb').read()\nsecret, signature = {SECRET:?}.encode(), sys.argv[2]\nprint({what})"
        );
        let printed =
            Command::new("python3").args(["-c", &script]).arg(data.path().join("body")).arg(&signature).output().unwrap();
        String::from_utf8(printed.stdout).unwrap() + &String::from_utf8(printed.stderr).unwrap()
    };
    assert_eq!(says("genuine(secret, signature, body)"), "True\n");
    assert_eq!(says("genuine(secret, signature, body + b' ')"), "False\n");
    assert_eq!(says("genuine(b'another', signature, body)"), "False\n");
    assert_eq!(says("genuine(secret, signature, body, tolerance_s=-1)"), "False\n", "of long ago");
}
