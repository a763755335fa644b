//! What a model's requests have come to so far, as the Open Inference Protocol tells it.
//!
//! Kept with each served model; told by `desk` of each request, whatever protocol brought it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Timings;

/// How often something was done, and how long that took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// How many times it was done.
    pub count: u64,
    /// The time of all these times together.
    pub time: Duration,
}

impl Total {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time = self.time.saturating_add(time);
    }
}

/// The counts and times of a model's requests until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// When the last request was answered.
    pub last: Option<SystemTime>,
    /// Images that were answered.
    pub images: u64,
    /// Requests that were answered, from their place in the queue to their answer.
    pub success: Total,
    /// Requests that had a place in the queue and were not answered.
    pub fail: Total,
    /// Of the requests that were answered: waiting for a thread and a worker; of several images the longest, here and
    /// below.
    pub queue: Total,
    /// Decoding, resizing and normalizing.
    pub input: Total,
    /// The run of the batch.
    pub infer: Total,
    /// Ranking.
    pub output: Total,
}

/// Counts a model's requests.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<Served>);

impl Statistics {
    /// The counts and times until now.
    #[must_use]
    pub fn read(&self) -> Served {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of so many images was answered in `time`; these are its stages.
    pub fn answered(&self, images: usize, time: Duration, stages: &Timings) {
        let mut served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        served.last = Some(SystemTime::now());
        served.images += images as u64;
        served.success.add(time);
        served.queue.add(stages.queue);
        served.input.add(stages.decode + stages.preprocess);
        served.infer.add(stages.infer);
        served.output.add(stages.postprocess);
    }

    /// A request failed after `time`.
    pub fn failed(&self, time: Duration) {
        let mut served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        served.fail.add(time);
    }
}
