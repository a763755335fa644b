//! The units of the layout: lines of 64 bytes, planes of lines, and views of a value in a worker's memory.

/// One pixel's values of one block of channels, the unit of all layouts: 64 bytes, which a `Store` gives a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line([u32; 16]);

impl Line {
    /// All zeros, in every store of numbers.
    pub const ZERO: Line = Line([0; 16]);

    /// A line of 16 numbers of single precision.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32(values: [f32; 16]) -> Line {
        // SAFETY: two plain types of 64 bytes, of which every bit pattern is a value.
        Line(unsafe { std::mem::transmute::<[f32; 16], [u32; 16]>(values) })
    }

    /// The line's bytes as numbers of single precision.
    #[inline(always)]
    #[must_use]
    pub const fn f32(&self) -> &[f32; 16] {
        // SAFETY: two plain types of 64 bytes, of which every bit pattern is a value; both are aligned alike.
        unsafe { &*(&raw const self.0).cast::<[f32; 16]>() }
    }

    /// The line's bytes as numbers of single precision, to write to.
    #[inline(always)]
    pub fn f32_mut(&mut self) -> &mut [f32; 16] {
        // SAFETY: two plain types of 64 bytes, of which every bit pattern is a value; both are aligned alike.
        unsafe { &mut *(&raw mut self.0).cast::<[f32; 16]>() }
    }

    /// A line of 16 words: two bfloat16 or four bytes each, the first in the lowest bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 16]) -> Line {
        Line(words)
    }

    /// The line's bytes as words of 32 bits.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> &[u32; 16] {
        &self.0
    }

    /// The line's bytes as words of 32 bits, to write to.
    #[inline(always)]
    pub fn words_mut(&mut self) -> &mut [u32; 16] {
        &mut self.0
    }
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
pub(crate) struct View {
    /// The first line: that of image 0, block 0, border included.
    pub(crate) start: *mut Line,
    /// Blocks of channels of one image; with `Precision::Bf16x3` the high and low halves of a block are two blocks,
    /// `2 * b` and `2 * b + 1`.
    pub(crate) blocks: usize,
    /// Geometry of each block.
    pub(crate) plane: Plane,
}

// SAFETY: a plain address; each access through it states why it is sound.
unsafe impl Send for View {}
// SAFETY: a plain address; each access through it states why it is sound.
unsafe impl Sync for View {}

impl View {
    /// Lines of one image.
    pub(crate) fn image_lines(self) -> usize {
        self.blocks * self.plane.lines()
    }

    /// Lines before pixel `(row, column)` of a block of an image.
    pub(crate) fn offset(self, image: usize, block: usize, row: usize, column: usize) -> usize {
        image * self.image_lines() + block * self.plane.lines() + self.plane.at(row, column)
    }

    /// The address of a block's first line, border included.
    ///
    /// # Safety
    /// The indices are inside of the value.
    pub(crate) unsafe fn plane_start(self, image: usize, block: usize) -> *mut Line {
        let lines = image * self.image_lines() + block * self.plane.lines();
        // SAFETY: inside of the value by the caller's promise.
        unsafe { self.start.add(lines) }
    }

    /// The address of the line of pixel `(row, column)` in a block of an image.
    ///
    /// # Safety
    /// The indices are inside of the value.
    pub(crate) unsafe fn line(
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
