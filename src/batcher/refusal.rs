//! Why a request may not come in, in numbers that its client can act on.
//!
//! Decided by `admission`; `desk` makes a code of it, `http` a status and a `Retry-After` of it.

use std::time::Duration;

/// Why a request may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue has too few places.
    #[error("{waiting} images are waiting, the queue holds {capacity}")]
    QueueFull {
        /// Images accepted and not yet running.
        waiting: usize,
        /// The limit.
        capacity: usize,
        /// The estimated time until a worker is free for one more.
        wait: Duration,
    },
    /// The client holds its share of the places.
    #[error(
        "{held} images of this client are waiting, with {free} places free it may hold {allowed}"
    )]
    ClientFull {
        /// This client's images, accepted and not yet running.
        held: usize,
        /// Places that are free.
        free: usize,
        /// The limit.
        allowed: usize,
        /// The estimated time until a worker is free for one more.
        wait: Duration,
    },
    /// It would wait too long.
    #[error("the wait for a worker is estimated at {:.3} s, allowed are {:.3} s", wait.as_secs_f64(), max.as_secs_f64())]
    TooLong {
        /// The estimate.
        wait: Duration,
        /// The limit.
        max: Duration,
    },
    /// Its deadline would pass before its answer.
    #[error("the answer is estimated to take {:.3} s, the request's deadline is in {:.3} s", needed.as_secs_f64(), left.as_secs_f64())]
    TooLate {
        /// The estimated wait for a worker.
        wait: Duration,
        /// The estimated time to the answer.
        needed: Duration,
        /// The time there is.
        left: Duration,
    },
}

impl Refusal {
    /// The estimated time until a worker would be free for one more image of this client.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match *self {
            Refusal::QueueFull { wait, .. }
            | Refusal::ClientFull { wait, .. }
            | Refusal::TooLong { wait, .. }
            | Refusal::TooLate { wait, .. } => wait,
        }
    }
}
