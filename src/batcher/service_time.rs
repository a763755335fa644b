//! How long a model's images take, learnt from those that were served: decoding per image, running per batch and image.
//!
//! Kept by `backlog` for each lane. Contains no clock, channel or thread.

use std::time::{Duration, Instant};

/// Weight that an observation keeps when the next one comes: the last twenty or so decide.
const MEMORY: f64 = 0.95;

/// Time in which what was learnt loses two thirds of its weight: what took long while CPUs were short says little when
/// they are free again, and few images come in to correct it as long as it is believed.
const FADE: Duration = Duration::from_millis(500);

/// A batch's time counts as at most this many times, and at least this fraction, of what was expected: batches of one
/// size differ little, unless the process was stopped or the machine stolen, and that says nothing of the next batch. A
/// lasting change is followed all the same, by factors.
const OUTLIER: f64 = 8.0;

/// What one model costs, in seconds of one thread.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceTime {
    decode: Mean,
    run: LinearFit,
}

impl ServiceTime {
    /// An image has been decoded and resized in `time`, until `now`.
    pub(super) fn decoded(&mut self, time: Duration, now: Instant) {
        let kept = self.decode.age.step(now);
        self.decode.observe(time.as_secs_f64(), kept);
    }

    /// A batch of `images` has run for `time`, until `now`.
    pub(super) fn ran(&mut self, images: usize, time: Duration, now: Instant) {
        let images = images as f64;
        let (seconds, expected) = (time.as_secs_f64(), self.batch(images));
        let seconds = match expected > 0.0 {
            true => seconds.clamp(expected / OUTLIER, expected * OUTLIER),
            false => seconds,
        };
        let kept = self.run.age.step(now);
        self.run.observe(images, seconds, kept);
    }

    /// Seconds of one thread for decoding `images` images.
    pub(super) fn decode(&self, images: f64) -> f64 {
        self.decode.value * images
    }

    /// Seconds of one worker for one batch of `images`.
    pub(super) fn batch(&self, images: f64) -> f64 {
        let (per_batch, per_image) = self.run.fit();
        per_batch + per_image * images
    }

    /// Seconds of one worker for `images` images in batches of at most `max_batch_size`.
    pub(super) fn batches(&self, images: f64, max_batch_size: f64) -> f64 {
        let (per_batch, per_image) = self.run.fit();
        (images / max_batch_size).ceil() * per_batch + images * per_image
    }
}

/// When something was learnt last.
#[derive(Debug, Clone, Default)]
struct Age(Option<Instant>);

impl Age {
    /// The part of its weight that older knowledge keeps when something is learnt at `now`.
    fn step(&mut self, now: Instant) -> f64 {
        let last = self.0.replace(now).unwrap_or(now);
        let age = now.saturating_duration_since(last);
        MEMORY * (-age.as_secs_f64() / FADE.as_secs_f64()).exp()
    }
}

/// A mean in which older values count less and less.
#[derive(Debug, Clone, Default)]
struct Mean {
    age: Age,
    weight: f64,
    value: f64,
}

impl Mean {
    fn observe(&mut self, value: f64, kept: f64) {
        self.weight = self.weight * kept + 1.0;
        self.value += (value - self.value) / self.weight;
    }
}

/// The straight line y = a + b·x through observations, by least squares in which older ones count less and less.
#[derive(Debug, Clone, Default)]
struct LinearFit {
    age: Age,
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl LinearFit {
    fn observe(&mut self, x: f64, y: f64, kept: f64) {
        for (sum, new) in [
            (&mut self.weight, 1.0),
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
        ] {
            *sum = *sum * kept + new;
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

    /// Lessons that follow each other at once.
    struct Taught {
        time: ServiceTime,
        now: Instant,
    }

    impl Taught {
        fn new() -> Taught {
            Taught {
                time: ServiceTime::default(),
                now: Instant::now(),
            }
        }
        fn ran(&mut self, images: usize, time: Duration) {
            self.time.ran(images, time, self.now);
        }
        fn decoded(&mut self, time: Duration) {
            self.time.decoded(time, self.now);
        }
        fn batch(&self, images: f64) -> f64 {
            self.time.batch(images)
        }
    }

    fn millis(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    #[test]
    fn cost_per_batch_and_per_image_are_found() {
        let mut time = Taught::new();
        for i in 0..200 {
            let images = 1 + i % 8;
            time.ran(images, millis(10.0 + 30.0 * images as f64));
        }
        assert!((time.batch(1.0) - 0.040).abs() < 1e-6);
        assert!((time.batch(8.0) - 0.250).abs() < 1e-6);
        assert!((time.time.batches(20.0, 8.0) - 0.630).abs() < 1e-6);
    }

    #[test]
    fn batches_of_one_size_give_a_cost_per_image() {
        let mut time = Taught::new();
        (0..50).for_each(|_| time.ran(8, millis(240.0)));
        assert!((time.batch(4.0) - 0.120).abs() < 1e-9);
    }

    #[test]
    fn change_is_noticed_within_a_few_dozen_images() {
        let mut time = Taught::new();
        for _ in 0..500 {
            time.ran(1, millis(10.0));
            time.decoded(millis(2.0));
        }
        for _ in 0..40 {
            time.ran(1, millis(40.0));
            time.decoded(millis(6.0));
        }
        assert!(time.batch(1.0) > 0.034, "{}", time.batch(1.0));
        assert!(time.time.decode(1.0) > 0.005, "{}", time.time.decode(1.0));
    }

    #[test]
    fn stopped_process_is_forgotten_soon_and_a_slower_machine_is_not() {
        let mut time = Taught::new();
        (0..50).for_each(|_| time.ran(1, millis(5.0)));
        time.ran(1, millis(10_000.0));
        assert!(time.batch(1.0) < 0.008, "{}", time.batch(1.0));
        (0..60).for_each(|_| time.ran(1, millis(500.0)));
        assert!(time.batch(1.0) > 0.4, "{}", time.batch(1.0));
    }

    #[test]
    fn old_lessons_give_way_to_one_new_one() {
        let mut time = Taught::new();
        for _ in 0..100 {
            time.ran(1, millis(40.0));
            time.decoded(millis(400.0));
        }
        time.now += Duration::from_secs(2);
        time.ran(1, millis(6.0));
        time.decoded(millis(3.0));
        assert!(time.batch(1.0) < 0.020, "{}", time.batch(1.0));
        assert!(time.time.decode(1.0) < 0.120, "{}", time.time.decode(1.0));
        time.decoded(millis(3.0));
        time.decoded(millis(3.0));
        assert!(time.time.decode(1.0) < 0.060, "{}", time.time.decode(1.0));
    }

    #[test]
    fn nothing_known_costs_nothing_and_no_cost_is_negative() {
        let mut time = Taught::new();
        assert_eq!(time.time.batches(10.0, 8.0) + time.time.decode(3.0), 0.0);
        // Larger batches that were faster: a burst of noise.
        time.ran(1, millis(50.0));
        time.ran(8, millis(20.0));
        assert!(time.batch(0.0) >= 0.0 && time.batch(100.0) >= 0.0);
        assert!(time.batch(100.0).is_finite());
    }
}
