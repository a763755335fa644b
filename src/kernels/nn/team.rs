//! Threads that share one inference.

/// Threads that may help an inference; shared by all workers of the process.
#[derive(Debug)]
pub struct Team {
    helpers: usize,
}

impl Team {
    /// A team for so many CPUs: one for the thread that leads, the others helpers.
    #[must_use]
    pub fn new(cpus: usize) -> Team {
        Team {
            helpers: cpus.saturating_sub(1),
        }
    }

    /// Runs `work` on the calling thread; what it gives to [`Lead::for_each`] is shared with at most `threads - 1` idle
    /// helpers.
    pub fn lead<R>(&self, threads: usize, work: impl FnOnce(&Lead<'_>) -> R) -> R {
        let _ = (self.helpers, threads);
        work(&Lead { _team: self })
    }
}

/// The right to share work with a team.
#[derive(Debug)]
pub struct Lead<'t> {
    _team: &'t Team,
}

impl Lead<'_> {
    /// Calls `task` with each number below `tasks`, each once, on any of the threads; returns when all are done.
    pub fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            task(i);
        }
    }
}
