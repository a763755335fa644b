//! The locks of this room: with the feature `schedules` those of shuttle, under which `schedules` tries orders of events.

#[cfg(feature = "schedules")]
pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(feature = "schedules"))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

pub(super) use std::sync::{Arc, PoisonError};
