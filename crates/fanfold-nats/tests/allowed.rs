//! What servers complain of, however late.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::path::Path;
use std::time::Duration;

use fanfold_nats::testing::Server;
use fanfold_nats::{ConnectError, NatsOptions, Needs};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MAX: Duration = Duration::from_secs(30);

const USERS: &str = r#"
authorization {
  users: [
    { user: free, password: x, permissions: { publish: { deny: ["secret.>"] }, subscribe: { deny: ["secret.>"] } } }
    { user: node, password: x, permissions: { publish: { allow: ["open.>"] }, subscribe: { allow: ["open.>", "_INBOX.>"] } } }
    { user: deaf, password: x, permissions: { publish: { allow: ["open.>", "_INBOX.>"] }, subscribe: { allow: ["open.>"] } } }
  ]
}
"#;

fn be(server: &Server, folder: &Path, user: &str) -> NatsOptions {
    let file = folder.join("password");
    std::fs::write(&file, "x").unwrap();
    NatsOptions { user: Some(user.into()), password_file: Some(file), ..server.options() }
}

fn needs(subjects: &[&str]) -> Needs {
    let subjects: Vec<_> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    Needs { publish: subjects.clone(), subscribe: subjects }
}

/// A way to the server on which everything that it says takes this long.
async fn slow(server: &Server, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = (listener.local_addr().unwrap(), server.url.trim_start_matches("nats://").to_owned());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut says, mut hears) = TcpStream::connect(&there).await.unwrap().into_split();
            let (mut asks, mut is_told) = client.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut hears).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = says.read(&mut bytes).await {
                    tokio::time::sleep(delay).await;
                    is_told.write_all(&bytes[..count]).await.unwrap();
                }
            });
        }
    });
    format!("nats://{here}")
}

#[tokio::test]
async fn what_a_user_may_not_use_is_named_whoever_may_use_an_inbox() {
    let Some(server) = Server::start("what a user may not use", USERS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let all = needs(&["open.a", "secret.a"]);
    for user in ["free", "node"] {
        let refused = all.refused(&be(&server, folder.path(), user), MAX).await.unwrap();
        assert_eq!(refused, needs(&["secret.a"]), "{user}");
    }
    // Without an inbox there is no end to wait for.
    let refused = all.refused(&be(&server, folder.path(), "deaf"), Duration::from_secs(5)).await.unwrap();
    assert_eq!(refused, needs(&["secret.a"]));
}

#[tokio::test]
async fn a_late_complaint_is_waited_for_and_silence_is_not_taken_for_leave() {
    let Some(server) = Server::start("late complaints", USERS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let delay = Duration::from_millis(1500);
    let urls = vec![slow(&server, delay).await];
    for user in ["free", "node"] {
        let options = NatsOptions { urls: urls.clone(), ..be(&server, folder.path(), user) };
        assert_eq!(needs(&["open.a", "secret.a"]).refused(&options, MAX).await.unwrap(), needs(&["secret.a"]), "{user}");
        let early = needs(&["open.a", "secret.a"]).refused(&options, delay / 3).await;
        assert!(matches!(early, Err(ConnectError::Silent)), "{user}: {early:?}");
    }
}
