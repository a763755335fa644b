//! Every route, and on which listener it is.
//!
//! Asked by `server` for each listener.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use bytes::Bytes;

use super::error::ApiError;
use super::layers::layered;
use super::openapi::{self, operations as told};
use super::route::{Purpose, Purposes, READ_METHODS, Route, allowed};
use super::{accept, classify, health, metrics, models, oip, page, predictions};
use crate::desk::{Desk, RequestLimits, cut};

/// The methods of all paths together.
const ALL_METHODS: &str = "GET,HEAD,POST,PUT,OPTIONS";

/// What a listener tells of its routes.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// The index at `/`.
    pub(super) index: Bytes,
    /// The document at `/openapi.json`.
    pub(super) openapi: Bytes,
}

/// Every route of the server, for one listener.
pub fn router(desk: Arc<Desk>) -> Router {
    let limits = *desk.limits();
    let groups = [
        service_routes(&limits),
        health_routes(),
        admin_routes(),
        page_routes(),
        document_routes(),
    ];
    finished(groups.into_iter().flatten(), desk, ALL_METHODS)
}

/// The routes for clients: classification, models and health.
pub fn public_router(desk: Arc<Desk>) -> Router {
    let limits = *desk.limits();
    let groups = [
        service_routes(&limits),
        health_routes(),
        page_routes(),
        document_routes(),
    ];
    finished(groups.into_iter().flatten(), desk, ALL_METHODS)
}

/// The routes for those who run the server: metrics and health.
pub fn admin_router(desk: Arc<Desk>) -> Router {
    let index = Route::read("/", health::index, told::index()).purpose(Purpose::Page);
    let groups = [
        health_routes(),
        admin_routes(),
        document_routes(),
        vec![index],
    ];
    finished(groups.into_iter().flatten(), desk, READ_METHODS)
}

fn service_routes(limits: &RequestLimits) -> Vec<Route> {
    let mut routes = vec![
        Route::written("/classify", classify::classify, told::classify(limits)),
        Route::written(
            "/models/{name}/classify",
            classify::classify_with,
            told::classify_with(limits),
        ),
        Route::read("/models", models::list, told::models()),
        Route::read("/models/{name}", models::show, told::model()),
        Route::written(
            "/predictions/{model}",
            predictions::predict,
            told::predict(limits),
        ),
        Route::written(
            "/predictions/{model}/{version}",
            predictions::predict,
            told::predict(limits).suffixed("_version"),
        ),
        Route::read("/ping", predictions::ping, told::ping()).purpose(Purpose::Probe),
    ];
    routes.extend(oip::routes(limits));
    routes
}

fn health_routes() -> Vec<Route> {
    let probe = |route: Route| route.purpose(Purpose::Probe);
    vec![
        probe(Route::read("/livez", health::live, told::live("live"))),
        probe(Route::read(
            "/healthz",
            health::live,
            told::live("live_by_healthz"),
        )),
        probe(Route::read("/readyz", health::ready, told::ready())),
    ]
}

fn admin_routes() -> Vec<Route> {
    let metrics = Route::read("/metrics", metrics::metrics, told::metrics());
    vec![metrics.purpose(Purpose::Probe)]
}

fn document_routes() -> Vec<Route> {
    let document = Route::read("/openapi.json", openapi::document, told::document());
    vec![document.purpose(Purpose::Page)]
}

/// The routes that people look at in a browser.
fn page_routes() -> Vec<Route> {
    let routes = [
        Route::read("/", home, told::home()),
        Route::read("/docs", page::docs, told::docs()),
        Route::read(page::FILE_PATH, page::file, told::page_file()),
    ];
    let routes = routes.into_iter();
    routes.map(|route| route.purpose(Purpose::Page)).collect()
}

/// The page for browsers, else the index.
async fn home(headers: HeaderMap, published: Extension<Published>) -> Response {
    let answer = match page::is_wanted(&headers) {
        true => page::page(),
        false => health::index(published).await,
    };
    (accept::VARIES, answer).into_response()
}

/// The routes as a service; `methods` are those that some of them has.
fn finished(routes: impl Iterator<Item = Route>, desk: Arc<Desk>, methods: &'static str) -> Router {
    let routes: Vec<Route> = routes.collect();
    let published = Published {
        index: health::index_of(&routes),
        openapi: openapi::of(&routes),
    };
    let (mut router, mut purposes) = (Router::new(), Purposes::default());
    for route in routes {
        purposes.note(&route.path, route.purpose);
        router = router.route(&route.path, route.methods);
    }
    let router = router
        .fallback(async move |request: Request| no_such_route(&request, methods))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(published));
    purposes.tell(layered(router, &desk)).with_state(desk)
}

fn no_such_route(request: &Request, methods: &'static str) -> Response {
    let path = request.uri().path();
    if request.method() == Method::OPTIONS && path == "*" {
        // The server as a whole: RFC 9110, section 9.3.7.
        return allowed(methods);
    }
    ApiError::NoSuchRoute { path: cut(path) }.into_response()
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::MethodNotAllowed {
        method: cut(request.method().as_str()),
    }
}
