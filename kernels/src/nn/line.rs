//! Where values lie: lines of 64 bytes, planes of lines, and views of a value in a worker's memory.

/// One pixel's values of one block of channels: 16 `f32`, or 32 bfloat16; the unit of all layouts.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [f32; 16]);

impl Line {
    /// All zeros, in either format.
    pub const ZERO: Line = Line([0.0; 16]);
}

/// The pixels of one block of channels: rows of lines, with as many lines of zeros around as a convolution wants to
/// read beyond the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plane {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Lines of zeros on each of the four sides.
    pub border: usize,
}

impl Plane {
    /// Lines from one row to the next.
    #[must_use]
    pub fn pitch(self) -> usize {
        self.width + 2 * self.border
    }

    /// Lines of the whole plane, its border included.
    #[must_use]
    pub fn lines(self) -> usize {
        self.pitch() * (self.height + 2 * self.border)
    }

    /// The same image with another border.
    #[must_use]
    pub fn with_border(self, border: usize) -> Plane {
        Plane { border, ..self }
    }

    /// Lines before pixel `(row, column)`.
    #[must_use]
    pub fn at(self, row: usize, column: usize) -> usize {
        (row + self.border) * self.pitch() + column + self.border
    }
}

/// A value of a batch in a worker's memory, `[image][block][row][column]`.
///
/// A plain address: whoever dereferences it has to know that the memory lives and who else uses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// The first line: that of image 0, block 0, border included.
    pub(super) start: *mut Line,
    /// Blocks of channels of one image; with `Precision::Bf16x3` the high and low halves of a block are two blocks,
    /// `2 * b` and `2 * b + 1`.
    pub(super) blocks: usize,
    /// Geometry of each block.
    pub(super) plane: Plane,
}

// SAFETY: an address alone; each use has its own reason.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Lines of one image.
    pub(super) fn image_lines(self) -> usize {
        self.blocks * self.plane.lines()
    }

    /// Lines before pixel `(row, column)` of a block of an image.
    pub(super) fn offset(self, image: usize, block: usize, row: usize, column: usize) -> usize {
        image * self.image_lines() + block * self.plane.lines() + self.plane.at(row, column)
    }

    /// The address of a block's first line, border included.
    ///
    /// # Safety
    /// The indices are inside of the value.
    pub(super) unsafe fn plane_start(self, image: usize, block: usize) -> *mut Line {
        let lines = image * self.image_lines() + block * self.plane.lines();
        // SAFETY: inside of the value by the caller's promise.
        unsafe { self.start.add(lines) }
    }

    /// The address of that line.
    ///
    /// # Safety
    /// The indices are inside of the value.
    pub(super) unsafe fn line(
        self,
        image: usize,
        block: usize,
        row: usize,
        column: usize,
    ) -> *mut Line {
        // SAFETY: inside of the value by the caller's promise.
        unsafe { self.start.add(self.offset(image, block, row, column)) }
    }
}
