//! The table of micro-kernels: which one multiplies on a unit, by how outputs are stored.
//!
//! | unit | `F32` | `Bf16` | `Split` | takes pixels as |
//! |---|---|---|---|---|
//! | `Avx2` | `avx2` | | | neighbours, and interleaved rows |
//! | `Avx512` | `avx512` | | | neighbours, and interleaved rows |
//! | `Avx512Bf16` | `avx512_bf16` | `avx512_bf16` | `avx512_bf16` | neighbours |
//! | `Amx` | `amx`, by precision | `amx` | `amx` | series |
//!
//! What is stored as bytes is multiplied by kernels with another contract: [`int8::tile`](crate::nn::int8::tile).

use super::series::{GROUP, SeriesFn};
use super::tile::{RowFn, TileFn};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512, avx512_bf16};
use crate::nn::arithmetic::{Arithmetic, Unit};
use crate::nn::layout::store::Store;

/// The micro-kernels of one unit and one store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MicroKernels {
    /// Most pixels of one call.
    pub(crate) max_pixels: usize,
    /// Most vectors of 16 outputs of one call.
    pub(crate) vectors: usize,
    pub(crate) arithmetic: Arithmetic,
    store: Store,
}

impl MicroKernels {
    /// The kernels of `arithmetic`'s unit that store outputs as `store`.
    pub(crate) fn new(arithmetic: Arithmetic, store: Store) -> MicroKernels {
        let (max_pixels, vectors) = match arithmetic.unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => (avx2::MAX_PIXELS, 1),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => (avx512::MAX_PIXELS, 2),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bf16 => (avx512_bf16::MAX_PIXELS, 2),
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => (2 * GROUP, 2),
            #[cfg(not(target_arch = "x86_64"))]
            _ => (0, 1),
        };
        MicroKernels {
            max_pixels,
            vectors,
            arithmetic,
            store,
        }
    }

    /// The function for `pixels` neighbours, `stride` lines apart in the input, and `vectors` of outputs.
    pub(crate) fn function(self, pixels: usize, stride: usize, vectors: usize) -> Option<TileFn> {
        match (self.arithmetic.unit(), self.store) {
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx2, Store::F32) => avx2::kernel(pixels, stride, vectors),
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx512, Store::F32) => avx512::kernel(pixels, stride, vectors),
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx512Bf16, store) => avx512_bf16::kernel(pixels, stride, vectors, store),
            _ => None,
        }
    }

    /// The function for pixels of several rows and `vectors` of outputs, on a unit that takes pixels so: `Amx`.
    pub(crate) fn series_function(self, vectors: usize) -> Option<SeriesFn> {
        match (self.arithmetic.unit(), self.store) {
            #[cfg(target_arch = "x86_64")]
            (Unit::Amx, store) => amx::kernel(vectors, store, self.arithmetic.precision()),
            _ => None,
        }
    }

    /// The function for `pixels` neighbours whose windows lie in an interleaved image, `distance` numbers apart, and
    /// `vectors` of outputs.
    pub(crate) fn row_function(
        self,
        pixels: usize,
        distance: usize,
        vectors: usize,
    ) -> Option<RowFn> {
        match (self.arithmetic.unit(), self.store) {
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx2, Store::F32) => avx2::row_kernel(pixels, distance, vectors),
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx512, Store::F32) => avx512::row_kernel(pixels, distance, vectors),
            _ => None,
        }
    }

    /// Output channels of a block.
    pub(crate) fn output_lanes(self) -> usize {
        self.store.lanes()
    }
}

/// Gives back what the kernels keep on the running thread from one call to the next, when it is dropped; whoever calls
/// kernels has it, so that a panic cannot leave anything behind.
#[derive(Debug)]
pub(crate) struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        super::amx::release();
    }
}
