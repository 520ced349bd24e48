//! Models that call tools over real HTTP: step by step, with people who allow, refuse, add or stop.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::{Duration, Instant};

use fanfold_client::{Client, Follow, Transport};
use fanfold_fold::{FinishReason, Part, RunStatus, ToolCall, ToolStatus, View};
use fanfold_models::fault::{FaultServer, Pieces, Reply, Say};
use fanfold_models::{DialectName, ModelsConfig, PriceConfig, ToolConfig};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use serde_json::{Value, json};
use support::model::{ask, connections, endpoint, facts, log, serve};
use support::{Node, all_ended, command, follow, last, open, state, text, until};

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
    _data: tempfile::TempDir,
}

impl Stage {
    async fn set(dialect: DialectName, replies: Vec<Reply>, tools: Vec<ToolConfig>, runs: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let model = FaultServer::replies(replies).await.unwrap();
        let price = Some(PriceConfig { input: 1.0, cached_input: None, output: 0.0 });
        let endpoint = fanfold_models::EndpointConfig { price, ..endpoint("m", &model.url(), dialect) };
        let node = serve(data.path(), ModelsConfig { endpoints: vec![endpoint], tools }, runs);
        let client = node.client();
        open(&client, "s").await;
        ask(&client, "s", None, 1).await;
        let reader = follow(&client, "s", Transport::WebSocket);
        Self { model, node, client, reader, _data: data }
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
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tools = vec![
        ToolConfig { total_ms_max: 300, ..tool("slow", &slow.url()) },
        ToolConfig { result_bytes_max: 100, ..tool("long", &long.url()) },
        tool("gone", &format!("http://{gone}")),
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
async fn a_call_that_needs_a_person_waits_for_one_as_long_as_it_takes() {
    const SILENCE: Duration = Duration::from_millis(600);
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let free = FaultServer::replies(vec![result("free")]).await.unwrap();
    let both = Reply::says(vec![Say::call("a", "pay", r#"{"sum":5}"#), Say::call("b", "look", "{}")]);
    let tools = vec![approved("pay", &server.url()), tool("look", &free.url())];
    let runs = format!("silence_ms_max = {}", SILENCE.as_millis());
    let mut stage = Stage::set(ALL[2], vec![both, done()], tools, &runs).await;
    stage.until(|view| awaits(view, "a") && call(view, "b").is_some_and(|call| call.status == ToolStatus::Done)).await;
    // Its worker keeps the run meanwhile, for much longer than silence is borne.
    let began = Instant::now();
    while began.elapsed() < SILENCE * 3 {
        tokio::time::sleep(SILENCE / 4).await;
        let view = state(&stage.client, "s").await;
        assert!(awaits(&view, "a") && view.runs[0].attempts == 1 && view.runs[0].status == RunStatus::Running, "{:?}", view.runs);
    }
    assert_eq!(server.requests().len(), 0, "nobody has allowed it");
    assert_eq!(stage.decide("a", true, "").await.refusal, "");
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().result.as_deref(), view.runs[0].attempts), (Some("paid"), 1));
    assert_eq!(server.requests()[0].body, json!({ "sum": 5 }));
    let log = stage.log().await;
    assert!(log.contains(&"call a pay for approval".to_owned()) && log.contains(&"call b look".to_owned()), "{log:?}");
    assert_eq!(stage.model.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_to_the_model() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let mut stage = Stage::set(ALL[1], vec![calls("a", "pay", "{}"), done()], vec![approved("pay", &server.url())], "").await;
    stage.until(|view| awaits(view, "a")).await;
    assert_eq!(stage.decide("a", false, "Far too much").await.refusal, "");
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().status, view.runs[0].status), (ToolStatus::Refused, RunStatus::Completed));
    assert!(stage.request(2).contains("A person refused this call: Far too much"), "{}", stage.request(2));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_allows_in_time_is_not_run() {
    let server = FaultServer::replies(vec![result("paid")]).await.unwrap();
    let tools = vec![approved("pay", &server.url())];
    let mut stage = Stage::set(ALL[0], vec![calls("a", "pay", "{}"), done()], tools, "approval_ms_max = 400").await;
    let view = stage.end().await;
    assert_eq!((call(&view, "a").unwrap().status, view.runs[0].status), (ToolStatus::Failed, RunStatus::Completed));
    assert!(stage.request(2).contains("Nobody allowed this call in time."), "{}", stage.request(2));
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
    let slow = Reply::says([Say::words(&"so ".repeat(60)), vec![Say::call("a", "find", "{}")]].concat());
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
