//! The lines that a worker computes in: made once, used by one inference after the other.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::line::Line;

/// One worker's memory for a program; zeros at first, so that the system provides it as it is used.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<Line>,
    lines: usize,
}

// SAFETY: the value alone owns its lines.
unsafe impl Send for Memory {}

impl Memory {
    pub(super) fn new(lines: usize) -> Memory {
        let layout = layout(lines);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start.cast()) {
            Some(start) => Memory { start, lines },
            None => handle_alloc_error(layout),
        }
    }

    /// Its number of lines.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The address of line number `line`; whoever uses it keeps within the memory and out of others' way.
    pub(super) fn at(&mut self, line: usize) -> *mut Line {
        assert!(line <= self.lines, "line {line} of {}", self.lines);
        // SAFETY: inside of the allocation, or at its end.
        unsafe { self.start.as_ptr().add(line) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), layout(self.lines)) };
    }
}

fn layout(lines: usize) -> Layout {
    Layout::array::<Line>(lines.max(1)).expect("a worker's memory is far below the address space")
}
