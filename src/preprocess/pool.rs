//! The `prep-N` threads: decode and resize run here, never on tokio's threads.
//!
//! Owned by `classifier`. Jobs arrive only with a place that admission gave out, which bounds the queue; clients are served
//! in turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::pulse::Pulse;
use crate::turns::{ClientId, Turns};

type Job = Box<dyn FnOnce() + Send>;

/// The pool has been closed; only during shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is closed")]
pub struct PoolClosed;

/// A fixed set of named threads that run the jobs of each client in the order of arrival.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// One a thread.
    pulses: Vec<Pulse>,
}

#[derive(Default)]
struct State {
    jobs: Turns<Job>,
    closed: bool,
}

impl Shared {
    /// Jobs run outside the lock, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Starts `threads` threads named `{name}-0`, `{name}-1`, ….
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            pulses: (0..threads).map(|_| Pulse::default()).collect(),
        });
        let threads = (0..threads)
            .map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("{name}-{i}"))
                    .spawn(move || run(&shared, &shared.pulses[i]))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Pool { shared, threads })
    }

    /// Queues a job. A job that panics ends itself alone; whoever waits for it sees its channel closed.
    ///
    /// # Errors
    /// [`PoolClosed`] during shutdown.
    pub fn submit(
        &self,
        client: ClientId,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), PoolClosed> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(PoolClosed);
        }
        state.jobs.push(client, Box::new(job));
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// For how long each thread has been running its job at hand.
    pub fn busy(&self) -> impl Iterator<Item = Duration> {
        self.shared.pulses.iter().map(Pulse::busy)
    }
}

impl Drop for Pool {
    /// Finishes the queued jobs, then ends the threads.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches what its jobs throw, so it cannot have panicked.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

fn run(shared: &Shared, pulse: &Pulse) {
    loop {
        let mut state = shared.lock();
        let job = loop {
            if let Some(job) = state.jobs.pop() {
                break job;
            }
            if state.closed {
                return;
            }
            state = shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let _beat = pulse.begin();
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::warn!(
                thread = std::thread::current().name(),
                "a preprocessing job panicked; its request fails"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn panicking_job_leaves_the_thread_alive() {
        let pool = Pool::start("prep", 1).expect("a thread");
        pool.submit(ClientId::LOCAL, || panic!("a hostile image"))
            .expect("open");
        let (send, receive) = mpsc::channel();
        pool.submit(ClientId::LOCAL, move || {
            send.send(std::thread::current().name().map(str::to_owned))
                .expect("receiver")
        })
        .expect("open");
        assert_eq!(
            receive.recv().expect("the next job runs").as_deref(),
            Some("prep-0")
        );
    }

    #[test]
    fn dropping_the_pool_finishes_queued_jobs() {
        let (send, receive) = mpsc::channel();
        let pool = Pool::start("prep", 2).expect("threads");
        for i in 0..100 {
            let send = send.clone();
            pool.submit(ClientId::LOCAL, move || send.send(i).expect("receiver"))
                .expect("open");
        }
        drop((pool, send));
        assert_eq!(receive.iter().count(), 100);
    }
}
