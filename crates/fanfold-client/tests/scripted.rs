//! Against a server that does as it is told: accepts and drops, leaves gaps, never answers.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfold_client::{Client, ClientConfig, FollowError, FollowOptions, RequestError, Transport, Update};
use fanfold_wire::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_secs(60);

const TRIES_MAX: u32 = 4;

const SUBSCRIBED: (&str, &str) = ("subscribed", r#"{"session":"s","how":"HOW_FRESH"}"#);

/// Answers each connection with what `script` makes of its number, then drops it. Keeps what was asked.
async fn serve(script: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let length = socket.read(&mut request).await.unwrap();
            keep.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
            socket.write_all(script(number).as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

fn client(address: &str) -> Client {
    let timeout = Duration::from_secs(2);
    Client::new(ClientConfig { http: address.into(), grpc: address.into(), timeout, ..ClientConfig::default() }).unwrap()
}

fn stream(events: &[(&str, &str)]) -> String {
    let mut out = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
    for (name, data) in events {
        write!(out, "event: {name}\ndata: {data}\n\n").unwrap();
    }
    out
}

/// Follows until it gives up or its view has changed so many times.
async fn follow(address: &str, changes: usize) -> Result<usize, FollowError> {
    let options = FollowOptions { transport: Transport::Sse, tries_max: Some(TRIES_MAX), ..FollowOptions::default() };
    let mut follow = client(address).follow("s", options).unwrap();
    let mut seen = 0;
    while seen < changes {
        let update = tokio::time::timeout(DEADLINE, follow.next()).await.expect("an update in time")?;
        seen += usize::from(matches!(update, Update::Changed { .. }));
    }
    Ok(seen)
}

fn snapshot(cursor: &str) -> String {
    format!(r#"{{"session":"s","cursor":"{cursor}","offset":"1","view":{{}}}}"#)
}

#[tokio::test]
async fn a_connection_that_was_opened_is_no_progress() {
    let (address, asked) = serve(|_| stream(&[SUBSCRIBED])).await;
    assert!(matches!(follow(&address, 1).await, Err(FollowError::Unreachable(_))));
    assert_eq!(asked.lock().unwrap().len(), TRIES_MAX as usize);
}

#[tokio::test]
async fn news_are_progress() {
    let (address, _) = serve(|number| stream(&[SUBSCRIBED, ("snapshot", &snapshot(&format!("c{number}")))])).await;
    let many = 3 * TRIES_MAX as usize;
    assert_eq!(follow(&address, many).await.unwrap(), many);
}

#[tokio::test]
async fn a_gap_is_met_with_a_new_beginning_and_not_for_ever() {
    let delta = r#"{"session":"s","after":"elsewhere","cursor":"further","offset":"9","ops":[]}"#;
    let (address, asked) = serve(move |_| stream(&[SUBSCRIBED, ("snapshot", &snapshot("c1")), ("delta", delta)])).await;
    assert!(matches!(follow(&address, usize::MAX).await, Err(FollowError::Unreachable(_))));
    let asked = asked.lock().unwrap();
    // The first snapshot was news.
    assert_eq!(asked.len(), TRIES_MAX as usize);
    assert!(asked.iter().all(|request| !request.contains("last-event-id")), "it asks for a snapshot: {asked:?}");
}

#[tokio::test]
async fn what_becomes_of_a_request_is_told_apart() {
    let submit = async |address: &str| client(address).submit(v1::Command::default()).await.unwrap_err();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let error = submit(&silent).await;
    assert!(matches!(error, RequestError::Unknown(_)), "it was never answered: {error:?}");
    let listing = client(&silent).list(v1::ListSessionsRequest::default()).await.unwrap_err();
    assert!(matches!(listing, RequestError::Unknown(_)), "{listing:?}");
    drop(listener);
    let error = submit(&silent).await;
    assert!(matches!(error, RequestError::Unreachable(_)), "nobody is there: {error:?}");
    let (address, _) = serve(|_| String::new()).await;
    let error = submit(&address).await;
    assert!(matches!(error, RequestError::Unknown(_)), "it was cut: {error:?}");
}
