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
