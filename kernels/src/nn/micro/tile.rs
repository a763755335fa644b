//! The micro-kernel's contract: a few neighbouring pixels times one panel of weights, with all that is fused into it.
//!
//! `out[p][n] = clip?(bias[n] + residual?[p][n] + Σ_k a[p][k] · b[k][n])`, summed in the order of `k` by fused
//! multiply-adds, so a pixel's bits depend on nothing but its own inputs.

use crate::nn::layout::line::Line;

/// One step of the sum: a block of the input's channels under one position of the window, and its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KBlock {
    /// Lines from `Tile::a` to the first pixel's line.
    pub(crate) a: u32,
    /// Lines from `Tile::b` to this block's weights: 16 × vectors lines, `[k][vector]`. For bfloat16 a line of weights
    /// holds 16 pairs `(k, k + 1)`, one for each output.
    pub(crate) b: u32,
}

/// What one call computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// The input's line that `KBlock::a` counts from, of the first pixel.
    pub(crate) a: *const Line,
    /// Lines from one pixel's window to the next in the input, for kernels that are made for [`ANY`] distance.
    pub(crate) step: usize,
    /// The K-blocks of the sum.
    pub(crate) k: &'a [KBlock],
    /// The panel's weights.
    pub(crate) b: *const Line,
    /// The bias, one line for each vector of 16 outputs.
    pub(crate) bias: *const Line,
    /// The first pixel of the panel's first block in the value to add, or null. Stored as `out`.
    pub(crate) residual: *const Line,
    /// Lines from one block to the next in the value to add.
    pub(crate) residual_stride: usize,
    /// The first pixel of the panel's first block in the output.
    pub(crate) out: *mut Line,
    /// Lines from one block to the next in the output.
    pub(crate) out_stride: usize,
    /// Whether negative results become zero, and then those above `most` become `most`.
    pub(crate) relu: bool,
    /// Upper bound of the results, infinity for none; of no meaning without `relu`.
    pub(crate) most: f32,
}

/// The distance between pixels of a kernel that takes it from [`Tile::step`]. At a distance of 2 such a kernel is as
/// fast as one made for it.
pub(crate) const ANY: usize = 0;

/// A micro-kernel for one number of pixels, distance between them and number of vectors of outputs.
///
/// # Safety
/// The CPU has its instructions; all that the tile points to is there, and nobody else uses the output.
pub(crate) type TileFn = unsafe fn(&Tile<'_>);

/// A micro-kernel for one number of pixels, distance between them and number of vectors of outputs, whose K-blocks are
/// runs of numbers, as many as its second argument: [`KBlock::a`] leads to the first pixel's first number,
/// [`KBlock::b`] to as many × vectors lines of weights.
///
/// # Safety
/// The conditions of [`TileFn`] hold; the input has each pixel's numbers.
pub(crate) type RowFn = unsafe fn(&Tile<'_>, usize);

/// The instance of a micro-kernel for a number of pixels that is known only at run time.
macro_rules! by_pixels {
    ($function:ty; $pixels:expr, $kernel:ident, $stride:expr, $vectors:literal, [$($p:literal)+]) => {
        match $pixels {
            $($p => Some($kernel::<$p, { $stride }, $vectors> as $function),)+
            _ => None,
        }
    };
}
pub(crate) use by_pixels;
