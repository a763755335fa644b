//! Threads that share one inference: idle helpers take tasks from a worker that leads, and leave when cores get scarce.
//!
//! One team serves all workers of the process. A worker leads an inference; helpers that nobody else uses join it.
//! Every step of a network is a number of tasks, claimed one by one, so a helper that the system has put aside holds up
//! nothing but the task it has in hand: the others do the rest. Who waits spins for a few microseconds and then sleeps,
//! so an oversubscribed machine loses no more than that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::denormals;
use super::tile::Release;

/// How long a thread spins before it sleeps: a few times what the threads of a step end apart.
const SPIN: Duration = Duration::from_micros(40);

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
    /// Helpers that take part in one.
    helping: AtomicUsize,
    helpers: Vec<Helper>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Helper {
    /// What it takes part in, or shall as soon as it wakes.
    session: Mutex<Option<Arc<Session>>>,
    sleep: Sleeper,
}

/// Where one thread sleeps until another one wakes it.
#[derive(Debug, Default)]
struct Sleeper {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Sleeper {
    /// Returns when `ready`, having spun and then slept.
    fn wait(&self, ready: impl Fn() -> bool) {
        let start = Instant::now();
        loop {
            for _ in 0..32 {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        *lock(&self.thread) = Some(std::thread::current());
        loop {
            // In this order on this side, change and then flag on the other: one of the two sees the other's.
            self.asleep.store(true, Ordering::SeqCst);
            if ready() {
                self.asleep.store(false, Ordering::SeqCst);
                return;
            }
            std::thread::park();
        }
    }

    /// To be called after the change that the sleeper waits for.
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = &*lock(&self.thread)
        {
            thread.unpark();
        }
    }
}

/// One inference with helpers.
#[derive(Debug)]
struct Session {
    /// Number of the current step in the upper half, number of its next task in the lower; [`CLOSED`] if it has none.
    claim: AtomicU64,
    /// Tasks of the current step.
    tasks: AtomicUsize,
    /// The current step's [`Job`], which lives on the leader's stack.
    job: AtomicPtr<()>,
    /// Tasks done in the current step.
    done: AtomicUsize,
    panicked: AtomicBool,
    over: AtomicBool,
    leader: Sleeper,
}

/// The lower half of a claim when there is nothing to claim.
const CLOSED: u64 = u32::MAX as u64;

/// A step's task, as something with a thin address.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
}

impl Team {
    /// A team for so many CPUs: one for the thread that leads, the others for helpers.
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
        let mut lead = Lead {
            shared: &self.shared,
            session: Arc::new(Session::new()),
            helpers: Vec::new(),
        };
        let helping = self.shared.helping.load(Ordering::Relaxed);
        let idle = self.shared.cpus.saturating_sub(leaders + helping);
        for helper in &self.shared.helpers[..self.threads.len()] {
            if lead.helpers.len() >= idle.min(threads.saturating_sub(1)) {
                break;
            }
            let mut slot = lock(&helper.session);
            if slot.is_none() {
                // Before the helper can see its session, and so before it can leave it.
                self.shared.helping.fetch_add(1, Ordering::Relaxed);
                *slot = Some(Arc::clone(&lead.session));
                drop(slot);
                helper.sleep.wake();
                lead.helpers.push(helper);
            }
        }
        work(&lead)
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
        self.session.over.store(true, Ordering::SeqCst);
        for helper in &self.helpers {
            helper.sleep.wake();
        }
        self.shared.leaders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lead<'_> {
    /// The threads that may take part, this one included.
    #[must_use]
    pub fn threads(&self) -> usize {
        1 + self.helpers.len()
    }

    /// Calls `task` with each number below `tasks`, each once, on any of the threads; returns when all are done.
    ///
    /// # Panics
    /// If a task does.
    pub fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || tasks < 2 {
            (0..tasks).for_each(task);
            return;
        }
        let session = &*self.session;
        let job = Job { task };
        session.open(&job, tasks);
        for helper in &self.helpers {
            helper.sleep.wake();
        }
        session.work();
        session
            .leader
            .wait(|| session.done.load(Ordering::SeqCst) == tasks);
        session.close();
        assert!(
            !session.panicked.swap(false, Ordering::Relaxed),
            "a task of a step panicked"
        );
    }
}

impl Session {
    /// Before the first step: closed, or a helper would take what [`Session::open`] is still writing for a step.
    fn new() -> Session {
        Session {
            claim: AtomicU64::new(CLOSED),
            tasks: AtomicUsize::new(0),
            job: AtomicPtr::default(),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            over: AtomicBool::new(false),
            leader: Sleeper::default(),
        }
    }

    fn open(&self, job: &Job<'_>, tasks: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        let job = std::ptr::from_ref(job).cast_mut().cast();
        self.job.store(job, Ordering::Relaxed);
        let step = self.claim.load(Ordering::Relaxed) >> 32;
        self.claim.store((step + 1) << 32, Ordering::SeqCst);
    }

    fn close(&self) {
        self.claim.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Whether a task can be claimed.
    fn is_open(&self) -> bool {
        let next = self.claim.load(Ordering::SeqCst) & CLOSED;
        next != CLOSED && next < self.tasks.load(Ordering::SeqCst) as u64
    }

    /// Does tasks of the current step until none is left to claim.
    fn work(&self) {
        loop {
            let claim = self.claim.load(Ordering::Acquire);
            let tasks = self.tasks.load(Ordering::Relaxed);
            let job = self.job.load(Ordering::Relaxed);
            let i = (claim & CLOSED) as usize;
            if i >= tasks || claim & CLOSED == CLOSED {
                return;
            }
            // Success says that the claim has not moved, so the two loads above belong to its step: they are only
            // changed while it is closed, and the number of a step never returns.
            if self
                .claim
                .compare_exchange(claim, claim + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            // SAFETY: the leader keeps the job alive until as many tasks are done as there are, and this one, which
            // nobody else has claimed, is not done yet.
            let task = unsafe { (*job.cast::<Job<'_>>()).task };
            if catch_unwind(AssertUnwindSafe(|| task(i))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == tasks {
                self.leader.wake();
            }
        }
    }
}

/// A helper's life: wait for a session, do its tasks step by step, leave when it is over or cores are scarce.
fn help(shared: &Shared, me: &Helper) {
    let _flush = denormals::flush_denormals();
    loop {
        me.sleep
            .wait(|| shared.stop.load(Ordering::SeqCst) || lock(&me.session).is_some());
        let Some(session) = lock(&me.session).clone() else {
            return;
        };
        let release = Release;
        loop {
            session.work();
            if session.over.load(Ordering::SeqCst) || shared.is_crowded() {
                break;
            }
            me.sleep
                .wait(|| session.is_open() || session.over.load(Ordering::SeqCst));
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

/// Nothing here can be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_every_step_runs_once_whatever_the_threads() {
        for (cpus, threads) in [(1, 1), (2, 2), (3, 8), (8, 8)] {
            let team = Team::new(cpus);
            for _ in 0..50 {
                team.lead(threads, |lead| {
                    for tasks in [0, 1, 2, 3, 17, 200] {
                        let counts: Vec<AtomicUsize> =
                            (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                        lead.for_each(tasks, &|i| {
                            counts[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        }
    }

    #[test]
    fn first_step_of_a_session_runs_each_task_once() {
        let team = Team::new(3);
        for _ in 0..20_000 {
            let counts = [const { AtomicUsize::new(0) }; 3];
            team.lead(3, |lead| {
                lead.for_each(3, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn helpers_take_part_when_cpus_are_idle() {
        let team = Team::new(2);
        let names = Mutex::new(std::collections::HashSet::new());
        let both = std::sync::Barrier::new(2);
        team.lead(2, |lead| {
            // Ends only if two threads are in it at the same time.
            lead.for_each(2, &|_| {
                both.wait();
                names.lock().unwrap().insert(std::thread::current().id());
            });
        });
        assert_eq!(names.lock().unwrap().len(), 2);
    }

    #[test]
    fn leaders_on_all_cpus_get_no_helpers() {
        let team = Team::new(2);
        let both = std::sync::Barrier::new(2);
        let lead_alone = || {
            both.wait();
            team.lead(1, |_| {
                both.wait(); // two lead now
                team.lead(2, |lead| assert!(lead.helpers.is_empty()));
                both.wait();
            });
        };
        std::thread::scope(|s| {
            s.spawn(lead_alone);
            s.spawn(lead_alone);
        });
        let free = team.lead(2, |lead| lead.helpers.len());
        assert_eq!(free, 1);
    }

    #[test]
    fn many_leaders_share_the_helpers_without_losing_a_task() {
        let team = Team::new(4);
        std::thread::scope(|s| {
            for _ in 0..6 {
                s.spawn(|| {
                    for _ in 0..300 {
                        let sum = AtomicUsize::new(0);
                        team.lead(4, |lead| {
                            for _ in 0..5 {
                                lead.for_each(20, &|i| {
                                    sum.fetch_add(i, Ordering::Relaxed);
                                });
                            }
                        });
                        assert_eq!(sum.into_inner(), 5 * 190);
                    }
                });
            }
        });
    }

    #[test]
    fn panic_of_a_task_reaches_the_leader_and_the_team_lives_on() {
        let team = Team::new(3);
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.lead(3, |lead| {
                lead.for_each(30, &|i| assert!(i != 7, "task seven"))
            });
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        team.lead(3, |lead| {
            lead.for_each(4, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
