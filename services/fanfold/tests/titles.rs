//! A session's title: first words, then what a model finds after the first answer, unless a person has named it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::Duration;

use fanfold_client::{Client, Transport};
use fanfold_models::fault::{Ending, FaultServer, Pieces, Reply, Say};
use fanfold_models::{DialectName, ModelsConfig, TitleConfig};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use support::model::{endpoint, serve};
use support::worker::Worker;
use support::{Node, all_ended, command, follow, open, send, state, until};

const ANSWERS: DialectName = DialectName::ChatCompletions;

fn says(text: &str) -> Reply {
    Reply::says(vec![Say::Text(text.into())])
}

/// A model that answers, another that finds titles, and a node that asks both.
struct Stage {
    _answers: FaultServer,
    titles: FaultServer,
    node: Node,
    client: Client,
    file: std::path::PathBuf,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn set(titles: Vec<Reply>, config: TitleConfig, runs: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let answers = FaultServer::replies(vec![says("Sunny.")]).await.unwrap();
        let titles = FaultServer::replies(titles).await.unwrap();
        let endpoints = vec![endpoint("m", &answers.url(), ANSWERS), endpoint("t", &titles.url(), DialectName::Messages)];
        let title = Some(TitleConfig { model: "t".into(), ..config });
        let node = serve(data.path(), ModelsConfig { endpoints, title, ..ModelsConfig::default() }, runs);
        let client = node.client();
        Self { _answers: answers, titles, node, client, file: data.path().join("fanfold.toml"), _data: data }
    }

    /// Asks, and waits for the answer.
    async fn exchange(&self, session: &str, number: usize) {
        let mut reader = follow(&self.client, session, Transport::WebSocket);
        send(&self.client, &format!("ask{number}"), session).await;
        until(&mut reader, |view| all_ended(view, number)).await;
    }

    async fn titled(&self, session: &str, title: &str) {
        let mut reader = follow(&self.client, session, Transport::WebSocket);
        until(&mut reader, |view| view.session.title.as_deref() == Some(title)).await;
    }

    async fn title(&self, session: &str) -> (Option<String>, bool) {
        let session = state(&self.client, session).await.session;
        (session.title, session.title_automatic)
    }

    /// Waits until so many titles have come to nothing.
    async fn failed(&self, times: usize) {
        let line = format!("fanfold_titles_total{{outcome=\"failed\"}} {times}\n");
        let failed = async {
            while !reqwest::get(format!("{}/metrics", self.node.http)).await.unwrap().text().await.unwrap().contains(&line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(support::DEADLINE, failed).await.unwrap();
    }

    async fn asked(&self, times: usize) {
        let asked = async {
            while self.titles.requests().len() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(support::DEADLINE, asked).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_finds_a_title_after_the_first_answer_and_once() {
    let stage = Stage::set(vec![says("\"Weather in Oslo.\"")], TitleConfig::default(), "").await;
    open(&stage.client, "s").await;
    stage.exchange("s", 1).await;
    stage.titled("s", "Weather in Oslo").await;
    assert!(stage.title("s").await.1, "a program's");
    let asked = stage.titles.requests()[0].body.to_string();
    assert!(asked.contains("hello") && asked.contains("Sunny."), "{asked}");
    let usage = state(&stage.client, "s").await.runs[0].usage;
    stage.exchange("s", 2).await;
    assert_eq!(state(&stage.client, "s").await.runs[0].usage, usage, "it is none of the run's");
    // Another session's title shows that nobody has asked for this one's again.
    open(&stage.client, "t").await;
    stage.exchange("t", 1).await;
    stage.titled("t", "Weather in Oslo").await;
    assert_eq!(stage.titles.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_its_own_finds_it_too() {
    let stage = Stage::set(vec![says("Weather")], TitleConfig::default(), "worker_slots = 0").await;
    let _worker = Worker::start(&stage.node, "one", &["--config", stage.file.to_str().unwrap()]);
    open(&stage.client, "s").await;
    stage.exchange("s", 1).await;
    stage.titled("s", "Weather").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_calls_it_stays() {
    // The person is faster than the model, or was there before.
    let slow = says("Never").in_pieces(Pieces::Events).after(Duration::from_millis(700));
    let stage = Stage::set(vec![slow, says("Later")], TitleConfig::default(), "").await;
    open(&stage.client, "s").await;
    stage.exchange("s", 1).await;
    stage.asked(1).await;
    let titled = Action::SetTitle(v1::SessionTitled { title: "Mine".into(), automatic: false });
    assert_eq!(stage.client.submit(command("title", "s", titled)).await.unwrap().refusal, "");
    // Its answer was appended, and changed nothing.
    let told = async {
        loop {
            let events = support::model::events(&stage.client, "s").await;
            let titles = events.iter().filter(|event| matches!(event, fanfold_fold::Event::SessionTitled(_))).count();
            if titles == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::DEADLINE, told).await.unwrap();
    assert_eq!(stage.title("s").await, (Some("Mine".into()), false));
    let opened = Action::Open(v1::SessionOpened { title: Some("Named".into()), user: None });
    stage.client.submit(command("open", "t", opened)).await.unwrap();
    stage.exchange("t", 1).await;
    stage.exchange("t", 2).await;
    assert_eq!(stage.title("t").await, (Some("Named".into()), false));
    assert_eq!(stage.titles.requests().len(), 1, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_costs_nothing() {
    let endless = Reply::says(Say::words(&"and so on ".repeat(2_000)));
    let stalls =
        Reply::events("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n").ending(Ending::Stall);
    let replies = vec![Reply::status(500, "broken"), endless, stalls, says(&"word ".repeat(60)), says(" \n")];
    let config = TitleConfig { tokens_max: 50, total_ms_max: 500, ..TitleConfig::default() };
    let stage = Stage::set(replies.clone(), config, "worker_slots = 1").await;
    for number in 0..replies.len() {
        let session = format!("s{number}");
        open(&stage.client, &session).await;
        stage.exchange(&session, 1).await;
        stage.asked(number + 1).await;
        // None is listened to for longer than it may take.
        stage.failed(number + 1).await;
        stage.exchange(&session, 2).await;
        assert_eq!(stage.title(&session).await, (Some("hello".into()), true), "the first words");
    }
}

#[test]
fn a_title_by_a_model_that_nobody_serves_is_told_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let endpoints = vec![endpoint("m", "http://127.0.0.1:9/v1", ANSWERS)];
    let title = Some(TitleConfig { model: "other".into(), ..TitleConfig::default() });
    let models = ModelsConfig { endpoints, title, ..ModelsConfig::default() };
    let file = support::model::configuration(data.path(), models, "");
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_fanfold")).args(["serve", "--config"]).arg(file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("title") && said.contains("other"), "{said}");
}
