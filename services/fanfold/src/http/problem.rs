//! Errors as HTTP answers (RFC 9457).

use axum::response::{IntoResponse, Response};
use fanfold_wire::{ErrorCode, Retry};
use http::{HeaderValue, StatusCode, header};

use crate::edge::Failure;

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
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
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
