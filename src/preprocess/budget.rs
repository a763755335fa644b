//! The memory that all decoders together may hold; an image waits until its share is free.
//!
//! Made by `cli` for the whole process, asked by `Preprocessor` between an image's header and its pixels. Shares are
//! given in the order of arrival, so that many small images cannot starve a large one; but small ones may overtake a
//! large one in a part of the memory that it can do without, so that one of seconds does not hold up all others.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::watch::{Stopped, Watch};

/// How often a waiting image looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Of how many equal parts of the budget one may be held by shares that have overtaken others.
const PARTS_TO_OVERTAKE: u64 = 8;

/// Of how many equal parts of the budget a small share takes one at most: 16 MiB of the default, a photo of some four
/// megapixels.
const PARTS_OF_SMALL: u64 = 32;

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
    /// Bytes of the shares that have overtaken others.
    overtaking: u64,
    next_ticket: u64,
    /// Those who wait for a share, the oldest first.
    waiting: VecDeque<Waiting>,
}

/// Who waits for a share.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    bytes: u64,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: u64,
    /// Bytes of the share by which it has overtaken others.
    overtook: u64,
}

/// Why a share was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotReserved {
    /// The share would be larger than the whole budget.
    TooLarge,
    /// Decoding was stopped while it waited.
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
                overtaking: 0,
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
        state.waiting.push_back(Waiting { ticket, bytes });
        let overtook = loop {
            if let Some(overtakes) = self.turn(&state, ticket, bytes) {
                break if overtakes { bytes } else { 0 };
            }
            let left = match watch.left() {
                Ok(left) => left,
                Err(stopped) => {
                    state.waiting.retain(|w| w.ticket != ticket);
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
        };
        state.waiting.retain(|w| w.ticket != ticket);
        state.free -= bytes;
        state.overtaking += overtook;
        drop(state);
        // The next one's share may be free as well.
        self.changed.notify_all();
        Ok(Reservation {
            budget: Arc::clone(self),
            bytes,
            overtook,
        })
    }

    /// Whether whoever has this ticket has its turn, and then whether it overtakes others by that. The first gets its
    /// share all the same, in the end: it needs no more than is left when those that have overtaken hold all that they
    /// may.
    fn turn(&self, state: &State, ticket: u64, bytes: u64) -> Option<bool> {
        let first = state.waiting.front()?;
        if state.free < bytes {
            return None;
        }
        if first.ticket == ticket {
            return Some(false);
        }
        let to_overtake = self.total / PARTS_TO_OVERTAKE;
        let may_overtake = bytes <= self.total / PARTS_OF_SMALL
            && state.overtaking + bytes <= to_overtake
            && first.bytes <= self.total - to_overtake;
        may_overtake.then_some(true)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.free += self.bytes;
        state.overtaking -= self.overtook;
        drop(state);
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

    /// Waits for a share on a thread of its own, and drops it when that is told.
    fn wait_for(budget: &Arc<MemoryBudget>, bytes: u64) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (given, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let waiting = budget.lock().next_ticket;
        std::thread::spawn({
            let budget = Arc::clone(budget);
            move || {
                let share = share(&budget, bytes).expect("in time");
                let _ = given.send(());
                let _ = ended.recv();
                drop(share);
            }
        });
        while budget.lock().next_ticket == waiting {
            std::thread::yield_now();
        }
        (told, end)
    }

    #[test]
    fn tiny_shares_overtake_a_large_one_and_leave_it_what_it_needs() {
        let budget = MemoryBudget::new(320);
        let first = share(&budget, 200).expect("free");
        let (large, end_of_large) = wait_for(&budget, 280);
        // An eighth of all, in shares of a part of 32.
        let tiny: Vec<_> = (0..4)
            .map(|_| share(&budget, 10).expect("it overtakes"))
            .collect();
        let (fifth, _end_of_fifth) = wait_for(&budget, 10);
        let (small, _end_of_small) = wait_for(&budget, 11);
        assert_eq!(budget.in_use(), 240);
        assert_eq!(large.try_recv(), Err(mpsc::TryRecvError::Empty));
        // With all that may overtake held, the large one has what it needs.
        drop(first);
        large.recv().expect("a share");
        assert_eq!(budget.in_use(), 320);
        for waits in [&fifth, &small] {
            assert_eq!(waits.try_recv(), Err(mpsc::TryRecvError::Empty));
        }
        drop(tiny);
        fifth.recv().expect("a share");
        drop(end_of_large);
        small.recv().expect("a share");
    }

    #[test]
    fn nothing_overtakes_who_needs_nearly_all() {
        let budget = MemoryBudget::new(320);
        let first = share(&budget, 200).expect("free");
        let (large, end_of_large) = wait_for(&budget, 281);
        let (tiny, _end_of_tiny) = wait_for(&budget, 1);
        drop(first);
        large.recv().expect("a share");
        tiny.recv().expect("beside it");
        drop(end_of_large);
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
