//! Which image a `prep-N` thread takes next: clients in turn, and small images beside large ones.
//!
//! Owned by `pool`. Contains no clock, lock or thread.

use crate::fair_queue::{ClientId, FairQueue};

/// Jobs of all clients, in the order in which they may run.
///
/// At most `limit` run at once. While all of these are large, one more runs that is not: an image that takes
/// milliseconds then shares a CPU with one that takes a hundred times as long, rather than wait for its end.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    limit: usize,
    /// Jobs in the order of arrival, of whose size nothing is known.
    new: FairQueue<T>,
    /// Jobs that turned out to be large when as many large ones as may were running.
    large: FairQueue<T>,
    /// Whether a large job comes next, where jobs of both kinds wait.
    prefers_large: bool,
    running: usize,
    /// The jobs among `running` that are large.
    running_large: usize,
}

/// What [`Schedule::next`] gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// A job to be run; if it is large, only if it [may](Schedule::may_run_large), else to be handed to
    /// [`Schedule::found_large`].
    Unknown(T),
    /// A large job to be run.
    Large(T),
}

impl<T> Schedule<T> {
    pub(super) fn new(limit: usize) -> Schedule<T> {
        Schedule {
            limit,
            new: FairQueue::default(),
            large: FairQueue::default(),
            prefers_large: false,
            running: 0,
            running_large: 0,
        }
    }

    /// Whether no job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.large.is_empty()
    }

    /// Puts a job behind the others of its client.
    pub(super) fn push(&mut self, client: ClientId, job: T) {
        self.new.push(client, job);
    }

    /// Takes the job that may run now; a new one only if it `may`. Large ones that have waited and new ones alternate, so
    /// that neither keeps a client of the other from its turn.
    pub(super) fn next(&mut self, may: impl Fn(ClientId, &T) -> bool) -> Option<Next<T>> {
        let is_free = self.running < self.limit;
        let only_large = self.running == self.limit && self.running_large == self.limit;
        if !is_free && !only_large {
            return None;
        }
        let prefers_large = std::mem::take(&mut self.prefers_large) || self.new.is_empty();
        let next = match is_free && prefers_large {
            true => self.large.pop().map(Next::Large),
            false => None,
        };
        let next = next.or_else(|| {
            self.prefers_large = true;
            self.new.pop_where(may).map(Next::Unknown)
        })?;
        self.running += 1;
        self.running_large += usize::from(matches!(next, Next::Large(_)));
        Some(next)
    }

    /// Whether a job that was taken, and is large, may run at once: not before those that have waited.
    pub(super) fn may_run_large(&mut self) -> bool {
        let may = self.running_large < self.limit && self.large.is_empty();
        self.running_large += usize::from(may);
        may
    }

    /// Takes back a job that is large and may not run at once. Gives the large job that may run in its place, the job
    /// itself if none has waited; if none may, the job waits here, and its thread is free.
    pub(super) fn found_large(&mut self, client: ClientId, job: T) -> Option<T> {
        self.large.push(client, job);
        if self.running_large < self.limit {
            self.running_large += 1;
            return self.large.pop();
        }
        self.running -= 1;
        None
    }

    /// Notes that a job has ended that was not large.
    pub(super) fn ended_small(&mut self) {
        self.running -= 1;
    }

    /// Notes that a large job has ended.
    pub(super) fn ended_large(&mut self) {
        self.running -= 1;
        self.running_large -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Jobs from here on are large.
    const LARGE: u32 = 1000;

    /// Whose a job is.
    fn client(job: u32) -> ClientId {
        ClientId(u64::from(job % 3))
    }

    /// A schedule with these jobs.
    fn schedule(limit: usize, jobs: &[u32]) -> Schedule<u32> {
        let mut schedule = Schedule::new(limit);
        jobs.iter()
            .for_each(|job| schedule.push(client(*job), *job));
        schedule
    }

    /// The job that a free thread comes to run.
    fn start(schedule: &mut Schedule<u32>) -> Option<u32> {
        loop {
            match schedule.next(|_, _| true)? {
                Next::Large(job) => return Some(job),
                Next::Unknown(job) if job < LARGE || schedule.may_run_large() => return Some(job),
                Next::Unknown(job) => {
                    if let Some(job) = schedule.found_large(client(job), job) {
                        return Some(job);
                    }
                }
            }
        }
    }

    fn end(schedule: &mut Schedule<u32>, job: u32) {
        match job < LARGE {
            true => schedule.ended_small(),
            false => schedule.ended_large(),
        }
    }

    #[test]
    fn small_jobs_run_beside_large_ones_that_have_all_threads() {
        // All of one client, in its order.
        let large = [1001, 1004, 1007, 1010];
        let mut schedule = schedule(2, &[1001, 1004, 1007, 2, 1010, 5]);
        assert_eq!(start(&mut schedule), Some(large[0]));
        assert_eq!(start(&mut schedule), Some(large[1]));
        assert_eq!(start(&mut schedule), Some(2));
        assert_eq!(start(&mut schedule), None, "one more, not two");
        end(&mut schedule, 2);
        assert_eq!(start(&mut schedule), Some(5));
        end(&mut schedule, 5);
        assert_eq!(start(&mut schedule), None);
        end(&mut schedule, large[0]);
        assert_eq!(start(&mut schedule), Some(large[2]), "in their order");
        end(&mut schedule, large[1]);
        assert_eq!(start(&mut schedule), Some(large[3]));
        assert!(schedule.is_empty());
    }

    #[test]
    fn large_jobs_that_have_waited_and_new_ones_alternate() {
        let mut schedule = schedule(1, &[1001, 1004, 1007, 1010, 2]);
        assert_eq!(start(&mut schedule), Some(1001));
        assert_eq!(start(&mut schedule), Some(2), "three large ones wait now");
        end(&mut schedule, 2);
        end(&mut schedule, 1001);
        schedule.push(client(3), 3);
        schedule.push(client(4), 4);
        let order: Vec<_> = std::iter::from_fn(|| {
            let job = start(&mut schedule)?;
            end(&mut schedule, job);
            Some(job)
        })
        .collect();
        assert_eq!(order, [1004, 3, 1007, 4, 1010]);
    }

    #[test]
    fn large_newcomer_does_not_overtake_those_that_have_waited() {
        let mut schedule = schedule(1, &[1001, 1004]);
        assert_eq!(start(&mut schedule), Some(1001));
        assert_eq!(start(&mut schedule), None, "the second one waits");
        schedule.push(client(1000), 1000);
        let Some(Next::Unknown(newcomer)) = schedule.next(|_, _| true) else {
            panic!("it is looked at")
        };
        end(&mut schedule, 1001);
        assert!(!schedule.may_run_large(), "one has waited");
        let first = schedule.found_large(client(newcomer), newcomer);
        assert_eq!(first, Some(1004));
        end(&mut schedule, 1004);
        assert_eq!(start(&mut schedule), Some(1000));
    }

    #[test]
    fn among_small_jobs_no_more_run_than_threads() {
        let mut schedule = schedule(2, &[2, 5, 8]);
        assert_eq!(start(&mut schedule), Some(2));
        assert_eq!(start(&mut schedule), Some(5));
        assert_eq!(start(&mut schedule), None);
        end(&mut schedule, 2);
        assert_eq!(start(&mut schedule), Some(8));
    }

    proptest! {
        #[test]
        fn every_job_runs_once_and_no_more_at_once_than_may(
            limit in 1_usize..4,
            steps in proptest::collection::vec((0_u32..4, any::<bool>()), 0..200),
        ) {
            let mut schedule = Schedule::new(limit);
            let (mut running, mut ran, mut pushed) = (Vec::new(), Vec::new(), 0);
            for (step, pick) in steps {
                match step {
                    0 | 1 => {
                        let job = pushed + if pick { LARGE } else { 0 };
                        schedule.push(client(job), job);
                        pushed += 1;
                    }
                    2 if !running.is_empty() => {
                        let job = running.remove(if pick { 0 } else { running.len() - 1 });
                        end(&mut schedule, job);
                        ran.push(job);
                    }
                    // As many threads look for work as there are.
                    _ => while running.len() <= limit {
                        let Some(job) = start(&mut schedule) else { break };
                        running.push(job);
                    },
                }
                let large = running.iter().filter(|job| **job >= LARGE).count();
                prop_assert!(large <= limit && running.len() <= limit + usize::from(large == limit));
            }
            loop {
                running.extend(std::iter::from_fn(|| start(&mut schedule)));
                let Some(job) = running.pop() else { break };
                end(&mut schedule, job);
                ran.push(job);
            }
            prop_assert!(schedule.is_empty(), "what waits is taken up");
            ran.iter_mut().for_each(|job| *job %= LARGE);
            ran.sort_unstable();
            prop_assert!(ran.into_iter().eq(0..pushed));
        }
    }
}
