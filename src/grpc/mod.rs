//! The Open Inference Protocol by gRPC, and the calls by which balancers and people ask what is there.
//!
//! Called by `server` with the requests of its own listener. What the messages mean is in the room `oip`; identity, keys,
//! log, metrics and the way through the desk are those of `http`, which gRPC is spoken over. A message's memory is asked
//! for before it is kept, so that messages are taken out of their frames here; health and reflection are tonic's.

mod exchange;
mod frame;
mod health;
mod infer;
mod infer_request;
mod messages;
mod status;
mod stream;
mod tell;
mod timeout;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::desk::{Desk, cut};
use crate::http::{ApiError, Purpose, Purposes, guarded, observed_grpc};
use crate::oip::OipError;

/// What reflection tells of the service.
const DESCRIPTOR: &[u8] = include_bytes!("inference.bin");

/// The service's name.
const SERVICE: &str = "inference.GRPCInferenceService";

/// Every call of the server.
pub fn router(desk: Arc<Desk>) -> Router {
    let mut purposes = Purposes::default();
    let mut path = |method: &str, purpose: Purpose| {
        let path = format!("/{SERVICE}/{method}");
        purposes.note(&path, purpose);
        path
    };
    let probes = [
        ("ServerLive", post(tell::server_live)),
        ("ServerReady", post(tell::server_ready)),
    ];
    let ours = [
        ("ServerMetadata", post(tell::server_metadata)),
        ("ModelReady", post(tell::model_ready)),
        ("ModelMetadata", post(tell::model_metadata)),
        ("ModelConfig", post(tell::model_config)),
        ("ModelStatistics", post(tell::model_statistics)),
        ("RepositoryIndex", post(tell::repository_index)),
        ("RepositoryModelLoad", post(exchange::load)),
        ("RepositoryModelUnload", post(exchange::unload)),
        ("ModelStreamInfer", post(stream::infer)),
    ];
    let probes = probes.map(|(method, call)| (path(method, Purpose::Probe), call));
    let ours = ours.map(|(method, call)| (path(method, Purpose::Client), call));
    // `ModelInfer` alone: of `ModelStreamInfer` each request is a span, not the call.
    let infer = [(path("ModelInfer", Purpose::Inference), post(infer::infer))];
    let routes = probes.into_iter().chain(ours).chain(infer);
    let routes = routes.fold(Router::new(), |router, (path, call)| {
        router.route(&path, call)
    });
    let routes = health::with_health_and_reflection(routes, &desk, &mut purposes)
        .fallback(no_such_method)
        .method_not_allowed_fallback(no_such_method);
    let routes = guarded(routes, &desk).layer(middleware::from_fn(status::speak));
    let routes = observed_grpc(routes, &desk);
    purposes.tell(routes).with_state(desk)
}

async fn no_such_method(request: Request) -> Response {
    let path = cut(request.uri().path());
    let text = format!("there is no method {path} here; reflection lists what there is");
    ApiError::from(OipError::Unsupported(text)).into_response()
}
