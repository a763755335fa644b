//! Starts the workers and replaces those that die; gives up when they die one after the other.
//!
//! Owned by `Batcher`. A panic inside a batch is the worker's own business; here a whole thread is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Health, Shared, StartError, worker};
use crate::engine::EngineError;

/// Deaths that are mended within [`WINDOW`]. One more is no accident: another process, started anew, may do better.
const MOST_DEATHS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The workers' keeper.
pub(super) struct Supervisor {
    thread: Option<JoinHandle<()>>,
}

/// The end of a worker's thread.
struct Exit {
    worker: usize,
    died: bool,
}

impl Supervisor {
    /// Starts all workers and waits until they are warm; tells `health` if they fail for good.
    ///
    /// # Errors
    /// The first worker's that cannot start; then none runs.
    pub(super) fn start(
        shared: Arc<Shared>,
        health: watch::Sender<Health>,
    ) -> Result<Supervisor, StartError> {
        let (tell, exits) = channel();
        let (warm, warmed) = channel();
        let mut crew = Crew {
            shared,
            tell,
            threads: Vec::new(),
        };
        let started = crew.start_all(&warm);
        drop(warm); // a worker that dies drops the last sender, which ends the wait
        let warm = started.and_then(|()| {
            for _ in &crew.threads {
                warmed.recv().unwrap_or(Err(EngineError::Panicked))?;
            }
            Ok(())
        });
        if let Err(e) = warm {
            crew.shared.queue.close();
            crew.join_all();
            return Err(e);
        }
        let thread = std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervise(crew, &exits, &health))
            .map_err(StartError::Thread)?;
        Ok(Supervisor {
            thread: Some(thread),
        })
    }

    /// Waits until the workers have emptied the closed queue and ended.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It only moves messages and handles, and cannot have panicked.
            let _ = thread.join();
        }
    }
}

/// The workers' threads.
struct Crew {
    shared: Arc<Shared>,
    tell: Sender<Exit>,
    threads: Vec<Option<JoinHandle<()>>>,
}

impl Crew {
    fn start_all(&mut self, warm: &Sender<Result<(), EngineError>>) -> Result<(), StartError> {
        for worker in 0..self.shared.heartbeats.len() {
            let thread = self.start(worker, warm.clone());
            let thread = thread.map_err(StartError::Thread)?;
            self.threads.push(Some(thread));
        }
        Ok(())
    }

    fn start(
        &self,
        worker: usize,
        warm: Sender<Result<(), EngineError>>,
    ) -> std::io::Result<JoinHandle<()>> {
        fault!(
            "start-worker",
            Err(std::io::Error::other("a test wants no thread"))
        );
        let shared = Arc::clone(&self.shared);
        let mut farewell = Farewell {
            tell: self.tell.clone(),
            worker,
            died: true,
        };
        std::thread::Builder::new()
            .name(format!("engine-{worker}"))
            .spawn(move || farewell.note(&worker::run(&shared, worker, warm)))
    }

    fn join_all(&mut self) {
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            let _ = thread.join(); // how it ended has been told
        }
    }
}

/// Tells of the thread's end, however it comes.
struct Farewell {
    tell: Sender<Exit>,
    worker: usize,
    died: bool,
}

impl Farewell {
    fn note(&mut self, result: &Result<(), EngineError>) {
        self.died = result.is_err();
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let Farewell { worker, died, .. } = *self;
        let _ = self.tell.send(Exit { worker, died }); // nobody listens if the start has failed
    }
}

fn supervise(mut crew: Crew, exits: &Receiver<Exit>, health: &watch::Sender<Health>) {
    let mut deaths = Deaths::default();
    let mut running = crew.threads.len();
    while running > 0
        && let Ok(Exit { worker, died }) = exits.recv()
    {
        if let Some(thread) = crew.threads[worker].take() {
            let _ = thread.join(); // what it panicked with is in the log
        }
        let given_up = match died {
            false => None,
            true if !deaths.may_go_on(Instant::now()) => Some(GivenUp::TooManyDeaths),
            true => {
                tracing::error!(worker, "an engine thread died; starting another");
                match crew.start(worker, channel().0) {
                    Ok(thread) => {
                        crew.shared.metrics.worker_restarts.inc();
                        crew.threads[worker] = Some(thread);
                        continue;
                    }
                    Err(error) => Some(GivenUp::NoThread(error)),
                }
            }
        };
        running -= 1;
        if let Some(reason) = given_up {
            tracing::error!(worker, "giving up: {reason}");
            health.send_replace(Health::Failed);
            crew.shared.queue.close();
        }
    }
    // Without a failure the workers have emptied it.
    crew.shared.queue.clear();
}

/// Why a worker that died is not replaced.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("more than {MOST_DEATHS} engine threads died within {} s", WINDOW.as_secs())]
    TooManyDeaths,
    #[error("an engine thread died and another cannot be started: {0}")]
    NoThread(std::io::Error),
}

/// The deaths of the last minute.
#[derive(Default)]
struct Deaths {
    times: VecDeque<Instant>,
}

impl Deaths {
    /// Notes a death; whether it may be mended.
    fn may_go_on(&mut self, now: Instant) -> bool {
        self.times.push_back(now);
        while self.times.front().is_some_and(|&t| now - t > WINDOW) {
            self.times.pop_front();
        }
        self.times.len() <= MOST_DEATHS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_deaths_a_minute_are_mended() {
        let start = Instant::now();
        let mut deaths = Deaths::default();
        for i in 0..5 {
            assert!(deaths.may_go_on(start + Duration::from_secs(i)));
        }
        assert!(!deaths.may_go_on(start + Duration::from_secs(30)));
        let mut deaths = Deaths::default();
        for i in 0..100 {
            assert!(deaths.may_go_on(start + Duration::from_secs(13 * i)), "{i}");
        }
    }
}
