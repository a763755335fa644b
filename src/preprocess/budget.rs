//! The memory that all decoders together may hold; an image waits until its share is free.
//!
//! Made by `cli` for the whole process, asked by `Preprocessor` between an image's header and its pixels. Shares are
//! given in the order of arrival, so that many small images cannot starve a large one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::watch::{Stopped, Watch};

/// How often a waiting image looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of decode memory for all requests together.
#[derive(Debug)]
pub struct MemoryBudget {
    total: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u64,
    next_ticket: u64,
    /// Tickets of those who wait, the oldest first.
    waiting: VecDeque<u64>,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

/// Why there is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotReserved {
    /// More than the whole budget.
    TooLarge,
    /// Stopped while waiting.
    Stopped(Stopped),
}

impl MemoryBudget {
    /// A budget of `total` bytes, all free.
    #[must_use]
    pub fn new(total: u64) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            total,
            state: Mutex::new(State {
                free: total,
                next_ticket: 0,
                waiting: VecDeque::new(),
            }),
            changed: Condvar::new(),
        })
    }

    /// The size of the budget in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes given out at the moment.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.total - self.lock().free
    }

    /// Nothing is done under the lock that could panic halfway, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a share of `bytes`, as long as `watch` allows.
    pub(super) fn share(
        self: &Arc<Self>,
        bytes: u64,
        watch: &Watch,
    ) -> Result<Reservation, NotReserved> {
        if bytes > self.total {
            return Err(NotReserved::TooLarge);
        }
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        while state.waiting.front() != Some(&ticket) || state.free < bytes {
            let left = match watch.left() {
                Ok(left) => left,
                Err(stopped) => {
                    state.waiting.retain(|&t| t != ticket);
                    drop(state);
                    // Whoever stood behind may be first now.
                    self.changed.notify_all();
                    return Err(NotReserved::Stopped(stopped));
                }
            };
            state = self
                .changed
                .wait_timeout(state, left.min(LOOK))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.waiting.pop_front();
        state.free -= bytes;
        drop(state);
        // The next one's share may be free as well.
        self.changed.notify_all();
        Ok(Reservation {
            budget: Arc::clone(self),
            bytes,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.lock().free += self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(3600);

    fn share(budget: &Arc<MemoryBudget>, bytes: u64) -> Result<Reservation, NotReserved> {
        budget.share(bytes, &Watch::start(LONG, &|| false))
    }

    #[test]
    fn shares_are_given_back() {
        let budget = MemoryBudget::new(100);
        let share = share(&budget, 60).expect("free");
        assert_eq!(budget.in_use(), 60);
        drop(share);
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn more_than_the_budget_never_waits() {
        let budget = MemoryBudget::new(100);
        assert_eq!(
            share(&budget, 101).expect_err("more"),
            NotReserved::TooLarge
        );
        share(&budget, 100).expect("all of it");
    }

    #[test]
    fn waiting_ends_with_the_deadline_or_the_client() {
        let budget = MemoryBudget::new(100);
        let _all = share(&budget, 100).expect("free");
        let late = Watch::start(Duration::ZERO, &|| false);
        assert_eq!(
            budget.share(1, &late).expect_err("late"),
            NotReserved::Stopped(Stopped::TimedOut(Duration::ZERO))
        );
        let gone = Watch::start(LONG, &|| true);
        assert_eq!(
            budget.share(1, &gone).expect_err("gone"),
            NotReserved::Stopped(Stopped::Canceled)
        );
        assert!(budget.lock().waiting.is_empty());
    }

    #[test]
    fn small_shares_do_not_overtake_a_large_one() {
        let budget = MemoryBudget::new(100);
        let first = share(&budget, 60).expect("free");
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            // The small one fits beside the first, and not beside the large one, so that only one tells at a time.
            for (name, bytes) in [("large", 80), ("small", 30)] {
                let (tell, budget) = (tell.clone(), Arc::clone(&budget));
                let before = budget.lock().waiting.len();
                scope.spawn({
                    let budget = Arc::clone(&budget);
                    move || {
                        let share = share(&budget, bytes).expect("in time");
                        tell.send(name).expect("a receiver");
                        drop(share);
                    }
                });
                while budget.lock().waiting.len() == before {
                    std::thread::yield_now();
                }
            }
            assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
            drop(first);
            assert_eq!(told.recv(), Ok("large"));
            assert_eq!(told.recv(), Ok("small"));
        });
        assert_eq!(budget.in_use(), 0);
    }
}
