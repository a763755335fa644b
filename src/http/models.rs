//! `GET /models` and `GET /models/{name}`: what is served, with digest, input and classes.
//!
//! `resnet show --json` prints the same of a model.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde::Serialize;

use super::error::ApiError;
use crate::desk::Desk;
use crate::preprocess::PreprocessSpec;
use crate::registry::{Label, LoadedModel, OutputKind};

#[derive(Serialize)]
struct ListBody<'a> {
    default: &'a str,
    models: Vec<ModelBody<'a>>,
}

/// One model as it goes over the wire, and as `resnet show --json` prints it.
#[derive(Debug, Serialize)]
pub struct ModelBody<'a> {
    name: &'a str,
    sha256: &'a str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    input: InputBody<'a>,
    preprocess: &'a PreprocessSpec,
    output: OutputBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<FeaturesBody>,
    runtime: &'a str,
    precision: &'static str,
    precision_reason: &'a str,
    instructions: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<ClassBody<'a>>>,
}

#[derive(Debug, Serialize)]
struct InputBody<'a> {
    name: &'a str,
    /// The batch dimension is any: -1, as the Open Inference Protocol writes it.
    shape: [i64; 4],
    datatype: &'static str,
}

#[derive(Debug, Serialize)]
struct OutputBody<'a> {
    name: &'a str,
    kind: OutputKind,
    classes: usize,
}

/// Extents of the last feature map of a model that has explanations and embeddings.
#[derive(Debug, Serialize)]
struct FeaturesBody {
    channels: usize,
    height: usize,
    width: usize,
}

#[derive(Debug, Serialize)]
struct ClassBody<'a> {
    class_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wnid: Option<&'a str>,
    label: &'a str,
    synset: &'a str,
}

impl<'a> ModelBody<'a> {
    /// Borrows what is to be written; without the classes.
    #[must_use]
    pub fn new(info: &'a LoadedModel) -> ModelBody<'a> {
        let spec = info.model.spec();
        ModelBody {
            name: &info.name,
            sha256: &info.sha256,
            bytes: info.bytes,
            license: info.license.as_deref(),
            input: InputBody {
                name: &spec.input_name,
                shape: [-1, 3, spec.size.height.into(), spec.size.width.into()],
                datatype: "FP32",
            },
            preprocess: &info.preprocess,
            output: OutputBody {
                name: spec.output_name(),
                kind: info.output,
                classes: spec.classes(),
            },
            features: spec.features.map(|map| FeaturesBody {
                channels: map.channels,
                height: map.height,
                width: map.width,
            }),
            runtime: &spec.runtime,
            precision: spec.precision.name(),
            precision_reason: &spec.precision_reason,
            instructions: &spec.instructions,
            classes: None,
        }
    }

    /// With its classes.
    #[must_use]
    pub fn with_classes(info: &'a LoadedModel) -> ModelBody<'a> {
        let class = |(class_index, label): (usize, &'a Label)| ClassBody {
            class_index,
            wnid: label.wnid.as_deref(),
            label: &label.label,
            synset: &label.synset,
        };
        ModelBody {
            classes: Some(info.labels.iter().enumerate().map(class).collect()),
            ..ModelBody::new(info)
        }
    }
}

pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<impl IntoResponse, ApiError> {
    let classifier = desk.classifier()?;
    let (models, default) = (classifier.models(), classifier.model(None, None));
    let body = ListBody {
        default: default.map_or("", |model| &model.info.name),
        models: models.iter().map(|m| ModelBody::new(&m.info)).collect(),
    };
    Ok(Json(body).into_response())
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let classifier = desk.classifier()?;
    let Path(name) = name.map_err(|_| ApiError::BadUrl)?;
    let model = &desk.model(&classifier, Some(&name), None)?;
    Ok(Json(ModelBody::with_classes(&model.info)).into_response())
}
