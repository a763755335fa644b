//! The extension `model_repository`: which models there are, and their exchange where clients may.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::http::body::read_small;
use crate::http::client::client_id;
use crate::http::error::ApiError;
use crate::oip::OipError;
use crate::oip::index::{self, IndexedModel};
use crate::oip::json::{Object, from_slice};
use crate::repository::Change;

/// A request for the index; clients send nothing, or an object.
#[derive(Debug, Default, serde::Deserialize)]
struct IndexRequest {
    /// Whether only models that are ready are wanted.
    #[serde(default)]
    ready: Option<bool>,
}

/// Most bytes of a request for the index, or for a model to be loaded or unloaded.
const MOST: usize = 4 << 10;

pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let client = client_id(&desk, request.extensions());
    let mut body = request.into_body();
    let body = read_small(&mut body, MOST, desk.limits().body_timeout).await?;
    let models = match asked(&body)?.ready {
        Some(true) => index::ready(&desk)?,
        Some(false) | None => index::all(&desk, client).await?,
    };
    let models = models.into_iter().map(|model| {
        let IndexedModel {
            name,
            version,
            state,
        } = model;
        let version = version.to_string();
        json!({"name": name, "version": version, "state": state.name(), "reason": state.reason()})
    });
    Ok(Json(models.collect()))
}

fn asked(body: &[u8]) -> Result<IndexRequest, OipError> {
    if body.trim_ascii().is_empty() {
        return Ok(IndexRequest::default());
    }
    let wrong = |_| {
        OipError::Json("allowed is {\"ready\": true}, {\"ready\": false}, {} or nothing".into())
    };
    let Object(request) = from_slice(body).map_err(wrong)?;
    Ok(request)
}

/// A request to load or unload; clients send nothing, `{}`, or parameters.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

pub(super) async fn load(
    state: State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let name = change(state, name, request, Change::Load).await?;
    Ok(Json(json!({"name": name, "load": true})))
}

pub(super) async fn unload(
    state: State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let name = change(state, name, request, Change::Unload).await?;
    Ok(Json(json!({"name": name, "unload": true})))
}

async fn change(
    State(desk): State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
    change: impl FnOnce(String) -> Change,
) -> Result<String, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::BadUrl)?;
    if request.headers().contains_key(header::ORIGIN) {
        // Any page that is open in a browser on this machine can send such a request.
        let text =
            "models are not loaded or unloaded for a web page, which the Origin header tells";
        return Err(ApiError::Oip(OipError::Unsupported(text.into())));
    }
    let mut body = request.into_body();
    let body = read_small(&mut body, MOST, desk.limits().body_timeout).await?;
    let change = change(name.clone());
    check_change(&body, &change).map_err(ApiError::Oip)?;
    desk.change_models_for_client(change).await?;
    Ok(name)
}

/// Triton's `unload_dependents` is answered by nothing that depends; its `config` and `file:` are not taken.
fn check_change(body: &[u8], change: &Change) -> Result<(), OipError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let wrong = |_| OipError::Json("allowed is {\"parameters\": {…}}, {} or nothing".into());
    let Object(request): Object<ChangeRequest> = from_slice(body).map_err(wrong)?;
    let allowed = |(name, value): &(&String, &Value)| {
        matches!(change, Change::Unload(_)) && *name == "unload_dependents" && value.is_boolean()
    };
    match request
        .parameters
        .iter()
        .find(|parameter| !allowed(parameter))
    {
        None => Ok(()),
        Some((name, value)) => Err(OipError::Parameter {
            name: name.clone(),
            value: crate::desk::cut(&value.to_string()),
            allowed: match change {
                Change::Unload(_) => "unload_dependents alone, true or false".into(),
                _ => "none: a model is loaded as it lies on the server".into(),
            },
        }),
    }
}
