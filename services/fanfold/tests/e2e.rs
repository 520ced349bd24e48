//! Real processes, real sockets: answers stream in, connections are cut anywhere, and nothing is lost.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use fanfold_client::{AppendEnd, Transport, Update};
use fanfold_fold::{FinishReason, Part, RunStatus, ToolStatus};
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::recording::{Expected, expected};
use support::{Node, all_ended, command, follow, last, message, next, open, recordings, replay, seed, send, state, until};

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

/// Follows to the end of `runs` runs, cutting the connection again and again, once at least after something that it can go on from.
async fn follow_with_cuts(mut follow: fanfold_client::Follow, runs: usize, seed: u64) -> (fanfold_fold::View, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut resumed = 0;
    while resumed == 0 || !all_ended(follow.view(), runs) {
        let update = next(&mut follow).await;
        if let Update::Subscribed { how: v1::How::Resumed, .. } = update {
            resumed += 1;
        }
        let must = resumed == 0 && matches!(update, Update::Changed { .. });
        if must || rng.random_bool(0.05) {
            follow.cut();
        }
    }
    (follow.view().clone(), resumed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_comes_out_exact_over_every_transport() {
    let Some(folder) = recordings("every_recording_comes_out_exact_over_every_transport") else { return };
    let seed = seed();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut played = 0;
    for file in files {
        let Some(expected) = expected(&file) else { continue };
        let data = tempfile::tempdir().unwrap();
        let node = Node::start(data.path(), &["--model-recording", file.to_str().unwrap(), "--model-pace", "1"]);
        let client = node.client();
        open(&client, "s").await;
        let followers = [0, 1, 2].map(|at| {
            let follow = follow(&client, "s", TRANSPORTS[at]);
            tokio::spawn(follow_with_cuts(follow, 1, seed.wrapping_add(at as u64)))
        });
        send(&client, "send", "s").await;
        let truth = state_at_end(&client, "s").await;
        for follower in followers {
            let (view, resumed) = follower.await.unwrap();
            assert_eq!(view, truth, "{file:?}");
            assert!(resumed > 0, "{file:?}: it was cut and came back");
        }
        check(&truth, &expected, &file);
        played += 1;
    }
    assert!(played > 0, "the folder holds recordings of chat completions");
}

async fn state_at_end(client: &fanfold_client::Client, session: &str) -> fanfold_fold::View {
    let mut follow = follow(client, session, Transport::Grpc);
    until(&mut follow, |view| all_ended(view, 1)).await;
    state(client, session).await
}

fn check(view: &fanfold_fold::View, expected: &Expected, file: &std::path::Path) {
    let (status, parts) = last(view);
    assert_eq!(status, RunStatus::Completed, "{file:?}");
    assert_eq!(support::text(&parts), expected.text, "{file:?}");
    assert_eq!(support::reasoning(&parts), expected.reasoning, "{file:?}");
    let calls: Vec<_> = parts.iter().filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None }).collect();
    let tools: Vec<_> = calls.iter().map(|call| (call.name.clone(), call.arguments.clone())).collect();
    assert_eq!(tools, expected.tools.values().cloned().collect::<Vec<_>>(), "{file:?}");
    assert!(calls.iter().all(|call| call.status == ToolStatus::Ready), "{file:?}");
    let finish = match view.runs[0].finish.clone().unwrap() {
        FinishReason::Stop => "stop".to_owned(),
        FinishReason::Length => "length".to_owned(),
        FinishReason::ToolCalls => "tool_calls".to_owned(),
        FinishReason::ContentFilter => "content_filter".to_owned(),
        FinishReason::Other(word) => word,
    };
    // Some providers end without a word for it.
    if !expected.finish.is_empty() {
        assert_eq!(finish, expected.finish, "{file:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_cut_resumes_where_it_was() {
    let seed = seed();
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "10"]);
    let client = node.client();
    open(&client, "s").await;
    let mut followers = Vec::new();
    for (at, mut follow) in TRANSPORTS.map(|transport| follow(&client, "s", transport)).into_iter().enumerate() {
        until(&mut follow, |view| view.session.opened_at_ms > 0).await;
        followers.push(tokio::spawn(follow_with_cuts(follow, 1, seed.wrapping_add(at as u64))));
    }
    send(&client, "send", "s").await;
    for follower in followers {
        let (view, resumed) = follower.await.unwrap();
        assert_eq!(view, state(&client, "s").await);
        assert!(resumed > 0, "it was cut and came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_mid_answer_comes_back_and_the_run_ends_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "50"]);
    let client = node.client();
    open(&client, "s").await;
    let mut readers = TRANSPORTS.map(|transport| follow(&client, "s", transport));
    send(&client, "send", "s").await;
    for reader in &mut readers {
        until(reader, |view| !view.runs.is_empty() && last(view).1.len() > 1).await;
    }
    let node = node.restart(data.path(), &["--model-pace", "1"]);
    for reader in &mut readers {
        until(reader, |view| all_ended(view, 1)).await;
    }
    let truth = state(&node.client(), "s").await;
    assert_eq!(truth.runs[0].status, RunStatus::Completed);
    assert_eq!(truth.runs[0].attempts, 2, "the lost attempt was followed by another");
    for reader in readers {
        assert_eq!(reader.view(), &truth);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_sends_its_readers_away_in_time() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path(), &["--model-pace", "5"]);
    let client = node.client();
    open(&client, "s").await;
    let mut readers = TRANSPORTS.map(|transport| follow(&client, "s", transport));
    for reader in &mut readers {
        until(reader, |view| view.session.opened_at_ms > 0).await;
    }
    assert!(node.terminate().success());
    for reader in &mut readers {
        assert!(matches!(next(reader).await, Update::Lost { .. }), "told to come back");
    }
    let node = node.restart(data.path(), &["--model-pace", "1"]);
    send(&node.client(), "send", "s").await;
    for reader in &mut readers {
        until(reader, |view| all_ended(view, 1)).await;
        assert_eq!(reader.view(), &state(&node.client(), "s").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sent_twice_acts_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let first = send(&client, "same", "s").await;
    let second = client.submit(command("same", "s", message("hello"))).await.unwrap();
    assert_eq!((second.verdict(), second.first_applied), (v1::Verdict::Repeated, true));
    assert_eq!((first.message, first.run), (second.message, second.run), "the same ids are told");
    assert_eq!(state(&client, "s").await.messages.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_taken_for_lost_changes_nothing_more() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let client = node.client();
    open(&client, "s").await;
    let run = send(&client, "send", "s").await.run;
    let start = |attempt: &str| v1::AppendStart {
        session: "s".into(),
        run: run.clone(),
        attempt: attempt.into(),
        ..v1::AppendStart::default()
    };
    let said = |text: &str| vec![v1::Said { said: Some(v1::said::Said::Text(v1::Text { text: text.into() })) }];
    let mut zombie = client.append(start("zombie")).await.unwrap();
    zombie.say(said("from the dead")).await.unwrap();
    let mut heir = client.append(start("heir")).await.unwrap();
    let AppendEnd::Over(_) = zombie.over().await.unwrap() else { panic!("the first is told") };
    heir.say(said("alive")).await.unwrap();
    let reason = Some(v1::FinishReason { kind: v1::FinishKind::Stop.into(), other: String::new() });
    heir.say(vec![v1::Said { said: Some(v1::said::Said::Completed(v1::Completed { reason, steered: None })) }]).await.unwrap();
    assert_eq!(heir.finish().await.unwrap(), AppendEnd::Done);
    let view = state(&client, "s").await;
    assert_eq!((last(&view).0, support::text(&last(&view).1)), (RunStatus::Completed, "alive".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_and_a_closed_session_end_alike_everywhere() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--model-pace", "0"]);
    let client = node.client();
    open(&client, "s").await;
    send(&client, "send", "s").await;
    let mut live = follow(&client, "s", Transport::Grpc);
    until(&mut live, |view| all_ended(view, 1)).await;
    let close = Action::Close(v1::SessionClosed { reason: "done".into() });
    assert_eq!(client.submit(command("close", "s", close)).await.unwrap().refusal, "");
    for transport in TRANSPORTS {
        let mut reader = replay(&client, "s", transport);
        let closed = loop {
            if let Update::Closed(closed) = next(&mut reader).await {
                break closed;
            }
        };
        assert_eq!((closed.code.as_str(), closed.reason.as_str()), ("closed", "done"), "{transport:?}");
        assert_eq!(reader.view(), &state(&client, "s").await, "{transport:?}");
    }
}
