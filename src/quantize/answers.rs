//! What a model answers to the photos: the class of each.
//!
//! Called by `mod` for the model before and for every attempt after.

use std::time::{Duration, Instant};

use super::{Job, Photo, QuantizeError};
use crate::eval::Proportion;
use crate::postprocess::largest;
use crate::registry::LoadedModel;
use crate::tensor::Tensor;

/// The most probable class of each photo; none where the photo cannot be read, which then counts nowhere.
pub(super) struct Answers {
    classes: Vec<Option<usize>>,
    truth: Vec<Option<usize>>,
    /// The least time that the network took for a photo.
    pub(super) least: Duration,
    /// Why the first photo without an answer has none.
    pub(super) first_unread: Option<String>,
}

/// The answers that one thread has computed.
struct Part {
    classes: Vec<Option<usize>>,
    least: Duration,
    first_unread: Option<String>,
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
        let part = |photos: &[Photo]| -> Result<Part, QuantizeError> {
            let mut engine = model.model.spawn().map_err(fails)?;
            let mut part = Part {
                classes: Vec::with_capacity(photos.len()),
                least: Duration::MAX,
                first_unread: None,
            };
            for photo in photos {
                let class = match image(photo) {
                    Ok(tensor) => {
                        let start = Instant::now();
                        let output = engine.run(&[tensor.into()]).map_err(fails)?.remove(0);
                        part.least = part.least.min(start.elapsed());
                        largest(&output)
                    }
                    Err(error) => {
                        let named = || format!("{}: {error}", photo.path.display());
                        part.first_unread.get_or_insert_with(named);
                        None
                    }
                };
                part.classes.push(class);
                (job.step)();
            }
            Ok(part)
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
        let least = parts.iter().map(|p| p.least).min();
        Ok(Answers {
            truth: job.photos.iter().map(|photo| photo.class_index).collect(),
            least: least.unwrap_or(Duration::MAX),
            first_unread: parts.iter().find_map(|p| p.first_unread.clone()),
            classes: parts.into_iter().flat_map(|p| p.classes).collect(),
        })
    }

    /// Photos that have an answer.
    pub(super) fn photos(&self) -> usize {
        self.classes.iter().flatten().count()
    }

    /// Photos whose class is the right one; none if no class is known.
    pub(super) fn top1(&self) -> Option<Proportion> {
        self.truth.first()?.as_ref()?;
        let pairs = self.classes.iter().zip(&self.truth);
        let right = pairs.filter(|(class, truth)| class.is_some() && class == truth);
        Some(Proportion::of(right.count(), self.photos()))
    }

    /// Photos with the same class as in `before`.
    pub(super) fn agreement(&self, before: &Answers) -> Proportion {
        let pairs = self.classes.iter().zip(&before.classes);
        let same = pairs.filter(|(a, b)| a.is_some() && a == b);
        Proportion::of(same.count(), self.photos())
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
