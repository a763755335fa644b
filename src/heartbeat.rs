//! Since when a thread has been at one piece of work, so that a thread that is stuck can be told from one that is busy.
//!
//! Each thread of a pool beats its own [`Heartbeat`]; the pool's owner looks at the longest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The heartbeat of one thread: since when it has been at its piece of work.
#[derive(Debug)]
pub struct Heartbeat {
    made: Instant,
    /// Nanoseconds from `made` to the start of the work at hand, plus one; 0 while there is none.
    began: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            made: Instant::now(),
            began: AtomicU64::new(0),
        }
    }
}

impl Heartbeat {
    /// A piece of work begins; it ends when the guard is dropped, by a panic too.
    #[must_use]
    pub fn begin(&self) -> Beat<'_> {
        let now = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        self.began.store(now + 1, Ordering::Relaxed);
        Beat(self)
    }

    /// For how long the work at hand has been going on; zero if there is none.
    #[must_use]
    pub fn busy(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => self
                .made
                .elapsed()
                .saturating_sub(Duration::from_nanos(began - 1)),
        }
    }
}

/// A piece of work at hand.
#[derive(Debug)]
pub struct Beat<'a>(&'a Heartbeat);

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        self.0.began.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_at_hand_takes_time() {
        let heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.busy(), Duration::ZERO);
        let beat = heartbeat.begin();
        while heartbeat.busy() < Duration::from_millis(1) {
            std::thread::yield_now();
        }
        drop(beat);
        assert_eq!(heartbeat.busy(), Duration::ZERO);
        let panicked = std::panic::catch_unwind(|| {
            let _beat = heartbeat.begin();
            panic!("in the middle of it");
        });
        assert!(panicked.is_err());
        assert_eq!(heartbeat.busy(), Duration::ZERO);
    }
}
