//! Models over real HTTP, asked by a real node: what is in the log for everything they say, and for every way in which they fail.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::process::Command;
use std::time::Duration;

use fanfold_client::{Client, Transport, Update};
use fanfold_fold::{Part, RunStatus, ToolStatus, View};
use fanfold_models::fault::{Ending, FaultServer, Pieces, Reply, Say};
use fanfold_models::{DialectName, EndpointConfig, ModelEvent, ModelsConfig, PriceConfig, Recording, RecordingError};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::model::{ask, configuration, connections, endpoint, facts, log, serve};
use support::worker::{Worker, impatient};
use support::{Node, all_ended, command, follow, last, next, open, recordings, seed, state, text, until};

use DialectName::{ChatCompletions as Chat, Messages, Responses};

const ALL: [DialectName; 3] = [Chat, Responses, Messages];

fn models(endpoints: Vec<EndpointConfig>) -> ModelsConfig {
    ModelsConfig { endpoints, ..ModelsConfig::default() }
}

/// Asks and follows to the end.
async fn answered(client: &Client, session: &str, model: Option<&str>, attempts_max: u32) -> View {
    open(client, session).await;
    ask(client, session, model, attempts_max).await;
    let mut reader = follow(client, session, Transport::WebSocket);
    until(&mut reader, |view| all_ended(view, 1)).await;
    state(client, session).await
}

/// What a server does, and what stands in the log then.
struct Case {
    name: &'static str,
    dialects: &'static [DialectName],
    reply: Reply,
    config: fn(&mut EndpointConfig),
    expected: Vec<&'static str>,
}

fn case(name: &'static str, reply: Reply, expected: &[&'static str]) -> Case {
    Case { name, dialects: &ALL, reply, config: |_| {}, expected: [&["started"], expected].concat() }
}

impl Case {
    fn only(self, dialects: &'static [DialectName]) -> Self {
        Self { dialects, ..self }
    }

    fn with(self, config: fn(&mut EndpointConfig)) -> Self {
        Self { config, ..self }
    }
}

/// All on one node, each with a model and a session of its own.
async fn check(cases: Vec<Case>) {
    let data = tempfile::tempdir().unwrap();
    let (mut servers, mut endpoints, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for case in &cases {
        for dialect in case.dialects {
            let server = FaultServer::replies(vec![case.reply.clone()]).await.unwrap();
            let model = format!("m{}", endpoints.len());
            let mut endpoint = endpoint(&model, &server.url(), *dialect);
            (case.config)(&mut endpoint);
            endpoints.push(endpoint);
            servers.push(server);
            asked.push((case, *dialect, model));
        }
    }
    let node = serve(data.path(), models(endpoints), "worker_slots = 32");
    let client = node.client();
    let each = asked.iter().map(async |(case, dialect, model)| {
        let view = answered(&client, model, Some(model), 1).await;
        let log = log(&client, model).await;
        assert_eq!(log, case.expected, "{} ({dialect})", case.name);
        let failed = log.iter().any(|line| line.starts_with("failed"));
        assert_eq!(view.runs[0].status == RunStatus::Failed, failed, "{} ({dialect})", case.name);
        let routes = facts(&client, model, "fanfold.route").await;
        assert_eq!((routes.len(), &routes[0]["model"]), (1, &model.as_str().into()), "{} ({dialect})", case.name);
    });
    futures::future::join_all(each).await;
}

fn hi() -> Vec<Say> {
    vec![Say::Text("Hi".into())]
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_models_say_is_in_the_log() {
    let said = vec![
        Say::Reasoning("Hm".into()),
        Say::Text("Hel".into()),
        Say::Text("lo é😀".into()),
        Say::Call { id: "a".into(), name: "weather".into(), arguments: vec![r#"{"ci"#.into(), r#"ty":"Oslo"}"#.into()] },
        Say::Usage(7, 3),
    ];
    let expected: &[&str] = &[
        "reasoning Hm",
        "text Hello é😀",
        "call a weather",
        r#"arguments a {"ci"#,
        r#"arguments a ty":"Oslo"}"#,
        "ready a",
        "usage 7 3",
        "completed tool_calls",
    ];
    let names = [
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"a","content":null}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning":"b","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi","annotations":[{"type":"url_citation","url_citation":{"url":"https://a.example","title":"A"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"y","type":"function","function":{"name":"g","arguments":"{}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":9}}"#,
    ];
    check(vec![
        case("all kinds, byte by byte", Reply::says(said.clone()).in_pieces(Pieces::Of(1)), expected),
        case("all kinds, slowly", Reply::says(said).in_pieces(Pieces::Events).every(Duration::from_millis(20)), expected),
        case("cut off", Reply::says(vec![Say::Text("Hel".into()), Say::CutOff]), &["text Hel", "completed length"]),
        case("nothing", Reply::says(vec![]), &["completed stop"]),
        case(
            "other names, whole calls, usage in each chunk",
            Reply::chunks(Chat, names),
            &[
                "reasoning ab",
                "citation https://a.example",
                "text Hi",
                "call x f",
                "arguments x {}",
                "call y g",
                "arguments y {}",
                "ready x",
                "ready y",
                "usage 5 9",
                "completed tool_calls",
            ],
        )
        .only(&[Chat]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_in_the_log() {
    let finished = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let unfinished = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let idle = |config: &mut EndpointConfig| config.idle_ms_max = 300;
    let first = |config: &mut EndpointConfig| config.first_token_ms_max = 300;
    let total = |config: &mut EndpointConfig| config.total_ms_max = 10_000;
    check(vec![
        case("no [DONE]", Reply::events(finished), &["text Hi", "completed stop"]).only(&[Chat]),
        case("no [DONE], then cut", Reply::events(finished).ending(Ending::Cut), &["text Hi", "completed stop"]).only(&[Chat]),
        case("cut", Reply::events(unfinished).ending(Ending::Cut), &["text Hi", "failed again connection_lost"]).only(&[Chat]),
        case("ended", Reply::events(unfinished), &["text Hi", "failed again stream_ended"]).only(&[Chat]),
        case("stalled", Reply::events(unfinished).ending(Ending::Stall), &["text Hi", "failed again idle_timeout"])
            .only(&[Chat])
            .with(idle),
        case("too long", Reply::events(unfinished).ending(Ending::Stall), &["text Hi", "failed for good total_timeout"])
            .only(&[Chat])
            .with(total),
        case("silent", Reply::says(hi()).after(Duration::MAX), &["failed again first_token_timeout"]).with(first),
        case(
            "an error in the middle",
            Reply::says(vec![Say::Text("Hi".into()), Say::Error("server_error".into(), "Oh no".into())]),
            &["text Hi", "failed again server_error"],
        ),
        case("no JSON", Reply::events([unfinished, "data: Oh no\n\n"].concat()), &["text Hi", "failed again bad_chunk"])
            .only(&[Chat]),
        case("400", Reply::status(400, "{}"), &["failed for good bad_request"]),
        case("401", Reply::status(401, "{}"), &["failed for good unauthorized"]),
        case("404", Reply::status(404, "<html>"), &["failed for good not_found"]),
        case("429", Reply::status(429, "").header("retry-after", "0"), &["failed again rate_limited"]),
        case(
            "429 for longer than anybody waits",
            Reply::status(429, "").header("retry-after", "600"),
            &["failed again rate_limited"],
        )
        .with(|config| config.tries_max = 3),
        case("500", Reply::status(500, ""), &["failed again provider_error"]),
        case("504", Reply::status(504, ""), &["failed again provider_timeout"]),
        case("redirected", Reply::status(302, "").header("location", "https://other.example/"), &["failed for good redirected"]),
        case("no stream", Reply::body("text/html", "<!doctype html>"), &["failed for good not_an_answer"]),
        case("too large", Reply::says(Say::words(&"word ".repeat(200))), &["failed for good answer_too_large"])
            .with(|config| config.answer_bytes_max = 60),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_broke_off_is_attempted_again() {
    let data = tempfile::tempdir().unwrap();
    let dead = Reply::says(vec![Say::Text("dead words".into()), Say::Error("overloaded_error".into(), "Busy".into())]);
    let server = FaultServer::replies(vec![Reply::status(503, ""), dead, Reply::says(hi())]).await.unwrap();
    let endpoint = EndpointConfig { tries_max: 3, ..endpoint("m", &server.url(), Messages) };
    let node = serve(data.path(), models(vec![endpoint]), "");
    let client = node.client();
    let view = answered(&client, "s", None, 3).await;
    assert_eq!(
        log(&client, "s").await,
        ["started", "text dead words", "failed again overloaded_error", "started", "text Hi", "completed stop"]
    );
    assert_eq!((view.runs[0].attempts, view.runs[0].model.as_deref()), (2, Some("m")), "the 503 took none");
    assert_eq!(text(&last(&view).1), "Hi");
    let asked = server.requests()[2].body["messages"].to_string();
    assert!(asked.contains("hello") && !asked.contains("dead words"), "{asked}");
    // A model that nobody serves.
    let view = answered(&client, "t", Some("other"), 3).await;
    assert_eq!((view.runs[0].status, view.runs[0].error.clone().unwrap().code.as_str()), (RunStatus::Failed, "unknown_model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_an_answer_and_its_cost_are_in_the_log() {
    let data = tempfile::tempdir().unwrap();
    let refusal = Reply::status(429, r#"{"error":{"message":"not with these words: hello"}}"#);
    let first = FaultServer::replies(vec![refusal]).await.unwrap();
    let second = FaultServer::replies(vec![Reply::says(vec![Say::Text("Hi".into()), Say::Usage(1_000, 10)])]).await.unwrap();
    let price = Some(PriceConfig { input: 2.0, cached_input: None, output: 10.0 });
    let fallback = EndpointConfig {
        name: "second".into(),
        price,
        provider_model: "theirs".into(),
        ..endpoint("m", &second.url(), Responses)
    };
    let node = serve(data.path(), models(vec![endpoint("m", &first.url(), Chat), fallback]), "");
    let client = node.client();
    let view = answered(&client, "s", None, 1).await;
    assert_eq!(text(&last(&view).1), "Hi");
    let [route] = &facts(&client, "s", "fanfold.route").await[..] else { panic!("one route") };
    let chosen = serde_json::json!({ "endpoint": "second", "model": "theirs", "dialect": "responses", "because": "fallback" });
    let passed = serde_json::json!([{ "endpoint": "first", "why": "failed", "code": "rate_limited", "retryable": true }]);
    assert_eq!((&route["chosen"], &route["passed"], &route["step"]), (&chosen, &passed, &1.into()));
    assert_eq!(route["run"], view.runs[0].id.as_str());
    let [cost] = &facts(&client, "s", "fanfold.cost").await[..] else { panic!("one cost") };
    assert_eq!((&cost["nanos"], &cost["total_nanos"]), (&2_100_000.into(), &2_100_000.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_closes_the_connection_to_the_model() {
    let streaming = Reply::says(hi()).in_pieces(Pieces::Events).ending(Ending::Stall);
    let data = tempfile::tempdir().unwrap();
    let server = FaultServer::replies(vec![
        Reply::events("data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n").ending(Ending::Stall),
        streaming.after(Duration::MAX),
    ])
    .await
    .unwrap();
    // No time-out closes it before the test gives up.
    let (first_token_ms_max, idle_ms_max, total_ms_max) = (600_000, 600_000, 600_000);
    let patient = EndpointConfig { first_token_ms_max, idle_ms_max, total_ms_max, ..endpoint("m", &server.url(), Chat) };
    let node = serve(data.path(), models(vec![patient]), "");
    let client = node.client();
    for (session, said) in [("in-mid-answer", "Hi"), ("before-the-first-word", "")] {
        open(&client, session).await;
        ask(&client, session, None, 1).await;
        let mut reader = follow(&client, session, Transport::WebSocket);
        until(&mut reader, |view| view.runs.first().is_some_and(|_| text(&last(view).1) == said)).await;
        connections(&server, 1).await;
        // Nobody reads, and the model goes on.
        drop(reader);
        let cancel = Action::Cancel(v1::Cancel { run: None, reason: String::new() });
        client.submit(command("cancel", session, cancel)).await.unwrap();
        connections(&server, 0).await;
        assert_eq!(last(&state(&client, session).await).0, RunStatus::Cancelled);
    }
}

/// Follows to the end of a run, cutting the connection again and again.
async fn follow_with_cuts(mut reader: fanfold_client::Follow, seed: u64) -> View {
    let mut rng = StdRng::seed_from_u64(seed);
    while !all_ended(reader.view(), 1) {
        if let Update::Closed(closed) = next(&mut reader).await {
            panic!("closed: {closed:?}");
        }
        if rng.random_bool(0.1) {
            reader.cut();
        }
    }
    reader.view().clone()
}

/// The chunks of a recording, as text.
fn chunks(content: &str) -> Vec<&str> {
    let json = content.lines().map(|line| line.trim().strip_prefix("data:").unwrap_or(line).trim());
    let transport = |line: &&str| ["event:", "id:", "retry:", ":"].iter().any(|field| line.starts_with(field));
    json.filter(|line| !line.is_empty() && *line != "[DONE]" && !transport(line)).collect()
}

/// What an answer comes to: text, reasoning, tool calls with results, citations, and the end with its usage.
#[derive(Debug, Default, PartialEq)]
struct Whole {
    text: String,
    reasoning: String,
    calls: Vec<(String, String, Option<String>)>,
    citations: usize,
    end: String,
    usage: (u64, u64, u64, u64),
}

fn recorded(events: &[ModelEvent]) -> Whole {
    let mut whole = Whole::default();
    let mut at = std::collections::HashMap::new();
    for event in events {
        match event {
            ModelEvent::Text(text) => whole.text += text,
            ModelEvent::Reasoning(text) => whole.reasoning += text,
            ModelEvent::ToolCallStarted { call, name, .. } => {
                at.insert(call, whole.calls.len());
                whole.calls.push((name.clone(), String::new(), None));
            }
            ModelEvent::ToolCallArguments { call, text } => whole.calls[at[call]].1 += text,
            ModelEvent::ToolResult { call, content, .. } => whole.calls[at[call]].2 = Some(content.clone()),
            ModelEvent::Citation(_) => whole.citations += 1,
            ModelEvent::Usage(usage) => whole.usage = (usage.input, usage.output, usage.reasoning, usage.cached_input),
            ModelEvent::Finished(reason) => whole.end = format!("{reason:?}"),
            ModelEvent::Failed(failure) => whole.end.clone_from(&failure.code),
            ModelEvent::Model(_) | ModelEvent::ToolCallReady { .. } | ModelEvent::StepFinished(_) => {}
            ModelEvent::Sealed { .. } => {}
        }
    }
    whole
}

fn folded(view: &View) -> Whole {
    let (run, (_, parts)) = (view.runs.last().unwrap(), last(view));
    let mut whole = Whole { text: text(&parts), reasoning: support::reasoning(&parts), ..Whole::default() };
    for part in &parts {
        match part {
            Part::ToolCall(call) => whole.calls.push((call.name.clone(), call.arguments.clone(), call.result.clone())),
            Part::Citation(_) => whole.citations += 1,
            _ => {}
        }
    }
    let usage = run.usage.unwrap_or_default();
    whole.usage = (usage.input, usage.output, usage.reasoning, usage.cached_input);
    whole.end = match (&run.finish, &run.error) {
        (Some(reason), _) => format!("{reason:?}"),
        (None, error) => error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
    };
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_comes_out_exact_over_http_while_readers_are_cut() {
    let Some(folder) = recordings("every_recording_comes_out_exact_over_http_while_readers_are_cut") else { return };
    let seed = seed();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let data = tempfile::tempdir().unwrap();
    let (mut servers, mut endpoints, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for file in &files {
        let recording = match Recording::open(file) {
            Err(RecordingError::UnknownFormat { .. }) => continue,
            opened => opened.unwrap(),
        };
        let content = std::fs::read_to_string(file).unwrap();
        let random = |bytes_max| Pieces::Random { seed, bytes_max };
        for pieces in [Pieces::Of(1), random(50), random(5_000)] {
            let reply = Reply::chunks(recording.dialect(), chunks(&content)).in_pieces(pieces);
            let server = FaultServer::replies(vec![reply]).await.unwrap();
            let model = format!("m{}", endpoints.len());
            endpoints.push(endpoint(&model, &server.url(), recording.dialect()));
            servers.push(server);
            let events: Vec<ModelEvent> = recording.play().flatten().collect();
            expected.push((file, model, recorded(&events)));
        }
    }
    assert!(!expected.is_empty(), "the folder holds recordings");
    let node = serve(data.path(), models(endpoints), "worker_slots = 8");
    let client = node.client();
    let each = expected.iter().map(async |(file, model, expected)| {
        open(&client, model).await;
        let readers = [Transport::WebSocket, Transport::Sse, Transport::Grpc]
            .map(|transport| tokio::spawn(follow_with_cuts(follow(&client, model, transport), seed)));
        ask(&client, model, Some(model), 1).await;
        for reader in readers {
            let view = reader.await.unwrap();
            assert_eq!(view.runs, state(&client, model).await.runs, "{file:?}");
            assert_eq!(folded(&view), *expected, "{file:?}");
        }
    });
    futures::stream::iter(each).buffer_unordered(8).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_stream_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let words = |name: &str| Say::words(&format!("{name} ").repeat(400));
    let slow = |name: &str| Reply::says(words(name)).in_pieces(Pieces::Events).every(Duration::from_millis(30));
    let server = FaultServer::replies(vec![slow("dead"), Reply::says(words("alive"))]).await.unwrap();
    let node = impatient(&data.path().join("n"), 3_000);
    let client = node.client();
    open(&client, "s").await;
    let arguments = ["--model-url", &server.url(), "--model", "m"];
    let mut first = Worker::start(&node, "first", &arguments);
    ask(&client, "s", None, 3).await;
    let mut reader = follow(&client, "s", Transport::Sse);
    until(&mut reader, |view| !view.runs.is_empty() && text(&last(view).1).len() > 100).await;
    let _second = Worker::start(&node, "second", &arguments);
    first.kill();
    connections(&server, 0).await;
    until(&mut reader, |view| {
        let (status, parts) = last(view);
        let said = text(&parts);
        let one = if view.runs[0].worker.as_deref() == Some("first") { "dead" } else { "alive" };
        assert!(said.split_whitespace().all(|word| word == one), "the words of one attempt: {said:?}");
        status.is_final()
    })
    .await;
    let view = state(&client, "s").await;
    assert_eq!((view.runs[0].status, view.runs[0].attempts), (RunStatus::Completed, 2));
    assert_eq!(text(&last(&view).1), "alive ".repeat(400));
    let routes = facts(&client, "s", "fanfold.route").await;
    assert_eq!((routes.len(), server.requests().len()), (2, 2));
}

/// Runs the binary to its end, which must come at once.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfold")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_combination_is_told_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        for command in ["dev", "serve", "worker"] {
            let (exit, said) = refused(&[&[command], arguments].concat());
            assert!(exit == Some(code) && said.contains(expected), "{command} {arguments:?}: {exit:?} {said}");
        }
    };
    let url = ["--model-url", "http://127.0.0.1:9/v1"];
    let both = [url[0], url[1], "--model", "m"];
    check(&url, 2, "--model <NAME>");
    check(&["--model", "m"], 2, "--model-url");
    check(&["--model-key-env", "KEY"], 2, "--model-url");
    check(&[&both[..], &["--model-recording", "x.jsonl"]].concat(), 2, "cannot be used with");
    check(&[&both[..], &["--model-key-env", "A", "--model-key-file", "b"]].concat(), 2, "cannot be used with");
    check(&[&both[..], &["--model-dialect", "telepathy"]].concat(), 2, "responses");
    check(&[&both[..], &["--model-key-env", "NOT_SET_ANYWHERE"]].concat(), 1, "NOT_SET_ANYWHERE");
    check(&["--model-url", "ftp://127.0.0.1", "--model", "m"], 1, "ftp://127.0.0.1");
    let server = models(vec![endpoint("m", "http://127.0.0.1:9/v1", Chat)]);
    let file = configuration(data.path(), server, "model_recordings = ['x.jsonl']");
    let (exit, said) = refused(&["serve", "--config", file.to_str().unwrap()]);
    assert!(exit == Some(1) && said.contains("model_recordings"), "{exit:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_points_a_node_at_a_model() {
    let data = tempfile::tempdir().unwrap();
    let key = data.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    for (dialect, name) in [(Chat, "chat"), (Responses, "responses"), (Messages, "messages")] {
        let server = FaultServer::replies(vec![Reply::says(hi())]).await.unwrap();
        let (url, key) = (server.url(), key.to_str().unwrap());
        let arguments = ["--model-url", &url, "--model", "m", "--model-dialect", name, "--model-key-file", key];
        let node = Node::start(&data.path().join(name), &arguments);
        let view = answered(&node.client(), "s", None, 1).await;
        assert_eq!((last(&view).0, text(&last(&view).1).as_str()), (RunStatus::Completed, "Hi"));
        let request = server.requests().remove(0);
        assert_eq!((request.dialect(), &request.body["model"]), (dialect, &"m".into()));
        let sent = request.header("authorization").or(request.header("x-api-key")).unwrap();
        assert!(sent.ends_with("secret"));
        assert!(!last(&view).1.iter().any(|part| matches!(part, Part::ToolCall(call) if call.status == ToolStatus::Failed)));
    }
}
