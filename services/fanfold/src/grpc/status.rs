//! Errors as gRPC statuses.

use tonic::Status;

use crate::edge::Failure;

/// The status of a failure.
pub(super) fn status(failure: &Failure) -> Status {
    failure.code.status(failure.detail.as_deref(), &failure.request, failure.retry_after_ms())
}
