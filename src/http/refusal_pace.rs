//! How fast a client is refused: at once as a rule, later if it asks again and again without waiting.
//!
//! Asked by `classify` when admission has no place. Refusals are cheap, but a client that sends the next request as soon as
//! it has the last refusal would have thousands a second, and they would take the CPU from what was accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::turns::ClientId;

/// Refusals a second that one client gets at once, for each worker: at 0.05 to 0.4 ms each at most 4% of a CPU.
const AT_ONCE: u64 = 100;

/// Longest that a refusal is held back. Each client was told to come back after a second or more.
const LONGEST: Duration = Duration::from_millis(250);

/// Clients that are told apart; two of the same slot share a pace.
const SLOTS: usize = 1024;

/// When each client gets its next refusal.
#[derive(Debug)]
pub(super) struct RefusalPace {
    start: Instant,
    /// In nanoseconds after `start`.
    next: Box<[AtomicU64]>,
}

impl RefusalPace {
    pub(super) fn new() -> RefusalPace {
        RefusalPace {
            start: Instant::now(),
            next: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How long the refusal of a client's request at `now` is to be held back.
    pub(super) fn delay(&self, client: ClientId, workers: usize, now: Instant) -> Duration {
        let nanos = |t: Duration| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX);
        let interval = nanos(Duration::from_secs(1)) / (AT_ONCE * workers.max(1) as u64);
        let now = nanos(now.saturating_duration_since(self.start));
        let turn = |next: u64| next.clamp(now, now.saturating_add(nanos(LONGEST)));
        let slot = &self.next[(client.0 % SLOTS as u64) as usize];
        let step = |next| Some(turn(next).saturating_add(interval));
        let next = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        Duration::from_nanos(turn(next.unwrap_or_else(|next| next)) - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(7);

    #[test]
    fn refusals_are_held_back_only_beyond_the_rate() {
        let pace = RefusalPace::new();
        let at = |ms| pace.start + Duration::from_millis(ms);
        let delay = |ms, client| pace.delay(client, 1, at(ms));
        for i in 0..100 {
            assert_eq!(delay(i * 10, CLIENT), Duration::ZERO);
        }
        let held: Vec<_> = (0..4).map(|_| delay(1500, CLIENT).as_millis()).collect();
        assert_eq!(held, [0, 10, 20, 30]);
        assert_eq!(delay(1500, ClientId(8)), Duration::ZERO, "another's");
        assert_eq!(delay(1540, CLIENT), Duration::ZERO, "and all is forgotten");
    }

    #[test]
    fn no_refusal_is_held_back_longer_than_a_quarter_of_a_second() {
        let pace = RefusalPace::new();
        let delays = (0..1000).map(|_| pace.delay(CLIENT, 1, pace.start));
        assert_eq!(delays.max(), Some(LONGEST));
        let later = pace.start + LONGEST + Duration::from_millis(10);
        assert_eq!(pace.delay(CLIENT, 1, later), Duration::ZERO);
    }

    #[test]
    fn more_workers_refuse_more() {
        let pace = RefusalPace::new();
        let delays: Vec<_> = (0..5)
            .map(|_| pace.delay(CLIENT, 4, pace.start).as_secs_f64() * 1e3)
            .collect();
        assert_eq!(delays, [0.0, 2.5, 5.0, 7.5, 10.0]);
    }
}
