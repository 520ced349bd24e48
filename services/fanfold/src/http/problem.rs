//! Errors as HTTP answers (RFC 9457).

use axum::response::{IntoResponse, Response};
use fanfold_wire::{ErrorCode, Retry};
use http::{HeaderValue, StatusCode, header};

use crate::edge::Failure;

/// Of an error's body (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// A failed request.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) Failure);

impl<T: Into<Failure>> From<T> for Problem {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(failure) = self;
        let row = failure.code.row();
        tracing::debug!(code = row.name, request = failure.request, "request failed");
        let body = failure.code.problem(failure.detail.as_deref(), &failure.request).to_string();
        let status = StatusCode::from_u16(row.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
        if let Retry::Later | Retry::Resume = row.retry {
            let seconds = failure.retry_after_ms().div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if failure.code == ErrorCode::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What the framework refuses by itself is told like everything else.
pub(super) async fn only(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM) {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => ErrorCode::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        status if status.is_client_error() => ErrorCode::BadRequest,
        _ => ErrorCode::Internal,
    };
    let mut problem = Problem::from(code).into_response();
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    problem
}
