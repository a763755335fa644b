//! What HTTP adds to a body: its announced length, its encoding, and what becomes of it when its request is refused.
//!
//! Called by `passage` and `oip::repository`; the desk reads the bytes.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use http_body_util::{BodyDataStream, BodyExt as _};

use super::error::ApiError;
use crate::desk::{Admitted, DeskError, HeldBody, cut};

/// Longest body of a refused request that is read away: all but the largest photos. To drop what is on its way costs less
/// than the connection that the client would have to make instead, and less than closing one in which it lies unread: a
/// refusal takes 0.10 to 0.20 ms of CPU in `load overload --apart` at four times the capacity, with 256 KiB in place of this
/// 0.21.
const DISCARDED: u64 = 2 << 20;

/// How long a refusal waits for such a body at most.
const DISCARD_TIME: Duration = Duration::from_millis(100);

/// Reads the whole body.
///
/// # Errors
/// [`ApiError::UnsupportedEncoding`], and the desk's.
pub(super) async fn read(
    admitted: &mut Admitted<'_>,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<HeldBody, ApiError> {
    let plain = |e: &&HeaderValue| e.is_empty() || e.as_bytes().eq_ignore_ascii_case(b"identity");
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if let Some(encoding) = encodings.iter().find(|e| !plain(e)) {
        let name = cut(encoding.to_str().unwrap_or("?"));
        return Err(ApiError::UnsupportedEncoding(name));
    }
    let announced = body.size_hint().exact();
    Ok(admitted.read(announced, BodyDataStream::new(body)).await?)
}

/// Reads the whole body of a request that has no place in the queue, and needs none: `max` bytes at most.
///
/// # Errors
/// [`DeskError::BodyTooLarge`], [`DeskError::BodyTimeout`], [`DeskError::BodyCut`].
pub(super) async fn read_small(
    body: &mut Body,
    max: usize,
    timeout: Duration,
) -> Result<Vec<u8>, DeskError> {
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| DeskError::BodyCut)?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            if bytes.len() + data.len() > max {
                let max = max as u64;
                return Err(DeskError::BodyTooLarge { got: None, max });
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    };
    let read = tokio::time::timeout(timeout, reading).await;
    read.map_err(|_| DeskError::BodyTimeout(timeout))?
}

/// Reads away the body of a refused request if that is short and comes at once, so that its connection can be used
/// again. A client that waits to be asked for the body is not asked, and HTTP/2 does not need it. Tells whether nothing
/// of it is left.
pub(super) async fn discard(head: &Parts, body: &mut Body, max_body_bytes: u64) -> bool {
    let longest = DISCARDED.min(max_body_bytes);
    let is_short = body.size_hint().exact().is_some_and(|n| n <= longest);
    let asks = head.headers.contains_key(header::EXPECT);
    if is_short && !asks && head.version == Version::HTTP_11 {
        let reading = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD_TIME, reading).await; // what is left ends the connection
    }
    body.is_end_stream()
}
