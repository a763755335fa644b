//! The Open Inference Protocol by REST: its routes, and how its errors look.
//!
//! What the messages mean is in the room `oip`; the way of an inference request is that of `/classify`.

mod find;
mod infer;
mod repository;
mod tell;

use axum::http::HeaderValue;

use super::openapi::oip as told;
use super::route::{Purpose, Route};
use crate::desk::RequestLimits;

/// The media type of the protocol's errors: exactly this, without parameters, or clients do not look into them.
pub(super) fn error_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

/// Whether a path is the protocol's, and with it its errors.
pub(super) fn is_its(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// Every route of the protocol.
pub(super) fn routes(limits: &RequestLimits) -> Vec<Route> {
    let probe = |route: Route| route.purpose(Purpose::Probe);
    let mut routes = vec![
        Route::read("/v2", tell::server, told::server()),
        Route::read("/v2/", tell::server, told::server().suffixed("_slash")),
        probe(Route::read("/v2/health/live", tell::live, told::live())),
        probe(Route::read("/v2/health/ready", tell::ready, told::ready())),
        Route::read("/v2/models", tell::models, told::models()),
        Route::read(
            "/v2/models/stats",
            tell::all_statistics,
            told::all_statistics(),
        ),
        Route::posted("/v2/repository/index", repository::list, told::index()),
        Route::posted(
            "/v2/repository/models/{model}/load",
            repository::load,
            told::load(),
        ),
        Route::posted(
            "/v2/repository/models/{model}/unload",
            repository::unload,
            told::unload(),
        ),
    ];
    for (model, suffix) in [
        ("/v2/models/{model}", ""),
        ("/v2/models/{model}/versions/{version}", "_version"),
    ] {
        let path = |end: &str| format!("{model}{end}");
        let metadata = told::metadata().suffixed(suffix);
        let ready = told::model_ready().suffixed(suffix);
        let config = told::config().suffixed(suffix);
        let statistics = told::statistics().suffixed(suffix);
        let infer = told::infer(limits).suffixed(suffix);
        routes.extend([
            Route::read(model, tell::metadata, metadata),
            Route::read(&path("/ready"), tell::model_ready, ready),
            Route::read(&path("/config"), tell::config, config),
            Route::read(&path("/stats"), tell::statistics, statistics),
            Route::posted(&path("/infer"), infer::infer, infer).purpose(Purpose::Inference),
        ]);
    }
    routes
}
