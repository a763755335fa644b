//! Every route, and on which listener it is.
//!
//! Asked by `server` for each listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::error::ApiError;
use super::layers::layered;
use super::{classify, health, models, oip, page, predictions};
use crate::desk::{Desk, cut};

type Routes = Router<Arc<Desk>>;

/// What the index lists of each group of routes.
const SERVICE: &[&str] = &[
    "/classify",
    "/models",
    "/models/{name}",
    "/models/{name}/classify",
    "/predictions/{model}",
    "/ping",
];
const HEALTH: &[&str] = &["/livez", "/readyz", "/healthz"];
const ADMIN: &[&str] = &["/metrics"];

/// The methods of a path that is read from.
const READ_METHODS: &str = "GET,HEAD,OPTIONS";

/// Those of all paths.
const ALL_METHODS: &str = "GET,HEAD,POST,PUT,OPTIONS";

/// Every route of the server, for one listener.
pub fn router(desk: Arc<Desk>) -> Router {
    let index = read(get(|headers| {
        home(headers, &[SERVICE, oip::ROUTES, HEALTH, ADMIN])
    }));
    let routes = service_routes()
        .merge(health_routes())
        .merge(admin_routes());
    finished(routes.route("/", index), desk, ALL_METHODS)
}

/// The routes for clients: classification, models and health.
pub fn public_router(desk: Arc<Desk>) -> Router {
    let index = read(get(|headers| {
        home(headers, &[SERVICE, oip::ROUTES, HEALTH])
    }));
    let routes = service_routes().merge(health_routes());
    finished(routes.route("/", index), desk, ALL_METHODS)
}

/// The routes for those who run the server: metrics and health.
pub fn admin_router(desk: Arc<Desk>) -> Router {
    let index = read(get(|| health::index(&[HEALTH, ADMIN])));
    let routes = admin_routes().merge(health_routes());
    finished(routes.route("/", index), desk, READ_METHODS)
}

/// The page for browsers, else the index of these groups.
async fn home(headers: HeaderMap, groups: &'static [&'static [&'static str]]) -> Response {
    match page::is_wanted(&headers) {
        true => page::page(),
        false => health::index(groups).await,
    }
}

fn service_routes() -> Routes {
    let classify = post(classify::classify).put(classify::classify);
    let classify_with = post(classify::classify_with).put(classify::classify_with);
    let predict = || post(predictions::predict).put(predictions::predict);
    Router::new()
        .route("/classify", written(classify))
        .route("/ping", read(get(predictions::ping)))
        .route("/predictions/{model}", written(predict()))
        .route("/predictions/{model}/{version}", written(predict()))
        .route("/models/{name}/classify", written(classify_with))
        .route("/models", read(get(models::list)))
        .route("/models/{name}", read(get(models::show)))
        .route("/page/{file}", read(get(page::file)))
        .merge(oip::routes())
}

fn health_routes() -> Routes {
    Router::new()
        .route("/livez", read(get(health::live)))
        .route("/healthz", read(get(health::live)))
        .route("/readyz", read(get(health::ready)))
}

fn admin_routes() -> Routes {
    Router::new().route("/metrics", read(get(health::metrics)))
}

/// A path that is read from, and that tells so.
pub(super) fn read(methods: MethodRouter<Arc<Desk>>) -> MethodRouter<Arc<Desk>> {
    methods.options(async || allowed(READ_METHODS))
}

/// A path that takes images, and that tells so.
fn written(methods: MethodRouter<Arc<Desk>>) -> MethodRouter<Arc<Desk>> {
    methods.options(async || allowed("POST,PUT,OPTIONS"))
}

/// A path that is asked by POST alone, and that tells so.
pub(super) fn posted(methods: MethodRouter<Arc<Desk>>) -> MethodRouter<Arc<Desk>> {
    methods.options(async || allowed("POST,OPTIONS"))
}

/// The answer to OPTIONS, by which balancers ask whether the server is there.
fn allowed(methods: &'static str) -> Response {
    (StatusCode::NO_CONTENT, [(header::ALLOW, methods)]).into_response()
}

/// The routes as a service; `methods` are those that some of them has.
fn finished(routes: Routes, desk: Arc<Desk>, methods: &'static str) -> Router {
    let routes = routes
        .fallback(async move |request: Request| no_such_route(&request, methods))
        .method_not_allowed_fallback(method_not_allowed);
    layered(routes, &desk).with_state(desk)
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
