//! Which pages may use the node from a browser. Every request is asked, since a browser sends cookies with requests of any page.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use fanfold_wire::ErrorCode;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, header};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use super::problem::Problem;
use crate::auth::Authenticator;
use crate::edge::{Edge, Failure};

/// A browser asks again after this long whether a page may send what it wants to send.
const PREFLIGHT_LASTS: Duration = Duration::from_secs(60 * 60);

/// What an open node says under a name that may be anybody's.
const REACHED_BADLY: &str =
    "a node that asks for no token answers under an address, localhost, or the name of an origin in [listen] origins";

/// Refuses what pages of other origins send. Clients that aren't browsers name none.
///
/// Where nobody is asked for a token, the name under which the node was reached counts as well: its owner may have it lead to this
/// machine after a browser has loaded a page from elsewhere under it (DNS rebinding), and takes the node's answers for that page's own.
pub(super) async fn check(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Result<Response, Problem> {
    if !may_connect(&edge.origins, request.headers()) {
        return Err(ErrorCode::OriginDenied.into());
    }
    if matches!(edge.authenticator, Authenticator::Open) && !is_reached_well(&edge.origins, request.headers()) {
        let detail = Some(REACHED_BADLY.to_owned());
        return Err(Failure { detail, ..Failure::new(ErrorCode::OriginDenied) }.into());
    }
    Ok(next.run(request).await)
}

/// Lets pages of the listed origins read the answers. Cookies are for those that are named, not for those that `*` lets in.
pub(super) fn cors(allowed: &[String]) -> CorsLayer {
    let (listed, named) = (allowed.to_vec(), allowed.to_vec());
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| all_are(&listed) || is_listed(&listed, origin)))
        .allow_credentials(AllowCredentials::predicate(move |origin, _| is_listed(&named, origin)))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_LASTS)
}

fn is_listed(allowed: &[String], origin: &HeaderValue) -> bool {
    allowed.iter().any(|allowed| origin == allowed)
}

fn all_are(allowed: &[String]) -> bool {
    allowed.iter().any(|allowed| allowed == "*")
}

fn may_connect(allowed: &[String], headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    is_own(origin, headers) || all_are(allowed) || is_listed(allowed, origin)
}

/// Whether it is the node's own page, under whatever name it was reached.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map_or(&[][..], HeaderValue::as_bytes);
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| authority.as_bytes() == host)
}

/// Whether the name under which the node was reached is nobody else's: an address, this machine's own name, or one that is listed.
fn is_reached_well(allowed: &[String], headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = authority.host();
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_local = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    let is_listed = allowed.iter().filter_map(|allowed| allowed.split_once("://")).any(|(_, allowed)| authority == allowed);
    is_address || is_local || is_listed || all_are(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_connect_from_their_own_or_a_listed_origin() {
        let rows = [
            (None, true),
            (Some("http://node:8080"), true),
            (Some("https://chat.example"), true),
            (Some("https://evil.example"), false),
            (Some("http://node:8080.evil.example"), false),
            (Some("https://chat.example.evil.example"), false),
            (Some("null"), false),
        ];
        for (origin, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("node:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(may_connect(&["https://chat.example".into()], &headers), expected, "{origin:?}");
        }
    }

    #[test]
    fn an_open_node_is_reached_under_names_that_nobody_else_has() {
        let rows = [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("192.0.2.7", true),
            ("localhost:8080", true),
            ("Chat.localhost:8080", true),
            ("chat.example", true),
            ("chat.example:8080", false),
            ("rebound.example:8080", false),
            ("localhost.rebound.example", false),
            ("127.0.0.1.rebound.example", false),
            ("::1", false),
            ("", false),
        ];
        for (host, expected) in rows {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(is_reached_well(&["https://chat.example".into()], &headers), expected, "{host}");
            assert!(is_reached_well(&["*".into()], &headers) || host.is_empty() || host == "::1");
        }
        assert!(is_reached_well(&[], &HeaderMap::new()));
    }
}
