//! Workers of others, and our own as a process of its own: leases, heartbeats, fences, tenants, drain.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::process::Command;

use fanfold_client::{AppendEnd, Client, ClientConfig, RequestError, Transport};
use fanfold_fold::RunStatus;
use fanfold_wire::{ErrorCode, v1};
use jsonwebtoken::{EncodingKey, Header, encode};
use support::worker::{Worker, impatient, recording};
use support::{Node, all_ended, command, follow, last, open, send, state, text, until};

/// A time after which a silent worker is lost.
const SILENCE_MS: u64 = 3_000;

/// As long as nothing is expected to come.
const NOTHING_MS: u32 = 150;

async fn take(client: &Client, wait_ms: u32) -> Option<v1::TakeRunReply> {
    let taken = client.take_run(v1::TakeRunRequest { wait_ms }).await.unwrap();
    taken.lease.is_some().then_some(taken)
}

fn start(taken: &v1::TakeRunReply, worker: &str) -> v1::AppendStart {
    let lease = taken.lease.clone().unwrap();
    v1::AppendStart { session: lease.session, run: lease.run, worker: worker.into(), ..v1::AppendStart::default() }
}

fn said(text: &str) -> Vec<v1::Said> {
    vec![v1::Said { said: Some(v1::said::Said::Text(v1::Text { text: text.into() })) }]
}

fn completed() -> Vec<v1::Said> {
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    vec![v1::Said { said: Some(v1::said::Said::Completed(v1::Completed { reason, steered: None })) }]
}

fn code(error: &RequestError) -> Option<ErrorCode> {
    let RequestError::Refused(status) = error else { return None };
    ErrorCode::ALL.iter().copied().find(|code| status.message().starts_with(code.row().text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_with_its_conversation_one_at_a_time_in_order() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), 60_000);
    let client = node.client();
    // Whoever waits is served when there is something.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { take(&client, 30_000).await }
    });
    open(&client, "s").await;
    let first = send(&client, "one", "s").await.run;
    let second = send(&client, "two", "s").await.run;
    let taken = waiting.await.unwrap().unwrap();
    let lease = taken.lease.clone().unwrap();
    assert_eq!((lease.session.as_str(), lease.run.as_str()), ("s", first.as_str()));
    assert_eq!(taken.run.clone().unwrap().status(), v1::RunStatus::Queued);
    assert_eq!(taken.messages.len(), 1, "the branch down to the prompt");
    assert_eq!(take(&client, NOTHING_MS).await, None, "one run of a session at a time");
    client.extend_lease(lease.clone()).await.unwrap();
    client.give_back_run(v1::GiveBackRunRequest { lease: Some(lease.clone()), delay_ms: 0 }).await.unwrap();
    assert_eq!(code(&client.extend_lease(lease.clone()).await.unwrap_err()), Some(ErrorCode::LeaseLost));
    let taken = take(&client, 30_000).await.unwrap();
    assert_eq!(taken.lease.clone().unwrap().run, first, "given back, it comes again before the other");
    let mut writing = client.append(start(&taken, "w")).await.unwrap();
    writing.say(said("first")).await.unwrap();
    writing.say(completed()).await.unwrap();
    assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
    let taken = take(&client, 30_000).await.unwrap();
    assert_eq!(taken.lease.clone().unwrap().run, second);
    let texts = taken.messages.iter().map(|message| message.parts.len()).collect::<Vec<_>>();
    assert_eq!(texts, [1, 1, 1], "what was asked, what was answered, what is asked now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_falls_silent_loses_its_lease_and_its_late_words() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), SILENCE_MS);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "send", "s").await;
    let taken = take(&client, 30_000).await.unwrap();
    let lease = taken.lease.clone().unwrap();
    let mut silent = client.append(start(&taken, "silent")).await.unwrap();
    silent.say(said("half a sen")).await.unwrap();
    // As long as it says that it lives, nobody else gets the run.
    for _ in 0..9 {
        assert_eq!(take(&client, u32::try_from(SILENCE_MS / 4).unwrap()).await, None);
        client.extend_lease(lease.clone()).await.unwrap();
    }
    let again = take(&client, 30_000).await.expect("the run goes to another");
    assert_eq!(again.run.clone().unwrap().error.unwrap().code, "worker_lost");
    let mut heir = client.append(start(&again, "heir")).await.unwrap();
    let end = match silent.say(said("tence, late")).await.unwrap() {
        Some(end) => end,
        None => silent.over().await.unwrap(),
    };
    let AppendEnd::Over(run) = end else { panic!("the silent one is told") };
    assert_eq!(run.status(), v1::RunStatus::Queued, "as it was when it was lost");
    assert_eq!(code(&client.extend_lease(lease).await.unwrap_err()), Some(ErrorCode::LeaseLost));
    heir.say(said("a whole sentence")).await.unwrap();
    heir.say(completed()).await.unwrap();
    assert_eq!(heir.finish().await.unwrap(), AppendEnd::Done);
    let view = state(&client, "s").await;
    assert_eq!((last(&view).0, text(&last(&view).1)), (RunStatus::Completed, "a whole sentence".to_owned()));
    assert_eq!(view.runs[0].attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cancelled_while_it_waited_is_offered_to_nobody() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), 60_000);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "one", "s").await;
    let cancel = v1::command::Action::Cancel(v1::Cancel { run: None, reason: String::new() });
    client.submit(command("cancel", "s", cancel)).await.unwrap();
    assert_eq!(take(&client, NOTHING_MS).await, None);
    let next = send(&client, "two", "s").await.run;
    assert_eq!(take(&client, 30_000).await.unwrap().lease.unwrap().run, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_get_only_what_their_tokens_allow() {
    let data = tempfile::tempdir().unwrap();
    let (secret, key) = ("a secret of at least thirty-two bytes", data.path().join("key"));
    std::fs::write(&key, secret).unwrap();
    let config = data.path().join("fanfold.toml");
    let text = format!(
        "[node]\ndata = {:?}\n[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n[runs]\nworker_slots = 0\n[[auth.keys]]\nalgorithm = 'HS256'\npath = {key:?}\n",
        data.path().join("data"),
    );
    std::fs::write(&config, text).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    serve.args(["serve", "--config"]).arg(&config);
    let node = Node::spawn(serve);
    let client = |tenant: &str, role: &str, sessions: Option<&[&str]>| {
        let mut claims = serde_json::json!({ "sub": "x", "tenant": tenant, "role": role, "exp": 4_000_000_000_u64 });
        if let Some(sessions) = sessions {
            claims["sessions"] = serde_json::json!(sessions);
        }
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        Client::new(ClientConfig {
            http: node.http.clone(),
            grpc: node.grpc.clone(),
            token: Some(token),
            ..ClientConfig::default()
        })
        .unwrap()
    };
    let user = client("a", "user", None);
    for session in ["s1", "s2"] {
        open(&user, session).await;
        send(&user, "send", session).await;
    }
    let refused = user.take_run(v1::TakeRunRequest::default()).await.unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::PermissionDenied));
    assert_eq!(take(&client("b", "worker", None), NOTHING_MS).await, None, "another tenant's");
    let granted = client("a", "worker", Some(&["s2"]));
    let taken = take(&granted, 30_000).await.unwrap();
    let lease = taken.lease.unwrap();
    assert_eq!(lease.session, "s2");
    assert_eq!(take(&granted, NOTHING_MS).await, None, "the other session isn't granted");
    let stranger = client("b", "worker", None).extend_lease(lease.clone()).await.unwrap_err();
    assert_eq!(code(&stranger), Some(ErrorCode::LeaseLost), "there is none of that name in its tenant");
    let taken = take(&client("a", "worker", None), 30_000).await.unwrap();
    assert_eq!(taken.lease.unwrap().session, "s1");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_worker_answers_from_a_process_of_its_own_and_drains() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), 60_000);
    let client = node.client();
    let words = (0..300).map(|number| format!("{number} ")).collect::<Vec<_>>();
    let file = recording(data.path(), "count", &words);
    let arguments = ["--model-recording", file.to_str().unwrap(), "--model-pace", "10"];
    let mut worker = Worker::start(&node, "first", &arguments);
    open(&client, "s").await;
    let mut reader = follow(&client, "s", Transport::WebSocket);
    send(&client, "one", "s").await;
    until(&mut reader, |view| view.runs.first().is_some_and(|_| !text(&last(view).1).is_empty())).await;
    worker.terminate();
    send(&client, "two", "s").await;
    assert!(worker.wait().success(), "it ends by itself");
    let view = state(&client, "s").await;
    assert_eq!((view.runs[0].status, view.runs[0].worker.as_deref()), (RunStatus::Completed, Some("first")));
    assert_eq!(view.runs[1].status, RunStatus::Queued, "it took no other");
    let _second = Worker::start(&node, "second", &arguments);
    until(&mut reader, |view| all_ended(view, 2)).await;
    let view = state(&client, "s").await;
    assert_eq!((view.runs[1].status, view.runs[1].worker.as_deref()), (RunStatus::Completed, Some("second")));
    assert_eq!(text(&last(&view).1), words.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_worker_hears_of_cancels_and_bears_a_node_that_restarts() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--worker-slots", "0"];
    let mut node = Node::start(data.path(), &arguments);
    let client = node.client();
    let words = (0..200).map(|number| format!("{number} ")).collect::<Vec<_>>();
    let file = recording(data.path(), "count", &words);
    let _worker = Worker::start(&node, "w", &["--slots", "1", "--model-recording", file.to_str().unwrap(), "--model-pace", "10"]);
    open(&client, "s").await;
    let mut reader = follow(&client, "s", Transport::Grpc);
    send(&client, "one", "s").await;
    until(&mut reader, |view| view.runs.first().is_some_and(|_| !text(&last(view).1).is_empty())).await;
    let cancel = v1::command::Action::Cancel(v1::Cancel { run: None, reason: String::new() });
    client.submit(command("cancel", "s", cancel)).await.unwrap();
    // Its only slot is free again.
    send(&client, "two", "s").await;
    until(&mut reader, |view| view.runs.len() == 2 && text(&last(view).1).contains("30 ")).await;
    node = node.restart(data.path(), &arguments);
    until(&mut reader, |view| all_ended(view, 2)).await;
    let view = state(&node.client(), "s").await;
    assert_eq!(view.runs[0].status, RunStatus::Cancelled);
    assert_eq!((view.runs[1].status, view.runs[1].attempts), (RunStatus::Completed, 1), "the same attempt goes on");
    assert_eq!(text(&last(&view).1), words.concat(), "nothing lost, nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_thinks_for_long_bears_a_node_that_restarts() {
    let data = tempfile::tempdir().unwrap();
    let node = |http: &str, grpc: &str| {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        dev.args(["dev", "--http", http, "--grpc", grpc, "--worker-slots", "0", "--data"]).arg(data.path());
        // Between two words the worker is silent for longer than that.
        dev.env("FANFOLD_RUNS__SILENCE_MS_MAX", "1000");
        Node::spawn(dev)
    };
    let first = node("127.0.0.1:0", "127.0.0.1:0");
    let [http, grpc] = [&first.http, &first.grpc].map(|url| url.trim_start_matches("http://").to_owned());
    let words = ["Let me think. ", "So. ", "It is 42."].map(str::to_owned);
    let file = recording(data.path(), "thoughts", &words);
    let _worker = Worker::start(&first, "w", &["--model-recording", file.to_str().unwrap(), "--model-pace", "4000"]);
    let client = first.client();
    open(&client, "s").await;
    let mut reader = follow(&client, "s", Transport::WebSocket);
    send(&client, "one", "s").await;
    until(&mut reader, |view| view.runs.first().is_some_and(|_| !text(&last(view).1).is_empty())).await;
    drop(first);
    let second = node(&http, &grpc);
    until(&mut reader, |view| all_ended(view, 1)).await;
    let view = state(&second.client(), "s").await;
    assert_eq!((view.runs[0].status, view.runs[0].attempts), (RunStatus::Completed, 1), "the same attempt goes on");
    assert_eq!(text(&last(&view).1), words.concat());
}

/// Posts JSON, and reads the answer as JSON.
async fn post(node: &Node, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
    let answer = reqwest::Client::new().post(format!("{}{path}", node.http)).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simplest_worker_takes_a_run_and_writes_lines() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), SILENCE_MS);
    let client = node.client();
    open(&client, "s").await;
    let run = send(&client, "one", "s").await.run;
    let (status, taken) = post(&node, "/v1/runs/take", serde_json::json!({ "wait_ms": 30_000 })).await;
    assert_eq!((status, taken["lease"]["run"].as_str()), (200, Some(run.as_str())));
    assert_eq!(taken["messages"][0]["parts"][0]["text"]["text"], "hello");
    assert_eq!(post(&node, "/v1/runs/extend", taken["lease"].clone()).await.0, 204);
    let (lines, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
    let url = format!("{}/v1/sessions/s/runs/{run}/output?worker=curl", node.http);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let answer = tokio::spawn(reqwest::Client::new().post(url).body(body).send());
    let say = async |text: &str| lines.send(Ok(text.to_owned())).await.unwrap();
    say("{\"text\":{\"text\":\"in pie\"}}\n{\"text\":{\"te").await;
    let mut reader = follow(&client, "s", Transport::WebSocket);
    until(&mut reader, |view| view.runs.first().is_some_and(|_| text(&last(view).1) == "in pie")).await;
    say("xt\":\"ces\"}}\n").await;
    // Empty lines keep it alive for longer than silence is borne.
    let silent = tokio::time::Instant::now();
    while silent.elapsed() < std::time::Duration::from_millis(SILENCE_MS * 2) {
        say("\n").await;
        // Nobody else gets it meanwhile.
        assert_eq!(take(&client, u32::try_from(SILENCE_MS / 4).unwrap()).await, None);
    }
    say("{\"completed\":{\"reason\":{\"kind\":\"FINISH_KIND_STOP\"}}}").await;
    drop(lines);
    let answer: serde_json::Value = serde_json::from_slice(&answer.await.unwrap().unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(answer["ack"]["seq"], "3", "{answer}");
    let view = state(&client, "s").await;
    assert_eq!((last(&view).0, text(&last(&view).1)), (RunStatus::Completed, "in pieces".to_owned()));
    assert_eq!((view.runs[0].attempts, view.runs[0].worker.as_deref()), (1, Some("curl")));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_end_with_the_run_come_back_after_a_cut_and_are_checked() {
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), 60_000);
    let client = node.client();
    open(&client, "s").await;
    let run = send(&client, "one", "s").await.run;
    let output = |query: &str, body: reqwest::Body| {
        let url = format!("{}/v1/sessions/s/runs/{run}/output?attempt=mine&{query}", node.http);
        let sent = reqwest::Client::new().post(url).body(body).send();
        async move {
            let answer = sent.await.unwrap();
            let status = answer.status().as_u16();
            (status, serde_json::from_slice::<serde_json::Value>(&answer.bytes().await.unwrap()).unwrap())
        }
    };
    let line = |text: &str| serde_json::json!({ "text": { "text": text } }).to_string() + "\n";
    let (status, answer) = output("", (line("one ") + &line("two ")).into()).await;
    assert_eq!((status, &answer["ack"]["seq"]), (200, &serde_json::json!("2")), "a body that ends leaves the attempt open");
    // A worker that doesn't know what counted says it all again.
    let (_, answer) = output("seq=1", (line("one ") + &line("two ") + &line("three ")).into()).await;
    assert_eq!(answer["ack"]["seq"], "3");
    for bad in ["no json", "{\"hologram\":{}}", "{\"completed\":{}}"] {
        let (status, answer) = output("", ["\n", &line("and "), bad, "\n", &line("never")].concat().into()).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("bad_request")));
        assert!(answer["detail"].as_str().unwrap().starts_with("line 3: "), "{answer}");
    }
    let (status, answer) = output("", vec![b'x'; 1 << 20].into()).await;
    assert_eq!((status, answer["code"].as_str()), (413, Some("too_large")));
    let (lines, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
    let waiting = tokio::spawn(output("", reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body))));
    lines.send(Ok(line("five"))).await.unwrap();
    let mut reader = follow(&client, "s", Transport::WebSocket);
    until(&mut reader, |view| view.runs.first().is_some_and(|_| text(&last(view).1).ends_with("five"))).await;
    let cancel = v1::command::Action::Cancel(v1::Cancel { run: None, reason: String::new() });
    client.submit(command("cancel", "s", cancel)).await.unwrap();
    let (status, answer) = waiting.await.unwrap();
    assert_eq!((status, answer["over"]["run"]["status"].as_str()), (200, Some("RUN_STATUS_CANCELLED")), "told at once: {answer}");
    let (status, answer) = output("", line("six").into()).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("run_ended")));
    assert_eq!(
        text(&last(&state(&client, "s").await).1),
        "one two three and and and five",
        "what stood before a bad line counts"
    );
}

fn failed(code: &str, retryable: bool) -> Vec<v1::Said> {
    let failed = v1::Failed { code: code.into(), message: "It did not work.".into(), retryable };
    vec![v1::Said { said: Some(v1::said::Said::Failed(failed)) }]
}

/// What the command line prints.
fn cli(node: &Node, arguments: &[&str]) -> String {
    let mut cli = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    let printed = cli.args(["--url", &node.http, "--grpc-url", &node.grpc]).args(arguments).output().unwrap();
    assert!(printed.status.success(), "{arguments:?}: {printed:?}");
    String::from_utf8(printed.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_for_good_is_a_dead_letter_until_it_is_tried_again() {
    let data = tempfile::tempdir().unwrap();
    let mut node = impatient(data.path(), 60_000);
    let client = node.client();
    open(&client, "s").await;
    let run = send(&client, "one", "s").await.run;
    // Its three attempts, each by another worker.
    for _ in 0..3 {
        let taken = take(&client, 30_000).await.expect("as long as an attempt is left");
        let mut writing = client.append(start(&taken, "w")).await.unwrap();
        writing.say(failed("no_such_luck", true)).await.unwrap();
        assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
    }
    assert_eq!(take(&client, NOTHING_MS).await, None);
    let line = cli(&node, &["dead-letters"]);
    assert!(line.starts_with(&format!("s\t{run}\tno_such_luck\t3\t")), "{line:?}");
    assert!(cli(&node, &["dead-letters", "show", "s", &run]).contains("It did not work."));
    // It outlives the node.
    drop(node);
    node = impatient(data.path(), 60_000);
    let client = node.client();
    let http = reqwest::Client::new();
    let letters = http.get(format!("{}/v1/dead-letters", node.http)).send().await.unwrap().bytes().await.unwrap();
    let letters: serde_json::Value = serde_json::from_slice(&letters).unwrap();
    assert_eq!((&letters["letters"][0]["run"], letters["letters"].as_array().unwrap().len()), (&serde_json::json!(run), 1));
    let again = cli(&node, &["dead-letters", "redrive", "s", &run]);
    let taken = take(&client, 30_000).await.unwrap();
    assert_eq!(taken.lease.clone().unwrap().run, again.trim(), "as another run");
    assert_eq!(taken.messages.len(), 1, "for the same message");
    let (status, answer) = post(&node, &format!("/v1/dead-letters/s/{run}/redrive"), serde_json::json!({})).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("not_found")), "once");
    let mut writing = client.append(start(&taken, "w")).await.unwrap();
    writing.say(completed()).await.unwrap();
    assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
    assert_eq!(take(&client, NOTHING_MS).await, None, "the failed one waits for nobody");
    assert_eq!(cli(&node, &["dead-letters"]), "");
    let view = state(&client, "s").await;
    assert_eq!(view.runs.iter().map(|run| run.status).collect::<Vec<_>>(), [RunStatus::Failed, RunStatus::Completed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_dead_letter_goes_for_a_new_one_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &[("RUNS__QUEUE__LETTERS_MAX", "2")]);
    let client = node.client();
    for session in ["c", "b", "a"] {
        open(&client, session).await;
        send(&client, "one", session).await;
        let taken = take(&client, 30_000).await.unwrap();
        let mut writing = client.append(start(&taken, "w")).await.unwrap();
        writing.say(failed("no_such_luck", false)).await.unwrap();
        assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
        // Buried before the next one.
        let buried = async {
            while !cli(&node, &["dead-letters"]).contains(&format!("{session}\t")) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(support::DEADLINE, buried).await.expect("it becomes a dead letter");
    }
    let sessions = |node: &Node| {
        let lines = cli(node, &["dead-letters"]);
        lines.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&node), ["a", "b"]);
    node.kill();
    // With room for more: the other one is not even noted.
    node = Node::start_with(data.path(), &[]);
    assert_eq!(sessions(&node), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_tenants_have_budgets() {
    let data = tempfile::tempdir().unwrap();
    let start_node = |limits: &[(&str, &str)]| {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        dev.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--worker-slots", "0", "--data"]).arg(data.path());
        dev.envs(limits.iter().map(|(key, value)| (format!("FANFOLD_RUNS__LIMITS__{key}"), value)));
        Node::spawn(dev)
    };
    let mut node = start_node(&[("SESSION_OPEN_RUNS_MAX", "1"), ("SESSION_TOKENS_MAX", "100"), ("TENANT_OPEN_RUNS_MAX", "2")]);
    let ask = async |node: &Node, id: &str, session: &str| {
        let asked = node.client().submit(command(id, session, support::message("hello"))).await;
        asked.map(|receipt| receipt.run).map_err(|error| code(&error))
    };
    let client = node.client();
    for session in ["a", "b", "c"] {
        open(&client, session).await;
    }
    let first = ask(&node, "1", "a").await.unwrap();
    assert_eq!(ask(&node, "2", "a").await, Err(Some(ErrorCode::TooManyRuns)), "the session's");
    assert_eq!(ask(&node, "1", "a").await, Ok(first), "a repetition asks what became of the first");
    ask(&node, "1", "b").await.unwrap();
    assert_eq!(ask(&node, "1", "c").await, Err(Some(ErrorCode::TooManyRuns)), "the tenant's");
    let work = async |node: &Node, tokens: u64| {
        let client = node.client();
        let taken = take(&client, 30_000).await.unwrap();
        let mut writing = client.append(start(&taken, "w")).await.unwrap();
        let usage = v1::Usage { input: tokens / 2, output: tokens / 2, ..v1::Usage::default() };
        writing.say(vec![v1::Said { said: Some(v1::said::Said::Usage(usage)) }]).await.unwrap();
        writing.say(completed()).await.unwrap();
        assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
        taken.lease.unwrap().session
    };
    let spender = work(&node, 100).await;
    let other = work(&node, 98).await;
    assert_eq!(ask(&node, "3", &spender).await, Err(Some(ErrorCode::TokensExhausted)));
    ask(&node, "3", &other).await.unwrap();
    node.kill();
    // A tenant's tokens outlive the node.
    node = start_node(&[("TENANT_TOKENS_MAX", "50")]);
    assert_eq!(work(&node, 60).await, other);
    assert_eq!(ask(&node, "4", "c").await, Err(Some(ErrorCode::TokensExhausted)));
    assert!(node.terminate().success());
    node = start_node(&[("TENANT_TOKENS_MAX", "50")]);
    assert_eq!(ask(&node, "5", "c").await, Err(Some(ErrorCode::TokensExhausted)));
    assert!(node.terminate().success());
    node = start_node(&[("TENANT_TOKENS_MAX", "50"), ("TENANT_TOKENS_WINDOW_MS", "1")]);
    assert!(ask(&node, "6", "c").await.is_ok(), "until its time is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_acknowledged_is_handed_out_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let mut node = impatient(data.path(), 60_000);
    for round in 0..5 {
        let (client, session) = (node.client(), format!("s{round}"));
        open(&client, &session).await;
        send(&client, "one", &session).await;
        node.kill();
        node = impatient(data.path(), 60_000);
        // Nobody touches the session.
        let client = node.client();
        let taken = take(&client, 30_000).await.unwrap();
        assert_eq!(taken.lease.clone().unwrap().session, session);
        let mut writing = client.append(start(&taken, "w")).await.unwrap();
        writing.say(completed()).await.unwrap();
        assert_eq!(writing.finish().await.unwrap(), AppendEnd::Done);
    }
}
