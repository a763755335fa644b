//! How fast a client is refused: at once as a rule, later if it asks again and again without waiting.
//!
//! Asked by `http`'s `passage` when admission has no place. Refusals are cheap, but a client that sends the next request
//! as soon as it has the last refusal would have thousands a second, and they would take the CPU from what was accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::fair_queue::ClientId;

/// Refusals that one client gets at once in the time in which the server could answer one image: what comes at six
/// times the capacity. At 0.05 to 0.4 ms each (`load overload`) they take a small part of what an answer does.
const AN_ANSWER: u32 = 5;

/// Least time between two refusals of one client: 4,000 a second, which is what an `http` thread can do at most.
const SHORTEST: Duration = Duration::from_micros(250);

/// Refusals of so long a time at the rate may come all at once, before any is held back.
const BURST: Duration = Duration::from_secs(1);

/// Longest that a refusal is held back, whatever the rate. Each client was told to come back after a second or more.
const LONGEST: Duration = Duration::from_millis(250);

/// Clients that are told apart: two of one slot share a pace, which costs them `LONGEST` at most.
const SLOTS: usize = 1024;

/// How far each client is ahead of the rate.
///
/// Source: the generic cell rate algorithm, ITU-T I.371, annex A.
#[derive(Debug)]
pub(super) struct RefusalPace {
    start: Instant,
    /// When the client's refusals so far would all have come at the rate, in nanoseconds after `start`.
    due: Box<[AtomicU64]>,
}

impl RefusalPace {
    pub(super) fn new() -> RefusalPace {
        RefusalPace {
            start: Instant::now(),
            due: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts a refusal at `now` and tells how long it is to be held back. The server answers an image in `answer`.
    pub(super) fn hold(&self, client: ClientId, answer: Duration, now: Instant) -> Duration {
        let nanos = |t: Duration| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX);
        let interval = nanos((answer / AN_ANSWER).clamp(SHORTEST, LONGEST));
        let now = nanos(now.saturating_duration_since(self.start));
        let latest = now + nanos(BURST) + nanos(LONGEST);
        let slot = &self.due[(client.0 % SLOTS as u64) as usize];
        let step = |due: u64| Some(due.clamp(now, latest) + interval);
        let due = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        let ahead = due.unwrap_or_else(|due| due).clamp(now, latest) - now;
        Duration::from_nanos(ahead.saturating_sub(nanos(BURST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(7);

    /// How long refusals at these milliseconds are held back, in milliseconds; the server answers 20 images a second.
    fn holds(at_ms: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let pace = RefusalPace::new();
        let at = |ms| pace.start + Duration::from_millis(ms);
        let answer = Duration::from_millis(50);
        let hold = |ms| pace.hold(CLIENT, answer, at(ms)).as_secs_f64() * 1e3;
        at_ms.into_iter().map(hold).collect()
    }

    #[test]
    fn client_within_the_rate_is_refused_at_once() {
        let steady = holds((0..1000).map(|i| i * 10));
        assert!(steady.iter().all(|hold| *hold == 0.0));
        let now_and_then = holds((0..1000).map(|i| i / 100 * 1000));
        assert!(now_and_then.iter().all(|hold| *hold == 0.0));
    }

    #[test]
    fn client_beyond_it_waits_its_turn_and_never_long() {
        let flood = holds((0..1000).map(|_| 0));
        assert!(flood[..=100].iter().all(|hold| *hold == 0.0));
        assert_eq!(flood[101..104], [10.0, 20.0, 30.0]);
        assert_eq!(flood[999], 250.0);
        let after = holds((0..1000).map(|_| 0).chain([270, 1280]));
        assert_eq!(after[1000..], [0.0, 0.0], "and it is forgiven");
    }

    #[test]
    fn flood_of_one_client_holds_back_no_other() {
        let (pace, answer) = (RefusalPace::new(), Duration::from_secs(1));
        let longest = (0..1000)
            .map(|_| pace.hold(CLIENT, answer, pace.start))
            .max();
        assert_eq!(longest, Some(LONGEST));
        assert!(pace.hold(ClientId(8), answer, pace.start).is_zero());
    }

    #[test]
    fn fast_server_refuses_4000_a_second_at_once() {
        let pace = RefusalPace::new();
        let hold = || pace.hold(CLIENT, Duration::ZERO, pace.start);
        assert!((0..=4000).all(|_| hold().is_zero()));
        assert_eq!(hold(), SHORTEST);
    }
}
