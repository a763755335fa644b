//! The HTTP protocol: routes, what their bodies mean, and how errors look.
//!
//! Called by `server` with each request; calls `classifier`. The only room that knows a status code.

mod answer;
mod auth;
mod body;
mod body_memory;
mod classify;
mod client;
mod deadline;
mod error;
mod framing;
mod health;
mod keys;
mod models;
mod observe;
mod refusal_pace;
mod upload;

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::classifier::{ActiveClassifier, Classifier, SharedClassifier};
use crate::metrics::Metrics;

pub use self::answer::AnswerBody;
pub use self::error::{ApiError, Problem};
pub use self::keys::{KeySet, KeysError};
pub use self::upload::UploadError;

/// The name of the API key that a request brought, in its extensions; absent where none is needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyName(pub Arc<str>);

/// What one request may cost.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Largest body, in bytes.
    pub max_body_bytes: u64,
    /// Most images in one request.
    pub max_images: usize,
    /// How long the body may take to arrive, time in which the server waits for memory not counted.
    pub body_timeout: Duration,
    /// How long the answer may take after that.
    pub request_timeout: Duration,
    /// How long the server may wait for memory while it reads the body.
    pub max_memory_wait: Duration,
    /// How fast it must arrive after the first 5 s, in bytes a second on average; at least 1.
    pub min_upload_rate: u64,
    /// Memory for the bodies of all requests together, in bytes; when it is used up, reading waits. One body more may
    /// be held, so that bodies need not wait for one another.
    pub body_memory_bytes: u64,
}

/// Who sent a request: the other end of its connection, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What all requests share.
#[derive(Debug)]
pub struct App {
    classifier: ActiveClassifier,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
    limits: RequestLimits,
    body_memory: body_memory::BodyMemory,
    refusal_pace: refusal_pace::RefusalPace,
    client_seed: RandomState,
    keys: RwLock<Option<Arc<KeySet>>>,
}

impl App {
    /// A server that is alive, but not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, limits: RequestLimits) -> Arc<App> {
        Arc::new(App {
            classifier: ActiveClassifier::default(),
            draining: AtomicBool::new(false),
            metrics,
            limits,
            body_memory: body_memory::BodyMemory::new(limits.body_memory_bytes),
            refusal_pace: refusal_pace::RefusalPace::new(),
            client_seed: RandomState::new(),
            keys: RwLock::new(None),
        })
    }

    /// What the server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts a warmed-up classifier in charge; from the first one on the server is ready. Requests under way keep the
    /// one that they have.
    pub fn set_classifier(&self, classifier: Classifier) {
        self.classifier.replace(classifier);
    }

    /// From now on the server is not ready, and asks its clients to reconnect elsewhere.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// From now on only these keys open the server; before the first call it is open to everyone.
    pub fn set_keys(&self, keys: KeySet) {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::new(keys));
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        let held = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The classifier for one request, once the models are loaded.
    fn classifier(&self) -> Result<Arc<SharedClassifier>, ApiError> {
        self.classifier.get().ok_or(ApiError::NotReady)
    }
}

/// Every route of the server, for one listener.
pub fn router(app: Arc<App>) -> Router {
    let index = get(|| health::index(&["/metrics"]));
    let routes = service_routes()
        .merge(health_routes())
        .merge(admin_routes());
    observed(routes.route("/", index), app)
}

/// The routes for clients: classification, models and health.
pub fn public_router(app: Arc<App>) -> Router {
    let index = get(|| health::index(&[]));
    let routes = service_routes().merge(health_routes());
    observed(routes.route("/", index), app)
}

/// The routes for those who run the server: metrics and health.
pub fn admin_router(app: Arc<App>) -> Router {
    observed(admin_routes().merge(health_routes()), app)
}

type Routes = Router<Arc<App>>;

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

/// What happens to every request around its route.
fn observed(routes: Routes, app: Arc<App>) -> Router {
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            auth::check,
        ))
        // Outermost last: a panic becomes a problem, and the problem is observed like any other answer.
        .layer(middleware::from_fn(framing::check))
        .layer(CatchPanicLayer::custom(error::from_panic))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            observe::observe,
        ))
        .with_state(app)
}

async fn no_such_route(request: Request) -> ApiError {
    ApiError::NoSuchRoute {
        path: classify::cut(request.uri().path()),
    }
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::MethodNotAllowed {
        method: classify::cut(request.method().as_str()),
    }
}
