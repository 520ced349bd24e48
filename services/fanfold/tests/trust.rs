//! Whom a node trusts, and what it keeps to itself.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fanfold_client::{Client, ClientConfig, Transport};
use fanfold_wire::v1;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use support::{Node, all_ended, first_lines, follow, open, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_each_kind_of_key_is_taken_and_of_no_other() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let read = |name: &str| std::fs::read(keys.join(name)).unwrap();
    let kinds = [
        ("RS256", Algorithm::RS256, EncodingKey::from_rsa_pem(&read("rs256.pem")).unwrap()),
        ("ES256", Algorithm::ES256, EncodingKey::from_ec_pem(&read("es256.pem")).unwrap()),
        ("EdDSA", Algorithm::EdDSA, EncodingKey::from_ed_pem(&read("eddsa.pem")).unwrap()),
    ];
    let data = tempfile::tempdir().unwrap();
    let mut config =
        format!("[node]\ndata = {:?}\n[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n", data.path().join("data"));
    for (name, ..) in &kinds {
        let path = keys.join(format!("{}.pub.pem", name.to_lowercase()));
        write!(config, "[[auth.keys]]\nid = '{name}'\nalgorithm = '{name}'\npath = {path:?}\n").unwrap();
    }
    let file = data.path().join("fanfold.toml");
    std::fs::write(&file, config).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    serve.arg("serve").arg("--config").arg(&file);
    let node = Node::spawn(serve);
    let claims = serde_json::json!({ "sub": "ann", "exp": u64::MAX });
    let status = async |token: String| {
        let request = reqwest::Client::new().get(format!("{}/v1/sessions", node.http)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for (name, algorithm, key) in &kinds {
        let signed = |kid: &str, key: &EncodingKey, algorithm| {
            encode(&Header { kid: Some(kid.into()), ..Header::new(algorithm) }, &claims, key).unwrap()
        };
        let token = signed(name, key, *algorithm);
        assert_eq!(status(token.clone()).await, 200, "{name}");
        let config = ClientConfig { grpc: node.grpc.clone(), token: Some(token.clone()), ..ClientConfig::default() };
        Client::new(config).unwrap().list(v1::ListSessionsRequest::default()).await.unwrap();
        let mut forged = token.clone();
        let last = forged.pop().unwrap();
        forged.insert(forged.rfind('.').unwrap() + 1, last);
        assert_eq!(status(forged).await, 401, "{name}: another signature");
        // The public key as a secret is the oldest trick.
        let public = EncodingKey::from_secret(&read(&format!("{}.pub.pem", name.to_lowercase())));
        assert_eq!(status(signed(name, &public, Algorithm::HS256)).await, 401, "{name}: another algorithm");
        assert_eq!(status(signed("nobody", key, *algorithm)).await, 401, "{name}: another key");
    }
}

/// Said in every way in which people say something.
const SECRET: &str = "Rumpelstilzchen";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_people_say_stands_in_the_log_at_info() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    dev.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--model-pace", "0", "--data"])
        .arg(data.path().join("data"));
    dev.env("FANFOLD_LOG", "info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
    let mut child = dev.spawn().unwrap();
    let lines = first_lines(child.stdout.take().unwrap(), 2);
    let address = |line: &String| line.split_whitespace().nth(1).unwrap().to_owned();
    let (http, grpc) = (address(&lines[0]), address(&lines[1]));
    let client = Client::new(ClientConfig { http: http.clone(), grpc, ..ClientConfig::default() }).unwrap();
    open(&client, "s").await;
    let said = support::message(&format!("Tell me of {SECRET}"));
    assert_eq!(client.submit(support::command("send", "s", said)).await.unwrap().refusal, "");
    let mut reader = follow(&client, "s", Transport::Sse);
    until(&mut reader, |view| all_ended(view, 1)).await;
    assert!(format!("{:?}", reader.view()).contains(SECRET));
    let http_client = reqwest::Client::new();
    let bad = [format!(r#"{{"text":"{SECRET}","{SECRET}":1}}"#), format!(r#"{{"text":{SECRET}}}"#), SECRET.to_owned()];
    for body in bad {
        let answer = http_client.post(format!("{http}/v1/sessions/s/messages")).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
    }
    let asked = [
        format!("/v1/sessions?query={SECRET}"),
        format!("/v1/sessions/s/stream?view={SECRET}"),
        format!("/v1/sessions/{SECRET}"),
    ];
    for path in asked {
        http_client.get(format!("{http}{path}")).send().await.unwrap();
    }
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert!(tokio::task::spawn_blocking(move || support::ended(&mut child)).await.unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("drained"), "it is the log: {log}");
    assert!(!log.contains(SECRET), "{log}");
}
