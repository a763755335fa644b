//! The `f32` micro-kernel for AVX-512: up to 14 pixels × 2 vectors of 16 outputs in 28 of the 32 registers.
//!
//! Of the other four, two hold the weights of one `k` and one the input that multiplies both: 16 loads for 28
//! multiply-adds, which leaves the multipliers busy on CPUs that load two vectors a cycle.

use std::arch::x86_64::*;

use super::tile::{Tile, TileFn, by_pixels};

/// Most pixels of one call.
pub(super) const MAX_PIXELS: usize = 14;

/// The function for a tile of `pixels` (1 to 14), `stride` lines apart (1 or 2), and `vectors` of outputs (1 or 2).
pub(super) fn kernel(pixels: usize, stride: usize, vectors: usize) -> Option<TileFn> {
    match (stride, vectors) {
        (1, 1) => by_pixels!(pixels, f32_tile, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (1, 2) => by_pixels!(pixels, f32_tile, 1, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (2, 1) => by_pixels!(pixels, f32_tile, 2, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        (2, 2) => by_pixels!(pixels, f32_tile, 2, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        _ => None,
    }
}

/// # Safety
/// The CPU has AVX-512F; all that `tile` points to is there for `P` pixels and `V` vectors, and nobody else uses the
/// output.
#[target_feature(enable = "avx512f")]
unsafe fn f32_tile<const P: usize, const S: usize, const V: usize>(tile: &Tile<'_>) {
    // SAFETY: every access below is to a line that the caller promises.
    unsafe {
        let mut bias = [_mm512_setzero_ps(); V];
        for (v, bias) in bias.iter_mut().enumerate() {
            *bias = _mm512_load_ps(tile.bias.add(v).cast());
        }
        let mut sums = [bias; P];
        for block in tile.k {
            let a = tile.a.add(block.a as usize).cast::<f32>();
            let b = tile.b.add(block.b as usize).cast::<f32>();
            for k in 0..16 {
                let mut weights = [_mm512_setzero_ps(); V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_load_ps(b.add((k * V + v) * 16));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(p * S * 16 + k));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(x, weights, *sum);
                    }
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (v, mut sum) in sums.into_iter().enumerate() {
                if !tile.residual.is_null() {
                    let residual = tile.residual.add(v * tile.residual_stride + p);
                    sum = _mm512_add_ps(sum, _mm512_load_ps(residual.cast()));
                }
                if tile.relu {
                    sum = _mm512_max_ps(sum, _mm512_setzero_ps());
                }
                _mm512_store_ps(tile.out.add(v * tile.out_stride + p).cast(), sum);
            }
        }
    }
}
