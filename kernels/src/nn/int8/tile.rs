//! The contract of the 8-bit micro-kernels: some pixels times a panel of 32 outputs, and what is stored of the sums.
//!
//! A panel is two vectors of 16 outputs. Where bytes are stored, output `8 l + 4 v + i` of a panel is in lane `4 l + i`
//! of vector `v` (`l` below 4, `i` below 4, `v` below 2): so the instructions that narrow integers, which work within
//! 128 bits, put bytes in order. Where `f32` is stored, output `16 v + n` is in lane `n`.

use super::pairs::Half;
use super::requantize::Finish;
use crate::nn::layout::line::Line;

/// Outputs of a panel.
pub(crate) const PANEL: usize = 32;

/// Lines of weights of a block of the sum: 16 quads of input bytes times two vectors of outputs.
pub(crate) const BLOCK_LINES: usize = 32;

/// What is stored of a panel's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes, of the rounded sum alone.
    Plain,
    /// Bytes, after a value is added to the rounded sum.
    Residual,
    /// Bytes, after a value is added to the sum as it is.
    Sum,
    /// The sums times their factor, as `f32`.
    Float,
}

/// The kinds as constants that kernels are generic over.
pub(crate) const PLAIN: u8 = Kind::Plain as u8;
pub(crate) const RESIDUAL: u8 = Kind::Residual as u8;
pub(crate) const SUM: u8 = Kind::Sum as u8;
pub(crate) const FLOAT: u8 = Kind::Float as u8;

/// One block of the sum: up to 64 neighbouring bytes of the input, and 32 lines of weights, which follow each other.
///
/// Kernels of weights in [pairs](super::pairs) read 16 bytes at a time, from multiples of 16 on: up to 15 before and
/// behind a block, in the line that it lies in or, in a band of images, in the bytes that are kept behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KBlock {
    /// Bytes from a pixel's first to this block's.
    pub(crate) a: u32,
    /// Quads of bytes that have weights; tiles read and multiply all 16, the others by zeros.
    pub(crate) quads: u32,
}

/// A panel of weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// Which half of the panel a kernel computes that takes it in two: lanes 0 to 7 of both vectors, or 8 to 15.
    pub(crate) half: usize,
    /// The blocks of the sum.
    pub(crate) k: &'a [KBlock],
    /// The steps of each half where weights are in [pairs](super::pairs), in place of the sum's blocks and `b`.
    pub(crate) halves: [Half<'a>; 2],
    /// Weights, `[block][quad][vector]` lines of 16 outputs times four bytes.
    pub(crate) b: *const Line,
    /// Two lines of `i32` that sums begin with.
    pub(crate) offset: *const Line,
    /// Two lines of `f32` that sums are multiplied by.
    pub(crate) factor: *const Line,
    /// How sums become what is stored.
    pub(crate) finish: &'a Finish,
    /// Lines of the weights behind this panel's that each call fetches for each block of its own; zero for none.
    pub(crate) ahead: usize,
}

/// Where a call reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The input's byte that [`KBlock::a`] counts from, of the first pixel.
    pub(crate) a: *const u8,
    /// The first pixel's 32 bytes, or its first line of `f32`; pixels are lines apart.
    pub(crate) out: *mut u8,
    /// Bytes from the first line of `f32` to the second, of the panel's second vector.
    pub(crate) out_stride: usize,
    /// The first pixel's 32 bytes of the value to add, or null.
    pub(crate) residual: *const u8,
}

/// A micro-kernel for some number of neighbouring pixels, whose distance in bytes of the input is the last argument:
/// all outputs of a panel, or [half](Panel::half) of them.
///
/// # Safety
/// The CPU has its instructions; all that panel and target point to is there, and nobody else uses the output.
pub(crate) type TileFn = unsafe fn(&Panel<'_>, Target, usize);

/// The vector and lane of an output of a panel.
pub(crate) fn lane(output: usize, kind: Kind) -> (usize, usize) {
    match kind {
        Kind::Float => (output / 16, output % 16),
        Kind::Plain | Kind::Residual | Kind::Sum => (output / 4 % 2, output / 8 * 4 + output % 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_has_its_own_lane() {
        for kind in [Kind::Plain, Kind::Float] {
            let mut seen: Vec<_> = (0..PANEL).map(|output| lane(output, kind)).collect();
            seen.sort_unstable();
            let all: Vec<_> = (0..2).flat_map(|v| (0..16).map(move |n| (v, n))).collect();
            assert_eq!(seen, all);
        }
    }
}
