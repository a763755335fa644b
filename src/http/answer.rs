//! What an answer looks like on the wire: a ranking, or a list of rankings and problems.
//!
//! Called by `classify` with what the classifier found; `resnet classify --json` prints the same.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::{ApiError, Problem};
use crate::classifier::{Classification, Prediction, Timings};
use crate::registry::OutputKind;

/// The answer for one image, whose body took so long to arrive.
pub(super) fn single(model: &str, classification: &Classification, read: Duration) -> Response {
    let answer = AnswerBody::new(classification);
    let mut response = Json(SingleBody { model, answer }).into_response();
    let timing = server_timing(read, &classification.timings);
    response.headers_mut().insert(SERVER_TIMING, timing);
    response
}

/// The answer for several images, in their order.
pub(super) fn list(model: &str, results: &[Result<Classification, ApiError>]) -> Response {
    let results = results.iter().enumerate().map(ItemBody::new).collect();
    Json(ListBody { model, results }).into_response()
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
    Problem(Box<Problem>),
}

impl<'a> ItemBody<'a> {
    fn new((index, result): (usize, &'a Result<Classification, ApiError>)) -> ItemBody<'a> {
        match result {
            Ok(classification) => ItemBody::Answer(AnswerBody::new(classification)),
            Err(e) => {
                e.log_item(index);
                ItemBody::Problem(Box::new(e.problem()))
            }
        }
    }
}

/// One image's ranking as it goes over the wire, and as `resnet classify --json` prints it.
#[derive(Debug, Serialize)]
pub struct AnswerBody<'a> {
    predictions: Vec<PredictionBody<'a>>,
    output_kind: OutputKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageBody>,
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
        let image = classification.image.as_ref().map(|image| ImageBody {
            format: image.format.name(),
            width: image.width,
            height: image.height,
        });
        AnswerBody {
            predictions: classification.predictions.iter().map(prediction).collect(),
            output_kind: classification.kind,
            image,
        }
    }
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where the time went, in milliseconds, as browsers and proxies show it (W3C Server Timing).
fn server_timing(read: Duration, timings: &Timings) -> HeaderValue {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
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
