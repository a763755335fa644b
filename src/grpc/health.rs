//! `grpc.health.v1` and reflection, by which balancers and people ask.
//!
//! The services are tonic's; what they tell of this server is here.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::server::Builder;

use super::{DESCRIPTOR, SERVICE};
use crate::desk::{Desk, Readiness};
use crate::http::{Purpose, Purposes};

/// Most bytes of a request for health or reflection, which holds names.
const MOST: usize = 64 << 10;

/// The routes with those of health and reflection.
pub(super) fn with_health_and_reflection(
    routes: Router<Arc<Desk>>,
    desk: &Arc<Desk>,
    purposes: &mut Purposes,
) -> Router<Arc<Desk>> {
    const HEALTH: &str = "/grpc.health.v1.Health/{method}";
    purposes.note(HEALTH, Purpose::Probe);
    let health = HealthServer::new(Asked(Arc::clone(desk))).max_decoding_message_size(MOST);
    let about = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    const VALID: &str = "the descriptors were made by protoc";
    let v1 = about()
        .build_v1()
        .expect(VALID)
        .max_decoding_message_size(MOST);
    let v1alpha = about()
        .build_v1alpha()
        .expect(VALID)
        .max_decoding_message_size(MOST);
    routes
        .route_service(HEALTH, health)
        .route_service("/grpc.reflection.v1.ServerReflection/{method}", v1)
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{method}",
            v1alpha,
        )
}

/// Tells whether the server is ready, under the empty name and the service's.
#[derive(Debug)]
struct Asked(Arc<Desk>);

fn status(readiness: Readiness) -> HealthCheckResponse {
    let status = match readiness {
        Readiness::Ready => ServingStatus::Serving,
        Readiness::Loading | Readiness::Draining => ServingStatus::NotServing,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE
}

type Told = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Asked {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match is_known(&request.get_ref().service) {
            true => Ok(Response::new(status(*self.0.readiness().borrow()))),
            false => Err(Status::not_found(format!(
                "there is no such service, there are: \"\", {SERVICE}"
            ))),
        }
    }

    type WatchStream = Told;

    /// The status now and at each change, until the server stops: a call that never ends would keep it from that.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Told>, Status> {
        if !is_known(&request.get_ref().service) {
            let unknown = HealthCheckResponse {
                status: ServingStatus::ServiceUnknown.into(),
            };
            let told: Told = Box::pin(stream::iter([Ok(unknown)]));
            return Ok(Response::new(told));
        }
        let mut readiness = self.0.readiness();
        readiness.mark_changed();
        let told: Told = Box::pin(stream::unfold(Some(readiness), tell));
        Ok(Response::new(told))
    }
}

async fn tell(
    readiness: Option<watch::Receiver<Readiness>>,
) -> Option<(
    Result<HealthCheckResponse, Status>,
    Option<watch::Receiver<Readiness>>,
)> {
    let mut readiness = readiness?;
    readiness.changed().await.ok()?;
    let now = *readiness.borrow_and_update();
    let next = (now != Readiness::Draining).then_some(readiness);
    Some((Ok(status(now)), next))
}
