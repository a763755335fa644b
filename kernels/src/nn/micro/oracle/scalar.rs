//! The micro-kernel in plain Rust: the oracle of the vector code.

use crate::nn::layout::line::Line;
use crate::nn::micro::tile::Tile;

/// Computes `pixels` outputs, `stride` lines apart in the input, of `vectors` × 16 channels; `f32` weights and inputs.
///
/// # Safety
/// All that `tile` points to is there for so many pixels and vectors, and nobody else uses the output.
pub(crate) unsafe fn tile_f32(tile: &Tile<'_>, pixels: usize, stride: usize, vectors: usize) {
    for p in 0..pixels {
        for v in 0..vectors {
            // SAFETY: the caller promises all that `tile` points to.
            let mut sum = unsafe { *(*tile.bias.add(v)).f32() };
            for k in tile.k {
                // SAFETY: the caller promises all that `tile` points to.
                let a = unsafe { *(*tile.a.add(k.a as usize + p * stride)).f32() };
                for (i, a) in a.into_iter().enumerate() {
                    // SAFETY: the caller promises all that `tile` points to.
                    let b = unsafe { *(*tile.b.add(k.b as usize + i * vectors + v)).f32() };
                    for (sum, b) in sum.iter_mut().zip(b) {
                        *sum = a.mul_add(b, *sum);
                    }
                }
            }
            // SAFETY: the caller promises all that `tile` points to.
            unsafe { finish_f32(tile, p, v, sum) };
        }
    }
}

/// # Safety
/// All that `tile` points to is there for pixel `p` and vector `v`, and nobody else uses the output.
unsafe fn finish_f32(tile: &Tile<'_>, p: usize, v: usize, mut sum: [f32; 16]) {
    if !tile.residual.is_null() {
        // SAFETY: the caller promises all that `tile` points to.
        let residual = unsafe { *(*tile.residual.add(v * tile.residual_stride + p)).f32() };
        for (sum, r) in sum.iter_mut().zip(residual) {
            *sum += r;
        }
    }
    if tile.relu {
        for sum in &mut sum {
            *sum = if *sum > 0.0 { *sum } else { 0.0 };
            *sum = if *sum < tile.most { *sum } else { tile.most };
        }
    }
    // SAFETY: the caller promises all that `tile` points to.
    unsafe { *tile.out.add(v * tile.out_stride + p) = Line::from_f32(sum) };
}

/// Compares the vector code with this oracle, bit for bit.
#[cfg(target_arch = "x86_64")]
mod tests {
    use proptest::prelude::*;

    use crate::nn::micro::tile::KBlock;

    use crate::nn::layout::store::Store;

    use super::*;
    use crate::nn::micro::table::MicroKernels;
    use crate::nn::{Arithmetic, Precision};
    use crate::{Features, Isa};

    /// What a tile points to: blocks of input, their weights, the bias and the residual for up to two vectors, and the
    /// sum.
    struct Surroundings {
        input: Vec<Line>,
        weights: Vec<Line>,
        bias: Vec<Line>,
        residual: Vec<Line>,
        k: Vec<KBlock>,
    }

    fn surroundings(seed: u64, blocks: usize, plane: usize, vectors: usize) -> Surroundings {
        let mut state = seed | 1;
        let mut lines = |count: usize| -> Vec<Line> {
            let mut value = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            };
            (0..count)
                .map(|_| Line::from_f32(std::array::from_fn(|_| value())))
                .collect()
        };
        Surroundings {
            input: lines(blocks * plane),
            weights: lines(blocks * 16 * vectors),
            bias: lines(vectors),
            residual: lines(2 * plane),
            // The blocks of weights are taken in the reverse of the order that they lie in.
            k: (0..blocks)
                .map(|i| KBlock {
                    a: (i * plane) as u32,
                    b: ((blocks - 1 - i) * 16 * vectors) as u32,
                })
                .collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn vectors_give_the_bits_of_the_oracle(
            seed in any::<u64>(),
            blocks in 1_usize..6,
            pixels in 1_usize..=14,
            stride in 1_usize..=4,
            vectors in 1_usize..=2,
            residual in any::<bool>(),
            relu in any::<bool>(),
        ) {
            let plane = 64;
            let around = surroundings(seed, blocks, plane, vectors);
            let run = |kernel: &dyn Fn(&Tile<'_>)| {
                let mut out = vec![Line::from_f32([7.0; 16]); 2 * plane];
                kernel(&Tile {
                    a: around.input.as_ptr(),
                    step: stride,
                    k: &around.k,
                    b: around.weights.as_ptr(),
                    bias: around.bias.as_ptr(),
                    residual: if residual { around.residual.as_ptr() } else { std::ptr::null() },
                    residual_stride: plane,
                    out: out.as_mut_ptr(),
                    out_stride: plane,
                    relu,
                    most: if seed % 3 == 0 { 0.5 } else { f32::INFINITY },
                });
                out
            };
            // SAFETY: the slices are as long as a tile of 14 pixels, four lines apart, and two vectors asks for.
            let expected = run(&|tile| unsafe { tile_f32(tile, pixels, stride, vectors) });
            for isa in [Isa::Avx2, Isa::Avx512] {
                let features = Features::vectors(isa);
                let Some(arithmetic) = Arithmetic::new(Precision::F32, features) else { continue };
                let kernel = MicroKernels::new(arithmetic, Store::F32);
                let Some(function) = kernel.function(pixels, stride, vectors) else { continue };
                // SAFETY: an `Arithmetic` exists only where the CPU has its instructions; the slices are as long as
                // above.
                let got = run(&|tile| unsafe { function(tile) });
                let same = got.iter().zip(&expected).all(|(g, e)| g == e);
                prop_assert!(same, "{isa:?}");
            }
        }
    }
}
