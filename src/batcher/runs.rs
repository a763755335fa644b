//! How often batches of each size were run, and how long that took.
//!
//! Counted by `worker`, one a lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The runs of batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Images in each.
    pub batch_size: usize,
    /// Times.
    pub count: u64,
    /// All of them together.
    pub time: Duration,
}

/// Counts a lane's runs, of a model that is taken over those of its lane before too; there are as many sizes as a batch
/// may have images.
#[derive(Debug, Clone, Default)]
pub struct RunCounter(Arc<Mutex<BTreeMap<usize, (u64, Duration)>>>);

impl RunCounter {
    pub(super) fn ran(&self, batch_size: usize, time: Duration) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, all) = sizes.entry(batch_size).or_default();
        *count += 1;
        *all = all.saturating_add(time);
    }

    /// Those so far, the smallest batch first.
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
