//! TorchServe's calls: `POST` and `PUT /predictions/{model}` and `GET /ping`, for clients that come from there.
//!
//! The body is that of `/classify`; the answer is what TorchServe's image classifiers give, one number a label.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::access::Work;
use super::error::ApiError;
use super::passage::{Passage, told, whole};
use super::target::{self, Parameters};
use super::{classify, health};
use crate::classifier::{Classification, Prediction};
use crate::desk::{Desk, InferRequest};
use crate::oip::check_version;
use crate::registry::Labels;

/// The model of a path, and the version if it names one.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Named {
    model: String,
    version: Option<String>,
}

pub(super) async fn predict(
    State(desk): State<Arc<Desk>>,
    path: Result<Path<Named>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (head, mut body) = request.into_parts();
    let path = path.map(|Path(named)| named).map_err(|_| ApiError::BadUrl);
    let (model, version) = match path {
        Ok(Named { model, version }) => (Ok(Some(model)), version),
        Err(e) => (Err(e), None),
    };
    let resolved = target::resolve(&desk, model, query, &head, arrived);
    let resolved = resolved.and_then(|request| {
        check_version(&request.model.info.name, version.as_deref())?;
        Ok(request)
    });
    let mut work = Work::default();
    let answer = match resolved {
        Ok(request) => {
            work.model.clone_from(&request.model.info.name);
            run(&desk, &request, &head, &mut body, &mut work).await
        }
        Err(e) => Err(e),
    };
    told(answer.unwrap_or_else(IntoResponse::into_response), work)
}

async fn run(
    desk: &Desk,
    request: &InferRequest,
    head: &Parts,
    body: &mut Body,
    work: &mut Work,
) -> Result<Response, ApiError> {
    let passage = Passage {
        desk,
        request,
        head,
    };
    let (admitted, mut held) = passage.enter(body).await?;
    let (images, is_list) = classify::images(passage, &admitted, &mut held).await?;
    let answered = passage.classify(admitted, held, images, work).await?;
    let respond = Instant::now();
    let classifications = whole(answered.results)?;
    let labels = &request.model.info.labels;
    let answer = |classification| Answer {
        classification,
        labels,
    };
    let mut answers: Vec<Answer<'_>> = classifications.iter().map(answer).collect();
    let response = match is_list {
        true => Json(answers).into_response(),
        false => Json(answers.swap_remove(0)).into_response(),
    };
    passage.responded(answered.read, respond, work);
    Ok(response)
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
