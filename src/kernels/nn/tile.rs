//! The micro-kernel's contract: a few neighbouring pixels times one panel of weights, with all that is fused into it.
//!
//! `out[p][n] = relu?(bias[n] + residual?[p][n] + Σ_k a[p][k] · b[k][n])`, summed in the order of `k` by fused
//! multiply-adds, so a pixel's bits depend on nothing but its own inputs.

use super::line::Line;

/// One step of the sum: a block of the input's channels under one position of the window, and its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KBlock {
    /// Lines from `Tile::a` to the first pixel's line.
    pub(super) a: u32,
    /// Lines from `Tile::b` to this block's weights: 16 × vectors lines, `[k][vector]`. For bfloat16 a line of weights
    /// holds 16 pairs `(k, k + 1)`, one for each output.
    pub(super) b: u32,
}

/// What one call computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a> {
    /// The input's line that `KBlock::a` counts from, of the first pixel.
    pub(super) a: *const Line,
    /// The sum.
    pub(super) k: &'a [KBlock],
    /// The panel's weights.
    pub(super) b: *const Line,
    /// One line a vector of 16 outputs.
    pub(super) bias: *const Line,
    /// The first pixel of the panel's first block in the value to add, or null. Stored as `out`.
    pub(super) residual: *const Line,
    /// Lines from one block to the next there.
    pub(super) residual_stride: usize,
    /// The first pixel of the panel's first block in the output.
    pub(super) out: *mut Line,
    /// Lines from one block to the next there.
    pub(super) out_stride: usize,
    /// Whether negative results become zero.
    pub(super) relu: bool,
}

/// How outputs (and the residual) are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Store {
    /// 16 `f32` a line.
    F32,
    /// 32 bfloat16 a line, rounded to nearest even.
    Bf16,
    /// As two lines of bfloat16: the rounded value, and the rounded rest in the next block.
    Split,
}

/// A micro-kernel for one number of pixels, distance of pixels, number of vectors and way to store.
///
/// # Safety
/// This CPU has its instructions, all that the tile points to is there for so many pixels and vectors, and nobody else
/// uses the output.
pub(super) type TileFn = unsafe fn(&Tile<'_>);
