//! The `f32` micro-kernel for AVX-512: up to 14 pixels × 2 vectors of 16 outputs in 28 of the 32 registers.
//!
//! Of the other four, two hold the weights of one `k` and one the input that multiplies both: 16 loads for 28
//! multiply-adds, which leaves the multipliers busy on CPUs that load two vectors a cycle.

use std::arch::x86_64::*;

use super::tile::{ANY, RowFn, Tile, TileFn, by_pixels};

/// Most pixels of one call.
pub(crate) const MAX_PIXELS: usize = 14;

/// The function for a tile of `pixels` (1 to 14), `stride` lines apart, and `vectors` of outputs (1 or 2).
pub(crate) fn kernel(pixels: usize, stride: usize, vectors: usize) -> Option<TileFn> {
    match (stride, vectors) {
        (1, 1) => by_pixels!(TileFn; pixels, f32_tile, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (1, 2) => by_pixels!(TileFn; pixels, f32_tile, 1, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (_, 1) => by_pixels!(TileFn; pixels, f32_tile, ANY, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (_, 2) => by_pixels!(TileFn; pixels, f32_tile, ANY, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        _ => None,
    }
}

/// The function for a tile of `pixels` (1 to 14) whose windows lie in an interleaved image, `distance` numbers apart (3
/// or 6: three channels, stride 1 or 2), and `vectors` of outputs (1 or 2).
pub(crate) fn row_kernel(pixels: usize, distance: usize, vectors: usize) -> Option<RowFn> {
    match (distance, vectors) {
        (3, 1) => by_pixels!(RowFn; pixels, f32_row, 3, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (3, 2) => by_pixels!(RowFn; pixels, f32_row, 3, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (6, 1) => by_pixels!(RowFn; pixels, f32_row, 6, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (6, 2) => by_pixels!(RowFn; pixels, f32_row, 6, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        _ => None,
    }
}

/// Lines of weights that are fetched ahead of those that are multiplied: a few hundred cycles. From 16 to 64 all are as
/// good; 8 are too few and 128 half as good (ResNet-50 on an Intel core with 2 MiB of L2: 5% of the time).
const AHEAD: usize = 32;

/// # Safety
/// The CPU has AVX-512F; all that `tile` points to is there for `P` pixels and `V` vectors, and nobody else uses the
/// output.
#[target_feature(enable = "avx512f")]
unsafe fn f32_tile<const P: usize, const S: usize, const V: usize>(tile: &Tile<'_>) {
    // SAFETY: every access below is to a line that the caller promises; a prefetch is only a hint.
    unsafe {
        let step = if S == ANY { tile.step } else { S };
        let mut sums = [bias::<V>(tile); P];
        for (i, block) in tile.k.iter().enumerate() {
            let a = tile.a.add(block.a as usize).cast::<f32>();
            let b = tile.b.add(block.b as usize).cast::<f32>();
            let next = tile.k.get(i + 1).unwrap_or(block);
            let next = tile.a.add(next.a as usize);
            for k in 0..16 {
                let mut weights = [_mm512_setzero_ps(); V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    let line = b.add((k * V + v) * 16);
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD * 16).cast());
                    *weights = _mm512_load_ps(line);
                }
                if k < P {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(k * step).cast());
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(p * step * 16 + k));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(x, weights, *sum);
                    }
                }
            }
        }
        finish(tile, sums);
    }
}

/// Computes a tile whose K-blocks are runs of `count` numbers, `D` numbers from one pixel's run to the next.
///
/// # Safety
/// The conditions of [`RowFn`] hold, for `P` pixels and `V` vectors, and the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn f32_row<const P: usize, const D: usize, const V: usize>(tile: &Tile<'_>, count: usize) {
    // SAFETY: every access below is to what the caller promises.
    unsafe {
        let mut sums = [bias::<V>(tile); P];
        for block in tile.k {
            let a = tile.a.add(block.a as usize).cast::<f32>();
            let b = tile.b.add(block.b as usize).cast::<f32>();
            for k in 0..count {
                let mut weights = [_mm512_setzero_ps(); V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_load_ps(b.add((k * V + v) * 16));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(p * D + k));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(x, weights, *sum);
                    }
                }
            }
        }
        finish(tile, sums);
    }
}

/// # Safety
/// The tile has a line of bias for each vector, and the CPU AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bias<const V: usize>(tile: &Tile<'_>) -> [__m512; V] {
    let mut bias = [_mm512_setzero_ps(); V];
    for (v, bias) in bias.iter_mut().enumerate() {
        // SAFETY: the caller promises a line of bias for each vector; lines are aligned.
        *bias = unsafe { _mm512_load_ps(tile.bias.add(v).cast()) };
    }
    bias
}

/// Adds the residual, makes negative sums zero if asked to, and stores them.
///
/// # Safety
/// The tile's residual and output are there for `P` pixels and `V` vectors, nobody else uses the output, and the CPU
/// has AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish<const P: usize, const V: usize>(tile: &Tile<'_>, sums: [[__m512; V]; P]) {
    for (p, sums) in sums.into_iter().enumerate() {
        for (v, mut sum) in sums.into_iter().enumerate() {
            // SAFETY: lines that are there by the caller's promise; lines are aligned.
            unsafe {
                if !tile.residual.is_null() {
                    let residual = tile.residual.add(v * tile.residual_stride + p);
                    sum = _mm512_add_ps(sum, _mm512_load_ps(residual.cast()));
                }
                if tile.relu {
                    sum = _mm512_max_ps(sum, _mm512_setzero_ps());
                    sum = _mm512_min_ps(sum, _mm512_set1_ps(tile.most));
                }
                _mm512_store_ps(tile.out.add(v * tile.out_stride + p).cast(), sum);
            }
        }
    }
}
