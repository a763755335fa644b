//! The door: lets a request in that brings an API key, where keys are set.
//!
//! A layer of `router`, so it decides before any handler runs and before a body is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::route::Purpose;
use crate::desk::{Desk, DeskError};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Lets a request through that brings a key, or needs none, and names the key in its extensions and its answer's.
pub(super) async fn check(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(keys) = desk.keys() else {
        return next.run(request).await;
    };
    let purpose = request.extensions().get::<Purpose>().copied();
    let is_open = purpose.is_some_and(|purpose| !purpose.needs_key());
    // OPTIONS tells of a path what the documentation tells too.
    if is_open || request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let name = match presented(request.headers()).map(|key| keys.find(key)) {
        Ok(Some(name)) => name,
        Ok(None) => return unauthorized("this key is not valid"),
        Err(reason) => return unauthorized(reason),
    };
    // Nothing behind this door needs them, and what is not there cannot be logged.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(API_KEY);
    request.extensions_mut().insert(name.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(name);
    response
}

fn unauthorized(reason: &'static str) -> Response {
    ApiError::from(DeskError::Unauthorized(reason)).into_response()
}

/// The key that a request brings: that of `X-API-Key`, if there is one, for `Authorization` may then be a gateway's.
///
/// # Errors
/// What the client should know.
fn presented(headers: &HeaderMap) -> Result<&[u8], &'static str> {
    let plain = headers.get_all(API_KEY).iter().map(|v| v.as_bytes());
    // Proxies may hand on a header that has no value.
    let mut plain = plain.filter(|key| !key.is_empty());
    if let Some(key) = plain.next() {
        return match plain.all(|other| other == key) {
            true => Ok(key),
            false => Err("there is more than one key"),
        };
    }
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let bearer = authorizations.next().and_then(|v| bearer(v.as_bytes()));
    if authorizations.next().is_some() {
        return Err("there is more than one Authorization header");
    }
    bearer.ok_or(
        "a key is needed: send the header \"Authorization: Bearer KEY\" or \"X-API-Key: KEY\"",
    )
}

/// What follows `Bearer `; another scheme is no key, but may belong to a proxy.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn request_brings_exactly_one_key() {
        let of = |given: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, HeaderValue::from_static(value));
            }
            presented(&headers).ok().map(<[u8]>::to_vec)
        };
        let key = Some(b"abc".to_vec());
        for right in [
            [("authorization", "Bearer abc")].as_slice(),
            &[("authorization", "bearer  abc ")],
            &[("authorization", "BEARER abc")],
            &[("x-api-key", "abc")],
            &[("authorization", "Basic eDp5"), ("x-api-key", "abc")],
            &[("authorization", "Bearer gateway"), ("x-api-key", "abc")],
            &[("authorization", "Bearer abc"), ("x-api-key", "abc")],
            &[
                ("authorization", "Bearer a"),
                ("authorization", "Bearer b"),
                ("x-api-key", "abc"),
            ],
            &[("x-api-key", "abc"), ("x-api-key", "abc")],
        ] {
            assert_eq!(of(right), key, "{right:?}");
        }
        for wrong in [
            [].as_slice(),
            &[("authorization", "abc")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearerabc")],
            &[("authorization", "Basic abc")],
            &[
                ("authorization", "Bearer abc"),
                ("authorization", "Bearer abc"),
            ],
            &[
                ("authorization", "Basic x"),
                ("authorization", "Bearer abc"),
            ],
            &[("x-api-key", "abc"), ("x-api-key", "abd")],
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
