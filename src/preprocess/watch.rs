//! Whether decoding should go on: its time may be up, and its client may have left.
//!
//! Made by `Preprocessor::run`, asked by decoders between rows and by the memory budget while it waits.

use std::time::{Duration, Instant};

/// Why decoding stopped although nothing is wrong with the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Decoding has taken longer than this time limit.
    TimedOut(Duration),
    /// Nobody waits for the result.
    Canceled,
}

/// Somebody who waits for an image.
pub trait Interest {
    /// Whether nobody waits any more; asked now and then.
    fn is_lost(&self) -> bool;

    /// Whether an image of so many pixels may be decoded now; asked once, when its header is read.
    fn may_decode(&self, pixels: u64) -> bool {
        let _ = pixels;
        true
    }

    /// The image has waited so long for its share of the memory: that is no work.
    fn waited_for_memory(&self, time: Duration) {
        let _ = time;
    }
}

impl<F: Fn() -> bool> Interest for F {
    fn is_lost(&self) -> bool {
        self()
    }
}

/// A deadline and somebody who may lose interest.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    deadline: Instant,
    timeout: Duration,
    interest: &'a dyn Interest,
}

impl<'a> Watch<'a> {
    /// Starts now.
    pub(super) fn start(timeout: Duration, interest: &'a dyn Interest) -> Watch<'a> {
        Watch {
            deadline: Instant::now() + timeout,
            timeout,
            interest,
        }
    }

    /// Tells how long the image has waited for its share of the memory.
    pub(super) fn waited_for_memory(&self, time: Duration) {
        self.interest.waited_for_memory(time);
    }

    /// Checks whether decoding is to go on.
    pub(super) fn check(&self) -> Result<(), Stopped> {
        self.left().map(|_| ())
    }

    /// The time that is left for decoding.
    pub(super) fn left(&self) -> Result<Duration, Stopped> {
        if self.interest.is_lost() {
            return Err(Stopped::Canceled);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stopped::TimedOut(self.timeout));
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canceled_and_timed_out_are_told_apart() {
        let hour = Duration::from_secs(3600);
        assert_eq!(Watch::start(hour, &|| false).check(), Ok(()));
        assert_eq!(Watch::start(hour, &|| true).check(), Err(Stopped::Canceled));
        assert_eq!(
            Watch::start(Duration::ZERO, &|| false).check(),
            Err(Stopped::TimedOut(Duration::ZERO))
        );
    }
}
