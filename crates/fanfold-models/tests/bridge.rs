//! Every way in which a model's server misbehaves, over real HTTP, with what becomes of it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::Duration;

use fanfold_models::fault::{Ending, FaultServer, Pieces, Reply, Say};
use fanfold_models::{DialectName, EndpointConfig, LINE_BYTES_MAX, ModelEvent};
use support::{endpoint, line, question, read_answer, router};
use tokio::time::Instant;

use DialectName::{ChatCompletions as Chat, Messages, Responses};

const ALL: [DialectName; 3] = [Chat, Responses, Messages];

/// What a server does, and what comes of it: the events as lines, or `no answer` with the failure.
struct Case {
    name: &'static str,
    dialects: &'static [DialectName],
    replies: Vec<Reply>,
    config: fn(&mut EndpointConfig),
    /// Requests that it takes.
    asked: usize,
    expected: &'static [&'static str],
}

fn case(name: &'static str, replies: Vec<Reply>, expected: &'static [&'static str]) -> Case {
    Case { name, dialects: &ALL, asked: replies.len(), replies, config: |_| {}, expected }
}

impl Case {
    fn only(self, dialects: &'static [DialectName]) -> Self {
        Self { dialects, ..self }
    }

    fn with(self, config: fn(&mut EndpointConfig)) -> Self {
        Self { config, ..self }
    }

    fn asked(self, asked: usize) -> Self {
        Self { asked, ..self }
    }
}

async fn run(case: &Case, dialect: DialectName) {
    let name = format!("{} ({dialect})", case.name);
    let server = FaultServer::replies(case.replies.clone()).await.unwrap();
    let mut config = endpoint(&server.url(), dialect);
    (case.config)(&mut config);
    let said = match router(vec![config]).answer("m", &question(), &[]).await {
        Ok(answer) => read_answer(answer).await.iter().map(line).collect(),
        Err(error) => vec![format!("no answer: {}", line(&ModelEvent::Failed(error.why.failure())))],
    };
    // Which model answers is said in different places.
    let said: Vec<String> = said.into_iter().filter(|line| !line.starts_with("model ")).collect();
    assert_eq!(said, case.expected, "{name}");
    assert_eq!(server.requests().len(), case.asked, "{name}: requests");
}

async fn check(cases: Vec<Case>) {
    // Most of them wait for something, so they do it together.
    let each = cases.iter().flat_map(|case| case.dialects.iter().map(move |dialect| run(case, *dialect)));
    futures::future::join_all(each).await;
}

fn hello() -> Vec<Say> {
    vec![Say::Text("Hel".into()), Say::Text("lo é😀".into()), Say::Usage(7, 3)]
}

const HELLO: &[&str] = &["text Hel", "text lo é😀", "usage 7 3 0 0", "finished stop"];

#[tokio::test]
async fn answers_come_as_they_are_said() {
    let calls = vec![
        Say::Reasoning("Hm".into()),
        Say::Text("Both:".into()),
        Say::Call { id: "a".into(), name: "weather".into(), arguments: vec![r#"{"ci"#.into(), r#"ty":"Oslo"}"#.into()] },
        Say::call("b", "time", "{}"),
    ];
    let said: &[&str] = &[
        "reasoning Hm",
        "text Both:",
        "call a weather",
        r#"arguments a {"ci"#,
        r#"arguments a ty":"Oslo"}"#,
        "ready a",
        "call b time",
        "arguments b {}",
        "ready b",
        "finished tool calls",
    ];
    // Here a call is ready when all are.
    let later: &[&str] = &[&said[..5], &said[6..8], &[said[5]], &said[8..]].concat();
    let later: &'static [&'static str] = later.to_vec().leak();
    check(vec![
        case("plain", vec![Reply::says(hello())], HELLO),
        case("an event at a time", vec![Reply::says(hello()).in_pieces(Pieces::Events).every(Duration::from_millis(5))], HELLO),
        case("in pieces of a byte", vec![Reply::says(hello()).in_pieces(Pieces::Of(1))], HELLO),
        case("calls", vec![Reply::says(calls.clone())], said).only(&[Responses, Messages]),
        case("calls", vec![Reply::says(calls)], later).only(&[Chat]),
        case("cut off", vec![Reply::says(vec![Say::Text("Hel".into()), Say::CutOff])], &["text Hel", "finished length"]),
        case("no words at all", vec![Reply::says(vec![])], &["finished stop"]),
    ])
    .await;
}

#[tokio::test]
async fn streams_end_in_many_ways() {
    let chat = |text: &str| Reply::events(text);
    let finished = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let unfinished = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let half = &finished[..finished.len() - 20];
    let hi: &[&str] = &["text Hi", "finished stop"];
    let ended: &[&str] = &["text Hi", "failed again stream_ended: The model's stream ended before its answer did."];
    let lost: &[&str] = &["text Hi", "failed again connection_lost: The connection to the model broke."];
    let silent: &[&str] = &["text Hi", "failed again idle_timeout: The model fell silent for 0.4 s in mid-answer."];
    let idle = |config: &mut EndpointConfig| config.idle_ms_max = 400;
    check(vec![
        case("no [DONE]", vec![chat(finished)], hi).only(&[Chat]),
        case("no [DONE], and the connection's end is the stream's", vec![chat(finished).unframed()], hi).only(&[Chat]),
        case("no [DONE], then cut", vec![chat(finished).ending(Ending::Cut)], hi).only(&[Chat]),
        case("no [DONE], and the connection stays", vec![chat(finished).ending(Ending::Stall)], hi).only(&[Chat]).with(idle),
        case("[DONE], and the connection stays", vec![Reply::says(hello()).ending(Ending::Stall)], HELLO).only(&[Chat]),
        case("no blank line at the end", vec![chat(finished.trim_end())], hi).only(&[Chat]),
        case("no [DONE], then no JSON", vec![chat(&[finished, "data: bye\n\n"].concat())], hi).only(&[Chat]),
        case(
            "slow to begin, and the idle time-out is short",
            vec![
                Reply::events([": one moment\n\n", finished].concat())
                    .in_pieces(Pieces::Events)
                    .every(Duration::from_millis(900)),
            ],
            hi,
        )
        .only(&[Chat])
        .with(idle),
        case("cut in the middle", vec![chat(unfinished).ending(Ending::Cut)], lost).only(&[Chat]),
        case("ended in the middle", vec![chat(unfinished)], ended).only(&[Chat]),
        case("ended in the middle of an event", vec![chat(&[unfinished, half].concat()).unframed()], ended).only(&[Chat]),
        case("stalled in the middle", vec![chat(unfinished).ending(Ending::Stall)], silent).only(&[Chat]).with(idle),
        case(
            "usage is lost with the end",
            vec![chat(&[finished, "data: {\"usage\":{\"prompt"].concat()).ending(Ending::Cut)],
            hi,
        )
        .only(&[Chat]),
        case(
            "an error in the middle",
            vec![Reply::says(vec![Say::Text("Hi".into()), Say::Error("server_error".into(), "Oh no".into())])],
            &["text Hi", "failed again server_error: Oh no"],
        ),
        case(
            "an error of another shape in the middle",
            vec![chat(&[unfinished, "event: error\ndata: {\"message\":\"Oh no\",\"code\":\"overloaded\"}\n\n"].concat())],
            &["text Hi", "failed again overloaded: Oh no"],
        )
        .only(&[Chat]),
        case(
            "an error in plain words in the middle",
            vec![chat(&[unfinished, "event: error\ndata: Oh no\n\n"].concat())],
            &["text Hi", "failed for good error: Oh no"],
        )
        .only(&[Chat]),
        case(
            "no JSON in the middle",
            vec![chat(&[unfinished, "data: Oh no\n\n"].concat())],
            &["text Hi", "failed again bad_chunk: The model's stream has an event that can't be read."],
        )
        .only(&[Chat]),
        case(
            "not UTF-8 in the middle",
            vec![Reply::events([unfinished.as_bytes(), b"data: \xff\n\n"].concat())],
            &["text Hi", "failed again bad_chunk: The model's stream has an event that can't be read."],
        )
        .only(&[Chat]),
    ])
    .await;
}

#[tokio::test]
async fn null_and_empty_deltas_say_nothing() {
    let stream = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":null},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{}}]}"#,
        r#"{"choices":[{"index":0,"delta":null}]}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi","reasoning":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}"#,
    ];
    let hi: &[&str] = &["text Hi", "finished stop"];
    let comments = "\u{feff}: one moment\r\n\r\nid: 1\r\nretry: 9\r\nevent:\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\r\ndata: \"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let single = |text: &str| Reply::events(text).in_pieces(Pieces::Of(1));
    check(vec![
        case("null and empty", vec![Reply::chunks(Chat, stream)], hi).only(&[Chat]),
        case("comments, other fields, two lines of data", vec![Reply::events(comments)], hi).only(&[Chat]),
        case("the same byte by byte", vec![single(comments)], hi).only(&[Chat]),
        case("the same with bare returns", vec![single(&comments.replace("\r\n", "\r"))], hi).only(&[Chat]),
        case("labelled as text", vec![Reply::body("text/plain", comments)], hi).only(&[Chat]),
        case("labelled as JSON", vec![Reply::body("application/json", comments)], hi).only(&[Chat]),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_stream_is_understood_or_refused() {
    let chat = r#"{"object":"chat.completion","model":"x","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    let response = r#"{"object":"response","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":7,"output_tokens":3}}"#;
    let message = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":3}}"#;
    let failed = r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"Oh no"},"output":[]}"#;
    let hi: &[&str] = &["text Hi", "usage 7 3 0 0", "finished stop"];
    let no: &[&str] =
        &["no answer: failed for good not_an_answer: The model's address answered with something that is no answer of a model."];
    let json = |text: &str| Reply::body("application/json", text);
    let mut cases = vec![
        case("a whole answer", vec![json(chat)], hi).only(&[Chat]),
        case("a whole answer byte by byte", vec![json(chat).in_pieces(Pieces::Of(1))], hi).only(&[Chat]),
        case("a whole answer", vec![json(response)], hi).only(&[Responses]),
        case("a whole answer", vec![json(message)], hi).only(&[Messages]),
        case("a whole answer labelled as a stream", vec![Reply::events(message)], hi).only(&[Messages]),
        case("a whole failure", vec![json(failed)], &["no answer: failed again server_error: Oh no"])
            .only(&[Responses])
            .with(|config| config.tries_max = 1),
        case(
            "a success that is an error",
            vec![json(r#"{"error":{"type":"invalid_request_error","message":"Oh no"}}"#)],
            &["no answer: failed for good invalid_request_error: Oh no"],
        ),
    ];
    for body in
        ["<!doctype html><title>Welcome</title>", "{\"welcome\":true}", "{\"choices\":", "[]", "{}", "", "   ", "dat", "Hi"]
    {
        cases.push(case("something else", vec![Reply::body("text/html", body)], no));
    }
    check(cases).await;
}

#[tokio::test]
async fn refusals_are_named() {
    let one = |config: &mut EndpointConfig| config.tries_max = 1;
    let refused = |status: u16, body: &'static str, expected: &'static [&'static str]| {
        case("a refusal", vec![Reply::status(status, body)], expected).with(one)
    };
    check(vec![
        refused(
            400,
            r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            &["no answer: failed for good bad_request: The model's provider answered 400: too long"],
        ),
        refused(401, "{}", &["no answer: failed for good unauthorized: The model's provider answered 401: Unauthorized"]),
        refused(403, "", &["no answer: failed for good forbidden: The model's provider answered 403: Forbidden"]),
        refused(404, "<html>", &["no answer: failed for good not_found: The model's provider answered 404: Not Found"]),
        refused(408, "", &["no answer: failed again provider_timeout: The model's provider answered 408: Request Timeout"]),
        refused(413, "", &["no answer: failed for good request_too_large: The model's provider answered 413: Payload Too Large"]),
        refused(422, r#"{"detail":"no"}"#, &["no answer: failed for good bad_request: The model's provider answered 422: no"]),
        refused(
            429,
            r#"{"error":{"message":"slow down"}}"#,
            &["no answer: failed again rate_limited: The model's provider answered 429: slow down"],
        ),
        refused(
            429,
            r#"{"error":{"message":"pay first","code":"insufficient_quota"}}"#,
            &["no answer: failed for good rate_limited: The model's provider answered 429: pay first"],
        ),
        refused(
            500,
            r#"[{"error":{"message":"oh"}}]"#,
            &["no answer: failed again provider_error: The model's provider answered 500: oh"],
        ),
        refused(503, "", &["no answer: failed again provider_error: The model's provider answered 503: Service Unavailable"]),
        refused(504, "", &["no answer: failed again provider_timeout: The model's provider answered 504: Gateway Timeout"]),
        refused(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, &[
            "no answer: failed again provider_error: The model's provider answered 529: Overloaded",
        ]),
        refused(206, "", &[
            "no answer: failed for good not_an_answer: The model's address answered with something that is no answer of a model.",
        ]),
    ])
    .await;
}

#[tokio::test]
async fn failures_before_the_first_token_are_tried_again() {
    let again = |reply: Reply| vec![reply.clone(), reply, Reply::says(hello())];
    check(vec![
        case("busy", again(Reply::status(503, "")), HELLO),
        case("too often", again(Reply::status(429, "").header("retry-after", "0")), HELLO),
        case("cut before the head", again(Reply::events("").unframed().ending(Ending::Cut).after(Duration::ZERO)), &[
            "no answer: failed for good not_an_answer: The model's address answered with something that is no answer of a model.",
        ])
        .asked(1),
        case("cut before the first token", again(Reply::events(": hello\n\n").ending(Ending::Cut)), HELLO),
        case("ended before the first token", again(Reply::events(": hello\n\n")), HELLO),
        case("overloaded in the stream", again(Reply::says(vec![Say::Error("overloaded_error".into(), "Busy".into())])), HELLO),
        case("silent for ever", again(Reply::says(hello()).after(Duration::MAX)), HELLO).with(|config| config.first_token_ms_max = 3_000),
        case("silent behind the head", again(Reply::events(": hello\n\n").ending(Ending::Stall)), HELLO)
            .with(|config| config.first_token_ms_max = 3_000),
        case(
            "silent each time",
            vec![Reply::says(hello()).after(Duration::MAX)],
            &["no answer: failed again first_token_timeout: The model said nothing within 3 s."],
        )
        .with(|config| (config.first_token_ms_max, config.tries_max) = (3_000, 2))
        .asked(2),
        case("forbidden", vec![Reply::status(403, ""), Reply::says(hello())], &[
            "no answer: failed for good forbidden: The model's provider answered 403: Forbidden",
        ])
        .asked(1),
        case("after the first token", vec![Reply::says(vec![Say::Text("Hi".into()), Say::Error("overloaded".into(), "Busy".into())])], &[
            "text Hi",
            "failed again overloaded: Busy",
        ]),
    ])
    .await;
}

#[tokio::test]
async fn answers_are_bounded_in_time_and_bytes() {
    let long = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(200));
    let drip = |count: usize| long.repeat(count);
    let event = format!("data: {}", "x".repeat(LINE_BYTES_MAX));
    check(vec![
        case("an event without an end", vec![Reply::events(event.clone())], &[
            "no answer: failed for good event_too_large: An event of the model's stream is longer than 4194304 bytes.",
        ])
        .only(&[Chat]),
        case("a whole answer without an end", vec![Reply::events(event.replace("data: ", "{"))], &[
            "no answer: failed for good event_too_large: An event of the model's stream is longer than 4194304 bytes.",
        ])
        .only(&[Chat]),
        case("an answer without an end", vec![Reply::events(drip(5)).in_pieces(Pieces::Of(long.len()))], &[
            "text xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "failed for good answer_too_large: The model's answer is longer than 300 bytes.",
        ])
        .only(&[Chat])
        .with(|config| config.answer_bytes_max = 300),
        case("an error without an end", vec![Reply::status(500, "x".repeat(1 << 20)).ending(Ending::Stall)], &[
            "no answer: failed again provider_error: The model's provider answered 500: Internal Server Error",
        ])
        .with(|config| config.tries_max = 1),
        case("an error that stalls", vec![Reply::status(500, "{").ending(Ending::Stall)], &[
            "no answer: failed again provider_error: The model's provider answered 500: Internal Server Error",
        ])
        .with(|config| (config.tries_max, config.idle_ms_max) = (1, 150)),
        case("an answer that takes too long", vec![Reply::events(drip(1)).ending(Ending::Stall)], &[
            "text xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "failed for good total_timeout: The answer took longer than 5 s.",
        ])
        .only(&[Chat])
        .with(|config| config.total_ms_max = 5_000),
    ])
    .await;
}

#[tokio::test]
async fn redirections_stay_at_home() {
    let other = FaultServer::replies(vec![Reply::says(hello())]).await.unwrap();
    let elsewhere = format!("{}/chat/completions", other.url());
    for status in [301, 302, 303, 307, 308] {
        let server = FaultServer::replies(vec![Reply::status(status, "").header("location", &elsewhere)]).await.unwrap();
        let error = router(vec![endpoint(&server.url(), Chat)]).answer("m", &question(), &[]).await.err().unwrap();
        let failure = error.why.failure();
        assert_eq!((failure.code.as_str(), failure.retryable), ("redirected", false), "{status}");
        let origin = format!("http://{}", other.address());
        assert!(failure.message.contains(&origin), "{}", failure.message);
    }
    assert_eq!(other.requests().len(), 0, "nothing went there");

    // Within one origin the request goes on as it was; as another it doesn't.
    for (status, followed) in [(307, true), (308, true), (301, false), (302, false), (303, false)] {
        let moved = Reply::status(status, "").header("location", "/moved/chat/completions");
        let server = FaultServer::replies(vec![moved, Reply::says(hello())]).await.unwrap();
        let answer = router(vec![endpoint(&server.url(), Chat)]).answer("m", &question(), &[]).await;
        assert_eq!(answer.is_ok(), followed, "{status}");
        let requests = server.requests();
        assert_eq!(requests.len(), if followed { 2 } else { 1 });
        assert!(!followed || requests[0].body == requests[1].body && requests[1].path.starts_with("/moved"));
    }

    let server = FaultServer::replies(vec![Reply::status(307, "").header("location", "/v1/chat/completions")]).await.unwrap();
    let error = router(vec![endpoint(&server.url(), Chat)]).answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), server.requests().len()), ("redirected", 4), "a loop ends");
}

#[tokio::test]
async fn an_address_where_nobody_listens() {
    // The port was free a moment ago, and nobody else is told of it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = router(vec![endpoint(&format!("http://{free}"), Chat)]).answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), error.why.retryable(), error.route.passed.len()), ("connect_failed", true, 3));

    // A TLS client meets a server that speaks none.
    let server = FaultServer::replies(vec![Reply::says(hello())]).await.unwrap();
    let url = server.url().replace("http:", "https:");
    let error = router(vec![endpoint(&url, Chat)]).answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), server.requests().len()), ("connect_failed", 0), "nothing was sent in the open");
}

#[tokio::test]
async fn a_dropped_answer_closes_its_connection() {
    let server = FaultServer::replies(vec![Reply::says(hello()).in_pieces(Pieces::Of(8)).ending(Ending::Stall)]).await.unwrap();
    let router = router(vec![endpoint(&server.url(), Messages)]);
    let mut answer = router.answer("m", &question(), &[]).await.unwrap();
    assert!(answer.next().await.is_some());
    assert_eq!(server.connections(), 1);
    drop(answer);
    closed(&server).await;

    // Before the first token too.
    let server = FaultServer::replies(vec![Reply::says(hello()).after(Duration::MAX)]).await.unwrap();
    let router = support::router(vec![endpoint(&server.url(), Messages)]);
    let question = question();
    tokio::select! {
        _ = router.answer("m", &question, &[]) => panic!("it never answers"),
        () = asked(&server) => {}
    }
    closed(&server).await;
}

async fn asked(server: &FaultServer) {
    until("it is asked", || server.requests().len() == 1).await;
}

async fn closed(server: &FaultServer) {
    until("the connection is closed", || server.connections() == 0).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret-key\n").unwrap();
    let check = async |dialect: DialectName, path: &str, header: Option<&str>, expected: (&str, &str)| {
        let refusal = Reply::status(401, r#"{"error":{"message":"Wrong key secret-key given"}}"#);
        let server = FaultServer::replies(vec![refusal]).await.unwrap();
        let mut config = endpoint(&server.url(), dialect);
        config.key_file = Some(file.clone());
        config.key_header = header.map(str::to_owned);
        config.headers.insert("x-team".into(), "blue".into());
        config.provider_model = "their-name".into();
        config.fields.insert("temperature".into(), 0.5.into());
        let error = router(vec![config]).answer("m", &question(), &[]).await.err().unwrap();
        assert_eq!(error.why.failure().message, "The model's provider answered 401: Wrong key (key) given");
        let request = server.requests().remove(0);
        assert_eq!((request.path.as_str(), request.header(expected.0)), (path, Some(expected.1)));
        assert_eq!((request.header("x-team"), request.header("content-type")), (Some("blue"), Some("application/json")));
        let body = (&request.body["model"], &request.body["stream"], &request.body["temperature"]);
        assert_eq!(body, (&"their-name".into(), &true.into(), &0.5.into()));
        request
    };
    check(Chat, "/v1/chat/completions", None, ("authorization", "Bearer secret-key")).await;
    check(Responses, "/v1/responses", None, ("authorization", "Bearer secret-key")).await;
    check(Chat, "/v1/chat/completions", Some("api-key"), ("api-key", "secret-key")).await;
    let request = check(Messages, "/v1/messages", None, ("x-api-key", "secret-key")).await;
    assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test]
async fn a_connection_serves_the_next_answer() {
    let server = FaultServer::replies(vec![Reply::says(hello())]).await.unwrap();
    let router = router(vec![endpoint(&server.url(), Chat)]);
    for _ in 0..20 {
        read_answer(router.answer("m", &question(), &[]).await.unwrap()).await;
    }
    let connections = server.requests().last().unwrap().connection + 1;
    assert!(connections <= 5, "{connections} connections for 20 answers after one another");
}

#[tokio::test]
async fn a_finished_answer_is_not_waited_for() {
    let finished = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let server = FaultServer::replies(vec![Reply::events(finished).ending(Ending::Stall)]).await.unwrap();
    let config = EndpointConfig { idle_ms_max: 20_000, total_ms_max: 20_000, ..endpoint(&server.url(), Chat) };
    let began = Instant::now();
    let said = read_answer(router(vec![config]).answer("m", &question(), &[]).await.unwrap()).await;
    assert_eq!(said.last().map(line).as_deref(), Some("finished stop"));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_in_time_too() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let server = FaultServer::replies(vec![Reply::events(event.repeat(2_000_000))]).await.unwrap();
    let config = EndpointConfig { total_ms_max: 2_000, ..endpoint(&server.url(), Chat) };
    let said = read_answer(router(vec![config]).answer("m", &question(), &[]).await.unwrap()).await;
    let ended = said.last().map(line).unwrap();
    assert_eq!(ended, "failed for good total_timeout: The answer took longer than 2 s.", "after {} events", said.len());
}
