//! Threads that share one inference: idle helpers take tasks from a worker that leads, and leave when cores get scarce.
//!
//! One team serves all workers of the process. A worker leads an inference; helpers that nobody else uses join it.
//! Every step of a network is a number of tasks, claimed one by one, so a helper that the system has put aside holds up
//! nothing but the task it has in hand: the others do the rest. Who waits spins for a few microseconds and then sleeps,
//! so an oversubscribed machine loses no more than that.

mod session;
mod sleeper;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use self::session::Session;
use self::sleeper::Sleeper;
use crate::nn::denormals;
use crate::nn::micro::table::Release;

/// Threads that may help an inference; shared by all workers of the process.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    cpus: usize,
    /// Workers in the middle of an inference.
    leaders: AtomicUsize,
    /// Helpers that take part in an inference.
    helping: AtomicUsize,
    helpers: Vec<Helper>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Helper {
    /// The session that it takes part in, or will as soon as it wakes, and which part of each step it begins with.
    session: Mutex<Option<(Arc<Session>, usize)>>,
    sleep: Sleeper,
}

impl Team {
    /// A team for `cpus` CPUs: one for the thread that leads, the others for helpers.
    #[must_use]
    pub fn new(cpus: usize) -> Team {
        let helpers = cpus.saturating_sub(1);
        let shared = Arc::new(Shared {
            cpus,
            leaders: AtomicUsize::new(0),
            helping: AtomicUsize::new(0),
            helpers: (0..helpers).map(|_| Helper::default()).collect(),
            stop: AtomicBool::new(false),
        });
        let start = |i: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("helper-{i}"))
                .spawn(move || help(&shared, &shared.helpers[i]))
        };
        // A helper that cannot be started is one that never joins.
        let threads = (0..helpers).map_while(|i| start(i).ok()).collect();
        Team { shared, threads }
    }

    /// Runs `work` on the calling thread; what it gives to [`Lead::for_each`] is shared with at most `threads - 1`
    /// helpers that are idle now, on CPUs that no other inference uses.
    pub fn lead<R>(&self, threads: usize, work: impl FnOnce(&Lead<'_>) -> R) -> R {
        let leaders = self.shared.leaders.fetch_add(1, Ordering::Relaxed) + 1;
        let helping = self.shared.helping.load(Ordering::Relaxed);
        let idle = self.shared.cpus.saturating_sub(leaders + helping);
        let most = idle.min(threads.saturating_sub(1)).min(self.threads.len());
        let mut lead = Lead {
            shared: &self.shared,
            session: Arc::new(Session::new(1 + most)),
            helpers: Vec::new(),
        };
        for helper in &self.shared.helpers[..self.threads.len()] {
            if lead.helpers.len() == most {
                break;
            }
            let mut slot = lock(&helper.session);
            if slot.is_none() {
                // Before the helper can see its session, and so before it can leave it.
                self.shared.helping.fetch_add(1, Ordering::Relaxed);
                *slot = Some((Arc::clone(&lead.session), 1 + lead.helpers.len()));
                drop(slot);
                helper.sleep.wake();
                lead.helpers.push(helper);
            }
        }
        work(&lead)
    }

    /// Runs `work` while no inference of this team gets a further helper: what leads one then has all of it on its own
    /// thread.
    pub fn alone<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Taken<'t>(&'t Shared);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                self.0.leaders.fetch_sub(self.0.cpus, Ordering::Relaxed);
            }
        }
        self.shared
            .leaders
            .fetch_add(self.shared.cpus, Ordering::Relaxed);
        let _taken = Taken(&self.shared);
        work()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for helper in &self.shared.helpers {
            helper.sleep.wake();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a helper catches the panics of its tasks
        }
    }
}

/// The right to share work with helpers, for the time of one inference.
#[derive(Debug)]
pub struct Lead<'t> {
    shared: &'t Shared,
    session: Arc<Session>,
    helpers: Vec<&'t Helper>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.session.end();
        for helper in &self.helpers {
            helper.sleep.wake();
        }
        self.shared.leaders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lead<'_> {
    /// The number of threads that may take part, this one included.
    #[must_use]
    pub fn threads(&self) -> usize {
        1 + self.helpers.len()
    }

    /// Calls `task` with each number below `tasks`, each once, on any of the threads; returns when all are done. Called
    /// from one of the tasks, all of them run on that thread.
    ///
    /// # Panics
    /// If a task does.
    pub fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || tasks < 2 {
            (0..tasks).for_each(task);
            return;
        }
        self.session.run(tasks, task, || {
            for helper in &self.helpers {
                helper.sleep.wake();
            }
        });
    }
}

/// A helper's life: wait for a session, do its tasks step by step, leave when it is over or cores are scarce.
fn help(shared: &Shared, me: &Helper) {
    let _flush = denormals::flush_denormals();
    loop {
        me.sleep
            .wait(|| shared.stop.load(Ordering::SeqCst) || lock(&me.session).is_some());
        let Some((session, part)) = lock(&me.session).clone() else {
            return;
        };
        let release = Release;
        loop {
            session.work(part);
            if session.is_over() || shared.is_crowded() {
                break;
            }
            me.sleep.wait(|| session.is_open() || session.is_over());
        }
        drop(release);
        *lock(&me.session) = None;
        shared.helping.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether more threads compute than there are CPUs.
    fn is_crowded(&self) -> bool {
        self.leaders.load(Ordering::Relaxed) + self.helping.load(Ordering::Relaxed) > self.cpus
    }
}

/// Locks a mutex, poisoned or not: a panic leaves nothing here half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
