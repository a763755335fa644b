//! The lanes of waiting images, and how a worker waits for its next batch.
//!
//! Shared by `Batcher` and its workers. Bounded by the places that `admission` gives out, one an entry; within a lane
//! clients are served in turn.

use std::time::{Duration, Instant};

use super::policy::{BatchPolicy, Decision};
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::fair_queue::{ClientId, FairQueue};

/// The queue takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// What can wait in the queue.
pub(super) trait Wait {
    /// When it came.
    fn arrived(&self) -> Instant;
    /// Whether nobody can use its answer any more, at the time `now`.
    fn is_pointless(&self, now: Instant) -> bool;
}

pub(super) struct Queue<T> {
    policy: BatchPolicy,
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    lanes: Vec<FairQueue<T>>,
    closed: bool,
}

/// Entries of one lane, taken to be run together.
pub(super) struct Batch<T> {
    pub(super) lane: usize,
    pub(super) entries: Vec<T>,
    /// Entries that were found pointless on the way.
    pub(super) dropped: Vec<T>,
}

impl<T: Wait> Queue<T> {
    pub(super) fn new(lanes: usize, policy: BatchPolicy) -> Queue<T> {
        let lanes = (0..lanes).map(|_| FairQueue::default()).collect();
        Queue {
            policy,
            state: Mutex::new(State {
                lanes,
                closed: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Nothing panics while holding the lock, so a poisoned one still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, lane: usize, client: ClientId, entry: T) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.lanes[lane].push(client, entry);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn depth(&self, lane: usize) -> usize {
        self.lock().lanes[lane].len()
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Drops everything that waits: there is nobody left to run it.
    pub(super) fn clear(&self) {
        let left: Vec<T> = {
            let mut state = self.lock();
            let lanes = state.lanes.iter_mut();
            lanes.flat_map(|l| std::iter::from_fn(|| l.pop())).collect()
        };
        drop(left); // not under the lock: an entry tells its client
    }

    /// Blocks until there is a batch to run; `None` when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Batch<T>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let wait = match state.choose(&self.policy, now) {
                Choice::Take(lane, n) => {
                    let batch = state.take(lane, n, now);
                    // The wake-up for what is left may have gone to a worker that napped again.
                    if state.lanes.iter().any(|entries| !entries.is_empty()) {
                        self.wake.notify_one();
                    }
                    return Some(batch);
                }
                Choice::Sleep if state.closed => return None,
                Choice::Sleep => None,
                Choice::Nap(time) => Some(time),
            };
            state = match wait {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    self.wake
                        .wait_timeout(state, time)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

enum Choice {
    Take(usize, usize),
    Nap(Duration),
    Sleep,
}

impl<T: Wait> State<T> {
    /// Asks the policy for each lane; of those that may run, the one with the oldest entry does.
    fn choose(&self, policy: &BatchPolicy, now: Instant) -> Choice {
        let mut best: Option<(Instant, usize, usize)> = None;
        let mut nap = None;
        for (lane, entries) in self.lanes.iter().enumerate() {
            let Some(oldest) = entries.fronts().map(Wait::arrived).min() else {
                continue;
            };
            // Nobody joins a closed queue, so there is nothing to wait for.
            let age = if self.closed {
                policy.max_queue_delay
            } else {
                now.saturating_duration_since(oldest)
            };
            match policy.decide(entries.len(), age) {
                Decision::Run(n) if best.is_none_or(|(time, ..)| oldest < time) => {
                    best = Some((oldest, lane, n))
                }
                Decision::Wait(time) => nap = Some(nap.map_or(time, |n: Duration| n.min(time))),
                Decision::Run(_) | Decision::Idle => {}
            }
        }
        match (best, nap) {
            (Some((_, lane, n)), _) => Choice::Take(lane, n),
            (None, Some(time)) => Choice::Nap(time),
            (None, None) => Choice::Sleep,
        }
    }

    /// Takes `n` entries that somebody waits for, and drops the others on the way to them.
    fn take(&mut self, lane: usize, n: usize, now: Instant) -> Batch<T> {
        let (mut entries, mut dropped) = (Vec::with_capacity(n), Vec::new());
        while entries.len() < n
            && let Some(entry) = self.lanes[lane].pop()
        {
            match entry.is_pointless(now) {
                true => dropped.push(entry),
                false => entries.push(entry),
            }
        }
        Batch {
            lane,
            entries,
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item {
        name: &'static str,
        arrived: Instant,
        pointless: bool,
    }

    impl Wait for Item {
        fn arrived(&self) -> Instant {
            self.arrived
        }
        fn is_pointless(&self, _now: Instant) -> bool {
            self.pointless
        }
    }

    fn queue(lanes: usize, max_batch_size: usize) -> Queue<Item> {
        let policy = BatchPolicy {
            max_batch_size,
            max_queue_delay: Duration::ZERO,
            workers: 1,
        };
        Queue::new(lanes, policy)
    }

    fn push(queue: &Queue<Item>, lane: usize, client: u64, name: &'static str) {
        let item = Item {
            name,
            arrived: Instant::now(),
            pointless: name.starts_with('-'),
        };
        queue.push(lane, ClientId(client), item).expect("open");
    }

    fn names(items: &[Item]) -> Vec<&'static str> {
        items.iter().map(|i| i.name).collect()
    }

    #[test]
    fn batch_is_filled_past_what_nobody_waits_for() {
        let queue = queue(1, 2);
        for name in ["-a", "b", "-c", "d", "e"] {
            push(&queue, 0, 1, name);
        }
        let batch = queue.next().expect("five wait");
        assert_eq!(names(&batch.entries), ["b", "d"]);
        assert_eq!(names(&batch.dropped), ["-a", "-c"]);
        assert_eq!(queue.depth(0), 1);
    }

    #[test]
    fn clients_share_a_batch_in_turn() {
        let queue = queue(1, 4);
        for name in ["a", "b", "c", "d", "e"] {
            push(&queue, 0, 1, name);
        }
        push(&queue, 0, 2, "other");
        assert_eq!(
            names(&queue.next().expect("six wait").entries),
            ["a", "other", "b", "c"]
        );
    }

    #[test]
    fn lane_with_the_oldest_goes_first_and_a_closed_queue_is_emptied() {
        let queue = queue(2, 8);
        push(&queue, 1, 1, "first");
        push(&queue, 0, 1, "second");
        queue.close();
        assert_eq!(queue.next().map(|b| b.lane), Some(1));
        assert_eq!(queue.next().map(|b| b.lane), Some(0));
        assert!(queue.next().is_none());
        let late = Item {
            name: "late",
            arrived: Instant::now(),
            pointless: false,
        };
        assert_eq!(queue.push(0, ClientId(1), late), Err(Closed));
    }
}
