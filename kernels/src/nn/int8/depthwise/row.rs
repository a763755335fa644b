//! The contract of the depthwise kernels for bytes: a row of neighbouring pixels of one block of 64 channels.
//!
//! Channel `16 l + 4 v + i` of a block (`l`, `v` and `i` below 4) is in lane `4 l + i` of vector `v`: where bytes land
//! that are interleaved within 128 bits, and where the instructions that narrow integers bring them back from.
//!
//! [`row_kernels`] is the loop around what an instruction set multiplies with.

use super::super::pack::{QuantizedWeights, offset};
use super::super::requantize::Finish;
use crate::nn::arena::memory::Lines;
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::Line;

/// Vectors of a block: 64 channels of four bytes each.
pub(crate) const VECTORS: usize = 4;

/// Rows of a window that one product sums up.
pub(crate) const QUAD: usize = 4;

/// Lines of a block before its weights: what sums begin with, then what they are multiplied by.
pub(crate) const HEAD: usize = 2 * VECTORS;

/// How windows lie in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Height and width.
    pub(crate) kernel: [usize; 2],
    /// Bytes from one row of the input to the next.
    pub(crate) pitch: usize,
    /// Bytes from one pixel's window to the next's.
    pub(crate) stride: usize,
}

/// Neighbouring pixels of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) window: Window,
    /// What the block's sums begin with, their factors and the weights, laid out by `pack`.
    pub(crate) weights: *const Line,
    /// How sums become bytes.
    pub(crate) finish: &'a Finish,
    /// The first line under the first window.
    pub(crate) from: *const u8,
    /// The first pixel's line of the value to add, or null.
    pub(crate) residual: *const u8,
    /// The output's line of the first pixel.
    pub(crate) to: *mut u8,
    /// The number of pixels, at least one.
    pub(crate) pixels: usize,
    /// Channels of the block, 1 to 64; those behind them may be computed, or hold anything.
    pub(crate) channels: usize,
}

/// A kernel for the window that it was chosen for. Pixels may be computed more than once.
///
/// # Safety
/// The CPU has its instructions; all that the row points to is there, nobody else uses the output, and it overlaps with
/// nothing else.
pub(crate) type RowFn = unsafe fn(&Row<'_>);

/// Lines from a block's weights to those of four rows of a column of the window.
#[inline(always)]
pub(crate) const fn weights_at(height: usize, column: usize, quad: usize) -> usize {
    VECTORS * (column * height.div_ceil(QUAD) + quad)
}

/// The lines of each block of 64 channels: four that sums begin with, four that they are multiplied by, then for each
/// column of the window and each four of its rows four of weights, zeros for rows that there are not.
///
/// # Errors
/// [`Unsupported`] if a sum could be larger than what is converted exactly.
pub(crate) fn pack(
    source: &QuantizedWeights<'_>,
    [height, width]: [usize; 2],
) -> Result<Lines, Unsupported> {
    let channels = source.bias.len();
    let each = HEAD + weights_at(height, width, 0);
    let mut lines = Lines::zeros(channels.div_ceil(64) * each);
    for (channel, weights) in source.weights.chunks_exact(height * width).enumerate() {
        let block = &mut lines[channel / 64 * each..][..each];
        let (vector, lane) = (channel / 4 % VECTORS, channel % 64 / 16 * 4 + channel % 4);
        block[vector].words_mut()[lane] = offset(source, channel, weights)? as u32;
        block[VECTORS + vector].f32_mut()[lane] = source.factor[channel];
        for (tap, weight) in weights.iter().enumerate() {
            let (y, x) = (tap / width, tap % width);
            let line = HEAD + weights_at(height, x, y / QUAD) + vector;
            let byte = u32::from(*weight as u8) << (8 * (y % QUAD));
            block[line].words_mut()[lane] |= byte;
        }
    }
    Ok(lines)
}

/// The loop over pixels, columns and rows, and the table of its forms, for one instruction set.
///
/// Vectors are computed in pairs, so that the sums of a tile of `$pixels` pixels and the weights of four rows of the
/// window stay in registers. A line of bytes is `$parts` parts; the numbers behind `columns` are all columns that
/// windows of a tile may lie over. In scope are the type `Vector`, `load(line, part)`, `read(bytes, part)`, `zero()`,
/// `interleave(rows)`, `multiply(sum, quad, weights, rows)` for a quad of which `rows` rows count,
/// `words::<KIND, PAIR>(row, part, pixel, sums)`, which are not yet bounded by 255, and
/// `store(row, part, pixel, words)`.
#[cfg(target_arch = "x86_64")]
macro_rules! row_kernels {
    ($features:literal, $parts:literal parts, $pixels:literal pixels, columns $($x:literal)*) => {
        /// The kernel for windows of size `window` that are `stride` pixels apart.
        pub(crate) fn kernel(kind: Kind, window: [usize; 2], stride: usize) -> RowFn {
            match kind {
                Kind::Residual => of_kind::<RESIDUAL>(window, stride),
                Kind::Sum => of_kind::<SUM>(window, stride),
                Kind::Plain | Kind::Float => of_kind::<PLAIN>(window, stride),
            }
        }

        fn of_kind<const KIND: u8>(window: [usize; 2], stride: usize) -> RowFn {
            match (window, stride) {
                ([3, 3], 1) => row::<KIND, 3, 3, 1>,
                ([3, 3], 2) => row::<KIND, 3, 3, 2>,
                ([5, 5], 1) => row::<KIND, 5, 5, 1>,
                ([5, 5], 2) => row::<KIND, 5, 5, 2>,
                _ => row_of_any_window::<KIND>,
            }
        }

        /// # Safety
        /// The conditions of [`RowFn`] hold.
        #[target_feature(enable = $features)]
        unsafe fn row<const KIND: u8, const H: usize, const W: usize, const STRIDE: usize>(
            row: &Row<'_>,
        ) {
            for part in 0..(row.channels * $parts).div_ceil(64) {
                if row.pixels < $pixels {
                    for pixel in 0..row.pixels {
                        // SAFETY: a pixel of the row.
                        unsafe { tile::<KIND, H, W, STRIDE, 1>(row, part, pixel) };
                    }
                    continue;
                }
                let mut done = 0;
                while done < row.pixels {
                    // The last tile begins further left, over pixels that are computed already, where fewer are left
                    // than it has.
                    let first = done.min(row.pixels - $pixels);
                    // SAFETY: pixels of the row.
                    unsafe { tile::<KIND, H, W, STRIDE, $pixels>(row, part, first) };
                    done = first + $pixels;
                }
            }
        }

        /// Computes `PIXELS` neighbouring pixels from `first` on.
        ///
        /// # Safety
        /// The conditions of [`RowFn`] hold; the pixels are the row's.
        #[target_feature(enable = $features)]
        unsafe fn tile<
            const KIND: u8,
            const H: usize,
            const W: usize,
            const STRIDE: usize,
            const PIXELS: usize,
        >(
            row: &Row<'_>,
            part: usize,
            first: usize,
        ) {
            // SAFETY: the caller promises that the pixels are the row's.
            unsafe {
                let low = pair::<KIND, H, W, STRIDE, PIXELS, 0>(row, part, first);
                let high = pair::<KIND, H, W, STRIDE, PIXELS, 1>(row, part, first);
                for (pixel, (low, high)) in low.into_iter().zip(high).enumerate() {
                    store(row, part, first + pixel, [low, high]);
                }
            }
        }

        /// The words of two vectors of each pixel. Not inlined: the compiler would keep what both pairs read for the
        /// second one, more than there are registers (3×3: 8.5 ns a line in place of 7.4 with AVX-512).
        ///
        /// # Safety
        /// The conditions of `tile` hold.
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn pair<
            const KIND: u8,
            const H: usize,
            const W: usize,
            const STRIDE: usize,
            const PIXELS: usize,
            const PAIR: usize,
        >(
            row: &Row<'_>,
            part: usize,
            first: usize,
        ) -> [Vector; PIXELS] {
            const { assert!(H <= 2 * QUAD && (PIXELS - 1) * STRIDE + W <= [$($x),*].len()) };
            // SAFETY: the block's lines, and pixels of the row.
            unsafe {
                let offset = lines(row.weights.add(2 * PAIR), part);
                let mut sums = [offset; PIXELS];
                quads::<H, W, STRIDE, PIXELS, PAIR, 0>(row, part, first, &mut sums);
                if H > QUAD {
                    quads::<H, W, STRIDE, PIXELS, PAIR, 1>(row, part, first, &mut sums);
                }
                let mut all = [zero(); PIXELS];
                for (pixel, (to, sums)) in all.iter_mut().zip(sums).enumerate() {
                    *to = words::<KIND, PAIR>(row, part, first + pixel, sums);
                }
                all
            }
        }

        /// Adds the products with four rows of the window: a column is interleaved once for all windows over it.
        ///
        /// # Safety
        /// The conditions of `tile` hold.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn quads<
            const H: usize,
            const W: usize,
            const STRIDE: usize,
            const PIXELS: usize,
            const PAIR: usize,
            const Q: usize,
        >(
            row: &Row<'_>,
            part: usize,
            first: usize,
            sums: &mut [[Vector; 2]; PIXELS],
        ) {
            let rows = H - Q * QUAD;
            let mut weights = [[zero(); 2]; W];
            for (x, weights) in weights.iter_mut().enumerate() {
                let at = HEAD + weights_at(H, x, Q) + 2 * PAIR;
                // SAFETY: the weights of a column of the window.
                *weights = unsafe { lines(row.weights.add(at), part) };
            }
            // SAFETY: the first pixel's window.
            let from = unsafe { row.from.add(first * row.window.stride) };
            // Written out, for an index that the compiler cannot know would keep the sums in memory.
            $(
                if $x < (PIXELS - 1) * STRIDE + W {
                    // SAFETY: under a window of the tile.
                    let quads = unsafe {
                        let from = from.add($x * size_of::<Line>());
                        column(H, from, row.window.pitch, Q, part)
                    };
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        if $x >= pixel * STRIDE && $x < pixel * STRIDE + W {
                            let weights = weights[$x - pixel * STRIDE];
                            sums[0] = multiply(sums[0], quads[2 * PAIR], weights[0], rows);
                            sums[1] = multiply(sums[1], quads[2 * PAIR + 1], weights[1], rows);
                        }
                    }
                }
            )*
        }

        /// # Safety
        /// The conditions of [`RowFn`] hold.
        #[target_feature(enable = $features)]
        unsafe fn row_of_any_window<const KIND: u8>(row: &Row<'_>) {
            let Window { kernel: [height, width], pitch, stride } = row.window;
            for part in 0..(row.channels * $parts).div_ceil(64) {
                for pixel in 0..row.pixels {
                    // SAFETY: the block's lines that sums begin with, of the lower pair.
                    let mut low = unsafe { lines(row.weights, part) };
                    // SAFETY: the block's lines that sums begin with, of the upper pair.
                    let mut high = unsafe { lines(row.weights.add(2), part) };
                    for x in 0..width {
                        for quad in 0..height.div_ceil(QUAD) {
                            // SAFETY: under the pixel's window, and the weights of a column of it.
                            unsafe {
                                let from = row.from.add(pixel * stride + x * size_of::<Line>());
                                let quads = column(height, from, pitch, quad, part);
                                let weights = row.weights.add(HEAD + weights_at(height, x, quad));
                                let [a, b] = lines(weights, part);
                                let [c, d] = lines(weights.add(2), part);
                                low = [multiply(low[0], quads[0], a, QUAD), multiply(low[1], quads[1], b, QUAD)];
                                high = [multiply(high[0], quads[2], c, QUAD), multiply(high[1], quads[3], d, QUAD)];
                            }
                        }
                    }
                    // SAFETY: a pixel of the row.
                    unsafe {
                        let low = words::<KIND, 0>(row, part, pixel, low);
                        let high = words::<KIND, 1>(row, part, pixel, high);
                        store(row, part, pixel, [low, high]);
                    }
                }
            }
        }

        /// Four rows of a column of the window, interleaved; `from` is the column's first line.
        ///
        /// # Safety
        /// Those of the four rows that are below `height` are there.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn column(
            height: usize,
            from: *const u8,
            pitch: usize,
            quad: usize,
            part: usize,
        ) -> [Vector; VECTORS] {
            let mut rows = [zero(); QUAD];
            for (y, row) in rows.iter_mut().enumerate() {
                let y = quad * QUAD + y;
                if y < height {
                    // SAFETY: the caller promises the rows below `height`.
                    *row = unsafe { read(from.add(y * pitch), part) };
                }
            }
            interleave(rows)
        }

        /// Part `part` of two neighbouring lines.
        ///
        /// # Safety
        /// Both lines are there.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn lines(first: *const Line, part: usize) -> [Vector; 2] {
            // SAFETY: the caller promises both lines.
            unsafe { [load(first, part), load(first.add(1), part)] }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use row_kernels;
