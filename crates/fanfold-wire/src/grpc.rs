//! Errors in the details of a gRPC status: `google.rpc.Status` with `ErrorInfo` and, where it helps, `RetryInfo`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use crate::{ErrorCode, Retry};

/// The `domain` of every [`ErrorInfo`]: whose reasons these are.
pub const DOMAIN: &str = "fanfold";

/// What a status of a node says besides its code and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Which error. Its row has the retry advice and the outcome.
    pub code: ErrorCode,
    /// What it is called in the node's log.
    pub request: String,
    /// When to try again; 0: no advice.
    pub retry_after_ms: u32,
}

impl ErrorCode {
    /// The status. `detail` names the field that is to blame, if one is, and never holds its content.
    /// `request` names the failure in the node's log. `retry_after_ms` is told where the row says that trying again may help.
    pub fn status(self, detail: Option<&str>, request: &str, retry_after_ms: u32) -> tonic::Status {
        let row = self.row();
        let message = detail.map_or_else(|| row.text.to_owned(), |detail| format!("{} ({detail})", row.text));
        let details = encode(self, &message, request, retry_after_ms);
        tonic::Status::with_details(row.grpc, message, details)
    }
}

impl Details {
    /// Reads them from a status. `None`: it doesn't come from a node, but from the transport or a proxy.
    pub fn of(status: &tonic::Status) -> Option<Self> {
        Self::decode(status.details())
    }

    /// Reads them from the bytes of `grpc-status-details-bin`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let status = RpcStatus::decode(bytes).ok()?;
        let info: ErrorInfo = find(&status, ERROR_INFO)?;
        let code = ErrorCode::from_name(&info.reason.to_lowercase()).filter(|_| info.domain == DOMAIN)?;
        let delay = find::<RetryInfo>(&status, RETRY_INFO).and_then(|retry| retry.retry_delay).unwrap_or_default();
        let ms = delay.seconds.saturating_mul(1000).saturating_add(i64::from(delay.nanos) / 1_000_000);
        let request = info.metadata.get("request").cloned().unwrap_or_default();
        Some(Self { code, request, retry_after_ms: u32::try_from(ms.max(0)).unwrap_or(u32::MAX) })
    }
}

fn encode(code: ErrorCode, message: &str, request: &str, retry_after_ms: u32) -> Bytes {
    let row = code.row();
    let told = [("outcome", row.outcome.name()), ("retry", row.retry.name()), ("request", request)];
    let info = ErrorInfo {
        reason: row.name.to_uppercase(),
        domain: DOMAIN.to_owned(),
        metadata: told.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    let mut details = vec![any(ERROR_INFO, &info)];
    match row.retry {
        Retry::Later | Retry::Resume => {
            let (seconds, nanos) = (retry_after_ms / 1000, (retry_after_ms % 1000).cast_signed() * 1_000_000);
            details.push(any(RETRY_INFO, &RetryInfo { retry_delay: Some(Delay { seconds: seconds.into(), nanos }) }));
        }
        Retry::No | Retry::WithToken => {}
    }
    RpcStatus { code: row.grpc as i32, message: message.to_owned(), details }.encode_to_vec().into()
}

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

fn any(type_url: &str, message: &impl prost::Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

fn find<T: prost::Message + Default>(status: &RpcStatus, type_url: &str) -> Option<T> {
    let any = status.details.iter().find(|any| any.type_url == type_url)?;
    T::decode(any.value.as_slice()).ok()
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_known_again() {
        for code in ErrorCode::ALL {
            for ms in [0, 1, 999, 1000, 61_234, u32::MAX] {
                let status = code.status(Some("field session: is missing"), "r1", ms);
                let row = code.row();
                assert_eq!((status.code(), status.message()), (row.grpc, &*format!("{} (field session: is missing)", row.text)));
                let retry_after_ms = if matches!(row.retry, Retry::Later | Retry::Resume) { ms } else { 0 };
                assert_eq!(Details::of(&status), Some(Details { code: *code, request: "r1".into(), retry_after_ms }));
            }
        }
    }

    /// Bytes that `google.rpc`'s own definitions give for these values.
    #[test]
    fn the_bytes_are_those_of_google_rpc() {
        let bytes = encode(ErrorCode::Busy, "m", "r1", 1500);
        let info = b"\x0a\x04BUSY\x12\x07fanfold\x1a\x16\x0a\x07outcome\x12\x0bnot_applied\x1a\x0d\x0a\x07request\x12\x02r1\
                     \x1a\x0e\x0a\x05retry\x12\x05later";
        let retry = b"\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";
        let any = |url: &str, value: &[u8]| {
            let url = [b"\x0a", &[url.len() as u8][..], url.as_bytes()].concat();
            let body = [&url[..], b"\x12", &[value.len() as u8], value].concat();
            [b"\x1a", &[body.len() as u8][..], &body].concat()
        };
        let expected = [b"\x08\x0e\x12\x01m".as_slice(), &any(ERROR_INFO, info), &any(RETRY_INFO, retry)].concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn others_are_not_taken_for_ours() {
        assert_eq!(Details::decode(b""), None);
        assert_eq!(Details::decode(b"\xff\xff"), None);
        assert_eq!(Details::of(&tonic::Status::unavailable("SESSION_NOT_FOUND")), None);
        let mut info = ErrorInfo { reason: "BUSY".into(), domain: "other".into(), ..ErrorInfo::default() };
        let of = |info: &ErrorInfo| RpcStatus { details: vec![any(ERROR_INFO, info)], ..RpcStatus::default() }.encode_to_vec();
        assert_eq!(Details::decode(&of(&info)), None);
        info.domain = DOMAIN.into();
        assert_eq!(
            Details::decode(&of(&info)),
            Some(Details { code: ErrorCode::Busy, request: String::new(), retry_after_ms: 0 })
        );
        info.reason = "BUSIER".into();
        assert_eq!(Details::decode(&of(&info)), None);
    }
}
