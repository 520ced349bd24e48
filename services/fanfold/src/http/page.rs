//! The console at `/`, served from the binary under a strict policy. Its source is `services/console`; what that builds is
//! committed in `assets/console`, so that nobody needs its tools to build a node.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use fanfold_wire::ErrorCode;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::Embed;

use super::problem::Problem;

/// Nothing inline, nothing from elsewhere, and no text of anybody's becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file whose name has its content's hash never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The page itself is asked for anew each time: it names the files of this release.
const ASK_AGAIN: &str = "no-cache";

const INDEX: &str = "index.html";

const OPENAPI: &str = include_str!("../../assets/openapi.json");

#[derive(Embed)]
#[folder = "assets/console"]
struct Built;

struct File {
    content_type: &'static str,
    cache: &'static str,
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

/// Every file of the console, packed once.
static FILES: LazyLock<HashMap<String, File>> =
    LazyLock::new(|| Built::iter().filter_map(|name| Some((name.to_string(), pack(&name)?))).collect());

fn pack(name: &str) -> Option<File> {
    let file = Built::get(name)?;
    let content_type = match name.rsplit('.').next()? {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&file.data).ok()?;
    let hash: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(File {
        content_type,
        cache: if name == INDEX { ASK_AGAIN } else { FOR_EVER },
        etag: HeaderValue::try_from(format!("\"{hash}\"")).ok()?,
        plain: file.data.into_owned().into(),
        gzip: gzip.finish().ok()?.into(),
    })
}

pub(super) async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    serve(INDEX, &headers)
}

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    serve(&format!("assets/{name}"), &headers)
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, ASK_AGAIN)], OPENAPI).into_response()
}

fn serve(name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let file = FILES.get(name).ok_or(ErrorCode::NotFound)?;
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known == file.etag);
    let gzip = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).is_some_and(takes_gzip);
    let mut response = match (known, gzip) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, true) => ([(header::CONTENT_ENCODING, "gzip")], file.gzip.clone()).into_response(),
        (false, false) => file.plain.clone().into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(file.cache));
    headers.insert(header::ETAG, file.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// Whether the client names gzip and doesn't refuse it.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').map(str::trim).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_there_are_and_nothing_inline() {
        let page = std::str::from_utf8(&FILES[INDEX].plain).unwrap();
        let named: Vec<&str> = page.split('"').filter_map(|text| text.strip_prefix('/')).collect();
        assert!(named.len() >= 3, "{page}");
        for name in named {
            assert!(FILES.contains_key(name), "{name}");
        }
        assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
        assert!(page.matches("<script").all(|_| true) && page.matches("</script>").count() == page.matches("></script>").count());
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let rows =
            [("gzip, deflate, br", true), ("br;q=1, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false), ("", false)];
        for (accepted, expected) in rows {
            assert_eq!(takes_gzip(accepted), expected, "{accepted}");
        }
    }
}
