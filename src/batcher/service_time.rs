//! How long a model's images take, learnt from those that were served: decoding per image, running per batch and image.
//!
//! Kept by `admission` for each lane. Contains no clock, channel or thread.

use std::time::Duration;

/// Weight that an observation keeps when the next one comes: the last twenty or so decide.
const MEMORY: f64 = 0.95;

/// A batch's time counts as at most this many times, and at least this fraction, of what was expected: batches of one
/// size differ little, unless the process was stopped or the machine stolen, and that says nothing of the next batch. A
/// lasting change is followed all the same, by factors.
const OUTLIER: f64 = 8.0;

/// What one model costs, in seconds of one thread.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceTime {
    decode: Mean,
    run: Line,
}

impl ServiceTime {
    /// An image has been decoded and resized in `time`.
    pub(super) fn decoded(&mut self, time: Duration) {
        self.decode.observe(time.as_secs_f64());
    }

    /// A batch of `images` has run for `time`.
    pub(super) fn ran(&mut self, images: usize, time: Duration) {
        let images = images as f64;
        let (seconds, expected) = (time.as_secs_f64(), self.batch(images));
        let seconds = match expected > 0.0 {
            true => seconds.clamp(expected / OUTLIER, expected * OUTLIER),
            false => seconds,
        };
        self.run.observe(images, seconds);
    }

    /// Decoding `images` images.
    pub(super) fn decode(&self, images: f64) -> f64 {
        self.decode.value * images
    }

    /// One batch of `images`.
    pub(super) fn batch(&self, images: f64) -> f64 {
        let (per_batch, per_image) = self.run.fit();
        per_batch + per_image * images
    }

    /// `images` images in batches of at most `max_batch_size`.
    pub(super) fn batches(&self, images: f64, max_batch_size: f64) -> f64 {
        let (per_batch, per_image) = self.run.fit();
        (images / max_batch_size).ceil() * per_batch + images * per_image
    }
}

/// A mean in which older values count less and less.
#[derive(Debug, Clone, Default)]
struct Mean {
    weight: f64,
    value: f64,
}

impl Mean {
    fn observe(&mut self, value: f64) {
        self.weight = self.weight * MEMORY + 1.0;
        self.value += (value - self.value) / self.weight;
    }
}

/// The straight line y = a + b·x through observations, by least squares in which older ones count less and less.
#[derive(Debug, Clone, Default)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn observe(&mut self, x: f64, y: f64) {
        for (sum, new) in [
            (&mut self.weight, 1.0),
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
        ] {
            *sum = *sum * MEMORY + new;
        }
    }

    /// `a` and `b`, neither below zero; while all `x` are about the same, a line through the origin.
    fn fit(&self) -> (f64, f64) {
        if self.weight == 0.0 {
            return (0.0, 0.0);
        }
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        let variance = self.xx / self.weight - x * x;
        let through_origin = (0.0, y / x);
        if variance < 0.05 * x * x {
            return through_origin;
        }
        let b = (self.xy / self.weight - x * y) / variance;
        let a = y - b * x;
        match (a < 0.0, b < 0.0) {
            (true, _) => through_origin,
            (_, true) => (y, 0.0),
            _ => (a, b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    #[test]
    fn cost_per_batch_and_per_image_are_found() {
        let mut time = ServiceTime::default();
        for i in 0..200 {
            let images = 1 + i % 8;
            time.ran(images, millis(10.0 + 30.0 * images as f64));
        }
        assert!((time.batch(1.0) - 0.040).abs() < 1e-6);
        assert!((time.batch(8.0) - 0.250).abs() < 1e-6);
        assert!((time.batches(20.0, 8.0) - 0.630).abs() < 1e-6);
    }

    #[test]
    fn batches_of_one_size_give_a_cost_per_image() {
        let mut time = ServiceTime::default();
        (0..50).for_each(|_| time.ran(8, millis(240.0)));
        assert!((time.batch(4.0) - 0.120).abs() < 1e-9);
    }

    #[test]
    fn change_is_noticed_within_a_few_dozen_images() {
        let mut time = ServiceTime::default();
        for _ in 0..500 {
            time.ran(1, millis(10.0));
            time.decoded(millis(2.0));
        }
        for _ in 0..40 {
            time.ran(1, millis(40.0));
            time.decoded(millis(6.0));
        }
        assert!(time.batch(1.0) > 0.034, "{}", time.batch(1.0));
        assert!(time.decode(1.0) > 0.005, "{}", time.decode(1.0));
    }

    #[test]
    fn stopped_process_is_forgotten_soon_and_a_slower_machine_is_not() {
        let mut time = ServiceTime::default();
        (0..50).for_each(|_| time.ran(1, millis(5.0)));
        time.ran(1, millis(10_000.0));
        assert!(time.batch(1.0) < 0.008, "{}", time.batch(1.0));
        (0..60).for_each(|_| time.ran(1, millis(500.0)));
        assert!(time.batch(1.0) > 0.4, "{}", time.batch(1.0));
    }

    #[test]
    fn nothing_known_costs_nothing_and_no_cost_is_negative() {
        let mut time = ServiceTime::default();
        assert_eq!(time.batches(10.0, 8.0) + time.decode(3.0), 0.0);
        // Larger batches that were faster: a burst of noise.
        time.ran(1, millis(50.0));
        time.ran(8, millis(20.0));
        assert!(time.batch(0.0) >= 0.0 && time.batch(100.0) >= 0.0);
        assert!(time.batch(100.0).is_finite());
    }
}
