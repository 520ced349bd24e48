//! The README's page: ten lines that show an answer, whatever happens to their connection.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;

use eventsource_stream::{Event, Eventsource as _};
use fanfold_client::{Client, Transport};
use fanfold_wire::v1;
use futures::stream::{BoxStream, StreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use support::recording::expected;
use support::{DEADLINE, Node, all_ended, follow, last, open, recordings, seed, send, state, until};

#[derive(Default)]
struct Page {
    url: String,
    events: Option<BoxStream<'static, Event>>,
    last_id: String,
    answer: String,
    shown: String,
    reasoning: String,
    calls: BTreeMap<String, (String, String)>,
    resets: usize,
    ends: Vec<Value>,
}

impl Page {
    fn of(node: &Node) -> Self {
        Self { url: format!("{}/v1/sessions/s/stream?view=simple", node.http), ..Self::default() }
    }

    /// Comes, or comes back, as `EventSource` does.
    async fn connect(&mut self) {
        let mut request = reqwest::Client::new().get(&self.url);
        if !self.last_id.is_empty() {
            request = request.header("last-event-id", &self.last_id);
        }
        let stream = request.send().await.unwrap().error_for_status().unwrap().bytes_stream().eventsource();
        self.events = Some(stream.map(Result::unwrap).boxed());
    }

    async fn next(&mut self) {
        let next = self.events.as_mut().unwrap().next();
        let event = tokio::time::timeout(DEADLINE, next).await.expect("an event in time").expect("it goes on");
        let data: Value = serde_json::from_str(&event.data).unwrap();
        let text = data["text"].as_str().unwrap_or_default();
        match event.event.as_str() {
            "reset" => {
                (self.answer, self.shown) = (text.into(), text.into());
                self.reasoning.clear();
                self.calls.clear();
                self.resets += 1;
            }
            "token" => {
                self.answer.push_str(text);
                self.shown.clone_from(&self.answer);
            }
            "reasoning" => self.reasoning.push_str(text),
            "tool_call" => {
                let word = |name: &str| data[name].as_str().unwrap().to_owned();
                self.calls.insert(word("call"), (word("name"), word("arguments")));
            }
            "final" => {
                self.shown = text.into();
                self.ends.push(data);
            }
            "error" => self.ends.push(data),
            _ => {}
        }
        if !event.id.is_empty() {
            self.last_id = event.id;
        }
    }

    async fn until_ended(&mut self, ends: usize) {
        while self.ends.len() < ends {
            self.next().await;
        }
    }

    async fn check(&self, client: &Client) {
        let (_, parts) = last(&state(client, "s").await);
        assert_eq!(self.shown, support::text(&parts));
        assert_eq!(self.reasoning, support::reasoning(&parts));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cut_again_and_again_shows_the_whole_answer() {
    let mut rng = StdRng::seed_from_u64(seed());
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "5"]);
    let client = node.client();
    open(&client, "s").await;
    let mut page = Page::of(&node);
    page.connect().await;
    page.next().await;
    // What is said while it is away is all that it lacks.
    page.events = None;
    send(&client, "first", "s").await;
    let mut other = follow(&client, "s", Transport::Grpc);
    until(&mut other, |view| !view.runs.is_empty() && !support::text(&last(view).1).is_empty()).await;
    page.connect().await;
    let mut cuts = 0;
    while page.ends.is_empty() {
        page.next().await;
        if rng.random_bool(0.2) {
            page.connect().await;
            cuts += 1;
        }
    }
    assert!(cuts > 0 && page.resets > cuts, "each return begins with the whole");
    page.check(&client).await;
    // A whole answer while nobody is there.
    page.events = None;
    send(&client, "second", "s").await;
    until(&mut other, |view| all_ended(view, 2)).await;
    page.connect().await;
    page.until_ended(2).await;
    page.check(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_call_is_told_however_fast_it_comes() {
    let Some(folder) = recordings("every_tool_call_is_told_however_fast_it_comes") else { return };
    let mut played = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let Some(expected) = file.extension().filter(|kind| *kind == "jsonl").and_then(|_| expected(&file)) else { continue };
        if expected.tools.is_empty() {
            continue;
        }
        let data = tempfile::tempdir().unwrap();
        let node = Node::start(data.path(), &["--model-recording", file.to_str().unwrap(), "--model-pace", "0"]);
        let client = node.client();
        open(&client, "s").await;
        let (mut live, mut late) = (Page::of(&node), Page::of(&node));
        for page in [&mut live, &mut late] {
            page.connect().await;
            page.next().await;
        }
        late.events = None;
        send(&client, "send", "s").await;
        live.until_ended(1).await;
        late.connect().await;
        late.until_ended(1).await;
        let mut tools: Vec<_> = expected.tools.values().cloned().collect();
        tools.sort();
        for page in [live, late] {
            page.check(&client).await;
            let mut calls: Vec<_> = page.calls.values().cloned().collect();
            calls.sort();
            assert_eq!(calls, tools, "{file:?}");
        }
        played += 1;
    }
    assert!(played > 0, "the folder holds recordings with tool calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fails_is_told_also_to_who_was_away() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let (mut live, mut late) = (Page::of(&node), Page::of(&node));
    for page in [&mut live, &mut late] {
        page.connect().await;
        page.next().await;
    }
    late.events = None;
    let run = send(&client, "send", "s").await.run;
    let start = v1::AppendStart { session: "s".into(), run, ..v1::AppendStart::default() };
    let mut append = client.append(start).await.unwrap();
    let text = v1::said::Said::Text(v1::Text { text: "half".into() });
    let failed = v1::Failed { code: "model_gone".into(), message: "It is gone.".into(), retryable: false };
    let said = [text, v1::said::Said::Failed(failed)].map(|said| v1::Said { said: Some(said) });
    append.say(said.to_vec()).await.unwrap();
    append.finish().await.unwrap();
    late.connect().await;
    for mut page in [live, late] {
        page.until_ended(1).await;
        assert_eq!((&page.ends[0]["code"], &page.ends[0]["status"]), (&"model_gone".into(), &"failed".into()));
        assert_eq!(page.shown, "half", "what was said stays");
    }
}
