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
use crate::http::{ApiError, guarded, observed_grpc};
use crate::oip::OipError;

/// What reflection tells of the service.
const DESCRIPTOR: &[u8] = include_bytes!("inference.bin");

/// The service's name.
const SERVICE: &str = "inference.GRPCInferenceService";

/// Every call of the server.
pub fn router(desk: Arc<Desk>) -> Router {
    let path = |method: &str| format!("/{SERVICE}/{method}");
    let ours = Router::new()
        .route(&path("ServerLive"), post(tell::server_live))
        .route(&path("ServerReady"), post(tell::server_ready))
        .route(&path("ServerMetadata"), post(tell::server_metadata))
        .route(&path("ModelReady"), post(tell::model_ready))
        .route(&path("ModelMetadata"), post(tell::model_metadata))
        .route(&path("ModelConfig"), post(tell::model_config))
        .route(&path("ModelStatistics"), post(tell::model_statistics))
        .route(&path("RepositoryIndex"), post(tell::repository_index))
        .route(&path("RepositoryModelLoad"), post(exchange::load))
        .route(&path("RepositoryModelUnload"), post(exchange::unload))
        .route(&path("ModelInfer"), post(infer::infer))
        .route(&path("ModelStreamInfer"), post(stream::infer));
    let routes = health::with_health_and_reflection(ours, &desk)
        .fallback(no_such_method)
        .method_not_allowed_fallback(no_such_method);
    let routes = guarded(routes, &desk).layer(middleware::from_fn(status::speak));
    observed_grpc(routes, &desk).with_state(desk)
}

async fn no_such_method(request: Request) -> Response {
    let path = cut(request.uri().path());
    let text = format!("there is no method {path} here; reflection lists what there is");
    ApiError::from(OipError::Unsupported(text)).into_response()
}
