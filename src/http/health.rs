//! `GET /livez`, `/healthz`, `/readyz`, `/metrics` and `/`: what probes, Prometheus and the curious ask.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use super::error::ApiError;
use super::page;
use super::route::Route;
use super::routes::Published;
use crate::desk::{Desk, DeskError};
use crate::metrics::TEXT_FORMAT;

/// The process answers, and none of its threads is stuck.
pub(super) async fn live(State(desk): State<Arc<Desk>>) -> Result<&'static str, ApiError> {
    match desk.classifier().ok().and_then(|c| c.stuck()) {
        Some(stuck) => {
            let busy_s = stuck.busy.as_secs();
            tracing::error!(pool = stuck.pool, busy_s, "a thread is stuck; not live");
            Err(DeskError::Stuck(stuck).into())
        }
        None => Ok("ok\n"),
    }
}

/// The models are loaded and warmed up, and the server is not shutting down.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Result<&'static str, ApiError> {
    if desk.is_draining() {
        return Err(DeskError::ShuttingDown.into());
    }
    desk.classifier()?;
    Ok("ready\n")
}

pub(super) async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let bodies = i64::try_from(desk.body_memory_in_use()).unwrap_or(i64::MAX);
    desk.metrics().body_memory.set(bodies);
    if let Ok(classifier) = desk.classifier() {
        let memory = i64::try_from(classifier.decode_memory_in_use()).unwrap_or(i64::MAX);
        desk.metrics().decode_memory.set(memory);
        for model in classifier.models() {
            let name = model.info.name.as_str();
            let (to_decode, to_infer) = classifier.queue_depth(model);
            for (stage, depth) in [("decode", to_decode), ("infer", to_infer)] {
                desk.metrics()
                    .queue_depth
                    .with_label_values(&[name, stage])
                    .set(i64::try_from(depth).unwrap_or(i64::MAX));
            }
            desk.metrics()
                .estimated_wait
                .with_label_values(&[&model.info.name])
                .set(classifier.estimated_wait(model).as_secs_f64());
        }
    }
    (
        [(header::CONTENT_TYPE, TEXT_FORMAT)],
        desk.metrics().render(),
    )
        .into_response()
}

/// What there is.
pub(super) async fn index(Extension(published): Extension<Published>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, published.index).into_response()
}

/// The index of these routes; the page's own files are not told.
pub(super) fn index_of(routes: &[Route]) -> Bytes {
    let paths = routes.iter().map(|route| route.path.as_str());
    let told = paths.filter(|path| *path != "/" && *path != page::FILE_PATH);
    let index = json!({
        "name": "resnet",
        "version": env!("CARGO_PKG_VERSION"),
        "usage": "POST or PUT an image to /classify",
        "routes": told.collect::<Vec<_>>(),
    });
    index.to_string().into()
}
