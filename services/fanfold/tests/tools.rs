//! Models that call tools over real HTTP: step by step, with people who allow, refuse, add or stop.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use fanfold_client::{Client, Follow, Transport};
use fanfold_fold::{FinishReason, Part, RunStatus, ToolCall, ToolStatus, View};
use fanfold_models::fault::{FaultServer, Pieces, Reply, Say};
use fanfold_models::{DialectName, ModelsConfig, PriceConfig, ToolConfig};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use serde_json::{Value, json};
use support::model::{ask, connections, endpoint, facts, log, serve};
use support::worker::Worker;
use support::{Node, all_ended, command, follow, last, open, send, state, text, until};

const ALL: [DialectName; 3] = [DialectName::ChatCompletions, DialectName::Responses, DialectName::Messages];

fn tool(name: &str, url: &str) -> ToolConfig {
    ToolConfig { name: name.into(), description: "For tests.".into(), url: url.into(), ..ToolConfig::default() }
}

fn calls(id: &str, name: &str, arguments: &str) -> Reply {
    Reply::says(vec![Say::call(id, name, arguments), Say::Usage(100, 10)])
}

fn done() -> Reply {
    Reply::says(vec![Say::Text("Done.".into()), Say::Usage(20, 2)])
}

fn result(content: &str) -> Reply {
    Reply::body("text/plain", content)
}

/// A model, the tools that it may call, and a node with a session in which it has been asked.
struct Stage {
    model: FaultServer,
    node: Node,
    client: Client,
    reader: Follow,
    file: std::path::PathBuf,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn set(dialect: DialectName, replies: Vec<Reply>, tools: Vec<ToolConfig>, runs: &str) -> Self {
        Self::set_for(dialect, replies, tools, runs, 1).await
    }

    async fn set_for(dialect: DialectName, replies: Vec<Reply>, tools: Vec<ToolConfig>, runs: &str, attempts_max: u32) -> Self {
        let data = tempfile::tempdir().unwrap();
        let model = FaultServer::replies(replies).await.unwrap();
        let price = Some(PriceConfig { input: 1.0, cached_input: None, output: 0.0 });
        let endpoint = fanfold_models::EndpointConfig { price, ..endpoint("m", &model.url(), dialect) };
        let models = ModelsConfig { endpoints: vec![endpoint], tools, ..ModelsConfig::default() };
        let node = serve(data.path(), models, runs);
        let client = node.client();
        open(&client, "s").await;
        ask(&client, "s", None, attempts_max).await;
        let reader = follow(&client, "s", Transport::WebSocket);
        Self { model, node, client, reader, file: data.path().join("fanfold.toml"), _data: data }
    }

    /// kill -9 of the node with its worker, and a new one on the same data.
    fn restart(&mut self) {
        self.node.kill();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        serve.args(["serve", "--config"]).arg(&self.file);
        self.node = Node::spawn(serve);
        self.client = self.node.client();
        self.reader = follow(&self.client, "s", Transport::WebSocket);
    }

    async fn until(&mut self, done: impl Fn(&View) -> bool) {
        until(&mut self.reader, done).await;
    }

    async fn end(&mut self) -> View {
        self.until(|view| all_ended(view, 1)).await;
        state(&self.client, "s").await
    }

    async fn log(&self) -> Vec<String> {
        log(&self.client, "s").await
    }

    async fn decide(&self, call: &str, approved: bool, reason: &str) -> v1::Receipt {
        let message = state(&self.client, "s").await.runs[0].reply.to_string();
        let decided = v1::ToolDecided { message, call: call.into(), approved, reason: reason.into() };
        self.client.submit(command(&format!("decide-{call}"), "s", Action::DecideTool(decided))).await.unwrap()
    }

    /// The request of a step, as text.
    fn request(&self, step: usize) -> String {
        self.model.requests()[step - 1].body.to_string()
    }
}

fn call(view: &View, id: &str) -> Option<ToolCall> {
    let run = view.runs.first()?;
    let parts = &view.messages.get(&run.reply)?.parts;
    parts.iter().find_map(|part| match part {
        Part::ToolCall(call) if call.call == id => Some(call.clone()),
        _ => None,
    })
}

fn awaits(view: &View, id: &str) -> bool {
    call(view, id).is_some_and(|call| call.status == ToolStatus::AwaitingApproval)
}

/// Whether the first run waits for a person.
fn waits(view: &View) -> bool {
    view.runs.first().is_some_and(|run| run.status == RunStatus::Waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_on_with_the_results_of_its_tools() {
    for dialect in ALL {
        let weather = FaultServer::replies(vec![result("12 degrees")]).await.unwrap();
        let clock = FaultServer::replies(vec![Reply::status(500, "broken")]).await.unwrap();
        let both = Reply::says(vec![
            Say::Text("Let me see.".into()),
            Say::call("a", "weather", r#"{"city":"Oslo"}"#),
            Say::call("b", "clock", "{}"),
            Say::Usage(100, 10),
        ]);
        let tools = vec![tool("weather", &weather.url()), tool("clock", &clock.url())];
        // The second step uses an id again, as many servers do.
        let again = calls("a", "weather", r#"{"city":"Rome"}"#);
        let mut stage = Stage::set(dialect, vec![both, again, done()], tools, "").await;
        let view = stage.end().await;
        let log = stage.log().await;
        let lines = |prefix: &str| log.iter().filter(|line| line.starts_with(prefix)).cloned().collect::<Vec<_>>();
        assert_eq!(lines("step"), ["step tool_calls", "step tool_calls"], "{log:?}");
        assert_eq!(lines("result"), ["result a 12 degrees", "result a.2 12 degrees"], "{log:?}");
        assert_eq!(lines("error b"), ["error b The tool answered 500: broken"], "{log:?}");
        assert_eq!(lines("usage"), ["usage 100 10", "usage 200 20", "usage 220 22"], "all of the run so far");
        assert_eq!(log.last().unwrap(), "completed stop");
        assert_eq!(text(&last(&view).1), "Let me see.Done.");
        assert_eq!(
            weather.requests().iter().map(|request| request.body["city"].clone()).collect::<Vec<Value>>(),
            ["Oslo", "Rome"]
        );
        assert!(stage.request(1).contains("For tests."), "tools are offered");
        assert!(stage.request(2).contains("12 degrees") && stage.request(2).contains("broken"), "{}", stage.request(2));
        assert_eq!(stage.request(3).matches("12 degrees").count(), 2, "both steps' results");
        let steps =
            facts(&stage.client, "s", "fanfold.route").await.iter().map(|route| route["step"].clone()).collect::<Vec<_>>();
        assert_eq!(steps, [1, 2, 3]);
        let costs = facts(&stage.client, "s", "fanfold.cost").await;
        assert_eq!(costs.last().unwrap()["total_nanos"], json!(220_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_takes_too_long_says_too_much_or_is_not_there_is_told_to_the_model() {
    let slow = FaultServer::replies(vec![result("late").after(Duration::MAX)]).await.unwrap();
    let long = FaultServer::replies(vec![result(&"x".repeat(10_000))]).await.unwrap();
    let tools = vec![
        ToolConfig { total_ms_max: 300, ..tool("slow", &slow.url()) },
        ToolConfig { result_bytes_max: 100, ..tool("long", &long.url()) },
        tool("gone", "http://127.0.0.1:9"),
    ];
    let all = Reply::says(vec![Say::call("a", "slow", "{}"), Say::call("b", "long", "{}"), Say::call("c", "gone", "{}")]);
    let mut stage = Stage::set(ALL[0], vec![all, done()], tools, "").await;
    let view = stage.end().await;
    assert_eq!(call(&view, "a").unwrap().result.unwrap(), "The tool took longer than 0.3 s.");
    assert!(call(&view, "b").unwrap().result.unwrap().len() < 300);
    assert_eq!(call(&view, "c").unwrap().result.unwrap(), "The tool can't be reached.");
    assert!(stage.request(2).contains("longer than 0.3 s"), "{}", stage.request(2));
    assert_eq!(view.runs[0].status, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_stops_calling_tools_is_stopped() {
    let endless = FaultServer::replies(vec![result("more")]).await.unwrap();
    let mut stage = Stage::set(ALL[0], vec![calls("a", "t", "{}")], vec![tool("t", &endless.url())], "steps_max = 3").await;
    let view = stage.end().await;
    let error = view.runs[0].error.clone().unwrap();
    assert_eq!((view.runs[0].status, error.code.as_str(), view.runs[0].attempts), (RunStatus::Failed, "too_many_steps", 1));
    assert_eq!((stage.model.requests().len(), endless.requests().len()), (3, 2), "the last calls would be in vain");
    assert_eq!(stage.log().await.last().unwrap(), "failed for good too_many_steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_nobodys_tool_is_left_to_the_application() {
    let ours = FaultServer::replies(vec![result("never")]).await.unwrap();
    let both = Reply::says(vec![Say::call("a", "ours", "{}"), Say::call("b", "theirs", r#"{"x":1}"#)]);
    let mut stage = Stage::set(ALL[0], vec![both], vec![tool("ours", &ours.url())], "").await;
    let view = stage.end().await;
    assert_eq!((view.runs[0].status, view.runs[0].finish.clone()), (RunStatus::Completed, Some(FinishReason::ToolCalls)));
    assert_eq!(
        (call(&view, "b").unwrap().status, call(&view, "b").unwrap().arguments.as_str()),
        (ToolStatus::Ready, r#"{"x":1}"#)
    );
    assert_eq!((stage.model.requests().len(), ours.requests().len()), (1, 0));
}

fn approved(name: &str, url: &str) -> ToolConfig {
    ToolConfig { needs_approval: true, ..tool(name, url) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_a_person_waits_for_one_as_long_as_it_takes_and_keeps_no_worker() {
    const SILENCE: Duration = Duration::from_secs(3);
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let free = FaultServer::replies(vec![result("free")]).await.unwrap();
    let both = Reply::says(vec![Say::call("a", "pay", r#"{"sum":5}"#), Say::call("b", "look", "{}")]);
    let tools = vec![approved("pay", &server.url()), tool("look", &free.url())];
    let runs = format!("worker_slots = 1\nsilence_ms_max = {}", SILENCE.as_millis());
    let mut stage = Stage::set(ALL[2], vec![both, done()], tools, &runs).await;
    stage.until(waits).await;
    assert_eq!(call(&state(&stage.client, "s").await, "b").unwrap().status, ToolStatus::Done, "what may be run was run first");
    // The one place for runs is free meanwhile; the session's next run waits behind this one.
    send(&stage.client, "next", "s").await;
    open(&stage.client, "t").await;
    ask(&stage.client, "t", None, 1).await;
    until(&mut follow(&stage.client, "t", Transport::WebSocket), |view| all_ended(view, 1)).await;
    // For much longer than silence is borne.
    let began = Instant::now();
    while began.elapsed() < SILENCE * 3 {
        tokio::time::sleep(SILENCE / 4).await;
        let view = state(&stage.client, "s").await;
        assert!(awaits(&view, "a") && view.runs[0].attempts == 1 && waits(&view), "{:?}", view.runs);
        assert_eq!(view.runs[1].status, RunStatus::Queued);
    }
    assert_eq!(server.requests().len(), 0, "nobody has allowed it");
    assert_eq!(stage.decide("a", true, "").await.refusal, "");
    stage.until(|view| all_ended(view, 2)).await;
    let view = state(&stage.client, "s").await;
    assert_eq!((call(&view, "a").unwrap().result.as_deref(), view.runs[0].attempts), (Some("paid"), 1));
    assert!(view.runs.iter().all(|run| run.status == RunStatus::Completed), "{:?}", view.runs);
    assert_eq!(server.requests()[0].body, json!({ "sum": 5 }));
    let log = stage.log().await;
    assert!(log.contains(&"call a pay for approval".to_owned()) && log.contains(&"call b look".to_owned()), "{log:?}");
    assert!(log.contains(&"waiting for a".to_owned()), "{log:?}");
    assert!(stage.request(3).contains("paid") && stage.request(3).contains("free"), "the first run's second step");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_person_outlives_node_and_worker() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let tools = vec![approved("pay", &server.url())];
    let mut stage = Stage::set(ALL[0], vec![calls("a", "pay", "{}"), done()], tools, "").await;
    stage.until(waits).await;
    stage.restart();
    // Nobody has looked at the session since.
    assert_eq!(stage.decide("a", true, "").await.refusal, "");
    let view = stage.end().await;
    assert_eq!((view.runs[0].status, view.runs[0].attempts), (RunStatus::Completed, 1));
    assert_eq!((stage.model.requests().len(), server.requests().len()), (2, 1), "nothing was said or done twice");
    assert_eq!(view.runs[0].usage.unwrap().input, 120, "what both attempts have cost");
    let log = stage.log().await;
    let order = ["started", "waiting for a", "decided a true", "started", "result a paid", "completed stop"];
    let found: Vec<&str> = log.iter().map(String::as_str).filter(|line| order.contains(line)).collect();
    assert_eq!(found, order, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_for_an_approval_runs_on_while_the_node_is_away() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let tools = vec![approved("pay", &server.url())];
    let runs = "approval_ms_max = 1500";
    let mut stage = Stage::set(ALL[0], vec![calls("a", "pay", "{}"), done()], tools, runs).await;
    stage.until(waits).await;
    stage.node.kill();
    tokio::time::sleep(Duration::from_millis(1600)).await;
    stage.restart();
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().status, view.runs[0].status), (ToolStatus::Refused, RunStatus::Completed));
    assert!(stage.log().await.contains(&"decided a false".to_owned()));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_approvals_are_waited_for_each_on_its_own() {
    let server = FaultServer::start(|request| result(&format!("did {}", request.body["n"]))).await.unwrap();
    let both = Reply::says(vec![Say::call("a", "pay", r#"{"n":1}"#), Say::call("b", "pay", r#"{"n":2}"#)]);
    let mut stage = Stage::set(ALL[0], vec![both, done()], vec![approved("pay", &server.url())], "").await;
    stage.until(waits).await;
    let until_ms = async |stage: &Stage| state(&stage.client, "s").await.runs[0].waiting.clone().unwrap().until_ms;
    let first = until_ms(&stage).await;
    assert_eq!(stage.decide("b", true, "").await.refusal, "");
    // What may be run is not held up by what may not yet.
    stage.until(|view| waits(view) && call(view, "b").is_some_and(|call| call.status == ToolStatus::Done)).await;
    assert!(awaits(&state(&stage.client, "s").await, "a"));
    assert_eq!(until_ms(&stage).await, first, "and gives it no more time");
    assert_eq!(stage.decide("a", false, "no").await.refusal, "");
    let view = stage.end().await;
    assert_eq!((view.runs[0].attempts, server.requests().len(), stage.model.requests().len()), (1, 1, 2));
    assert!(stage.request(2).contains("did 2") && stage.request(2).contains("not allowed: no"), "{}", stage.request(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_with_a_tool_under_way_leaves_its_key_and_the_results_it_had() {
    let slow = FaultServer::start(|request| match request.number {
        0 => result("never seen").after(Duration::MAX),
        _ => result("charged once"),
    });
    let (slow, quick) = (slow.await.unwrap(), FaultServer::replies(vec![result("found")]).await.unwrap());
    let both = Reply::says(vec![Say::Text("Let me.".into()), Say::call("a", "find", "{}"), Say::call("b", "charge", "{}")]);
    let tools = vec![tool("find", &quick.url()), ToolConfig { total_ms_max: 600_000, ..tool("charge", &slow.url()) }];
    let runs = "worker_slots = 0\nsilence_ms_max = 3000";
    let mut stage = Stage::set_for(ALL[0], vec![both, done()], tools, runs, 2).await;
    let file = stage.file.to_str().unwrap().to_owned();
    let mut first = Worker::start(&stage.node, "first", &["--config", &file]);
    stage.until(|view| call(view, "a").is_some_and(|call| call.status == ToolStatus::Done)).await;
    connections(&slow, 1).await;
    first.kill();
    let _second = Worker::start(&stage.node, "second", &["--config", &file]);
    let view = stage.end().await;
    assert_eq!((view.runs[0].status, view.runs[0].attempts), (RunStatus::Completed, 2));
    assert_eq!(
        (stage.model.requests().len(), quick.requests().len()),
        (2, 1),
        "neither model nor tool did again what is in the log"
    );
    assert_eq!(call(&view, "b").unwrap().result.as_deref(), Some("charged once"));
    assert_eq!(text(&last(&view).1), "Let me.Done.");
    let keys: Vec<String> = [&slow, &quick]
        .iter()
        .flat_map(|tool| tool.requests())
        .map(|asked| asked.header("idempotency-key").unwrap().into())
        .collect();
    assert_eq!((keys.len(), &keys[0]), (3, &keys[1]), "the same for one call");
    assert_ne!(keys[0], keys[2], "another for another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_to_the_model() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let mut stage = Stage::set(ALL[1], vec![calls("a", "pay", "{}"), done()], vec![approved("pay", &server.url())], "").await;
    stage.until(|view| awaits(view, "a")).await;
    assert_eq!(stage.decide("a", false, "Far too much").await.refusal, "");
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().status, view.runs[0].status), (ToolStatus::Refused, RunStatus::Completed));
    assert!(stage.request(2).contains("This call was not allowed: Far too much"), "{}", stage.request(2));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_allows_in_time_is_not_run() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let tools = vec![approved("pay", &server.url())];
    let mut stage = Stage::set(ALL[0], vec![calls("a", "pay", "{}"), done()], tools, "approval_ms_max = 400").await;
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().status, view.runs[0].status), (ToolStatus::Refused, RunStatus::Completed));
    assert!(stage.request(2).contains("Nobody allowed it in time."), "{}", stage.request(2));
    let log = stage.log().await;
    assert!(log.contains(&"decided a false".to_owned()), "{log:?}");
    assert_eq!((stage.decide("a", true, "").await.refusal.as_str(), server.requests().len()), ("tool_call_settled", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_wait_for_a_person_and_for_a_tool() {
    let slow = FaultServer::replies(vec![result("late").after(Duration::MAX)]).await.unwrap();
    let both = Reply::says(vec![Say::call("a", "pay", "{}"), Say::call("b", "slow", "{}")]);
    let tools = vec![approved("pay", &slow.url()), ToolConfig { total_ms_max: 600_000, ..tool("slow", &slow.url()) }];
    // With one place for runs, the next one shows that this one's worker is free.
    let mut stage = Stage::set(ALL[0], vec![both, done()], tools, "worker_slots = 1").await;
    stage.until(|view| awaits(view, "a")).await;
    connections(&slow, 1).await;
    assert_eq!(state(&stage.client, "s").await.runs[0].status, RunStatus::Running, "a tool is under way");
    let cancel = Action::Cancel(v1::Cancel { run: None, reason: String::new() });
    stage.client.submit(command("cancel", "s", cancel)).await.unwrap();
    open(&stage.client, "t").await;
    ask(&stage.client, "t", None, 1).await;
    let mut reader = follow(&stage.client, "t", Transport::WebSocket);
    until(&mut reader, |view| all_ended(view, 1)).await;
    connections(&slow, 0).await;
    assert_eq!(last(&state(&stage.client, "s").await).0, RunStatus::Cancelled);
    assert_eq!(stage.decide("a", true, "").await.refusal, "", "a decision that comes too late does nothing");
    assert_eq!(slow.requests().len(), 1);
    assert!(stage.node.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_add_meanwhile_reaches_the_next_step() {
    let server = FaultServer::replies(vec![result("found")]).await.unwrap();
    let slow = Reply::says([Say::words(&"so ".repeat(400)), vec![Say::call("a", "find", "{}")]].concat());
    let slow = slow.in_pieces(Pieces::Events).every(Duration::from_millis(20));
    let mut stage = Stage::set(ALL[0], vec![slow, done()], vec![tool("find", &server.url())], "").await;
    stage.until(|view| view.runs.first().is_some_and(|_| !text(&last(view).1).is_empty())).await;
    let run = state(&stage.client, "s").await.runs[0].id.to_string();
    let steer = Action::Steer(v1::RunSteered { run, text: "Only in blue.".into() });
    assert_eq!(stage.client.submit(command("steer", "s", steer)).await.unwrap().refusal, "");
    let view = stage.end().await;
    assert!(!stage.request(1).contains("Only in blue.") && stage.request(2).contains("Only in blue."), "{}", stage.request(2));
    assert!(stage.request(2).contains("found"));
    assert_eq!(view.runs[0].status, RunStatus::Completed);
}

/// Adds a text to the first run once it has said something.
async fn steer(stage: &mut Stage, added: &str) {
    stage.until(|view| view.runs.first().is_some_and(|_| !text(&last(view).1).is_empty())).await;
    let run = state(&stage.client, "s").await.runs[0].id.to_string();
    let steer = Action::Steer(v1::RunSteered { run, text: added.into() });
    assert_eq!(stage.client.submit(command("steer", "s", steer)).await.unwrap().refusal, "");
}

fn slowly() -> Reply {
    Reply::says(Say::words(&"so ".repeat(400))).in_pieces(Pieces::Events).every(Duration::from_millis(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_add_to_the_last_step_leads_to_one_more() {
    let mut stage = Stage::set(ALL[2], vec![slowly(), done()], vec![], "").await;
    steer(&mut stage, "Only in blue.").await;
    let view = stage.end().await;
    assert!(!stage.request(1).contains("Only in blue.") && stage.request(2).contains("Only in blue."), "{}", stage.request(2));
    assert_eq!((view.runs[0].status, view.runs[0].attempts, stage.model.requests().len()), (RunStatus::Completed, 1, 2));
    assert!(text(&last(&view).1).ends_with("Done."), "{:?}", last(&view));
    let run = view.runs[0].id.to_string();
    let late = Action::Steer(v1::RunSteered { run, text: "And green.".into() });
    assert_eq!(stage.client.submit(command("late", "s", late)).await.unwrap().refusal, "run_ended", "now it is a message's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_after_the_last_step_there_may_be_is_read_by_the_next_run() {
    let mut stage = Stage::set(ALL[1], vec![slowly(), done()], vec![], "steps_max = 1").await;
    steer(&mut stage, "Only in blue.").await;
    let view = stage.end().await;
    assert_eq!((view.runs[0].status, stage.model.requests().len()), (RunStatus::Completed, 1));
    send(&stage.client, "next", "s").await;
    stage.until(|view| all_ended(view, 2)).await;
    assert!(stage.request(2).contains("Only in blue."), "{}", stage.request(2));
}

/// A step of a model that thinks: what it says, and what it wants to see again.
fn thinks(dialect: DialectName) -> (Reply, Value) {
    let (chunks, back) = match dialect {
        DialectName::ChatCompletions => {
            let call = json!([{ "index": 0, "id": "a", "type": "function", "function": { "name": "pay", "arguments": "{}" } }]);
            let chunk =
                |delta: Value, finish: Value| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
            let thought = chunk(json!({ "reasoning_content": "Hm." }), Value::Null);
            (vec![thought, chunk(json!({ "tool_calls": call }), json!("tool_calls"))], json!("Hm."))
        }
        DialectName::Responses => {
            let back = json!({ "type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA",
                "summary": [{ "type": "summary_text", "text": "Hm." }] });
            let call = json!({ "type": "function_call", "id": "fc_1", "call_id": "a", "name": "pay", "arguments": "{}" });
            let done =
                |index: u64, item: &Value| json!({ "type": "response.output_item.done", "output_index": index, "item": item });
            let end = json!({ "type": "response.completed", "response": { "status": "completed", "output": [] } });
            (vec![done(0, &back), done(1, &call), end], back)
        }
        DialectName::Messages => {
            let start =
                |index: u64, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
            let delta = |index: u64, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
            let stop = |index: u64| json!({ "type": "content_block_stop", "index": index });
            let chunks = vec![
                start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
                delta(0, json!({ "type": "thinking_delta", "thinking": "Hm." })),
                delta(0, json!({ "type": "signature_delta", "signature": "c2ln" })),
                stop(0),
                start(1, json!({ "type": "tool_use", "id": "a", "name": "pay", "input": {} })),
                stop(1),
                json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" } }),
            ];
            (chunks, json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" }))
        }
    };
    let chunks: Vec<String> = chunks.iter().map(Value::to_string).collect();
    (Reply::chunks(dialect, chunks.iter().map(String::as_str)), back)
}

/// Also by the worker that takes the run up after a person's decision.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_gets_its_reasoning_back_with_the_results_of_its_tools() {
    for dialect in ALL {
        let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
        let (step, back) = thinks(dialect);
        let data = tempfile::tempdir().unwrap();
        let model = FaultServer::replies(vec![step, done()]).await.unwrap();
        let reasoning_field = (dialect == ALL[0]).then(|| "reasoning_content".to_owned());
        let fields = json!({ "reasoning": {} }).as_object().unwrap().clone();
        let endpoint = fanfold_models::EndpointConfig { reasoning_field, fields, ..endpoint("m", &model.url(), dialect) };
        let tools = vec![approved("pay", &server.url())];
        let models = ModelsConfig { endpoints: vec![endpoint], tools, ..ModelsConfig::default() };
        let node = serve(data.path(), models, "");
        let client = node.client();
        open(&client, "s").await;
        ask(&client, "s", None, 1).await;
        let reader = follow(&client, "s", Transport::WebSocket);
        let file = data.path().join("fanfold.toml");
        let mut stage = Stage { model, node, client, reader, file, _data: data };
        stage.until(waits).await;
        stage.restart();
        stage.decide("a", true, "").await;
        stage.end().await;
        let second = &stage.model.requests()[1].body;
        let found = match dialect {
            DialectName::ChatCompletions => &second["messages"][1]["reasoning_content"],
            DialectName::Responses => &second["input"][1],
            DialectName::Messages => &second["messages"][1]["content"][0],
        };
        assert_eq!(*found, back, "{second}");
        // The next run's history does without.
        send(&stage.client, "next", "s").await;
        stage.until(|view| all_ended(view, 2)).await;
        let third = stage.request(3);
        assert_eq!(third.contains("Hm."), dialect == ALL[0], "{third}");
        assert!(!third.contains("c2ln") && !third.contains("gAAA"), "{third}");
    }
}
