//! The micro-kernel in plain Rust: the oracle of the vector code.

use super::line::Line;
use super::tile::{Store, Tile};

/// `pixels` outputs, `stride` lines apart in the input, of `vectors` × 16 channels; `f32` weights and inputs.
///
/// # Safety
/// All that `tile` points to is there for so many pixels and vectors, and nobody else uses the output.
pub(super) unsafe fn tile_f32(tile: &Tile<'_>, pixels: usize, stride: usize, vectors: usize) {
    for p in 0..pixels {
        for v in 0..vectors {
            // SAFETY: by the caller's promise.
            let mut sum = unsafe { (*tile.bias.add(v)).0 };
            for k in tile.k {
                // SAFETY: by the caller's promise.
                let a = unsafe { (*tile.a.add(k.a as usize + p * stride)).0 };
                for (i, a) in a.into_iter().enumerate() {
                    // SAFETY: by the caller's promise.
                    let b = unsafe { (*tile.b.add(k.b as usize + i * vectors + v)).0 };
                    for (sum, b) in sum.iter_mut().zip(b) {
                        *sum = a.mul_add(b, *sum);
                    }
                }
            }
            // SAFETY: by the caller's promise.
            unsafe { finish_f32(tile, p, v, sum) };
        }
    }
}

/// # Safety
/// As of the tile.
unsafe fn finish_f32(tile: &Tile<'_>, p: usize, v: usize, mut sum: [f32; 16]) {
    if !tile.residual.is_null() {
        // SAFETY: by the caller's promise.
        let residual = unsafe { (*tile.residual.add(v * tile.residual_stride + p)).0 };
        for (sum, r) in sum.iter_mut().zip(residual) {
            *sum += r;
        }
    }
    if tile.relu {
        for sum in &mut sum {
            *sum = if *sum > 0.0 { *sum } else { 0.0 };
        }
    }
    // SAFETY: by the caller's promise.
    unsafe { *tile.out.add(v * tile.out_stride + p) = Line(sum) };
}

#[allow(dead_code, reason = "the bfloat16 kernels follow")]
const STORES: [Store; 3] = [Store::F32, Store::Bf16, Store::Split];
