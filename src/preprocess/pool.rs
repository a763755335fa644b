//! The `prep-N` threads: decode and resize run here, never on tokio's threads.
//!
//! Owned by `classifier`. Jobs arrive only with a place that admission gave out, which bounds the queue; `schedule`
//! has their order, and `ahead` how many may be done before the networks take them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ahead::{self, Ahead};
use super::schedule::{Next, Schedule};
use crate::fair_queue::ClientId;
use crate::heartbeat::Heartbeat;

/// What a thread of the pool does for one image.
pub trait PoolTask: Send + 'static {
    /// The client whose job it is.
    fn client(&self) -> ClientId;

    /// Whether the job makes an image, which waits for a network.
    fn is_image(&self) -> bool;

    /// Does the job. One that finds out that it takes many times as long as most asks `may_run_large` first; if it may
    /// not, it comes back and is run later. The image that it makes holds `under_way` until a network takes it.
    fn run(self, may_run_large: &dyn Fn() -> bool, under_way: UnderWay) -> Option<Self>
    where
        Self: Sized;
}

/// An image that is being decoded, or waits for a network; dropped, it makes room for the next.
pub struct UnderWay {
    pool: Arc<dyn Room>,
    client: ClientId,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let client = &self.client;
        f.debug_struct("UnderWay")
            .field("client", client)
            .finish_non_exhaustive()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.pool.give_back(self.client);
    }
}

/// A pool, whatever its jobs are.
trait Room: Send + Sync {
    /// One image of this client is no longer under way.
    fn give_back(&self, client: ClientId);
}

impl<T: Send> Room for Shared<T> {
    fn give_back(&self, client: ClientId) {
        self.lock().ahead.end(client);
        self.wake.notify_one();
    }
}

/// The pool has been closed; only during shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is closed")]
pub struct PoolClosed;

/// A fixed set of named threads that serve clients in turn, and small images beside large ones.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    /// When each thread began its job at hand, one a thread.
    heartbeats: Vec<Heartbeat>,
}

struct State<T> {
    schedule: Schedule<T>,
    ahead: Ahead,
    closed: bool,
}

impl<T: PoolTask> State<T> {
    /// The job that a free thread takes, counted as under way.
    fn next(&mut self) -> Option<Next<T>> {
        let ahead = &self.ahead;
        let may = |client, job: &T| !job.is_image() || ahead.may_start(client);
        let next = self.schedule.next(may)?;
        let (Next::Unknown(job) | Next::Large(job)) = &next;
        self.ahead.start(job.client());
        Some(next)
    }
}

impl<T> Shared<T> {
    /// Jobs run outside the lock, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: PoolTask> Pool<T> {
    /// Starts threads named `{name}-0`, `{name}-1`, …: `threads`, and one for small jobs while all those have large
    /// ones. Images are decoded until `ahead` of them are under way.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(name: &str, threads: usize, ahead: usize) -> std::io::Result<Pool<T>> {
        let all = threads + 1;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                schedule: Schedule::new(threads),
                ahead: Ahead::new(ahead),
                closed: false,
            }),
            wake: Condvar::new(),
            heartbeats: (0..all).map(|_| Heartbeat::default()).collect(),
        });
        let threads = (0..all)
            .map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("{name}-{i}"))
                    .spawn(move || run(&shared, &shared.heartbeats[i]))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Pool { shared, threads })
    }

    /// Queues a job. One that panics ends itself alone; whoever waits for it sees its channel closed.
    ///
    /// # Errors
    /// [`PoolClosed`] during shutdown.
    pub fn submit(&self, job: T) -> Result<(), PoolClosed> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(PoolClosed);
        }
        state.schedule.push(job.client(), job);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

/// Most images that are decoded, or being decoded, in a pool that was started with `ahead`.
#[must_use]
pub fn most_under_way(ahead: usize) -> usize {
    ahead::most(ahead)
}

impl<T> Pool<T> {
    /// For how long each thread has been running its job at hand.
    pub fn busy(&self) -> impl Iterator<Item = Duration> {
        self.shared.heartbeats.iter().map(Heartbeat::busy)
    }
}

impl<T> Drop for Pool<T> {
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

impl<T> std::fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

fn run<T: PoolTask>(shared: &Arc<Shared<T>>, heartbeat: &Heartbeat) {
    let mut state = shared.lock();
    loop {
        let Some(next) = state.next() else {
            if state.closed && state.schedule.is_empty() {
                // Others may wait for a turn that never comes.
                return shared.wake.notify_all();
            }
            let woken = shared.wake.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        let beat = heartbeat.begin();
        let is_large = run_one(shared, next);
        drop(beat);
        state = shared.lock();
        match is_large {
            Some(true) => state.schedule.ended_large(),
            Some(false) => state.schedule.ended_small(),
            None => {}
        }
    }
}

/// Runs a job, or a large one that has waited in its place; whether it was large, nothing if none may run.
fn run_one<T: PoolTask>(shared: &Arc<Shared<T>>, next: Next<T>) -> Option<bool> {
    let job = match next {
        Next::Large(job) => return Some(run_large(shared, job)),
        Next::Unknown(job) => job,
    };
    let (client, is_large) = (job.client(), Cell::new(false));
    let may_run_large = || {
        is_large.set(shared.lock().schedule.may_run_large());
        if is_large.get() {
            shared.wake.notify_one(); // there may be room for a small one now
        }
        is_large.get()
    };
    let under_way = counted(shared, client);
    match contained(|| job.run(&may_run_large, under_way)) {
        None => Some(is_large.get()),
        Some(job) => {
            let mut state = shared.lock();
            let other = state.schedule.found_large(client, job)?;
            state.ahead.start(other.client());
            drop(state);
            Some(run_large(shared, other))
        }
    }
}

/// Runs a job that is known to be large, and counted as that.
fn run_large<T: PoolTask>(shared: &Arc<Shared<T>>, job: T) -> bool {
    shared.wake.notify_one(); // there may be room for a small one now
    let under_way = counted(shared, job.client());
    let postponed = contained(|| job.run(&|| true, under_way));
    debug_assert!(postponed.is_none(), "it may run");
    true
}

/// The place of a job that is under way, and counted as that.
fn counted<T: Send + 'static>(shared: &Arc<Shared<T>>, client: ClientId) -> UnderWay {
    let pool = Arc::<Shared<T>>::clone(shared);
    UnderWay { pool, client }
}

/// Runs a job, whose panic ends nobody else; whoever waits for it sees its channel closed.
fn contained<T>(run: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        tracing::warn!(
            thread = std::thread::current().name(),
            "a preprocessing job panicked; its request fails"
        );
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Closure {
        client: ClientId,
        is_large: bool,
        is_image: bool,
        run: Box<dyn FnOnce(UnderWay) + Send>,
    }

    impl PoolTask for Closure {
        fn client(&self) -> ClientId {
            self.client
        }
        fn is_image(&self) -> bool {
            self.is_image
        }
        fn run(self, may_run_large: &dyn Fn() -> bool, under_way: UnderWay) -> Option<Closure> {
            if self.is_large && !may_run_large() {
                return Some(self);
            }
            (self.run)(under_way);
            None
        }
    }

    /// A job whose result a network takes at once.
    fn small(run: impl FnOnce() + Send + 'static) -> Closure {
        Closure {
            client: ClientId::LOCAL,
            is_large: false,
            is_image: true,
            run: Box::new(|_| run()),
        }
    }

    fn large(run: impl FnOnce() + Send + 'static) -> Closure {
        Closure {
            is_large: true,
            ..small(run)
        }
    }

    #[test]
    fn panicking_job_leaves_the_thread_alive() {
        let pool = Pool::start("prep", 1, 1).expect("threads");
        for _ in 0..10 {
            pool.submit(small(|| panic!("a hostile image")))
                .expect("open");
            pool.submit(large(|| panic!("a huge one"))).expect("open");
        }
        let (send, receive) = mpsc::channel();
        pool.submit(small(move || {
            send.send(std::thread::current().name().map(str::to_owned))
                .expect("receiver");
        }))
        .expect("open");
        let name = receive.recv().expect("the next job runs");
        assert!(name.is_some_and(|n| n.starts_with("prep-")));
    }

    #[test]
    fn small_jobs_end_while_large_ones_have_all_threads() {
        let pool = Pool::start("prep", 2, 64).expect("threads");
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..5 {
            let gate = Arc::clone(&gate);
            let wait = move || gate.lock().expect("a gate").recv().unwrap_or(());
            pool.submit(large(wait)).expect("open");
        }
        let (send, receive) = mpsc::channel();
        for i in 0..20 {
            let send = send.clone();
            pool.submit(small(move || send.send(i).expect("receiver")))
                .expect("open");
        }
        drop(send);
        assert!(receive.iter().eq(0..20));
        drop(release);
    }

    #[test]
    fn no_image_is_decoded_before_the_networks_have_taken_those_before_it() {
        let pool = Pool::start("prep", 2, 2).expect("threads");
        let (send, decoded) = mpsc::channel();
        for i in 0..5 {
            let send = send.clone();
            let job = Closure {
                run: Box::new(move |under_way| send.send((i, under_way)).expect("receiver")),
                ..small(|| ())
            };
            pool.submit(job).expect("open");
        }
        drop(send);
        let mut ready: Vec<_> = decoded.iter().take(2).collect();
        // What is no image of another client passes those that wait; and by then a third would have been decoded.
        let (send, computed) = mpsc::channel();
        let computation = Closure {
            client: ClientId(1),
            is_image: false,
            ..small(move || send.send(()).expect("receiver"))
        };
        pool.submit(computation).expect("open");
        computed.recv().expect("it runs");
        assert!(decoded.try_recv().is_err(), "a third was decoded");
        let mut order = Vec::new();
        while let Some((i, under_way)) = ready.pop() {
            order.push(i);
            drop(under_way);
            ready.extend(decoded.recv());
        }
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn dropping_the_pool_finishes_queued_jobs() {
        let (send, receive) = mpsc::channel();
        let pool = Pool::start("prep", 2, 64).expect("threads");
        for i in 0..100 {
            let send = send.clone();
            let tell = move || send.send(i).expect("receiver");
            let job = if i % 3 == 0 { large(tell) } else { small(tell) };
            pool.submit(job).expect("open");
        }
        drop((pool, send));
        assert_eq!(receive.iter().count(), 100);
    }
}
