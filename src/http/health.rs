//! `GET /livez`, `/healthz`, `/readyz` and `/`: what probes and the curious ask.

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

/// Answers with the index of the routes.
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
