//! Which endpoint answers, and what is said about it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::time::Duration;

use fanfold_fold::{Message, MessageId, Part, Role, Run, RunId, RunStatus, ToolCall, ToolStatus, View};
use fanfold_models::fault::{Ending, FaultServer, Reply, Say};
use fanfold_models::{
    CircuitState, Conversation, Cost, DialectName, EndpointConfig, ModelEvent, ModelsConfig, PriceConfig, Router, Unanswered,
};
use serde_json::json;
use support::{endpoint, line, question, read_answer, router};
use tokio::time::Instant;

type Spoil = fn(&mut EndpointConfig);

fn named(name: &str, server: &FaultServer) -> EndpointConfig {
    EndpointConfig { name: name.into(), ..endpoint(&server.url(), DialectName::ChatCompletions) }
}

async fn server(replies: Vec<Reply>) -> FaultServer {
    FaultServer::replies(replies).await.unwrap()
}

fn hello() -> Reply {
    Reply::says(vec![Say::Text("Hello".into()), Say::Usage(1_000, 100)])
}

async fn text(router: &Router) -> String {
    let events = read_answer(router.answer("m", &question(), &[]).await.unwrap()).await;
    events.iter().filter_map(|event| if let ModelEvent::Text(text) = event { Some(text.as_str()) } else { None }).collect()
}

#[tokio::test]
async fn the_first_that_speaks_answers_and_the_way_is_told() {
    let (down, refusing, well) =
        (server(vec![Reply::status(503, "")]).await, server(vec![Reply::status(403, "")]).await, server(vec![hello()]).await);
    let mut third = EndpointConfig { dialect: DialectName::Messages, provider_model: "theirs".into(), ..named("third", &well) };
    third.url = well.url();
    let router = router(vec![named("first", &down), named("second", &refusing), third]);
    let answer = router.answer("m", &question(), &[]).await.unwrap();
    let mut route = serde_json::to_value(answer.route()).unwrap();
    assert!(route.as_object_mut().unwrap().remove("took_ms").unwrap().is_u64());
    let message = |text: &str| format!("The model's provider answered {text}");
    let expected = json!({
        "model": "m",
        "chosen": { "endpoint": "third", "model": "theirs", "dialect": "messages", "because": "fallback" },
        "passed": [
            { "endpoint": "first", "why": "failed", "code": "provider_error", "message": message("503: Service Unavailable"), "retryable": true },
            { "endpoint": "second", "why": "failed", "code": "forbidden", "message": message("403: Forbidden"), "retryable": false },
        ],
    });
    assert_eq!(route, expected);
    read_answer(answer).await;
    let asked = [&down, &refusing, &well].map(|server| server.requests().len());
    assert_eq!(asked, [1, 1, 1], "nobody is tried twice before all have been tried once");
}

#[tokio::test]
async fn what_may_go_better_is_tried_again_and_the_rest_is_not() {
    let (down, refusing) = (server(vec![Reply::status(503, "")]).await, server(vec![Reply::status(403, "")]).await);
    let router = router(vec![named("down", &down), named("refusing", &refusing)]);
    let error = router.answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), error.why.retryable()), ("provider_error", true), "the failure that gives most hope");
    assert_eq!((down.requests().len(), refusing.requests().len()), (3, 1));
    assert_eq!((error.route.chosen, error.route.passed.len()), (None, 4));
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_passed_over() {
    let (down, well) = (server(vec![Reply::status(500, "")]).await, server(vec![hello()]).await);
    let router = router(vec![named("down", &down), named("well", &well)]);
    for _ in 0..8 {
        assert_eq!(text(&router).await, "Hello");
    }
    assert_eq!(down.requests().len(), 5, "its circuit is open after five failures");
    let health = router.health("m");
    assert_eq!(
        health.iter().map(|(name, health)| (*name, health.circuit, health.succeeded, health.failed)).collect::<Vec<_>>(),
        [("down", CircuitState::Open, 0, 5), ("well", CircuitState::Closed, 8, 0)]
    );
    let answer = router.answer("m", &question(), &[]).await.unwrap();
    let route = serde_json::to_value(answer.route()).unwrap();
    assert_eq!((&route["passed"][0]["why"], &route["chosen"]["because"]), (&json!("circuit_open"), &json!("fallback")));
    assert!((1..=5_000).contains(&route["passed"][0]["retry_ms"].as_u64().unwrap()));
}

#[tokio::test]
async fn failures_of_the_request_say_nothing_about_the_endpoint() {
    let picky = server(vec![Reply::status(400, ""); 10].into_iter().chain([hello()]).collect()).await;
    let router = router(vec![named("picky", &picky)]);
    for _ in 0..10 {
        assert_eq!(router.answer("m", &question(), &[]).await.err().unwrap().why.code(), "bad_request");
    }
    assert_eq!(text(&router).await, "Hello");
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept() {
    // With another endpoint the request goes there.
    let limited = || Reply::status(429, "").header("retry-after", "60");
    let (busy, well) = (server(vec![limited()]).await, server(vec![hello()]).await);
    let both = router(vec![named("busy", &busy), named("well", &well)]);
    assert_eq!((text(&both).await.as_str(), text(&both).await.as_str()), ("Hello", "Hello"));
    assert_eq!(busy.requests().len(), 1, "it is left alone");

    // Without one, and too long to wait for, the answer is no.
    let alone = router(vec![named("busy", &busy)]);
    let began = Instant::now();
    assert_eq!(alone.answer("m", &question(), &[]).await.err().unwrap().why.code(), "rate_limited");
    assert_eq!(alone.answer("m", &question(), &[]).await.err().unwrap().why, Unanswered::CircuitOpen);
    assert!(began.elapsed() < Duration::from_secs(5) && busy.requests().len() == 2);

    // A short one is waited for.
    let soon = server(vec![Reply::status(429, "").header("retry-after-ms", "300"), hello()]).await;
    let began = Instant::now();
    let answer = router(vec![named("soon", &soon)]).answer("m", &question(), &[]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(answer.route().passed.len(), 1, "waiting is not being passed over again");
}

#[tokio::test]
async fn back_offs_grow_with_each_round() {
    let down = server(vec![Reply::status(500, ""), Reply::status(500, ""), hello()]).await;
    let config = ModelsConfig { endpoints: vec![named("down", &down)], ..ModelsConfig::default() };
    let began = Instant::now();
    assert_eq!(text(&Router::with_jitter(&config, || 1.0).unwrap()).await, "Hello");
    assert!(began.elapsed() >= Duration::from_millis(750), "250 ms and 500 ms with the longest jitter: {:?}", began.elapsed());
}

#[tokio::test]
async fn so_many_at_a_time() {
    let stalls = Reply::events("data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n").ending(Ending::Stall);
    let (small, large) = (server(vec![stalls, hello()]).await, server(vec![hello()]).await);
    let one = EndpointConfig { concurrent_max: 1, ..named("small", &small) };
    let both = router(vec![one.clone(), named("large", &large)]);
    let first = both.answer("m", &question(), &[]).await.unwrap();
    let second = both.answer("m", &question(), &[]).await.unwrap();
    let route = serde_json::to_value(second.route()).unwrap();
    assert_eq!(route["passed"], json!([{ "endpoint": "small", "why": "at_capacity", "concurrent_max": 1 }]));
    assert_eq!(route["chosen"]["endpoint"], "large");
    drop(first);
    let third = both.answer("m", &question(), &[]).await.unwrap();
    assert_eq!(third.route().chosen.as_ref().unwrap().endpoint, "small", "its place is free again");

    // Where there is nobody else, one waits for a place.
    let small = server(vec![hello()]).await;
    let alone = router(vec![EndpointConfig { url: small.url(), ..one }]);
    let first = alone.answer("m", &question(), &[]).await.unwrap();
    let asked = question();
    let waiting = alone.answer("m", &asked, &[]);
    let freed = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(small.requests().len(), 1, "it waits");
        drop(first);
    };
    let (second, ()) = tokio::join!(waiting, freed);
    assert_eq!(read_answer(second.unwrap()).await.last().map(line).as_deref(), Some("finished stop"));
}

#[tokio::test]
async fn usage_is_priced() {
    let well = server(vec![hello()]).await;
    let price = PriceConfig { input: 2.5, cached_input: None, output: 10.0 };
    let router = router(vec![EndpointConfig { price: Some(price), ..named("well", &well) }]);
    // As a worker does it: in a task of its own.
    let answer = tokio::spawn(async move {
        let mut answer = router.answer("m", &question(), &[]).await.unwrap();
        assert_eq!(answer.cost(), None);
        while answer.next().await.is_some() {}
        answer
    });
    assert_eq!(answer.await.unwrap().cost(), Some(Cost { nanos: 1_000 * 2_500 + 100 * 10_000 }));
}

#[tokio::test]
async fn calls_of_a_later_step_have_ids_of_their_own() {
    let steps =
        vec![Say::call("call_1", "weather", "{}"), Say::call("call_1.2", "time", "{}"), Say::call("call_3", "time", "{}")];
    let server = server(vec![Reply::says(steps)]).await;
    let done = |id: &str| {
        let (call, name, arguments) = (id.to_owned(), "weather".to_owned(), "{}".to_owned());
        Part::ToolCall(ToolCall { call, name, arguments, status: ToolStatus::Done, result: Some("4 °C".into()) })
    };
    let id = |id: &str| MessageId::new(id).unwrap();
    let message = |at: &str, parent: Option<&str>, role, parts| Message {
        id: id(at),
        parent: parent.map(id),
        role,
        author: None,
        at_ms: 0,
        run: None,
        parts,
    };
    let prompt = message("prompt", None, Role::User, vec![Part::text("Weather?")]);
    let reply = message("reply", Some("prompt"), Role::Assistant, vec![done("call_1"), done("call_3")]);
    let run = Run {
        id: RunId::new("r").unwrap(),
        prompt: id("prompt"),
        reply: id("reply"),
        status: RunStatus::Running,
        model: None,
        attempt: None,
        attempts: 1,
        attempts_max: 3,
        worker: None,
        finish: None,
        error: None,
        usage: None,
        waiting: None,
        requested_at_ms: 0,
        started_at_ms: None,
        ended_at_ms: None,
        thoughts: Vec::new(),
    };
    let view = View { messages: vec![prompt, reply].into(), runs: vec![run.clone()], ..View::default() };
    let conversation = Conversation::of(&view, &run.id, 1_000, false).unwrap();
    let answer = router(vec![named("only", &server)]).answer("m", &conversation, &[]).await.unwrap();
    let said: Vec<String> = read_answer(answer).await.iter().map(line).filter(|line| !line.starts_with("model")).collect();
    assert_eq!(
        said,
        [
            "call call_1.2 weather",
            "arguments call_1.2 {}",
            "call call_1.2.2 time",
            "arguments call_1.2.2 {}",
            "call call_3.2 time",
            "arguments call_3.2 {}",
            "ready call_1.2",
            "ready call_1.2.2",
            "ready call_3.2",
            "finished tool calls",
        ]
    );
}

#[tokio::test]
async fn a_model_that_nobody_serves() {
    let router = router(vec![]);
    assert_eq!(router.default_model(), None);
    let error = router.answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), error.why.retryable()), ("unknown_model", false));
}

#[test]
fn a_configuration_is_read_and_checked() {
    let text = r#"
        [[endpoints]]
        model = "large"
        url = "https://models.example/v1"
        fields = { temperature = 0.5 }
        price = { input = 2.5, output = 10 }
        context_tokens_max = 8000

        [[endpoints]]
        model = "large"
        name = "spare"
        url = "https://spare.example"
        dialect = "messages"

        [[endpoints]]
        model = "small"
        url = "http://localhost:11434"
        dialect = "responses"

        [[tools]]
        name = "weather"
        url = "https://tools.example/weather"
        parameters = { type = "object", properties = { city = { type = "string" } } }
        needs_approval = true
    "#;
    let config: ModelsConfig = toml::from_str(text).unwrap();
    assert_eq!(toml::from_str::<ModelsConfig>(&toml::to_string(&config).unwrap()).unwrap(), config, "it can be written down");
    let router = Router::new(&config).unwrap();
    assert_eq!(router.default_model(), Some("large"));
    assert_eq!(router.models().collect::<Vec<_>>(), ["large", "small"]);
    assert_eq!(router.health("large").iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["models.example", "spare"]);
    assert_eq!((router.context_tokens_max("large"), router.context_tokens_max("none")), (Some(8_000), None));

    assert!(toml::from_str::<ModelsConfig>("[[endpoints]]\nmodle = 'x'").is_err(), "unknown keys are refused");
    let wrong: [(Spoil, &str); 9] = [
        (|config| config.model.clear(), "model"),
        (|config| config.url = "models.example".into(), "url"),
        (|config| config.tries_max = 0, "tries_max"),
        (|config| config.idle_ms_max = 0, "idle_ms_max"),
        (|config| config.key_env = Some("FANFOLD_NO_SUCH_KEY".into()), "FANFOLD_NO_SUCH_KEY"),
        (|config| config.key_file = Some("/no/such/file".into()), "/no/such/file"),
        (|config| (config.key_file, config.key_env) = (Some("a".into()), Some("b".into())), "either"),
        (|config| drop(config.headers.insert("a b".into(), "c".into())), "headers"),
        (|config| config.price = Some(PriceConfig { input: -1.0, cached_input: None, output: 0.0 }), "price.input"),
    ];
    for (spoil, named) in wrong {
        let mut config = config.clone();
        spoil(&mut config.endpoints[0]);
        let error = Router::new(&config).err().unwrap().to_string();
        assert!(error.contains(named), "{error} names {named}");
    }
    let mut twice = config.clone();
    twice.endpoints[1].name = "models.example".into();
    assert!(Router::new(&twice).is_err());
}
