//! How much memory images can come to hold between their decoding and their answer.
//!
//! Asked by `Classifier::images_memory`, and by a command that starts no classifier.

use super::images_ahead;
use crate::batcher::BatchPolicy;
use crate::preprocess::most_under_way;
use crate::registry::LoadedModel;
use crate::tensor::Size;

/// What an image of a batch takes while a network computes it, in images of 32-bit floats: room for three of the
/// largest planes of a ResNet, 64 × 112 × 112 for an image of 3 × 224 × 224.
const VALUES_OF_IMAGE: u64 = 16;

/// The images of one model.
#[derive(Debug, Clone, Copy)]
pub struct ImageSize {
    /// Size of the network's input.
    size: Size,
}

impl ImageSize {
    /// The size of a loaded model's images.
    #[must_use]
    pub fn of(model: &LoadedModel) -> ImageSize {
        let spec = model.model.spec();
        ImageSize { size: spec.size }
    }

    fn values(self) -> u64 {
        self.size.values() as u64
    }

    /// Most bytes of an image that waits: a photo takes a quarter of them where the network takes bytes, but a client
    /// may send the 32-bit floats of its input itself.
    fn waiting(self) -> u64 {
        self.values() * 4
    }

    /// Bytes of an image in a batch that runs.
    fn running(self) -> u64 {
        self.values() * 4 * VALUES_OF_IMAGE
    }
}

/// Most bytes for images of whatever model that have been decoded, and for what the workers keep: each has an engine for
/// every model, and with it the memory of a batch. Images that wait to be decoded are bodies still.
#[must_use]
pub fn bound(models: &[ImageSize], queue_capacity: usize, batching: &BatchPolicy) -> u64 {
    let decoded = most_under_way(images_ahead(batching, models.len()));
    let waiting = decoded.min(queue_capacity) as u64;
    let batched = batching.workers.saturating_mul(batching.max_batch_size) as u64;
    let largest = models.iter().map(|m| m.waiting()).max().unwrap_or(0);
    let engines = models.iter().map(|m| batched.saturating_mul(m.running()));
    engines.fold(waiting.saturating_mul(largest), u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_images_are_of_one_model_and_workers_hold_every_models_batch() {
        let (small, large) = (
            Size::square(64),
            Size {
                height: 112,
                width: 448,
            },
        );
        let (small, large) = (ImageSize { size: small }, ImageSize { size: large });
        let batching = |max_batch_size| BatchPolicy {
            max_batch_size,
            max_queue_delay: Duration::ZERO,
            workers: 2,
        };
        let (none, eight) = (batching(0), batching(8));
        let values = |side: u64| 3 * side * side;
        assert_eq!(bound(&[small], 10, &none), 10 * values(64) * 4);
        assert_eq!(bound(&[small, large], 10, &none), 10 * values(224) * 4);
        let batches = |side| 16 * values(side) * 64;
        assert_eq!(bound(&[large], 0, &eight), batches(224));
        assert_eq!(
            bound(&[small, large, large], 0, &eight),
            batches(64) + 2 * batches(224)
        );
        // 16 × (1 + ln 16)
        assert_eq!(
            bound(&[small], usize::MAX, &eight),
            60 * values(64) * 4 + batches(64)
        );
        let endless = batching(usize::MAX);
        assert_eq!(bound(&[small], 10, &endless), u64::MAX);
    }
}
