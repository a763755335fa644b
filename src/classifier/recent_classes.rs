//! Which classes a model's images have got within the last hour.
//!
//! Counted by `Pending::wait`, read at each scrape of the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts are kept for each of so many parts of an hour; the oldest part is forgotten as a whole.
const PARTS: usize = 12;

/// Length of one part.
const PART: Duration = Duration::from_secs(3600 / PARTS as u64);

/// Images of the last hour, or up to a twelfth less, by the class that came first.
#[derive(Debug)]
pub struct RecentClasses {
    classes: usize,
    began: Instant,
    counts: Mutex<Counts>,
}

/// Rings of counts, one after the other: that of part `n` of the time is at `n % PARTS`.
#[derive(Debug)]
struct Counts {
    newest: usize,
    parts: Vec<Vec<u32>>,
}

/// The most frequent classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequent {
    /// Class and images, most frequent first, then by class; none without images.
    pub classes: Vec<(usize, u64)>,
    /// Images of all other classes.
    pub others: u64,
}

impl RecentClasses {
    /// Empty counts for a model with so many classes.
    pub(super) fn of(classes: usize) -> Arc<RecentClasses> {
        Arc::new(RecentClasses {
            classes,
            began: Instant::now(),
            counts: Mutex::new(Counts {
                newest: 0,
                parts: vec![vec![0; classes]; PARTS],
            }),
        })
    }

    /// Counts an image that got this class.
    pub(super) fn count(&self, class: usize, now: Instant) {
        self.at(now, |counts| {
            let part = counts.newest % PARTS;
            if let Some(count) = counts.parts[part].get_mut(class) {
                *count = count.saturating_add(1);
            }
        });
    }

    /// The `most` most frequent classes.
    #[must_use]
    pub fn frequent(&self, most: usize, now: Instant) -> Frequent {
        let sums: Vec<u64> = self.at(now, |counts| {
            let of = |class: usize| counts.parts.iter().map(|part| u64::from(part[class])).sum();
            (0..self.classes).map(of).collect()
        });
        let all: u64 = sums.iter().sum();
        let mut classes: Vec<(usize, u64)> = sums.into_iter().enumerate().collect();
        classes.retain(|(_, images)| *images > 0);
        classes.sort_by_key(|(class, images)| (std::cmp::Reverse(*images), *class));
        classes.truncate(most);
        let told: u64 = classes.iter().map(|(_, images)| images).sum();
        Frequent {
            classes,
            others: all - told,
        }
    }

    /// The counts, without those that are too old.
    fn at<T>(&self, now: Instant, of: impl FnOnce(&mut Counts) -> T) -> T {
        let since = now.saturating_duration_since(self.began);
        let part = usize::try_from(since.as_secs() / PART.as_secs()).unwrap_or(usize::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for past in (counts.newest + 1..=part).rev().take(PARTS) {
            counts.parts[past % PARTS].fill(0);
        }
        counts.newest = counts.newest.max(part);
        of(&mut counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_forgotten_after_an_hour() {
        let recent = RecentClasses::of(4);
        let at = |minutes: u64| recent.began + Duration::from_secs(60 * minutes);
        for (class, minutes) in [(2, 0), (2, 1), (0, 4), (1, 30), (1, 31), (1, 59), (3, 59)] {
            recent.count(class, at(minutes));
        }
        let frequent = |most, minutes| {
            let Frequent { classes, others } = recent.frequent(most, at(minutes));
            (classes, others)
        };
        assert_eq!(frequent(9, 59), (vec![(1, 3), (2, 2), (0, 1), (3, 1)], 0));
        assert_eq!(frequent(2, 59), (vec![(1, 3), (2, 2)], 2));
        assert_eq!(frequent(2, 60), (vec![(1, 3), (3, 1)], 0));
        assert_eq!(frequent(2, 100), (vec![(1, 1), (3, 1)], 0));
        // Asked by a clock that is behind.
        assert_eq!(frequent(2, 0), (vec![(1, 1), (3, 1)], 0));
        assert_eq!(frequent(2, 1_000_000), (vec![], 0));
        recent.count(0, at(1_000_001));
        recent.count(9, at(1_000_001));
        assert_eq!(frequent(2, 1_000_002), (vec![(0, 1)], 0));
    }
}
