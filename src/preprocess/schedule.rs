//! Which image a `prep-N` thread takes next: clients in turn, and small images beside large ones.
//!
//! Owned by `pool`. Contains no clock, lock or thread.

use crate::turns::{ClientId, Turns};

/// Tasks of all clients, in the order in which they may run.
///
/// At most `limit` run at once. While all of these are large, one more runs that is not: an image that takes milliseconds
/// then shares a CPU with one that takes a second, rather than wait for its end.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    limit: usize,
    /// In the order of arrival; nothing is known of their size.
    new: Turns<T>,
    /// Turned out to be large when as many as may were running.
    large: Turns<T>,
    running: usize,
    /// Those of `running` that are large.
    running_large: usize,
}

/// What [`Schedule::next`] gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// To be looked at, and told to [`Schedule::found_large`] if it is large; then to be run.
    Unknown(T),
    /// To be run.
    Large(T),
}

impl<T> Schedule<T> {
    pub(super) fn new(limit: usize) -> Schedule<T> {
        Schedule {
            limit,
            new: Turns::default(),
            large: Turns::default(),
            running: 0,
            running_large: 0,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.large.is_empty()
    }

    /// Puts a task behind those of its client.
    pub(super) fn push(&mut self, client: ClientId, task: T) {
        self.new.push(client, task);
    }

    /// Takes the task that may run now, large ones that have waited first.
    pub(super) fn next(&mut self) -> Option<Next<T>> {
        let is_free = self.running < self.limit;
        let only_large = self.running == self.limit && self.running_large == self.limit;
        let large = match is_free {
            true => self.large.pop(),
            false => None,
        };
        let next = match large {
            Some(task) => {
                self.running_large += 1;
                Some(Next::Large(task))
            }
            None if is_free || only_large => self.new.pop().map(Next::Unknown),
            None => None,
        };
        self.running += usize::from(next.is_some());
        next
    }

    /// A task that was taken is large. It is given back if it may run; otherwise it waits here, and its thread is free.
    pub(super) fn found_large(&mut self, client: ClientId, task: T) -> Option<T> {
        if self.running_large < self.limit {
            self.running_large += 1;
            return Some(task);
        }
        self.running -= 1;
        self.large.push(client, task);
        None
    }

    /// A task has ended.
    pub(super) fn ended(&mut self, is_large: bool) {
        self.running -= 1;
        self.running_large -= usize::from(is_large);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: ClientId = ClientId::LOCAL;

    /// Tasks from here on are large.
    const LARGE: u32 = 1000;

    /// A schedule with these tasks.
    fn schedule(limit: usize, tasks: &[u32]) -> Schedule<u32> {
        let mut schedule = Schedule::new(limit);
        tasks.iter().for_each(|t| schedule.push(CLIENT, *t));
        schedule
    }

    /// The task that a free thread comes to run.
    fn start(schedule: &mut Schedule<u32>) -> Option<u32> {
        loop {
            match schedule.next()? {
                Next::Large(task) => return Some(task),
                Next::Unknown(task) if task < LARGE => return Some(task),
                Next::Unknown(task) => {
                    if let Some(task) = schedule.found_large(CLIENT, task) {
                        return Some(task);
                    }
                }
            }
        }
    }

    #[test]
    fn small_tasks_run_beside_large_ones_that_have_all_threads() {
        let mut schedule = schedule(2, &[LARGE, LARGE + 1, LARGE + 2, 1, LARGE + 3, 2]);
        assert_eq!(start(&mut schedule), Some(LARGE));
        assert_eq!(start(&mut schedule), Some(LARGE + 1));
        assert_eq!(start(&mut schedule), Some(1));
        assert_eq!(start(&mut schedule), None, "one more, not two");
        schedule.ended(false);
        assert_eq!(start(&mut schedule), Some(2));
        schedule.ended(false);
        assert_eq!(start(&mut schedule), None);
        schedule.ended(true);
        assert_eq!(start(&mut schedule), Some(LARGE + 2), "in their order");
        schedule.ended(true);
        assert_eq!(start(&mut schedule), Some(LARGE + 3));
        assert!(schedule.is_empty());
    }

    #[test]
    fn among_small_tasks_no_more_run_than_threads() {
        let mut schedule = schedule(2, &[1, 2, 3]);
        assert_eq!(start(&mut schedule), Some(1));
        assert_eq!(start(&mut schedule), Some(2));
        assert_eq!(start(&mut schedule), None);
        schedule.ended(false);
        assert_eq!(start(&mut schedule), Some(3));
    }

    proptest! {
        #[test]
        fn every_task_runs_once_and_no_more_at_once_than_may(
            limit in 1_usize..4,
            steps in proptest::collection::vec((0_u32..4, any::<bool>()), 0..200),
        ) {
            let mut schedule = Schedule::new(limit);
            let (mut running, mut ran, mut pushed) = (Vec::new(), Vec::new(), 0);
            for (step, pick) in steps {
                match step {
                    0 | 1 => {
                        schedule.push(ClientId(u64::from(step)), pushed + if pick { LARGE } else { 0 });
                        pushed += 1;
                    }
                    2 if !running.is_empty() => {
                        let at = if pick { 0 } else { running.len() - 1 };
                        let task = running.remove(at);
                        schedule.ended(task >= LARGE);
                        ran.push(task);
                    }
                    // As many threads look for work as there are.
                    _ => while running.len() <= limit {
                        let Some(task) = start(&mut schedule) else { break };
                        running.push(task);
                    },
                }
                let large = running.iter().filter(|t| **t >= LARGE).count();
                prop_assert!(large <= limit && running.len() <= limit + usize::from(large == limit));
            }
            loop {
                while let Some(task) = start(&mut schedule) {
                    running.push(task);
                }
                let Some(task) = running.pop() else { break };
                schedule.ended(task >= LARGE);
                ran.push(task);
            }
            prop_assert!(schedule.is_empty(), "what waits is taken up");
            ran.sort_unstable_by_key(|t| t % LARGE);
            prop_assert_eq!(ran.len(), pushed as usize);
            prop_assert!(ran.iter().enumerate().all(|(i, t)| (t % LARGE) as usize == i));
        }
    }
}
