//! The lines that weights lie in and workers compute in: zeros at first, on huge pages where they are many.
//!
//! Weights and values of a network are tens of megabytes, each byte of which is used once or a few times an inference;
//! with pages of 4 KiB the addresses of most of them have left the TLB in between. On an Intel core with 2 MiB of L2,
//! huge pages take 3 to 6% off ResNet-50 in `f32` with one image, and nothing measurable off bfloat16.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::nn::layout::line::Line;

/// Bytes of a huge page. With `MIN` bytes of lines and more, they lie on huge pages.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;
#[cfg(target_os = "linux")]
const MIN: usize = 2 << 20;

/// An owned allocation of lines, zeros at first.
pub(crate) struct Lines {
    start: NonNull<Line>,
    len: usize,
    owner: Owner,
}

/// Where the memory comes from, and with what it is given back.
enum Owner {
    Allocator(Layout),
    /// Pages of the system's: the address and the bytes of the whole mapping.
    #[cfg(target_os = "linux")]
    Pages(*mut core::ffi::c_void, usize),
}

// SAFETY: the value alone owns its lines.
unsafe impl Send for Lines {}
// SAFETY: through a shared reference the lines are only read.
unsafe impl Sync for Lines {}

impl Lines {
    /// Allocates `len` lines of zeros; the system provides large memory as it is used.
    pub(crate) fn zeros(len: usize) -> Lines {
        #[cfg(target_os = "linux")]
        if let Some(lines) = Lines::on_huge_pages(len) {
            return lines;
        }
        let layout = Layout::array::<Line>(len.max(1)).expect("far below the address space");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start.cast()) {
            Some(start) => Lines {
                start,
                len,
                owner: Owner::Allocator(layout),
            },
            None => handle_alloc_error(layout),
        }
    }

    /// Lines in a mapping of their own on huge pages; none for fewer than `MIN` bytes, or if the system refuses the
    /// mapping.
    #[cfg(target_os = "linux")]
    fn on_huge_pages(len: usize) -> Option<Lines> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

        let bytes = len.checked_mul(size_of::<Line>())?;
        if bytes < MIN {
            return None;
        }
        // A mapping begins at any small page: one huge page more than needed, so that the lines can begin at a huge
        // one.
        let mapped = bytes.checked_next_multiple_of(HUGE)?.checked_add(HUGE)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the system's choice changes nothing that exists.
        let map = unsafe {
            mmap_anonymous(std::ptr::null_mut(), mapped, access, MapFlags::PRIVATE).ok()?
        };
        let before = map.addr().next_multiple_of(HUGE) - map.addr();
        // SAFETY: at most one huge page into the mapping, which is one longer than the lines.
        let start = unsafe { map.byte_add(before) };
        // SAFETY: inside of the mapping. It is advice: where the system does not follow it, pages are small.
        let _ = unsafe { madvise(start, mapped - HUGE, Advice::LinuxHugepage) };
        Some(Lines {
            start: NonNull::new(start.cast())?,
            len,
            owner: Owner::Pages(map, mapped),
        })
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: the value owns `len` lines from `start` on, initialized to zeros.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: the value owns `len` initialized lines from `start` on, and is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines", self.len)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match self.owner {
            // SAFETY: `start` was allocated with this layout.
            Owner::Allocator(layout) => unsafe { dealloc(self.start.as_ptr().cast(), layout) },
            #[cfg(target_os = "linux")]
            Owner::Pages(map, bytes) => {
                // SAFETY: the whole mapping made by `on_huge_pages`, which only this value refers to.
                let _ = unsafe { rustix::mm::munmap(map, bytes) };
            }
        }
    }
}

/// One worker's memory for a program.
#[derive(Debug)]
pub struct Memory {
    lines: Lines,
}

impl Memory {
    pub(crate) fn new(lines: usize) -> Memory {
        Memory {
            lines: Lines::zeros(lines),
        }
    }

    /// The number of lines.
    pub(crate) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The address of line number `line`; whoever uses it keeps within the memory and out of others' way.
    pub(crate) fn at(&mut self, line: usize) -> *mut Line {
        assert!(
            line <= self.lines.len(),
            "line {line} of {}",
            self.lines.len()
        );
        // SAFETY: inside of the lines, or at their end.
        unsafe { self.lines.start.as_ptr().add(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_zeros_that_can_be_written_at_any_size() {
        for len in [0, 1, 1000, 32 << 10, (32 << 10) + 1, 100_000] {
            let mut lines = Lines::zeros(len);
            assert_eq!(lines.len(), len);
            assert!(lines.iter().all(|line| *line == Line::ZERO), "{len}");
            assert!(lines.as_ptr().addr().is_multiple_of(64));
            if let Some(last) = lines.last_mut() {
                last.f32_mut()[15] = 1.0;
            }
            assert_eq!(lines.last().is_some_and(|l| l.f32()[15] == 1.0), len > 0);
        }
    }
}
