//! What there is and how it is: health, metadata, configuration, statistics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::find::{self, NamedPath};
use crate::classifier::{Classifier, ServedModel};
use crate::desk::Desk;
use crate::http::error::ApiError;
use crate::http::health;
use crate::oip::config::{Batching, ModelConfig};
use crate::oip::metadata::{ModelMetadata, ServerMetadata};
use crate::oip::statistics::{AllStatistics, ModelStatistics};

type Told<T> = Result<Json<T>, ApiError>;

pub(super) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata::new())
}

/// As `/livez`; with a body, which one client insists on.
pub(super) async fn live(state: State<Arc<Desk>>) -> Told<Value> {
    health::live(state).await?;
    Ok(Json(json!({"live": true})))
}

/// As `/readyz`.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Told<Value> {
    find::ready(&desk)?;
    Ok(Json(json!({"ready": true})))
}

pub(super) async fn models(State(desk): State<Arc<Desk>>) -> Told<Value> {
    let classifier = desk.classifier()?;
    let mut names: Vec<&str> = Vec::new();
    for model in classifier.models() {
        let name = model.info.base_name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(Json(json!({"models": names})))
}

pub(super) async fn metadata(
    State(desk): State<Arc<Desk>>,
    path: NamedPath,
) -> Told<ModelMetadata> {
    let (classifier, model) = find::model(&desk, path)?;
    let versions = classifier.versions(&model.info.name);
    Ok(Json(ModelMetadata::of(&model.info, &versions)))
}

pub(super) async fn model_ready(State(desk): State<Arc<Desk>>, path: NamedPath) -> Told<Value> {
    let (_, model) = find::model(&desk, path)?;
    find::ready(&desk)?;
    Ok(Json(json!({"name": model.info.base_name(), "ready": true})))
}

pub(super) async fn config(State(desk): State<Arc<Desk>>, path: NamedPath) -> Told<ModelConfig> {
    let (classifier, model) = find::model(&desk, path)?;
    let batching = Batching::of(desk.limits(), &classifier);
    Ok(Json(ModelConfig::of(&model.info, batching)))
}

pub(super) async fn statistics(
    State(desk): State<Arc<Desk>>,
    path: NamedPath,
) -> Told<AllStatistics> {
    let (classifier, model) = find::model(&desk, path)?;
    Ok(Json(told(&classifier, [&model])))
}

pub(super) async fn all_statistics(State(desk): State<Arc<Desk>>) -> Told<AllStatistics> {
    let classifier = desk.classifier()?;
    Ok(Json(told(&classifier, classifier.models())))
}

fn told<'a>(
    classifier: &Classifier,
    models: impl IntoIterator<Item = &'a Arc<ServedModel>>,
) -> AllStatistics {
    let of = |model: &Arc<ServedModel>| ModelStatistics::of(model, &classifier.runs(model));
    AllStatistics {
        model_stats: models.into_iter().map(of).collect(),
    }
}
