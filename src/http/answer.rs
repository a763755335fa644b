//! What an answer looks like on the wire: a ranking, or a list of rankings and problems.
//!
//! Called by `classify` with what the classifier found; `resnet classify --json` prints the same.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::access::ms;
use super::error::{ApiError, Problem};
use super::wishes::Embedding;
use crate::classifier::{Classification, Prediction, Timings};
use crate::preprocess::Rectangle;
use crate::registry::{LoadedModel, OutputKind};

/// Writes the answers of a model.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) model: &'a LoadedModel,
    /// How an embedding is written.
    pub(super) embedding: Embedding,
    /// How long the body took to arrive, where the answer says how long everything took.
    pub(super) timed: Option<Duration>,
}

impl<'a> Writer<'a> {
    /// The answer for one image.
    pub(super) fn single(self, classification: &'a Classification) -> Response {
        let answer = self.body(classification);
        let model = &self.model.name;
        Json(SingleBody { model, answer }).into_response()
    }

    /// The answer for several images, in their order.
    pub(super) fn list(self, results: &'a [Result<Classification, ApiError>]) -> Response {
        let item = |(index, result)| ItemBody::new(self, index, result);
        let results = results.iter().enumerate().map(item).collect();
        let model = &self.model.name;
        Json(ListBody { model, results }).into_response()
    }

    fn body(self, classification: &'a Classification) -> AnswerBody<'a> {
        let further = &classification.further;
        let embedding = further.features.as_deref();
        AnswerBody {
            explanation: ExplanationBody::new(self.model, classification),
            embedding: embedding.map(|features| match self.embedding {
                Embedding::Normalized => Cow::Owned(normalized(features)),
                Embedding::Plain | Embedding::None => Cow::Borrowed(features),
            }),
            timing: self
                .timed
                .map(|read| TimingBody::new(read, &classification.timings)),
            ..AnswerBody::new(classification)
        }
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
    Answer(Box<AnswerBody<'a>>),
    Problem(Box<Problem>),
}

impl<'a> ItemBody<'a> {
    fn new(
        writer: Writer<'a>,
        index: usize,
        result: &'a Result<Classification, ApiError>,
    ) -> ItemBody<'a> {
        match result {
            Ok(classification) => ItemBody::Answer(Box::new(writer.body(classification))),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<ExplanationBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Cow<'a, [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<TimingBody>,
}

/// Where the time of one image went, in milliseconds; the stages of the metrics.
#[derive(Debug, Serialize)]
struct TimingBody {
    /// The time that the whole body took to arrive.
    read_ms: f64,
    decode_ms: f64,
    preprocess_ms: f64,
    queue_ms: f64,
    infer_ms: f64,
    batch_size: usize,
}

impl TimingBody {
    fn new(read: Duration, timings: &Timings) -> TimingBody {
        TimingBody {
            read_ms: ms(read),
            decode_ms: ms(timings.decode),
            preprocess_ms: ms(timings.preprocess),
            queue_ms: ms(timings.queue),
            infer_ms: ms(timings.infer),
            batch_size: timings.batch_size,
        }
    }
}

/// Where the network saw a class.
#[derive(Debug, Serialize)]
struct ExplanationBody<'a> {
    method: &'static str,
    class_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wnid: Option<&'a str>,
    label: &'a str,
    synset: &'a str,
    /// The rows of the map, from the top.
    map: Vec<&'a [f32]>,
    /// The rectangle of the upright photo that the map covers.
    rectangle: Rectangle,
}

impl<'a> ExplanationBody<'a> {
    fn new(
        model: &'a LoadedModel,
        classification: &'a Classification,
    ) -> Option<ExplanationBody<'a>> {
        let activation = classification.further.activation.as_ref()?;
        let image = classification.image?;
        let label = model.labels.get(activation.class)?;
        Some(ExplanationBody {
            method: "cam",
            class_index: activation.class,
            wnid: label.wnid.as_deref(),
            label: &label.label,
            synset: &label.synset,
            map: activation.rows().collect(),
            rectangle: model.preprocess.seen(image.width, image.height),
        })
    }
}

/// The features scaled to length one; zeros alone stay zeros.
fn normalized(features: &[f32]) -> Vec<f32> {
    let squares: f64 = features.iter().map(|x| f64::from(*x).powi(2)).sum();
    let length = squares.sqrt();
    let divisor = if length > 0.0 { length } else { 1.0 };
    let unit = |x: &f32| (f64::from(*x) / divisor) as f32;
    features.iter().map(unit).collect()
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
    /// Borrows what is to be written of the classes.
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
            explanation: None,
            embedding: None,
            timing: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_features_have_length_one_however_large_they_are() {
        assert_eq!(normalized(&[3.0, -4.0]), [0.6, -0.8]);
        assert_eq!(normalized(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(normalized(&[3e38, 0.0]), [1.0, 0.0]);
        assert_eq!(normalized(&[1e-38, 0.0]), [1.0, 0.0]);
    }
}
