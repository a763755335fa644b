//! The locks of this room. `tests/schedules` puts others here, which try every order of events.

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
