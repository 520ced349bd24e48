//! Tools over real HTTP, well and misbehaving.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::time::Duration;

use fanfold_models::fault::{Ending, FaultServer, Reply};
use fanfold_models::{ToolAnswer, ToolConfig, Tools};
use serde_json::json;

type Change = fn(&mut ToolConfig);

fn tool(server: &FaultServer) -> ToolConfig {
    ToolConfig { name: "weather".into(), url: format!("{}/weather", server.url()), total_ms_max: 2_000, ..ToolConfig::default() }
}

fn tools(config: ToolConfig) -> Tools {
    Tools::new(&[config]).unwrap()
}

fn done(content: &str) -> ToolAnswer {
    ToolAnswer { content: content.into(), is_error: false }
}

fn wrong(content: &str) -> ToolAnswer {
    ToolAnswer { content: content.into(), is_error: true }
}

#[tokio::test]
async fn a_tool_gets_the_arguments_and_gives_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "secret").unwrap();
    let server = FaultServer::replies(vec![Reply::body("text/plain", "4 °C")]).await.unwrap();
    let mut config = ToolConfig { key_file: Some(key_file), needs_approval: true, ..tool(&server) };
    config.headers.insert("x-team".into(), "blue".into());
    let tools = tools(config);
    assert_eq!((tools.specs()[0].name.as_str(), &tools.specs()[0].parameters), ("weather", &json!({ "type": "object" })));
    assert!(tools.needs_approval("weather") && !tools.needs_approval("other"));
    assert_eq!(tools.call("weather", r#"{"city":"Oslo"}"#, "k1").await, done("4 °C"));
    assert_eq!(tools.call("weather", "", "k1").await, done("4 °C"));
    let requests = server.requests();
    assert_eq!((&requests[0].body, &requests[1].body), (&json!({ "city": "Oslo" }), &json!({})));
    let headers = ["authorization", "x-team", "content-type"].map(|name| requests[0].header(name).unwrap().to_owned());
    assert_eq!(headers, ["Bearer secret", "blue", "application/json"]);
}

#[tokio::test]
async fn what_goes_wrong_is_told_to_the_model() {
    let other = FaultServer::replies(vec![Reply::body("text/plain", "stolen")]).await.unwrap();
    let moved = Reply::status(307, "").header("location", &format!("{}/weather", other.url()));
    let ok = |body: &[u8]| Reply::body("text/plain", body.to_vec());
    let limit = |config: &mut ToolConfig| config.result_bytes_max = 5;
    let cases: Vec<(Reply, Change, ToolAnswer)> = vec![
        (Reply::status(500, " out of order "), |_| {}, wrong("The tool answered 500: out of order")),
        (Reply::status(404, "x".repeat(100_000)), |_| {}, wrong(&format!("The tool answered 404: {}", "x".repeat(2_000)))),
        (moved, |_| {}, wrong("The tool has moved, and is not followed.")),
        (ok(b"12345"), limit, done("12345")),
        (ok(b"123456"), limit, done("12345\n(The result was cut off after 5 bytes.)")),
        (ok("1234é".as_bytes()), limit, done("1234\n(The result was cut off after 5 bytes.)")),
        (ok(b"1\xff"), |_| {}, wrong("The tool's result is not text.")),
        (ok(b"1\xff23456"), limit, wrong("The tool's result is not text.")),
        (ok(b"123").ending(Ending::Cut), |_| {}, wrong("The tool's answer broke off.")),
        (ok(b"123").ending(Ending::Stall), |config| config.total_ms_max = 200, wrong("The tool took longer than 0.2 s.")),
        (ok(b"").after(Duration::MAX), |config| config.total_ms_max = 200, wrong("The tool took longer than 0.2 s.")),
    ];
    for (reply, change, expected) in cases {
        let server = FaultServer::replies(vec![reply.clone()]).await.unwrap();
        let mut config = tool(&server);
        change(&mut config);
        assert_eq!(tools(config).call("weather", "{}", "k1").await, expected, "{reply:?}");
        assert_eq!(server.requests().len(), 1, "nothing is sent twice");
    }
    assert_eq!(other.requests().len(), 0, "nothing went there");
}

#[tokio::test]
async fn what_is_no_call_is_not_sent() {
    let server = FaultServer::replies(vec![Reply::body("text/plain", "4 °C")]).await.unwrap();
    let tools = tools(tool(&server));
    assert_eq!(tools.call("wether", "{}", "k1").await, wrong("There is no tool of this name."));
    for arguments in ["[]", "Oslo", "{\"city\":", "null"] {
        assert_eq!(tools.call("weather", arguments, "k1").await, wrong("The arguments are not a JSON object."), "{arguments}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_configuration_is_checked() {
    let server = FaultServer::replies(vec![Reply::body("text/plain", "")]).await.unwrap();
    let wrong: [Change; 5] = [
        |config| config.name = "the weather".into(),
        |config| config.name.clear(),
        |config| config.url = "file:///etc/passwd".into(),
        |config| config.result_bytes_max = 0,
        |config| config.total_ms_max = 0,
    ];
    for spoil in wrong {
        let mut config = tool(&server);
        spoil(&mut config);
        assert!(Tools::new(&[config]).is_err());
    }
    assert!(Tools::new(&[tool(&server), tool(&server)]).is_err(), "one name twice");
}
