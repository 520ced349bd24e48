//! What a page of another origin may do, as its browser would ask for it; and streams that are asked for in a body.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use reqwest::{Method, RequestBuilder, Response, StatusCode};

use support::{Node, open};

const LISTED: &str = "https://chat.example";
const OTHER: &str = "https://evil.example";

fn node(data: &std::path::Path, origins: &str) -> Node {
    Node::start_with(data, &[("LISTEN__ORIGINS", origins)])
}

fn from_page(node: &Node, method: Method, path: &str, origin: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, format!("{}{path}", node.http)).header("origin", origin)
}

/// What a browser asks before it sends a command with a token.
async fn preflight(node: &Node, origin: &str) -> Response {
    from_page(node, Method::OPTIONS, "/v1/sessions", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_listed_origin_use_the_node_and_others_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path(), &format!(r#"["{LISTED}"]"#));
    let asked = preflight(&node, LISTED).await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert_eq!(header(&asked, "access-control-allow-origin"), LISTED);
    assert_eq!(header(&asked, "access-control-allow-credentials"), "true");
    assert_eq!(header(&asked, "access-control-allow-headers"), "authorization,content-type");
    assert!(header(&asked, "access-control-allow-methods").contains("POST"));
    let opened = from_page(&node, Method::POST, "/v1/sessions", LISTED).body(r#"{"session":"s"}"#).send().await.unwrap();
    assert_eq!((opened.status(), header(&opened, "access-control-allow-origin")), (StatusCode::CREATED, LISTED.into()));
    assert!(header(&opened, "vary").contains("origin"), "no cache may give it to another page");
    let missing = from_page(&node, Method::GET, "/v1/sessions/none", LISTED).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&missing, "access-control-allow-origin"), LISTED, "errors can be read as well");

    // A request of the kind that browsers send without asking first, with cookies.
    let denied = from_page(&node, Method::POST, "/v1/sessions", OTHER).body(r#"{"session":"evil"}"#).send().await.unwrap();
    assert_eq!((denied.status(), header(&denied, "access-control-allow-origin")), (StatusCode::FORBIDDEN, String::new()));
    assert_eq!(preflight(&node, OTHER).await.status(), StatusCode::FORBIDDEN);
    for path in ["/v1/stream?sessions=s", "/v1/ws", "/v1/sessions/s"] {
        let denied = from_page(&node, Method::GET, path, OTHER).send().await.unwrap();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let state = reqwest::get(format!("{}/v1/sessions/evil", node.http)).await.unwrap();
    assert_eq!(state.status(), StatusCode::NOT_FOUND, "nothing was opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_lets_all_pages_in_without_cookies() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path(), r#"["*"]"#);
    let asked = preflight(&node, OTHER).await;
    assert_eq!((asked.status(), header(&asked, "access-control-allow-origin")), (StatusCode::OK, OTHER.into()));
    assert_eq!(header(&asked, "access-control-allow-credentials"), "");
}

/// A name may come to lead to this machine after a browser has loaded its page from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_node_answers_under_no_name_that_a_stranger_may_own() {
    let data = tempfile::tempdir().unwrap();
    let node = node(data.path(), &format!(r#"["{LISTED}"]"#));
    let port = node.http.rsplit(':').next().unwrap();
    let rebound = format!("rebound.example:{port}");
    for (host, expected) in [
        (rebound.as_str(), StatusCode::FORBIDDEN),
        (&format!("localhost:{port}"), StatusCode::OK),
        (&format!("127.0.0.1:{port}"), StatusCode::OK),
        ("chat.example", StatusCode::OK),
    ] {
        for path in ["/v1/sessions", "/v1/stream?list=true"] {
            let request = from_page(&node, Method::GET, path, &format!("http://{host}")).header("host", host);
            assert_eq!(request.send().await.unwrap().status(), expected, "{host} {path}");
            // A page's own requests don't always name it.
            let request = reqwest::Client::new().get(format!("{}{path}", node.http)).header("host", host);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), expected, "{host} {path}");
            if expected == StatusCode::FORBIDDEN {
                assert!(answer.text().await.unwrap().contains("[listen] origins"), "what helps is said");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_be_asked_for_in_a_body() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    for session in ["a", "b"] {
        open(&node.client(), session).await;
    }
    let post = async |path: &str, body: &str| {
        reqwest::Client::new().post(format!("{}{path}", node.http)).body(body.to_owned()).send().await.unwrap()
    };
    for (path, body) in [
        ("/v1/sessions/a/stream", r#"{"window":1}"#),
        ("/v1/sessions/a/stream", ""),
        ("/v1/sessions/a/stream", r#"{"view":"simple"}"#),
        ("/v1/stream", r#"{"sessions":"a,b","mode":"full"}"#),
        ("/v1/stream", r#"{"list":true}"#),
    ] {
        let mut stream = post(path, body).await;
        assert_eq!((stream.status(), header(&stream, "content-type")), (StatusCode::OK, "text/event-stream".into()), "{body}");
        let first = stream.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"retry: "), "{body}");
    }
    for (path, body, expected) in [
        ("/v1/stream", "{}", "field sessions"),
        ("/v1/sessions/a/stream", r#"{"mode":"all"}"#, "field mode"),
        ("/v1/sessions/a/stream", "[", "bad_request"),
    ] {
        let refused = post(path, body).await;
        assert!(refused.status().is_client_error(), "{body}");
        let problem = refused.text().await.unwrap();
        assert!(problem.contains(expected), "{body}: {problem}");
    }
    // One session that can't be read keeps no other from being read.
    for (body, code) in
        [(r#"{"sessions":"none,a"}"#, "session_not_found"), (r#"{"sessions":"b,a","cursor":"b=x"}"#, "cursor_malformed")]
    {
        let mut stream = post("/v1/stream", body).await;
        let mut text = String::new();
        while !(text.contains(code) && text.contains("event: snapshot")) {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
    }
}
