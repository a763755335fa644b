//! The micro-kernel's contract: a few neighbouring pixels times one panel of weights, with all that is fused into it.
//!
//! `out[p][n] = clip?(bias[n] + residual?[p][n] + Σ_k a[p][k] · b[k][n])`, summed in the order of `k` by fused
//! multiply-adds, so a pixel's bits depend on nothing but its own inputs.

use super::line::Line;
use super::runs::SeriesFn;
use super::{Arithmetic, Unit};

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
    /// Whether negative results become zero, and then those above `most` become `most`.
    pub(super) relu: bool,
    /// Infinity where there is no such bound; of no meaning without `relu`.
    pub(super) most: f32,
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
    /// 64 bytes a line, which [`Quantization`](super::Quantization) gives a meaning.
    U8,
}

/// A micro-kernel for one number of pixels, distance between them and number of vectors of outputs.
///
/// # Safety
/// The CPU has its instructions; all that the tile points to is there, and nobody else uses the output.
pub(super) type TileFn = unsafe fn(&Tile<'_>);

/// A micro-kernel for one number of pixels, distance between them and number of vectors of outputs, whose K-blocks are
/// runs of so many numbers: [`KBlock::a`] leads to the first pixel's first number, [`KBlock::b`] to as many × vectors
/// lines of weights.
///
/// # Safety
/// As of [`TileFn`]; the input has each pixel's numbers.
pub(super) type RowFn = unsafe fn(&Tile<'_>, usize);

/// The instance of a micro-kernel for a number of pixels that is known only at run time.
macro_rules! by_pixels {
    ($function:ty; $pixels:expr, $kernel:ident, $stride:literal, $vectors:literal, [$($p:literal)+]) => {
        match $pixels {
            $($p => Some($kernel::<$p, $stride, $vectors> as $function),)+
            _ => None,
        }
    };
}
pub(super) use by_pixels;

/// The micro-kernels of one arithmetic.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileKernel {
    /// Most pixels of one call.
    pub(super) max_pixels: usize,
    /// Most vectors of 16 outputs of one call.
    pub(super) vectors: usize,
    pub(super) arithmetic: Arithmetic,
    store: Store,
}

impl TileKernel {
    /// The kernels whose outputs are stored so.
    pub(super) fn new(arithmetic: Arithmetic, store: Store) -> TileKernel {
        let (max_pixels, vectors) = match arithmetic.unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => (super::avx2::MAX_PIXELS, 1),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => (super::avx512::MAX_PIXELS, 2),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bf16 => (super::avx512_bf16::MAX_PIXELS, 2),
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => (2 * super::runs::GROUP, 2),
            #[cfg(not(target_arch = "x86_64"))]
            _ => (0, 1),
        };
        TileKernel {
            max_pixels,
            vectors,
            arithmetic,
            store,
        }
    }

    /// The function for pixels of several rows and `vectors` of outputs, where that is how they are best taken.
    pub(super) fn series_function(self, vectors: usize) -> Option<SeriesFn> {
        match self.arithmetic.unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => super::amx::kernel(vectors, self.store, self.arithmetic.precision()),
            _ => None,
        }
    }

    /// The function for `pixels` neighbours whose windows lie in an interleaved image, `distance` numbers apart, and
    /// `vectors` of outputs.
    pub(super) fn row_function(
        self,
        pixels: usize,
        distance: usize,
        vectors: usize,
    ) -> Option<RowFn> {
        match self.arithmetic.unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => super::avx2::row_kernel(pixels, distance, vectors),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => super::avx512::row_kernel(pixels, distance, vectors),
            _ => None,
        }
    }

    /// Output channels of a block.
    pub(super) fn output_lanes(self) -> usize {
        16 * self.store.vectors_per_block()
    }

    /// The function for `pixels` neighbours, `stride` lines apart in the input, and `vectors` of outputs.
    pub(super) fn function(self, pixels: usize, stride: usize, vectors: usize) -> Option<TileFn> {
        match self.arithmetic.unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => super::avx2::kernel(pixels, stride, vectors),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => super::avx512::kernel(pixels, stride, vectors),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bf16 => super::avx512_bf16::kernel(pixels, stride, vectors, self.store),
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => None,
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }
}

/// Gives back what the kernels keep on the running thread from one call to the next, when it is dropped; whoever calls
/// kernels has it, so that a panic cannot leave anything behind.
#[derive(Debug)]
pub(super) struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        super::amx::release();
    }
}

impl Store {
    /// Vectors of 16 outputs in a block.
    pub(super) fn vectors_per_block(self) -> usize {
        match self {
            Store::F32 => 1,
            Store::Bf16 | Store::Split => 2,
            Store::U8 => 4,
        }
    }

    /// Planes of a block.
    pub(super) fn planes_per_block(self) -> usize {
        match self {
            Store::F32 | Store::Bf16 | Store::U8 => 1,
            Store::Split => 2,
        }
    }
}
