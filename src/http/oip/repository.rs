//! The extension `model_repository`, of which there is the index: which models are served is said at the start.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::http::body::read_small;
use crate::http::error::ApiError;
use crate::oip::{OipError, VERSION};

/// A request for the index; clients send nothing, or an object.
#[derive(Debug, Default, serde::Deserialize)]
struct IndexRequest {
    /// Whether only models that are ready are wanted; all are.
    #[serde(default)]
    #[allow(dead_code, reason = "read so that its type is checked")]
    ready: Option<bool>,
}

/// Most bytes of such a request.
const MOST: usize = 4 << 10;

pub(super) async fn index(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let mut body = request.into_body();
    let body = read_small(&mut body, MOST, desk.limits().body_timeout).await?;
    check(&body)?;
    let classifier = desk.classifier()?;
    let models = classifier.models().iter();
    let entry =
        |name: &str| json!({"name": name, "version": VERSION, "state": "READY", "reason": ""});
    Ok(Json(models.map(|model| entry(&model.info.name)).collect()))
}

fn check(body: &[u8]) -> Result<(), OipError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let wrong = |_| OipError::Json("allowed is {\"ready\": true} or nothing".into());
    serde_json::from_slice::<IndexRequest>(body)
        .map(drop)
        .map_err(wrong)
}

pub(super) async fn load() -> ApiError {
    fixed("loaded")
}

pub(super) async fn unload() -> ApiError {
    fixed("unloaded")
}

fn fixed(what: &str) -> ApiError {
    let text = format!(
        "no model can be {what} while the server runs: --model names those that are served"
    );
    OipError::Unsupported(text).into()
}
