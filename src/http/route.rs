//! A route: a path with what answers there, whom it is for, and what the OpenAPI document tells of it. Said here once;
//! the layers that ask for a key or write the log look a request's route up.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::handler::Handler;
use axum::http::{StatusCode, header};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::openapi::Operation;
use crate::desk::Desk;

/// Whom a route is for; in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Orchestrators, balancers and Prometheus, which ask every few seconds and have no key.
    Probe,
    /// People at a browser, whose page asks for the key when it needs one.
    Page,
    /// Clients: a key is needed where keys are set.
    Client,
    /// Clients with images, each of whose requests is a span where traces are exported.
    Inference,
}

impl Purpose {
    /// Whether a key is needed where keys are set.
    pub(crate) fn needs_key(self) -> bool {
        matches!(self, Purpose::Client | Purpose::Inference)
    }
}

/// The purposes of paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Purposes(HashMap<String, Purpose>);

impl Purposes {
    /// Notes the purpose of a path; a path that is not noted is for clients.
    pub(crate) fn note(&mut self, path: &str, purpose: Purpose) {
        self.0.insert(path.to_owned(), purpose);
    }

    fn of(&self, request: &Request) -> Purpose {
        let path = request.extensions().get::<MatchedPath>();
        let noted = path.and_then(|path| self.0.get(path.as_str()));
        noted.copied().unwrap_or(Purpose::Client)
    }

    /// Tells each request its path's purpose, before all other layers of these routes.
    pub(crate) fn tell(self, routes: Router<Arc<Desk>>) -> Router<Arc<Desk>> {
        let purposes = Arc::new(self);
        routes.layer(map_request(move |mut request: Request| {
            let purpose = purposes.of(&request);
            request.extensions_mut().insert(purpose);
            ready(request)
        }))
    }
}

/// The methods of a path that is read from.
pub(super) const READ_METHODS: &str = "GET,HEAD,OPTIONS";

/// A path of the server.
pub(super) struct Route {
    pub(super) path: String,
    pub(super) purpose: Purpose,
    /// The path's methods, and what the document tells of each.
    pub(super) operations: Vec<(&'static str, Operation)>,
    pub(super) methods: MethodRouter<Arc<Desk>>,
}

impl Route {
    /// A path that is read from.
    pub(super) fn read<H, T>(path: &str, handler: H, told: Operation) -> Route
    where
        H: Handler<T, Arc<Desk>>,
        T: 'static,
    {
        let operations = vec![("get", told)];
        Route::of(path, get(handler), READ_METHODS, operations)
    }

    /// A path that takes images.
    pub(super) fn written<H, T>(path: &str, handler: H, told: Operation) -> Route
    where
        H: Handler<T, Arc<Desk>>,
        T: 'static,
    {
        let methods = post(handler.clone()).put(handler);
        let put = told.clone().suffixed("_put");
        let operations = vec![("post", told), ("put", put)];
        Route::of(path, methods, "POST,PUT,OPTIONS", operations).purpose(Purpose::Inference)
    }

    /// A path that is asked by POST alone.
    pub(super) fn posted<H, T>(path: &str, handler: H, told: Operation) -> Route
    where
        H: Handler<T, Arc<Desk>>,
        T: 'static,
    {
        let operations = vec![("post", told)];
        Route::of(path, post(handler), "POST,OPTIONS", operations)
    }

    fn of(
        path: &str,
        methods: MethodRouter<Arc<Desk>>,
        allow: &'static str,
        operations: Vec<(&'static str, Operation)>,
    ) -> Route {
        Route {
            path: path.to_owned(),
            purpose: Purpose::Client,
            operations,
            methods: methods.options(async move || allowed(allow)),
        }
    }

    /// The same route with this purpose.
    pub(super) fn purpose(self, purpose: Purpose) -> Route {
        Route { purpose, ..self }
    }
}

/// The answer to OPTIONS, by which balancers ask whether the server is there.
pub(super) fn allowed(methods: &'static str) -> Response {
    (StatusCode::NO_CONTENT, [(header::ALLOW, methods)]).into_response()
}
