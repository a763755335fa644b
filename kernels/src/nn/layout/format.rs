//! Lines as numbers and back, in each of the formats that values are stored in; for the steps that are no convolution.

use super::line::{Line, View};

/// 16 numbers, computed on side by side.
pub(crate) type Lanes = [f32; 16];

/// A way to store values: `H` times 16 channels of one pixel lie at one line of `BLOCKS` planes.
///
/// # Safety
/// `BLOCKS` is at least one, and `read` and `write` use no other lines than the one they get and the ones `plane`,
/// `2 * plane`, … `(BLOCKS - 1) * plane` lines behind it: [`Format::load`] and [`Format::store`] rely on it.
pub(crate) unsafe trait Format<const H: usize> {
    /// Planes of a block of channels.
    const BLOCKS: usize;

    /// The channel, counted from the block's first, of lane `lane` of the `half`-th part.
    fn channel(half: usize, lane: usize) -> usize;

    /// The numbers at a line of a block's first plane; the same line of the next plane is `plane` lines further on.
    ///
    /// # Safety
    /// The lines are there.
    unsafe fn read(line: *const Line, plane: usize) -> [Lanes; H];

    /// Rounds the numbers to nearest even and stores them where [`Format::read`] reads them.
    ///
    /// # Safety
    /// The lines are there, and nobody else uses them.
    unsafe fn write(line: *mut Line, plane: usize, values: [Lanes; H]);

    /// The numbers at line `at` of a block whose planes are `plane` lines long.
    #[inline(always)]
    fn load(block: &[Line], plane: usize, at: usize) -> [Lanes; H] {
        let lines = &block[at..=at + (Self::BLOCKS - 1) * plane];
        // SAFETY: the slice ends with the line in the last plane.
        unsafe { Self::read(lines.as_ptr(), plane) }
    }

    /// Rounds the numbers to nearest even and stores them at line `at` of a block, where [`Format::load`] reads them.
    #[inline(always)]
    fn store(block: &mut [Line], plane: usize, at: usize, values: [Lanes; H]) {
        let lines = &mut block[at..=at + (Self::BLOCKS - 1) * plane];
        // SAFETY: the slice ends with the line in the last plane, and is borrowed for this.
        unsafe { Self::write(lines.as_mut_ptr(), plane, values) }
    }
}

/// The format of `Store::F32`: 16 `f32` a line.
#[derive(Debug)]
pub(crate) struct F32;

/// The format of `Store::Bf16`: 32 bfloat16 a line.
#[derive(Debug)]
pub(crate) struct Bf16;

/// The format of `Store::Split`: 32 rounded values in one plane, their rounded rests in the next.
#[derive(Debug)]
pub(crate) struct Split;

// SAFETY: one plane, of which a line is read and written.
unsafe impl Format<1> for F32 {
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn channel(_half: usize, lane: usize) -> usize {
        lane
    }

    #[inline(always)]
    unsafe fn read(line: *const Line, _plane: usize) -> [Lanes; 1] {
        // SAFETY: the caller promises the line.
        unsafe { [*(*line).f32()] }
    }

    #[inline(always)]
    unsafe fn write(line: *mut Line, _plane: usize, [values]: [Lanes; 1]) {
        // SAFETY: the caller promises the line to itself.
        unsafe { *line = Line::from_f32(values) }
    }
}

// SAFETY: one plane, of which a line is read and written.
unsafe impl Format<2> for Bf16 {
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn channel(half: usize, lane: usize) -> usize {
        2 * lane + half
    }

    #[inline(always)]
    unsafe fn read(line: *const Line, _plane: usize) -> [Lanes; 2] {
        // SAFETY: the caller promises the line.
        unpack(unsafe { *line })
    }

    #[inline(always)]
    unsafe fn write(line: *mut Line, _plane: usize, values: [Lanes; 2]) {
        // SAFETY: the caller promises the line to itself.
        unsafe { *line = pack(values) }
    }
}

// SAFETY: two planes, of each of which a line is read and written.
unsafe impl Format<2> for Split {
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn channel(half: usize, lane: usize) -> usize {
        2 * lane + half
    }

    #[inline(always)]
    unsafe fn read(line: *const Line, plane: usize) -> [Lanes; 2] {
        // SAFETY: the caller promises the line in both planes.
        let [high, low] = unsafe { [*line, *line.add(plane)] };
        let (mut values, low) = (unpack(high), unpack(low));
        for (values, low) in values.iter_mut().zip(low) {
            for (value, low) in values.iter_mut().zip(low) {
                *value += low;
            }
        }
        values
    }

    #[inline(always)]
    unsafe fn write(line: *mut Line, plane: usize, values: [Lanes; 2]) {
        let high = pack(values);
        let mut rest = values;
        for (rest, high) in rest.iter_mut().zip(unpack(high)) {
            for (rest, high) in rest.iter_mut().zip(high) {
                *rest -= high;
            }
        }
        // SAFETY: the caller promises the line in both planes to itself.
        unsafe {
            *line = high;
            *line.add(plane) = pack(rest);
        }
    }
}

/// A line of 32 bfloat16 as numbers: those at even places, then those at odd ones.
#[inline(always)]
pub(crate) fn unpack(line: Line) -> [Lanes; 2] {
    let mut values = [[0.0; 16]; 2];
    for (i, word) in line.words().iter().enumerate() {
        values[0][i] = f32::from_bits(word << 16);
        values[1][i] = f32::from_bits(word & 0xffff_0000);
    }
    values
}

/// 32 numbers, those at even places and those at odd ones, as a line of bfloat16.
#[inline(always)]
pub(crate) fn pack([even, odd]: [Lanes; 2]) -> Line {
    // Loops, for `from_fn` and `map` are functions that are not inlined when they are large, and then not vectorized.
    let mut words = [0; 16];
    for (i, word) in words.iter_mut().enumerate() {
        *word = (round(even[i]) >> 16) | (round(odd[i]) & 0xffff_0000);
    }
    Line::from_words(words)
}

/// The bits of the nearest bfloat16 in the upper half, the even one of two; NaN stays NaN.
#[inline(always)]
pub(crate) fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    if value.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    }
}

impl View {
    /// All lines of `count` blocks of an image, borders included.
    ///
    /// # Safety
    /// The blocks are inside of the value, and nobody writes to them as long as the slice is used.
    pub(crate) unsafe fn blocks<'a>(self, image: usize, block: usize, count: usize) -> &'a [Line] {
        let (first, lines) = self.extent(image, block, count);
        // SAFETY: the caller promises that the blocks are inside of the value and nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.start.add(first), lines) }
    }

    /// All lines of `count` blocks of an image, borders included, to write to.
    ///
    /// # Safety
    /// The blocks are inside of the value, and nobody else uses them as long as the slice is used.
    pub(crate) unsafe fn blocks_mut<'a>(
        self,
        image: usize,
        block: usize,
        count: usize,
    ) -> &'a mut [Line] {
        let (first, lines) = self.extent(image, block, count);
        // SAFETY: the caller promises that the blocks are inside of the value and nobody else uses them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), lines) }
    }

    fn extent(self, image: usize, block: usize, count: usize) -> (usize, usize) {
        let lines = self.plane.lines();
        (image * self.image_lines() + block * lines, count * lines)
    }
}

/// Calls a function that is generic over the format with the format of a `Store`.
macro_rules! with_format {
    ($store:expr, $call:ident ( $($argument:expr),* $(,)? )) => {
        match $store {
            $crate::nn::layout::store::Store::F32 => {
                $call::<1, $crate::nn::layout::format::F32>($($argument),*)
            }
            $crate::nn::layout::store::Store::Bf16 => {
                $call::<2, $crate::nn::layout::format::Bf16>($($argument),*)
            }
            $crate::nn::layout::store::Store::Split => {
                $call::<2, $crate::nn::layout::format::Split>($($argument),*)
            }
            $crate::nn::layout::store::Store::U8 => {
                unreachable!("bytes have steps of their own, in `int8`")
            }
        }
    };
}
pub(crate) use with_format;
