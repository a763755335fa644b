//! Memory for what a step keeps between its phases, a slot for each thread.
//!
//! Called by the steps that pack or transform their input.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::nn::layout::line::Line;
use crate::nn::team::Lead;

/// Some lines, and the most threads that will use them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scratch {
    /// The first of as many lines as the step has asked for with `threads` threads.
    pub(crate) start: *mut Line,
    /// Threads that share the work.
    pub(crate) threads: usize,
}

// SAFETY: a plain address; each access through it states why it is sound.
unsafe impl Sync for Scratch {}

/// Most parts that tasks are shared out in; of more threads some begin with the same part.
const MOST_PARTS: usize = 32;

impl Scratch {
    /// Calls `work` with a slot below `threads` and each number below `tasks`, each number once, never two at the same
    /// time with the same slot. Each slot begins with tasks of its own, as the threads of a step do.
    pub(crate) fn for_each(
        &self,
        lead: &Lead<'_>,
        tasks: usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) {
        let slots = self.threads.min(tasks);
        let parts = slots.clamp(1, MOST_PARTS);
        let next: [AtomicUsize; MOST_PARTS] =
            std::array::from_fn(|part| AtomicUsize::new(share(tasks, part, parts).start));
        lead.for_each(slots, &|slot| {
            let own = slot % parts;
            for part in (own..parts).chain(0..own) {
                let end = share(tasks, part, parts).end;
                loop {
                    let task = next[part].fetch_add(1, Ordering::Relaxed);
                    if task >= end {
                        break;
                    }
                    work(slot, task);
                }
            }
        });
    }
}

/// Part number `part` of `parts` nearly equal ones of `0..whole`.
pub(crate) fn share(whole: usize, part: usize, parts: usize) -> Range<usize> {
    whole * part / parts..whole * (part + 1) / parts
}
