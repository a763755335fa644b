//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, hands each image to `classifier`, and writes the answers in order.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::observe::ModelLabel;
use super::{ApiError, App, body, upload};
use crate::classifier::{
    Classification, Classifier, ClassifyOptions, Pending, Prediction, ServedModel, Timings,
};
use crate::preprocess::ExifMode;

/// Query parameters as they came; unknown ones are refused, so that a typo is not a silent default.
type Parameters = Vec<(String, String)>;

pub(super) async fn classify(
    State(app): State<Arc<App>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Result<Response, ApiError> {
    handle(&app, None, &parameters, request).await
}

pub(super) async fn classify_with(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Result<Response, ApiError> {
    handle(&app, Some(name), &parameters, request).await
}

async fn handle(
    app: &App,
    path_model: Option<String>,
    parameters: &Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let classifier = app.classifier()?;
    let (model, options) = resolve(classifier, path_model, parameters)?;
    // Before the body is read: a full queue should cost neither side the upload.
    let mut places = classifier.admit(1).map_err(ApiError::QueueFull)?;

    let start = Instant::now();
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body, &app.limits).await?;
    let upload = upload::parse(&head.headers, body, app.limits.max_images).await?;
    let read = start.elapsed();
    places.extend(
        classifier
            .admit(upload.images.len() - 1)
            .map_err(ApiError::QueueFull)?,
    );

    let submitted: Vec<Result<Pending, ApiError>> = upload
        .images
        .into_iter()
        .zip(places)
        .map(|(image, place)| Ok(classifier.submit(&model, image?, options, place)))
        .collect();
    let mut results = Vec::with_capacity(submitted.len());
    for pending in submitted {
        results.push(match pending {
            Ok(pending) => pending.wait().await.map_err(ApiError::from),
            Err(e) => Err(e),
        });
    }

    let respond = Instant::now();
    let name = &model.info.name;
    let mut response = if upload.is_list {
        let results = results.iter().map(ItemBody::new).collect();
        Json(ListBody {
            model: name,
            results,
        })
        .into_response()
    } else {
        let classification = results.remove(0)?;
        let mut response = Json(SingleBody {
            model: name,
            answer: AnswerBody::new(&classification),
        })
        .into_response();
        response
            .headers_mut()
            .insert(SERVER_TIMING, server_timing(read, &classification.timings));
        response
    };
    response.extensions_mut().insert(ModelLabel(name.clone()));
    let stages = &app.metrics.stage_duration;
    stages
        .with_label_values(&["read"])
        .observe(read.as_secs_f64());
    stages
        .with_label_values(&["respond"])
        .observe(respond.elapsed().as_secs_f64());
    Ok(response)
}

/// The model and the options that path and query ask for.
fn resolve(
    classifier: &Classifier,
    path_model: Option<String>,
    parameters: &Parameters,
) -> Result<(Arc<ServedModel>, ClassifyOptions), ApiError> {
    let mut name = path_model;
    let mut options = ClassifyOptions::default();
    let mut top_k = None;
    for (key, value) in parameters {
        let wrong = |allowed: &str| ApiError::BadQuery {
            name: key.chars().take(40).collect(),
            value: value.chars().take(80).collect(),
            allowed: allowed.into(),
        };
        match key.as_str() {
            "model" if name.as_ref().is_some_and(|n| n != value) => {
                return Err(wrong("one model a request"));
            }
            "model" => name = Some(value.clone()),
            "top_k" => top_k = Some(value),
            "exif" => {
                options.exif = match value.as_str() {
                    "auto" => ExifMode::Apply,
                    "ignore" => ExifMode::Ignore,
                    _ => return Err(wrong("auto and ignore")),
                }
            }
            _ => return Err(wrong("no such parameter: there are model, top_k and exif")),
        }
    }
    let model = classifier
        .model(name.as_deref())
        .ok_or_else(|| unknown_model(classifier, name.as_deref()))?;
    let classes = model.info.labels.len();
    match top_k {
        None => options.top_k = options.top_k.min(classes),
        Some(text) => {
            options.top_k = text
                .parse()
                .ok()
                .filter(|k| (1..=classes).contains(k))
                .ok_or_else(|| ApiError::BadQuery {
                    name: "top_k".into(),
                    value: text.chars().take(80).collect(),
                    allowed: format!("whole numbers from 1 to {classes}"),
                })?;
        }
    }
    Ok((Arc::clone(model), options))
}

pub(super) fn unknown_model(classifier: &Classifier, name: Option<&str>) -> ApiError {
    let served: Vec<&str> = classifier
        .models()
        .iter()
        .map(|m| m.info.name.as_str())
        .collect();
    ApiError::UnknownModel {
        name: name.unwrap_or_default().chars().take(80).collect(),
        served: served.join(", "),
    }
}

#[derive(Serialize)]
struct SingleBody<'a> {
    model: &'a str,
    #[serde(flatten)]
    answer: AnswerBody<'a>,
}

#[derive(Serialize)]
struct ListBody<'a> {
    model: &'a str,
    results: Vec<ItemBody<'a>>,
}

/// One image's place in a list: an answer or a problem.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemBody<'a> {
    Answer(AnswerBody<'a>),
    Problem(Box<super::error::Problem>),
}

impl<'a> ItemBody<'a> {
    fn new(result: &'a Result<Classification, ApiError>) -> ItemBody<'a> {
        match result {
            Ok(classification) => ItemBody::Answer(AnswerBody::new(classification)),
            Err(e) => {
                e.log();
                ItemBody::Problem(Box::new(e.problem()))
            }
        }
    }
}

/// One image's ranking as it goes over the wire, and as `resnet classify --json` prints it.
#[derive(Debug, Serialize)]
pub struct AnswerBody<'a> {
    predictions: Vec<PredictionBody<'a>>,
    image: ImageBody,
}

#[derive(Debug, Serialize)]
struct PredictionBody<'a> {
    class_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wnid: Option<&'a str>,
    label: &'a str,
    synset: &'a str,
    probability: f32,
}

#[derive(Debug, Serialize)]
struct ImageBody {
    format: &'static str,
    width: u32,
    height: u32,
}

impl<'a> AnswerBody<'a> {
    /// Borrows what is to be written.
    #[must_use]
    pub fn new(classification: &'a Classification) -> AnswerBody<'a> {
        let prediction = |p: &'a Prediction| PredictionBody {
            class_index: p.class_index,
            wnid: p.label.wnid.as_deref(),
            label: &p.label.label,
            synset: &p.label.synset,
            probability: p.probability,
        };
        let image = &classification.image;
        AnswerBody {
            predictions: classification.predictions.iter().map(prediction).collect(),
            image: ImageBody {
                format: image.format.name(),
                width: image.width,
                height: image.height,
            },
        }
    }
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where the time went, in milliseconds, as browsers and proxies show it (W3C Server Timing).
fn server_timing(read: std::time::Duration, timings: &Timings) -> HeaderValue {
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    let text = format!(
        "read;dur={:.2}, decode;dur={:.2}, preprocess;dur={:.2}, queue;dur={:.2}, infer;dur={:.2};desc=\"batch of {}\"",
        ms(read),
        ms(timings.decode),
        ms(timings.preprocess),
        ms(timings.queue),
        ms(timings.infer),
        timings.batch_size
    );
    HeaderValue::from_str(&text).expect("digits and punctuation")
}
