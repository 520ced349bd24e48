//! Errors as gRPC statuses, with `google.rpc.ErrorInfo` and `RetryInfo` in their details.

use fanfold_wire::Retry;
use prost::Message as _;
use tonic::Status;

use crate::edge::Failure;

/// `google.rpc.Status`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: std::collections::HashMap<String, String>,
}

/// `google.rpc.RetryInfo`, whose delay is a `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The status of a failure.
pub(super) fn status(failure: &Failure) -> Status {
    let row = failure.code.row();
    let message = failure.detail.as_ref().map_or_else(|| row.text.to_owned(), |detail| format!("{} ({detail})", row.text));
    let metadata = [("outcome".to_owned(), row.outcome.name().to_owned()), ("retry".to_owned(), row.retry.name().to_owned())];
    let info = ErrorInfo { reason: row.name.to_uppercase(), domain: "fanfold".into(), metadata: metadata.into() };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Retry::Later | Retry::Resume = row.retry {
        let delay = Delay { seconds: i64::from(failure.retry_after_ms().div_ceil(1000).max(1)), nanos: 0 };
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(delay) }));
    }
    let status = RpcStatus { code: row.grpc as i32, message: message.clone(), details };
    Status::with_details(row.grpc, message, status.encode_to_vec().into())
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
