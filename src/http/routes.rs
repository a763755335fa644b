//! Every route, and on which listener it is.
//!
//! Asked by `server` for each listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};

use super::error::ApiError;
use super::layers::layered;
use super::{classify, health, models};
use crate::desk::{Desk, cut};

type Routes = Router<Arc<Desk>>;

/// Every route of the server, for one listener.
pub fn router(desk: Arc<Desk>) -> Router {
    let index = get(|| health::index(&["/metrics"]));
    let routes = service_routes()
        .merge(health_routes())
        .merge(admin_routes());
    finished(routes.route("/", index), desk)
}

/// The routes for clients: classification, models and health.
pub fn public_router(desk: Arc<Desk>) -> Router {
    let index = get(|| health::index(&[]));
    let routes = service_routes().merge(health_routes());
    finished(routes.route("/", index), desk)
}

/// The routes for those who run the server: metrics and health.
pub fn admin_router(desk: Arc<Desk>) -> Router {
    finished(admin_routes().merge(health_routes()), desk)
}

fn service_routes() -> Routes {
    Router::new()
        .route(
            "/classify",
            post(classify::classify).put(classify::classify),
        )
        .route(
            "/models/{name}/classify",
            post(classify::classify_with).put(classify::classify_with),
        )
        .route("/models", get(models::list))
        .route("/models/{name}", get(models::show))
}

fn health_routes() -> Routes {
    Router::new()
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
}

fn admin_routes() -> Routes {
    Router::new().route("/metrics", get(health::metrics))
}

fn finished(routes: Routes, desk: Arc<Desk>) -> Router {
    let routes = routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed);
    layered(routes, &desk).with_state(desk)
}

async fn no_such_route(request: Request) -> ApiError {
    ApiError::NoSuchRoute {
        path: cut(request.uri().path()),
    }
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::MethodNotAllowed {
        method: cut(request.method().as_str()),
    }
}
