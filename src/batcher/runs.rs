//! How often batches of each size were run, and how long that took.
//!
//! Counted by `worker`, one a lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The runs of batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Images in each batch.
    pub batch_size: usize,
    /// How many batches were run.
    pub count: u64,
    /// Time of all these batches together.
    pub time: Duration,
}

/// Counts the runs of a lane's batches. A model that is served on keeps the counter of its lane before. There are as
/// many sizes as a batch may have images.
#[derive(Debug, Clone, Default)]
pub struct RunCounter(Arc<Mutex<BTreeMap<usize, (u64, Duration)>>>);

impl RunCounter {
    pub(super) fn ran(&self, batch_size: usize, time: Duration) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, all) = sizes.entry(batch_size).or_default();
        *count += 1;
        *all = all.saturating_add(time);
    }

    /// The runs so far by the size of their batch, the smallest first.
    pub(super) fn read(&self) -> Vec<Runs> {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = |(&batch_size, &(count, time)): (&usize, &(u64, Duration))| Runs {
            batch_size,
            count,
            time,
        };
        sizes.iter().map(runs).collect()
    }
}
