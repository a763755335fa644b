//! The request body as bytes, within its size and time limits.
//!
//! Called by the classify handlers before anything is parsed.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::{ApiError, RequestLimits};

/// What is still read of a refused body, so that a client that is writing sees the answer instead of a reset.
const LINGER_BYTES: u64 = 8 << 20;

/// How long that may take.
const LINGER_TIME: Duration = Duration::from_millis(500);

/// Reads the whole body.
///
/// # Errors
/// [`ApiError::BodyTooLarge`] by the announced length before reading, or while reading; [`ApiError::BodyTimeout`],
/// [`ApiError::BodyCut`], [`ApiError::UnsupportedEncoding`].
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: &RequestLimits,
) -> Result<Bytes, ApiError> {
    if let Some(encoding) = headers
        .get(header::CONTENT_ENCODING)
        .filter(|e| *e != "identity")
    {
        return Err(ApiError::UnsupportedEncoding(
            encoding.to_str().unwrap_or("?").into(),
        ));
    }
    let max = limits.max_body_bytes;
    let announced = body.size_hint().exact();
    if announced.is_some_and(|n| n > max) {
        // A client that waits for "100 Continue" has not sent its body: the answer alone stops it.
        if !headers.contains_key(header::EXPECT) {
            linger(&mut body).await;
        }
        return Err(ApiError::BodyTooLarge {
            got: announced,
            max,
        });
    }
    let read = tokio::time::timeout(limits.body_timeout, collect(&mut body, announced, max));
    match read.await {
        Ok(Err(e @ ApiError::BodyTooLarge { .. })) => {
            linger(&mut body).await;
            Err(e)
        }
        Ok(result) => result,
        Err(_) => Err(ApiError::BodyTimeout(limits.body_timeout)),
    }
}

async fn collect(body: &mut Body, announced: Option<u64>, max: u64) -> Result<Bytes, ApiError> {
    // One allocation for an honest upload; a lie about the length reserves no more than this.
    let reserve = announced.unwrap_or(0).min(1 << 20);
    let mut bytes = BytesMut::with_capacity(usize::try_from(reserve).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::BodyCut)?.into_data() else {
            continue;
        };
        if (bytes.len() + data.len()) as u64 > max {
            return Err(ApiError::BodyTooLarge { got: None, max });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn linger(body: &mut Body) {
    let discard = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let n = frame.data_ref().map_or(0, Bytes::len) as u64;
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, discard).await; // lingering is a courtesy, however far it got
}
