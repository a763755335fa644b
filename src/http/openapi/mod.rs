//! The OpenAPI document of a listener's routes, at `/openapi.json`.
//!
//! Made from the table of routes, whose entries cannot be without an [`Operation`], from the table of errors and from
//! the limits in force. `docs/openapi.json` is that of a server with the default limits, which a test compares.
//! [`operations`] and [`oip`] say what each route takes and answers, `schemas` what their JSON is like.

pub(super) mod oip;
mod operation;
pub(super) mod operations;
mod schemas;

use axum::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::route::Route;
use super::routes::Published;

pub(super) use self::operation::Operation;

use self::operation::Refusals;

/// The document, its members in the order in which one reads them.
#[derive(Serialize)]
struct Document<'a> {
    openapi: &'static str,
    info: Value,
    tags: Value,
    paths: Paths<'a>,
    components: Value,
}

/// The routes, in the order of their table.
struct Paths<'a>(Vec<(&'a str, Value)>);

impl<'a> Paths<'a> {
    fn of(routes: &'a [Route], refusals: &mut Refusals) -> Paths<'a> {
        let mut path = |route: &'a Route| {
            let operations = route.operations.iter();
            let operations = operations.map(|(method, operation)| {
                let written = operation.written(&route.path, route.purpose, refusals);
                ((*method).to_owned(), written)
            });
            (route.path.as_str(), Value::Object(operations.collect()))
        };
        Paths(routes.iter().map(&mut path).collect())
    }
}

impl Serialize for Paths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, operations)| (path, operations)))
    }
}

const DESCRIPTION: &str = "Tells what is in a photo: POST or PUT an image to `/classify`.\n\nWhere GET works, HEAD does. \
    OPTIONS on each path is 204 with `Allow`, and needs no key; another method is 405 with `Allow`. Any path that is not \
    here is 404. A key is needed where the server has been given keys: then each operation that names one is 401 without \
    it. Every answer has `X-Request-Id`, `X-Content-Type-Options: nosniff` and `Cache-Control: no-store`. Classifying \
    changes nothing, so that any request may be sent again, a 503 after its `Retry-After`.";

/// The document of these routes.
pub(super) fn of(routes: &[Route]) -> Bytes {
    let mut refusals = Refusals::default();
    let paths = Paths::of(routes, &mut refusals);
    let document = Document {
        openapi: "3.1.0",
        info: json!({
            "title": "resnet",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE")},
            "description": DESCRIPTION,
        }),
        tags: operation::tags(),
        paths,
        components: json!({
            "schemas": schemas::all(),
            "responses": refusals.all(),
            "headers": operation::headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an API key; counts where both are there"},
            },
        }),
    };
    let document = serde_json::to_vec(&document);
    document
        .expect("strings and numbers are always JSON")
        .into()
}

/// `GET /openapi.json`.
pub(super) async fn document(Extension(published): Extension<Published>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, published.openapi).into_response()
}
