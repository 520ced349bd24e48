//! HTTP: REST, WebSocket, SSE, the page, probes and metrics.

mod asked;
#[cfg(test)]
mod described;
mod origin;
mod page;
mod problem;
mod rest;
mod serve;
mod sse;
mod work;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::routing::{get, post};
use fanfold_wire::ErrorCode;
use http::{HeaderMap, header};
use metrics_exporter_prometheus::PrometheusHandle;

use self::problem::Problem;
pub use serve::serve;

use crate::edge::Edge;

/// The HTTP side of a node.
pub fn router(edge: Arc<Edge>, metrics: PrometheusHandle) -> Router {
    let body_bytes_max = edge.limits.request_bytes_max;
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/v1/openapi.json", get(page::openapi))
        .route("/v1/ws", get(ws::upgrade))
        .route("/v1/stream", get(sse::many).post(sse::many_posted))
        .route("/v1/sessions", get(rest::list).post(rest::open))
        .route("/v1/sessions/{session}", get(rest::state).delete(rest::erase))
        .route("/v1/sessions/{session}/stream", get(sse::one).post(sse::one_posted))
        .route("/v1/sessions/{session}/events", get(rest::events))
        .route("/v1/sessions/{session}/messages", post(rest::message))
        .route("/v1/sessions/{session}/commands", post(rest::command))
        .route("/v1/sessions/{session}/cancel", post(rest::cancel))
        .route("/v1/sessions/{session}/presence", post(rest::presence))
        .route("/v1/sessions/{session}/readers", get(rest::readers))
        .route("/v1/sessions/{session}/unpark", post(rest::unpark))
        .route("/v1/parked", get(rest::parked))
        .route("/v1/dead-letters", get(rest::dead_letters))
        .route("/v1/dead-letters/{session}/{run}", get(rest::dead_letter))
        .route("/v1/dead-letters/{session}/{run}/redrive", post(rest::redrive))
        .route("/v1/sessions/{session}/runs/{run}/output", post(work::output))
        .route("/v1/runs/take", post(work::take))
        .route("/v1/runs/extend", post(work::extend))
        .route("/v1/runs/give-back", post(work::give_back))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .fallback(|| async { Problem::from(ErrorCode::NotFound) })
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::map_response(problem::only))
        .layer(origin::cors(&edge.origins))
        .layer(middleware::from_fn_with_state(Arc::clone(&edge), origin::check))
        .with_state(edge)
}

/// Ready until the node drains.
async fn ready(State(edge): State<Arc<Edge>>) -> Result<&'static str, Problem> {
    if *edge.draining.borrow() { Err(ErrorCode::Draining.into()) } else { Ok("ready") }
}

/// The token of a request: from `Authorization`, or from the cookie `fanfold` for browsers' EventSource, which can't set headers.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        return Some(token.trim().to_owned());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| cookie.trim().strip_prefix("fanfold=").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_the_header_or_the_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(header::COOKIE, "a=b; fanfold=from-cookie".parse().unwrap());
        assert_eq!(bearer(&headers).as_deref(), Some("from-cookie"));
        headers.insert(header::AUTHORIZATION, "Bearer from-header".parse().unwrap());
        assert_eq!(bearer(&headers).as_deref(), Some("from-header"));
    }
}
