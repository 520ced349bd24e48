//! A node with tokens: what a worker's opens on either transport and what it doesn't, and tenants that take turns.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fanfold_client::{AppendEnd, Client, ClientConfig, RequestError, Transport};
use fanfold_fold::RunStatus;
use fanfold_wire::v1::command::Action;
use fanfold_wire::{ErrorCode, v1};
use http::StatusCode;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::worker::recording;
use support::{Node, all_ended, command, follow, last, message, open, send, state, text, until};

const SECRET: &str = "a secret of at least thirty-two bytes";

const FOR_EVER: u64 = 4_000_000_000;

fn token(tenant: &str, role: &str, exp: u64) -> String {
    let claims = json!({ "sub": role, "tenant": tenant, "role": role, "exp": exp });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A node that asks for tokens.
fn serve(data: &Path, runs: &str, arguments: &[&str]) -> Node {
    let (key, node) = (data.join("key"), data.join("node"));
    std::fs::write(&key, SECRET).unwrap();
    let listen = "[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'";
    let auth = format!("[[auth.keys]]\nalgorithm = 'HS256'\npath = {key:?}");
    let config = data.join("fanfold.toml");
    std::fs::write(&config, format!("[node]\ndata = {node:?}\n{listen}\n[runs]\n{runs}\n{auth}\n")).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    serve.args(["serve", "--config"]).arg(config).args(arguments);
    Node::spawn(serve)
}

fn client(node: &Node, token: &str) -> Client {
    let (http, grpc, token) = (node.http.clone(), node.grpc.clone(), Some(token.to_owned()));
    Client::new(ClientConfig { http, grpc, token, ..ClientConfig::default() }).unwrap()
}

fn code(error: &RequestError) -> Option<ErrorCode> {
    let RequestError::Refused(status) = error else { return None };
    ErrorCode::ALL.iter().copied().find(|code| status.message().starts_with(code.row().text))
}

fn completed() -> Vec<v1::Said> {
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    vec![v1::Said { said: Some(v1::said::Said::Completed(v1::Completed { reason, steered: None })) }]
}

/// Takes a run and writes it over gRPC, from the first word to the last.
async fn answer(worker: &Client) -> String {
    let taken = worker.take_run(v1::TakeRunRequest { wait_ms: 30_000 }).await.unwrap();
    let lease = taken.lease.unwrap();
    worker.extend_lease(lease.clone()).await.unwrap();
    let (session, run) = (lease.session, lease.run.clone());
    let mut writing = worker.append(v1::AppendStart { session, run, ..v1::AppendStart::default() }).await.unwrap();
    writing.say(completed()).await.unwrap();
    assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
    lease.run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_token_is_for_work_over_grpc() {
    let data = tempfile::tempdir().unwrap();
    let node = serve(data.path(), "worker_slots = 0", &[]);
    let (user, worker) = (client(&node, &token("a", "user", FOR_EVER)), client(&node, &token("a", "worker", FOR_EVER)));
    open(&user, "s").await;
    let run = send(&user, "one", "s").await.run;

    // What it may: its run, the conversation around it, and facts about both.
    assert_eq!(answer(&worker).await, run);
    assert_eq!(state(&worker, "s").await.runs[0].status, RunStatus::Completed);
    let events = v1::ListEventsRequest { session: "s".into(), limit: 10, ..v1::ListEventsRequest::default() };
    assert!(!worker.events(events).await.unwrap().records.is_empty());
    until(&mut follow(&worker, "s", Transport::Grpc), |view| all_ended(view, 1)).await;
    let next = send(&user, "two", "s").await.run;
    let taken = worker.take_run(v1::TakeRunRequest { wait_ms: 30_000 }).await.unwrap();
    let lease = taken.lease;
    worker.give_back_run(v1::GiveBackRunRequest { lease, delay_ms: 0 }).await.unwrap();
    let custom = |kind: &str| Action::Custom(v1::Custom { kind: kind.into(), ..v1::Custom::default() });
    let titled = |automatic| Action::SetTitle(v1::SessionTitled { title: "t".into(), automatic });
    let cancel = Action::Cancel(v1::Cancel { run: Some(next.clone()), reason: String::new() });
    for (id, action) in [("fact", custom("fanfold.cost")), ("title", titled(true)), ("cancel", cancel)] {
        assert_eq!(worker.submit(command(id, "s", action)).await.unwrap().refusal, "", "{id}");
    }

    // What it may not: to take part, to end or erase anything for good, to see what else there is.
    let decided = v1::ToolDecided { message: "m".into(), call: "c".into(), approved: true, reason: String::new() };
    let denied = [
        Action::Open(v1::SessionOpened::default()),
        message("I am a person"),
        Action::RequestRun(v1::RunRequested { prompt: "m-one".into(), ..v1::RunRequested::default() }),
        Action::Steer(v1::RunSteered { run: next, text: "x".into() }),
        Action::DecideTool(decided),
        titled(false),
        custom("theirs"),
        Action::Close(v1::SessionClosed::default()),
        Action::Erase(v1::SessionErased {}),
    ];
    for (action, number) in denied.into_iter().zip(0..) {
        let refused = worker.submit(command(&format!("d{number}"), "s", action.clone())).await.unwrap_err();
        assert_eq!(code(&refused), Some(ErrorCode::PermissionDenied), "{action:?}");
    }
    let list = worker.list(v1::ListSessionsRequest::default()).await.unwrap_err();
    assert_eq!(code(&list), Some(ErrorCode::PermissionDenied));
    let letters = worker.dead_letters(v1::ListDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(code(&letters), Some(ErrorCode::PermissionDenied));

    // And nobody else works.
    let start = v1::AppendStart { session: "s".into(), run, ..v1::AppendStart::default() };
    for (role, expected) in [("user", ErrorCode::PermissionDenied), ("viewer", ErrorCode::PermissionDenied)] {
        let other = client(&node, &token("a", role, FOR_EVER));
        assert_eq!(code(&other.take_run(v1::TakeRunRequest::default()).await.unwrap_err()), Some(expected), "{role}");
        assert!(other.append(start.clone()).await.is_err(), "{role}");
        let title = other.submit(command("late", "s", titled(true))).await.unwrap_err();
        assert_eq!(code(&title), Some(expected), "{role}: only a program's words are automatic");
    }
    let expired = client(&node, &token("a", "worker", 1_000)).take_run(v1::TakeRunRequest::default()).await.unwrap_err();
    assert_eq!(code(&expired), Some(ErrorCode::TokenExpired));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_token_is_for_work_over_http() {
    let data = tempfile::tempdir().unwrap();
    let node = serve(data.path(), "worker_slots = 0", &[]);
    let user = client(&node, &token("a", "user", FOR_EVER));
    open(&user, "s").await;
    let run = send(&user, "one", "s").await.run;
    let http = reqwest::Client::new();
    let ask = async |method: &str, path: &str, body: &str, token: Option<&str>| -> (StatusCode, Value) {
        let mut request = http.request(method.parse().unwrap(), format!("{}{path}", node.http)).body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    };
    let worker = token("a", "worker", FOR_EVER);
    let expired = token("a", "worker", 1_000);
    for (token, expected) in [(None, "unauthenticated"), (Some("x.y.z"), "unauthenticated"), (Some(&*expired), "token_expired")] {
        let (status, problem) = ask("POST", "/v1/runs/take", "{}", token).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::UNAUTHORIZED, Some(expected)));
    }
    let mine = Some(worker.as_str());
    let (status, taken) = ask("POST", "/v1/runs/take", r#"{"wait_ms":30000}"#, mine).await;
    assert_eq!((status, taken["lease"]["run"].as_str()), (StatusCode::OK, Some(run.as_str())));
    assert_eq!(ask("POST", "/v1/runs/extend", &taken["lease"].to_string(), mine).await.0, StatusCode::NO_CONTENT);
    let give_back = json!({ "lease": taken["lease"] }).to_string();
    assert_eq!(ask("POST", "/v1/runs/give-back", &give_back, mine).await.0, StatusCode::NO_CONTENT);
    let output = format!("/v1/sessions/s/runs/{run}/output");
    let lines = "{\"text\":{\"text\":\"Hi\"}}\n{\"completed\":{\"reason\":{\"kind\":\"FINISH_KIND_STOP\"}}}\n";
    let others = token("a", "user", FOR_EVER);
    assert_eq!(ask("POST", &output, lines, Some(&others)).await.0, StatusCode::FORBIDDEN, "a person writes no answer");
    let strangers = token("b", "worker", FOR_EVER);
    assert_eq!(ask("POST", &output, lines, Some(&strangers)).await.0, StatusCode::NOT_FOUND, "nor another tenant's worker");
    let (status, written) = ask("POST", &output, lines, mine).await;
    assert_eq!((status, written["ack"]["seq"].as_str()), (StatusCode::OK, Some("2")), "{written}");
    for path in ["/v1/sessions/s", "/v1/sessions/s/events"] {
        assert_eq!(ask("GET", path, "", mine).await.0, StatusCode::OK, "{path}");
    }
    let denied = [
        ("GET", "/v1/sessions", ""),
        ("POST", "/v1/sessions", "{}"),
        ("POST", "/v1/sessions/s/messages", r#"{"text":"I am a person"}"#),
        ("POST", "/v1/sessions/s/presence", r#"{"doing":"typing"}"#),
        ("GET", "/v1/dead-letters", ""),
        ("GET", "/v1/parked", ""),
    ];
    for (method, path, body) in denied {
        let (status, problem) = ask(method, path, body, mine).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::FORBIDDEN, Some("permission_denied")), "{method} {path}");
    }
    assert_eq!(text(&last(&state(&user, "s").await).1), "Hi");
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_worker_takes_a_token_as_an_option_and_from_the_environment() {
    let data = tempfile::tempdir().unwrap();
    let node = serve(data.path(), "worker_slots = 0", &[]);
    let user = client(&node, &token("a", "user", FOR_EVER));
    let file = recording(data.path(), "hi", &["Hi".into()]);
    let worker = |option: Option<&str>, variable: Option<&str>| {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        worker.args(["worker", "--node", &node.grpc, "--model-pace", "0", "--model-recording"]).arg(&file);
        worker
            .args(option.map(|token| ["--token", token]).into_iter().flatten())
            .envs(variable.map(|token| ("FANFOLD_TOKEN", token)));
        Process(worker.env("FANFOLD_LOG", "off").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    };
    let (good, wrong) = (token("a", "worker", FOR_EVER), token("a", "user", FOR_EVER));
    for (number, (option, variable)) in
        [(Some(&*good), None), (None, Some(&*good)), (Some(&*good), Some(&*wrong))].into_iter().enumerate()
    {
        let session = format!("s{number}");
        open(&user, &session).await;
        let mut worker = worker(option, variable);
        send(&user, "one", &session).await;
        until(&mut follow(&user, &session, Transport::WebSocket), |view| all_ended(view, 1)).await;
        assert_eq!(text(&last(&state(&user, &session).await).1), "Hi");
        // A killed one might be given the next run before anybody notices.
        assert!(Command::new("kill").args(["-TERM", &worker.0.id().to_string()]).status().unwrap().success());
        worker.0.wait().unwrap();
    }
    // One that may not work takes nothing, and leaves the run to one that may.
    open(&user, "t").await;
    let _wrong = [worker(None, None), worker(Some(&wrong), None)];
    let run = send(&user, "one", "t").await.run;
    assert_eq!(answer(&client(&node, &good)).await, run);
}

/// Slow enough that all are asked for before the first ones have ended.
const PACE_MS: &str = "25";

fn slow(folder: &Path) -> PathBuf {
    let words: Vec<String> = (0..20).map(|number| format!("{number} ")).collect();
    recording(folder, "count", &words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_many_runs_waits_for_itself() {
    let data = tempfile::tempdir().unwrap();
    let file = slow(data.path());
    let arguments = ["--model-recording", file.to_str().unwrap(), "--model-pace", PACE_MS];
    take_turns(&serve(data.path(), "worker_slots = 1", &arguments)).await;
}

/// Asked for at one node, answered by another.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_many_runs_waits_for_itself_on_nodes_that_share_a_queue() {
    let data = tempfile::tempdir().unwrap();
    let key = data.path().join("key");
    std::fs::write(&key, SECRET).unwrap();
    let keys = format!("[{{algorithm=\"HS256\",path={key:?}}}]");
    let Some(cluster) = Cluster::make_with("tenants that share a queue", &[("AUTH__KEYS", &keys)]) else { return };
    let recordings = format!("[{:?}]", slow(data.path()));
    let worker = [("RUNS__WORKER_SLOTS", "1"), ("RUNS__MODEL_RECORDINGS", &*recordings), ("RUNS__MODEL_PACE_MS", PACE_MS)];
    let _works = cluster.node_with(&worker);
    take_turns(&cluster.node("0")).await;
}

/// One place for runs, many runs of one tenant, then one of another.
async fn take_turns(node: &Node) {
    const MANY: usize = 20;
    let (many, one) = (client(node, &token("many", "user", FOR_EVER)), client(node, &token("one", "user", FOR_EVER)));
    for number in 0..MANY {
        open(&many, &format!("s{number}")).await;
    }
    open(&one, "s").await;
    for number in 0..MANY {
        send(&many, "ask", &format!("s{number}")).await;
    }
    send(&one, "ask", "s").await;
    until(&mut follow(&one, "s", Transport::WebSocket), |view| all_ended(view, 1)).await;
    let mine = state(&one, "s").await.runs[0].clone();
    let (mut before, mut after) = (0, 0);
    for number in 0..MANY {
        let session = format!("s{number}");
        until(&mut follow(&many, &session, Transport::WebSocket), |view| all_ended(view, 1)).await;
        let run = state(&many, &session).await.runs[0].clone();
        assert_eq!(run.status, RunStatus::Completed);
        let asked_earlier = run.started_at_ms < mine.started_at_ms && run.ended_at_ms > Some(mine.requested_at_ms);
        before += usize::from(asked_earlier);
        after += usize::from(run.started_at_ms > mine.started_at_ms);
    }
    // The one that was being answered, and at most one turn of the other tenant.
    assert!(before <= 2 && after >= 1, "{before} of the other tenant's runs went before, {after} after");
}
