//! When a free worker runs, and how many images it takes: a pure function of what is waiting.
//!
//! Called by `queue` under its lock. Contains no clock, channel or thread.

use std::time::Duration;

/// The operator's choice of batch forming.
#[derive(Debug, Clone, Copy)]
pub struct BatchPolicy {
    /// Most images in one batch, at least 1.
    pub max_batch_size: usize,
    /// How long the oldest image may wait for company; zero means never.
    pub max_queue_delay: Duration,
    /// Workers that share the queue, at least 1.
    pub workers: usize,
}

/// What a free worker does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Take this many of the oldest images.
    Run(usize),
    /// Look again after this time, or when another image arrives.
    Wait(Duration),
    /// Nothing is waiting.
    Idle,
}

impl BatchPolicy {
    /// Decides for `waiting` images, the oldest of which came `oldest_age` ago.
    ///
    /// A worker takes its share, not the whole queue: while the others are busy they will be free soon, and a batch of
    /// all that waits would leave them idle and make its own images wait for each other. Whoever sets a delay has asked
    /// for large batches instead, and gets them.
    #[must_use]
    pub fn decide(&self, waiting: usize, oldest_age: Duration) -> Decision {
        if waiting == 0 {
            return Decision::Idle;
        }
        if waiting < self.max_batch_size && oldest_age < self.max_queue_delay {
            return Decision::Wait(self.max_queue_delay - oldest_age);
        }
        let share = if self.max_queue_delay.is_zero() {
            waiting.div_ceil(self.workers)
        } else {
            waiting
        };
        Decision::Run(share.min(self.max_batch_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(max_batch_size: usize, delay_ms: u64, workers: usize) -> BatchPolicy {
        BatchPolicy {
            max_batch_size,
            max_queue_delay: Duration::from_millis(delay_ms),
            workers,
        }
    }

    #[test]
    fn lone_request_never_waits() {
        assert_eq!(policy(8, 0, 2).decide(1, Duration::ZERO), Decision::Run(1));
    }

    #[test]
    fn waiting_images_are_shared_among_the_workers() {
        assert_eq!(policy(8, 0, 2).decide(6, Duration::ZERO), Decision::Run(3));
        assert_eq!(policy(8, 0, 1).decide(6, Duration::ZERO), Decision::Run(6));
        assert_eq!(
            policy(8, 0, 2).decide(100, Duration::ZERO),
            Decision::Run(8)
        );
    }

    #[test]
    fn delay_holds_the_oldest_no_longer_than_asked() {
        let policy = policy(8, 5, 1);
        assert_eq!(
            policy.decide(3, Duration::from_millis(2)),
            Decision::Wait(Duration::from_millis(3))
        );
        assert_eq!(policy.decide(3, Duration::from_millis(5)), Decision::Run(3));
        assert_eq!(policy.decide(8, Duration::ZERO), Decision::Run(8));
    }

    #[test]
    fn images_that_waited_for_company_run_with_it() {
        let policy = policy(4, 300, 2);
        assert_eq!(policy.decide(4, Duration::ZERO), Decision::Run(4));
        assert_eq!(
            policy.decide(2, Duration::from_millis(300)),
            Decision::Run(2)
        );
        assert_eq!(policy.decide(5, Duration::ZERO), Decision::Run(4));
    }

    proptest! {
        #[test]
        fn decision_is_always_within_bounds(
            max in 1usize..40, delay in 0u64..20, workers in 1usize..20, waiting in 0usize..200, age in 0u64..40,
        ) {
            match policy(max, delay, workers).decide(waiting, Duration::from_millis(age)) {
                Decision::Idle => prop_assert_eq!(waiting, 0),
                Decision::Run(n) => prop_assert!((1..=max.min(waiting)).contains(&n)),
                Decision::Wait(d) => {
                    prop_assert!(waiting < max && !d.is_zero());
                    prop_assert_eq!(d, Duration::from_millis(delay - age));
                }
            }
        }
    }
}
