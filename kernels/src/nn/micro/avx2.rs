//! The `f32` micro-kernel for AVX2 and FMA: up to 6 pixels × 16 outputs in 12 of the 16 registers.

use std::arch::x86_64::*;

use super::tile::{ANY, RowFn, Tile, TileFn, by_pixels};

/// Most pixels of one call.
pub(crate) const MAX_PIXELS: usize = 6;

/// The function for a tile of `pixels` (1 to 6), `stride` lines apart, of one vector of 16 outputs.
pub(crate) fn kernel(pixels: usize, stride: usize, vectors: usize) -> Option<TileFn> {
    match (stride, vectors) {
        (1, 1) => by_pixels!(TileFn; pixels, f32_tile, 1, 1, [1 2 3 4 5 6]),
        (_, 1) => by_pixels!(TileFn; pixels, f32_tile, ANY, 1, [1 2 3 4 5 6]),
        _ => None,
    }
}

/// The function for a tile of `pixels` (1 to 6) whose windows lie in an interleaved image, `distance` numbers apart (3
/// or 6: three channels, stride 1 or 2), of one vector of 16 outputs.
pub(crate) fn row_kernel(pixels: usize, distance: usize, vectors: usize) -> Option<RowFn> {
    match (distance, vectors) {
        (3, 1) => by_pixels!(RowFn; pixels, f32_row, 3, 1, [1 2 3 4 5 6]),
        (6, 1) => by_pixels!(RowFn; pixels, f32_row, 6, 1, [1 2 3 4 5 6]),
        _ => None,
    }
}

/// # Safety
/// The CPU has AVX2 and FMA; all that `tile` points to is there for `P` pixels and `V` vectors, and nobody else uses
/// the output.
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_tile<const P: usize, const S: usize, const V: usize>(tile: &Tile<'_>) {
    // SAFETY: every access below is to a line that the caller promises.
    unsafe {
        let step = if S == ANY { tile.step } else { S };
        let mut sums = [bias::<V>(tile); P];
        for block in tile.k {
            let a = tile.a.add(block.a as usize).cast::<f32>();
            let b = tile.b.add(block.b as usize).cast::<f32>();
            for k in 0..16 {
                let mut weights = [[_mm256_setzero_ps(); 2]; V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = halves(b.add((k * V + v) * 16));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.add(p * step * 16 + k));
                    for (sums, weights) in sums.iter_mut().zip(weights) {
                        sums[0] = _mm256_fmadd_ps(x, weights[0], sums[0]);
                        sums[1] = _mm256_fmadd_ps(x, weights[1], sums[1]);
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
/// The conditions of [`RowFn`] hold, for `P` pixels and `V` vectors, and the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_row<const P: usize, const D: usize, const V: usize>(tile: &Tile<'_>, count: usize) {
    // SAFETY: every access below is to what the caller promises.
    unsafe {
        let mut sums = [bias::<V>(tile); P];
        for block in tile.k {
            let a = tile.a.add(block.a as usize).cast::<f32>();
            let b = tile.b.add(block.b as usize).cast::<f32>();
            for k in 0..count {
                let mut weights = [[_mm256_setzero_ps(); 2]; V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = halves(b.add((k * V + v) * 16));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.add(p * D + k));
                    for (sums, weights) in sums.iter_mut().zip(weights) {
                        sums[0] = _mm256_fmadd_ps(x, weights[0], sums[0]);
                        sums[1] = _mm256_fmadd_ps(x, weights[1], sums[1]);
                    }
                }
            }
        }
        finish(tile, sums);
    }
}

/// # Safety
/// The tile has a line of bias for each vector, and the CPU AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bias<const V: usize>(tile: &Tile<'_>) -> [[__m256; 2]; V] {
    let mut bias = [[_mm256_setzero_ps(); 2]; V];
    for (v, bias) in bias.iter_mut().enumerate() {
        // SAFETY: the caller promises a line of bias for each vector.
        *bias = unsafe { halves(tile.bias.add(v).cast()) };
    }
    bias
}

/// Adds the residual, makes negative sums zero if asked to, and stores them.
///
/// # Safety
/// The tile's residual and output are there for `P` pixels and `V` vectors, nobody else uses the output, and the CPU
/// has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish<const P: usize, const V: usize>(tile: &Tile<'_>, sums: [[[__m256; 2]; V]; P]) {
    for (p, sums) in sums.into_iter().enumerate() {
        for (v, [mut low, mut high]) in sums.into_iter().enumerate() {
            // SAFETY: lines that are there by the caller's promise; lines are aligned.
            unsafe {
                if !tile.residual.is_null() {
                    let residual = halves(tile.residual.add(v * tile.residual_stride + p).cast());
                    low = _mm256_add_ps(low, residual[0]);
                    high = _mm256_add_ps(high, residual[1]);
                }
                if tile.relu {
                    low = _mm256_max_ps(low, _mm256_setzero_ps());
                    high = _mm256_max_ps(high, _mm256_setzero_ps());
                    low = _mm256_min_ps(low, _mm256_set1_ps(tile.most));
                    high = _mm256_min_ps(high, _mm256_set1_ps(tile.most));
                }
                let out = tile.out.add(v * tile.out_stride + p).cast::<f32>();
                _mm256_store_ps(out, low);
                _mm256_store_ps(out.add(8), high);
            }
        }
    }
}

/// A line's sixteen values.
///
/// # Safety
/// `line` is the start of one, and the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(line: *const f32) -> [__m256; 2] {
    // SAFETY: the caller promises a line at `line`; lines are aligned.
    unsafe { [_mm256_load_ps(line), _mm256_load_ps(line.add(8))] }
}
