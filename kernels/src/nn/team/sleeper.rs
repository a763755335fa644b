//! One thread waits, another one wakes it: spinning at first, for steps follow each other within microseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: a few times what the threads of a step end apart.
const SPIN: Duration = Duration::from_micros(40);

/// Where one thread sleeps until another one wakes it.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Sleeper {
    /// Returns when `ready`, having spun and then slept.
    pub(crate) fn wait(&self, ready: impl Fn() -> bool) {
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
        *self.thread() = Some(std::thread::current());
        loop {
            // This side sets the flag and then looks for the change; the other makes the change and then looks for the
            // flag. So at least one of the two sees what the other did.
            self.asleep.store(true, Ordering::SeqCst);
            if ready() {
                self.asleep.store(false, Ordering::SeqCst);
                return;
            }
            std::thread::park();
        }
    }

    /// Wakes the sleeper; to be called after the change that it waits for.
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = &*self.thread()
        {
            thread.unpark();
        }
    }

    fn thread(&self) -> std::sync::MutexGuard<'_, Option<Thread>> {
        // A handle cannot be left half stored by a panic.
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
