//! TorchServe's calls: `POST` and `PUT /predictions/{model}` and `GET /ping`, for clients that come from there.
//!
//! The body is that of `/classify`; the answer is what TorchServe's image classifiers give, one number a label.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::classify::{self, Form, Found};
use super::error::ApiError;
use super::health;
use super::passage::whole;
use super::target::{Named, Parameters};
use super::wishes::Wishes;
use crate::classifier::{Classification, Prediction, ServedModel};
use crate::desk::Desk;
use crate::registry::Labels;

pub(super) async fn predict(
    State(desk): State<Arc<Desk>>,
    path: Result<Path<Named>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let named = path.map(|Path(named)| Some(named));
    let named = named.map_err(|_| ApiError::BadUrl);
    classify::handle(&desk, named, query, request, PROBABILITIES).await
}

/// The form of TorchServe, which has room for nothing but the probabilities.
const PROBABILITIES: Form = Form {
    parameters: &[],
    write,
};

fn write(model: &ServedModel, _: Wishes, found: Found) -> Result<Response, ApiError> {
    let classifications = whole(found.results)?;
    let labels = &model.info.labels;
    let answer = |classification| Answer {
        classification,
        labels,
    };
    let mut answers: Vec<Answer<'_>> = classifications.iter().map(answer).collect();
    Ok(match found.is_list {
        true => Json(answers).into_response(),
        false => Json(answers.swap_remove(0)).into_response(),
    })
}

/// As `/readyz`, in TorchServe's words.
pub(super) async fn ping(state: State<Arc<Desk>>) -> Result<Json<Value>, ApiError> {
    health::ready(state).await?;
    Ok(Json(json!({"status": "Healthy"})))
}

/// One image's classes, the most probable first.
struct Answer<'a> {
    classification: &'a Classification,
    labels: &'a Labels,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let predictions = self.classification.predictions.iter();
        serializer.collect_map(predictions.map(|p| (key(p, self.labels), p.probability)))
    }
}

/// The class's label; with its index where another class has the same: "crane" is a bird and a machine.
fn key(prediction: &Prediction, labels: &Labels) -> String {
    let label = &prediction.label.label;
    match labels.iter().filter(|other| other.label == *label).count() {
        0 | 1 => label.to_string(),
        _ => format!("{label} ({})", prediction.class_index),
    }
}
