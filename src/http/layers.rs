//! What happens to every request around its route.
//!
//! Called by `routes`, and by `grpc` for its own routes.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::{auth, framing, observe};
use crate::desk::{Desk, DeskError};

/// The routes within their layers, the innermost first: a panic becomes a problem, and the problem is observed like any
/// other answer.
pub(super) fn layered(routes: Router<Arc<Desk>>, desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    let observe = middleware::from_fn_with_state(Arc::clone(desk), observe::observe);
    guarded(routes, desk).layer(observe)
}

/// The layers but for the outermost one.
pub(crate) fn guarded(routes: Router<Arc<Desk>>, desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    routes
        .layer(middleware::from_fn_with_state(
            Arc::clone(desk),
            auth::check,
        ))
        .layer(middleware::from_fn(framing::check))
        .layer(CatchPanicLayer::custom(from_panic))
}

/// The outermost one for calls of gRPC, whose answers are written already.
pub(crate) fn observed_grpc(routes: Router<Arc<Desk>>, desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    routes.layer(middleware::from_fn_with_state(
        Arc::clone(desk),
        observe::observe_grpc,
    ))
}

/// The panic hook has logged what happened.
fn from_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::from(DeskError::Panicked).into_response()
}
