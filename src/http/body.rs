//! The request body as bytes, within its size and time limits.
//!
//! Called by the classify handlers before anything is parsed.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::classify::cut;
use super::{ApiError, RequestLimits};

/// Bytes that one permit of the body budget stands for.
const BUDGET_UNIT: usize = 1024;

/// The permits for a budget of this many bytes.
pub(super) fn budget(bytes: u64) -> Arc<Semaphore> {
    let units = usize::try_from(bytes).unwrap_or(usize::MAX) / BUDGET_UNIT;
    Arc::new(Semaphore::new(units.clamp(1, Semaphore::MAX_PERMITS)))
}

/// A body in memory, and its share of the budget for all of them.
pub(super) struct Held {
    bytes: Bytes,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The bytes; their share of the budget stays here, for what is made of them.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }
}

/// Reads the whole body.
///
/// # Errors
/// [`ApiError::BodyTooLarge`] by the announced length before reading, or while reading; [`ApiError::BodyTimeout`],
/// [`ApiError::BodyCut`], [`ApiError::UnsupportedEncoding`].
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limits: &RequestLimits,
    budget: &Arc<Semaphore>,
) -> Result<Held, ApiError> {
    let plain = |e: &&HeaderValue| e.is_empty() || e.as_bytes().eq_ignore_ascii_case(b"identity");
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if let Some(encoding) = encodings.iter().find(|e| !plain(e)) {
        let name = cut(encoding.to_str().unwrap_or("?"));
        return Err(ApiError::UnsupportedEncoding(name));
    }
    let max = limits.max_body_bytes;
    let announced = body.size_hint().exact();
    if announced.is_some_and(|n| n > max) {
        return Err(ApiError::BodyTooLarge {
            got: announced,
            max,
        });
    }
    let read = tokio::time::timeout(limits.body_timeout, collect(body, announced, max, budget));
    match read.await {
        Ok(result) => result,
        Err(_) => Err(ApiError::BodyTimeout(limits.body_timeout)),
    }
}

async fn collect(
    body: &mut Body,
    announced: Option<u64>,
    max: u64,
    budget: &Arc<Semaphore>,
) -> Result<Held, ApiError> {
    // One allocation for an honest upload; a lie about the length reserves no more than this.
    let reserve = announced.unwrap_or(0).min(1 << 20);
    let mut bytes = BytesMut::with_capacity(usize::try_from(reserve).unwrap_or(0));
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::BodyCut)?.into_data() else {
            continue;
        };
        if (bytes.len() + data.len()) as u64 > max {
            return Err(ApiError::BodyTooLarge { got: None, max });
        }
        // Memory is taken as bytes arrive: a client that only announces them holds none.
        let needed = (bytes.len() + data.len()).div_ceil(BUDGET_UNIT);
        let missing = needed - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if missing > 0 {
            let count = u32::try_from(missing).unwrap_or(u32::MAX);
            let more = Arc::clone(budget).acquire_many_owned(count).await;
            let more = more.expect("the budget is never closed");
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Held {
        bytes: bytes.freeze(),
        _budget: held,
    })
}
