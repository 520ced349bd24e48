//! Nodes that ask models, and what stands in the log afterwards, as lines.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fanfold_client::Client;
use fanfold_fold::{Event, FinishReason, Said};
use fanfold_models::fault::FaultServer;
use fanfold_models::{DialectName, EndpointConfig, ModelsConfig};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use serde::Serialize;
use serde_json::Value;

use super::{DEADLINE, Node, command, message};

/// An endpoint with times that a test can wait for, and one try.
pub fn endpoint(model: &str, url: &str, dialect: DialectName) -> EndpointConfig {
    EndpointConfig {
        model: model.into(),
        name: "first".into(),
        url: url.into(),
        dialect,
        connect_ms_max: 60_000,
        first_token_ms_max: 60_000,
        idle_ms_max: 60_000,
        total_ms_max: 600_000,
        tries_max: 1,
        ..EndpointConfig::default()
    }
}

/// A configuration file for nodes and workers: `runs` are lines of `[runs]`.
pub fn configuration(data: &Path, models: ModelsConfig, runs: &str) -> std::path::PathBuf {
    #[derive(Serialize)]
    struct Models {
        models: ModelsConfig,
    }
    let file = data.join("fanfold.toml");
    let listen = "http = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'";
    let models = toml::to_string(&Models { models }).unwrap();
    let node = data.join("node");
    std::fs::write(&file, format!("[node]\ndata = {node:?}\n[listen]\n{listen}\n[runs]\n{runs}\n{models}")).unwrap();
    file
}

/// A node whose worker asks these models.
pub fn serve(data: &Path, models: ModelsConfig, runs: &str) -> Node {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    serve.args(["serve", "--config"]).arg(configuration(data, models, runs));
    Node::spawn(serve)
}

/// Says something, and has a model answer it, in at most so many attempts.
pub async fn ask(client: &Client, session: &str, model: Option<&str>, attempts_max: u32) -> String {
    let Action::Send(send) = message("hello") else { unreachable!("a message") };
    client.submit(command("ask", session, Action::Send(v1::Send { answer: None, ..send }))).await.unwrap();
    let model = model.map(str::to_owned);
    let request = v1::RunRequested { prompt: "m-ask".into(), model, attempts_max, ..v1::RunRequested::default() };
    let receipt = client.submit(command("run", session, Action::RequestRun(request))).await.unwrap();
    assert_eq!(receipt.refusal, "");
    receipt.run
}

/// Waits until a server has so many connections.
pub async fn connections(server: &FaultServer, count: usize) {
    let reached = async {
        while server.connections() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("{} connections", server.connections()));
}

/// Everything that is stored of a session.
pub async fn events(client: &Client, session: &str) -> Vec<Event> {
    let request = v1::ListEventsRequest { session: session.into(), limit: 1000, ..v1::ListEventsRequest::default() };
    let reply = client.events(request).await.unwrap();
    assert!(reply.end);
    reply.records.into_iter().flat_map(|record| record.events).map(|event| Event::try_from(event).unwrap()).collect()
}

/// What was said in a session, and which way its requests went. Texts that follow one another are one line.
pub async fn log(client: &Client, session: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for event in events(client, session).await {
        match event {
            Event::Output(output) => {
                for said in output.said {
                    match (lines.last_mut(), &said) {
                        (Some(last), Said::Text(delta)) if last.starts_with("text ") => last.push_str(&delta.text),
                        (Some(last), Said::Reasoning(delta)) if last.starts_with("reasoning ") => last.push_str(&delta.text),
                        _ => lines.push(line(&said)),
                    }
                }
            }
            Event::RunStarted(_) => lines.push("started".into()),
            Event::AttemptLost(_) => lines.push("lost".into()),
            Event::RunCancelled(_) => lines.push("cancelled".into()),
            Event::RunSteered(steered) => lines.push(format!("steered {}", steered.text)),
            Event::ToolDecided(decided) => lines.push(format!("decided {} {}", decided.call, decided.approved)),
            _ => {}
        }
    }
    lines
}

/// The facts of a kind, in order.
pub async fn facts(client: &Client, session: &str, kind: &str) -> Vec<Value> {
    let facts = events(client, session).await.into_iter().filter_map(|event| match event {
        Event::Custom(custom) if custom.kind == kind => Some(serde_json::from_slice(&custom.payload).unwrap()),
        _ => None,
    });
    facts.collect()
}

fn line(said: &Said) -> String {
    match said {
        Said::Text(delta) => format!("text {}", delta.text),
        Said::Reasoning(delta) => format!("reasoning {}", delta.text),
        Said::ToolCall(call) if call.needs_approval => format!("call {} {} for approval", call.call, call.name),
        Said::ToolCall(call) => format!("call {} {}", call.call, call.name),
        Said::ToolArguments(delta) => format!("arguments {} {}", delta.call, delta.text),
        Said::ToolReady(ready) => format!("ready {}", ready.call),
        Said::ToolResult(result) if result.is_error => format!("error {} {}", result.call, result.content),
        Said::ToolResult(result) => format!("result {} {}", result.call, result.content),
        Said::Citation(citation) => format!("citation {}", citation.url.as_deref().unwrap_or("-")),
        Said::Sealed(sealed) => format!("sealed by {}", sealed.by),
        Said::Waiting(waiting) => format!("waiting for {}", waiting.calls.join(" ")),
        Said::StepFinished(step) => format!("step {}", reason(&step.reason)),
        Said::Usage(usage) => format!("usage {} {}", usage.input, usage.output),
        Said::Completed(completed) => format!("completed {}", reason(&completed.reason)),
        Said::Failed(failed) => {
            let again = if failed.retryable { "again" } else { "for good" };
            format!("failed {again} {}", failed.code)
        }
        Said::Unknown { kind, .. } => format!("unknown {kind}"),
    }
}

fn reason(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}
