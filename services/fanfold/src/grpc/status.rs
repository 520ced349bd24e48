//! Errors as gRPC statuses.

use axum::response::Response;
use fanfold_wire::ErrorCode;
use tonic::{Code, Status};

use crate::edge::Failure;

/// The status of a failure.
pub(super) fn status(failure: &Failure) -> Status {
    failure.code.status(failure.detail.as_deref(), &failure.request, failure.retry_after_ms())
}

/// What is wrong with a message that could not be read; `None`: its sender is gone.
pub(super) fn unread(status: &Status) -> Option<ErrorCode> {
    match status.code() {
        Code::OutOfRange => Some(ErrorCode::TooLarge),
        Code::Internal => Some(ErrorCode::BadRequest),
        _ => None,
    }
}

/// What the framework refuses by itself, of a request that is one message, is told like everything else.
pub(super) async fn only(response: Response) -> Response {
    let headers = response.headers();
    let is_own = headers.contains_key("grpc-status-details-bin");
    match headers.get(Status::GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse().ok()).map(Code::from_i32) {
        Some(Code::OutOfRange) if !is_own => status(&ErrorCode::TooLarge.into()).into_http(),
        Some(_) | None => response,
    }
}
