//! The Open Inference Protocol by REST: its routes, and how its errors look.
//!
//! What the messages mean is in the room `oip`; the way of an inference request is that of `/classify`.

mod find;
mod infer;
mod repository;
mod tell;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::routing::{get, post};

use super::routes::{posted, read};
use crate::desk::Desk;

/// What errors of the protocol are: exactly this, without parameters, or clients do not look into them.
pub(super) fn error_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

/// What the index lists.
pub(super) const ROUTES: &[&str] = &[
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models",
    "/v2/models/{model}",
    "/v2/models/{model}/versions/{version}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/config",
    "/v2/models/{model}/stats",
    "/v2/models/{model}/infer",
    "/v2/models/stats",
    "/v2/repository/index",
];

/// Whether a path is the protocol's, and with it its errors.
pub(super) fn is_its(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// Every route.
pub(super) fn routes() -> Router<Arc<Desk>> {
    let mut routes = Router::new()
        .route("/v2", read(get(tell::server)))
        .route("/v2/", read(get(tell::server)))
        .route("/v2/health/live", read(get(tell::live)))
        .route("/v2/health/ready", read(get(tell::ready)))
        .route("/v2/models", read(get(tell::models)))
        .route("/v2/models/stats", read(get(tell::all_statistics)))
        .route("/v2/repository/index", posted(post(repository::index)))
        .route(
            "/v2/repository/models/{model}/load",
            posted(post(repository::load)),
        )
        .route(
            "/v2/repository/models/{model}/unload",
            posted(post(repository::unload)),
        );
    for model in [
        "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}",
    ] {
        let path = |end: &str| format!("{model}{end}");
        routes = routes
            .route(model, read(get(tell::metadata)))
            .route(&path("/ready"), read(get(tell::model_ready)))
            .route(&path("/config"), read(get(tell::config)))
            .route(&path("/stats"), read(get(tell::statistics)))
            .route(&path("/infer"), posted(post(infer::infer)));
    }
    routes
}
