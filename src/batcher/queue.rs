//! The lanes of waiting images, and how a worker waits for its next batch.
//!
//! Shared by `Batcher` and its workers. Bounded by the places that `classifier` gives out, one an entry.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{BatchPolicy, BatcherClosed, Decision, Entry};

pub(super) struct Queue {
    policy: BatchPolicy,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    lanes: Vec<VecDeque<Entry>>,
    closed: bool,
}

/// Entries of one lane, taken to be run together.
pub(super) struct Batch {
    pub(super) lane: usize,
    pub(super) entries: Vec<Entry>,
}

impl Queue {
    pub(super) fn new(lanes: usize, policy: BatchPolicy) -> Queue {
        let lanes = (0..lanes).map(|_| VecDeque::new()).collect();
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, lane: usize, entry: Entry) -> Result<(), BatcherClosed> {
        let mut state = self.lock();
        if state.closed {
            return Err(BatcherClosed);
        }
        state.lanes[lane].push_back(entry);
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

    /// Blocks until there is a batch to run; `None` when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let wait = match state.choose(&self.policy, Instant::now()) {
                Choice::Take(lane, n) => {
                    let batch = state.take(lane, n);
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
    Nap(std::time::Duration),
    Sleep,
}

impl State {
    /// Asks the policy for each lane; of those that may run, the one with the oldest image does.
    fn choose(&self, policy: &BatchPolicy, now: Instant) -> Choice {
        let mut best: Option<(Instant, usize, usize)> = None;
        let mut nap = None;
        for (lane, entries) in self.lanes.iter().enumerate() {
            let Some(oldest) = entries.front().map(|e| e.arrived) else {
                continue;
            };
            // Nobody joins a closed queue, so there is nothing to wait for.
            let age = if self.closed {
                policy.max_queue_delay
            } else {
                now - oldest
            };
            match policy.decide(entries.len(), age) {
                Decision::Run(n) if best.is_none_or(|(time, ..)| oldest < time) => {
                    best = Some((oldest, lane, n))
                }
                Decision::Wait(time) => {
                    nap = Some(nap.map_or(time, |n: std::time::Duration| n.min(time)))
                }
                Decision::Run(_) | Decision::Idle => {}
            }
        }
        match (best, nap) {
            (Some((_, lane, n)), _) => Choice::Take(lane, n),
            (None, Some(time)) => Choice::Nap(time),
            (None, None) => Choice::Sleep,
        }
    }

    fn take(&mut self, lane: usize, n: usize) -> Batch {
        Batch {
            lane,
            entries: self.lanes[lane].drain(..n).collect(),
        }
    }
}
