//! An image on its way, as seen by who waits for it.
//!
//! Made by `Classifier::submit`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::image_task::Prepared;
use super::{
    Began, Classification, ClassifyError, ClassifyOptions, Prediction, ServedModel, Timings,
};
use crate::batcher::{BatchAnswer, BatchError};
use crate::metrics::Metrics;
use crate::postprocess::{Certainty, Ranked, bound_below, check_finite, rank, softmax};
use crate::registry::OutputKind;

/// An image on its way; its work is dropped if this is.
#[derive(Debug)]
pub struct Pending {
    pub(super) model: Arc<ServedModel>,
    pub(super) options: ClassifyOptions,
    pub(super) prepared: oneshot::Receiver<Result<Prepared, ClassifyError>>,
    pub(super) answer: oneshot::Receiver<Result<BatchAnswer, BatchError>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ClassifyError`]: this image's alone.
    pub async fn wait(self) -> Result<Classification, ClassifyError> {
        // A sender is only lost when its thread panicked: during shutdown what was accepted still runs.
        let prepared = self
            .prepared
            .await
            .map_err(|_| ClassifyError::DecodePanicked)??;
        let mut answer = self.answer.await.map_err(|_| ClassifyError::WorkerDied)??;
        let start = Instant::now();
        let info = &self.model.info;
        if info.output != OutputKind::Probabilities {
            bound_below(&mut answer.output);
        }
        let finite = check_finite(&answer.output).and_then(|()| answer.further.check_finite());
        finite.map_err(|e| match prepared.image {
            Some(_) => ClassifyError::Output(e),
            None => ClassifyError::Values(e),
        })?;
        let probabilities: Cow<'_, [f32]> = match info.output {
            OutputKind::Logits => softmax(&answer.output).into(),
            OutputKind::Probabilities | OutputKind::Scores => (&answer.output).into(),
        };
        let ranked = rank(&answer.output, &probabilities, self.options.top_k);
        if let Some(winner) = ranked.first() {
            self.model.recent_classes.count(winner.class_index, start);
        }
        if info.output != OutputKind::Scores
            && let Some(certainty) = Certainty::of(&probabilities)
        {
            observe(certainty, &self.metrics, &info.name);
        }
        let name = |Ranked {
                        class_index,
                        probability,
                    }: Ranked| {
            let label = info
                .labels
                .get(class_index)
                .expect("a loaded model has a label a class")
                .clone();
            Prediction {
                class_index,
                probability,
                label,
            }
        };
        let predictions = ranked.into_iter().map(name).collect();
        let began = Began {
            submitted: prepared.submitted,
            decode: prepared.began,
            queue: prepared.arrived,
            infer: answer.began,
        };
        let timings = Timings {
            decode: prepared.decode,
            preprocess: prepared.preprocess,
            queue: began.waited_to_decode() + began.waited_to_infer(),
            infer: answer.infer,
            postprocess: start.elapsed(),
            batch_size: answer.batch_size,
        };
        timings.observe(&self.metrics, &info.name);
        Ok(Classification {
            predictions,
            kind: info.output,
            image: prepared.image,
            output: answer.output,
            further: answer.further,
            began,
            timings,
        })
    }
}

/// Counts how sure a model's network was.
fn observe(certainty: Certainty, metrics: &Metrics, model: &str) {
    for (histogram, value) in [
        (&metrics.top1_probability, certainty.top1),
        (&metrics.top1_margin, certainty.margin),
        (&metrics.prediction_entropy, certainty.entropy),
    ] {
        let histogram = histogram.with_label_values(&[model]);
        histogram.observe(value.into());
    }
}
