//! Refuses heads that another server on the way could have read differently: the material of request smuggling.
//!
//! The first to see a request. The HTTP library has refused what is malformed by itself; here is what it lets pass.

use axum::extract::Request;
use axum::http::{HeaderMap, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

pub(super) async fn check(request: Request, next: Next) -> Response {
    match ambiguity(request.version(), request.headers()) {
        Some(reason) => ApiError::BadHead(reason).into_response(),
        None => next.run(request).await,
    }
}

/// What in a head can be read in two ways, if anything can.
fn ambiguity(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    // RFC 9112 section 6.1: we know no coding but chunked, and chunks of chunks are none.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Some("transfer-encoding is something else than one \"chunked\"");
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Some("it has both transfer-encoding and content-length");
        }
    }
    // RFC 9112 section 3.2. HTTP/2 has an authority instead.
    let hosts = headers.get_all(header::HOST).iter().count();
    match hosts {
        0 if version == Version::HTTP_11 => Some("it has no host"),
        0 | 1 => None,
        _ => Some("it has more than one host"),
    }
}
