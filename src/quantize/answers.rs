//! What a model answers to the photos: the class of each.
//!
//! Called by `mod` for the model before and for every attempt after.

use super::{Job, Photo, QuantizeError, share};
use crate::eval::Proportion;
use crate::registry::LoadedModel;
use crate::tensor::Tensor;

/// The most probable class of each photo; none where the photo has no answer.
pub(super) struct Answers {
    classes: Vec<Option<usize>>,
    truth: Vec<Option<usize>>,
}

impl Answers {
    /// Computes all photos, a part on each thread.
    ///
    /// # Errors
    /// [`QuantizeError::Run`] if the network fails.
    pub(super) fn of(
        model: &LoadedModel,
        job: &Job<'_>,
        image: &(dyn Fn(&Photo) -> Result<Tensor, String> + Sync),
    ) -> Result<Answers, QuantizeError> {
        let fails = |e: crate::engine::EngineError| QuantizeError::Run(e.to_string());
        let part = |photos: &[Photo]| -> Result<Vec<Option<usize>>, QuantizeError> {
            let mut engine = model.model.spawn().map_err(fails)?;
            let class = |photo: &Photo| {
                // What cannot be read was said when values were looked at, or counts as wrong both times.
                let class = match image(photo) {
                    Ok(tensor) => {
                        let output = engine.run(&[tensor.into()]).map_err(fails)?.remove(0);
                        largest(&output)
                    }
                    Err(_) => None,
                };
                (job.step)();
                Ok(class)
            };
            photos.iter().map(class).collect()
        };
        let threads = job.options.threads_per_worker.max(1);
        let each = job.photos.len().div_ceil(threads).max(1);
        let parts = std::thread::scope(|scope| {
            let parts = job
                .photos
                .chunks(each)
                .map(|photos| scope.spawn(move || part(photos)));
            let parts: Vec<_> = parts.collect();
            let stopped = || QuantizeError::Run("a thread stopped".into());
            let parts = parts.into_iter().map(|p| p.join().map_err(|_| stopped())?);
            parts.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Answers {
            classes: parts.concat(),
            truth: job.photos.iter().map(|photo| photo.class_index).collect(),
        })
    }

    /// Photos whose class is the right one; none if no class is known.
    pub(super) fn top1(&self) -> Option<Proportion> {
        self.truth.first()?.as_ref()?;
        let pairs = self.classes.iter().zip(&self.truth);
        let right = pairs
            .filter(|(class, truth)| class.is_some() && class == truth)
            .count();
        Some(share(right, self.classes.len()))
    }

    /// Photos with the same class as before.
    pub(super) fn agreement(&self, before: &Answers) -> Proportion {
        let pairs = self.classes.iter().zip(&before.classes);
        share(pairs.filter(|(a, b)| a == b).count(), self.classes.len())
    }

    /// Points of accuracy that are lost, or of agreement if no class is known.
    pub(super) fn lost(&self, before: &Answers) -> f64 {
        let points = match (before.top1(), self.top1()) {
            (Some(before), Some(after)) => before.accuracy - after.accuracy,
            _ => 1.0 - self.agreement(before).accuracy,
        };
        100.0 * points
    }
}

/// Index of the largest value, the first of equal ones.
fn largest(output: &[f32]) -> Option<usize> {
    (0..output.len()).reduce(|best, i| if output[i] > output[best] { i } else { best })
}
