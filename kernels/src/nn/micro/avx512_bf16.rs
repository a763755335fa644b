//! The bfloat16 micro-kernel with `vdpbf16ps` on 512-bit vectors, and the epilogue that the tile code shares.
//!
//! Bit for bit the oracle's results. All sums of a tile stay in registers: of 32, up to 28 hold sums, two the weights
//! of a pair `(k, k + 1)`, one the pair of a pixel in all lanes.

use core::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_castsi512_ps, _mm512_castsi512_si256,
    _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_extracti64x4_epi64,
    _mm512_load_ps, _mm512_load_si512, _mm512_max_ps, _mm512_min_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_store_ps, _mm512_store_si512,
    _mm512_sub_ps,
};
use std::mem::transmute;

use super::tile::{ANY, Tile, TileFn};
use crate::nn::layout::line::Line;
use crate::nn::layout::store::Store;

/// The most pixels of one call.
pub(crate) const MAX_PIXELS: usize = 14;

const F32: u8 = Store::F32 as u8;
const BF16: u8 = Store::Bf16 as u8;
const SPLIT: u8 = Store::Split as u8;

/// The kernel for `pixels` (1 to [`MAX_PIXELS`]) that lie `stride` lines apart, and `vectors` (1 or 2) of 16
/// outputs; bfloat16 can only be stored with 2.
///
/// It wants AVX-512 F, BW and VL and AVX512-BF16: whoever calls it has [`Bf16Unit::Avx512`](crate::Bf16Unit).
pub(crate) fn kernel(pixels: usize, stride: usize, vectors: usize, store: Store) -> Option<TileFn> {
    macro_rules! each {
        ($stride:expr, $vectors:literal, $store:expr; $($pixels:literal)*) => {
            [$(tile::<$pixels, { $stride }, $vectors, $store> as TileFn),*].as_slice()
        };
    }
    macro_rules! table {
        ($stride:expr, $vectors:literal, $store:expr) => {
            each!($stride, $vectors, $store; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        };
    }
    let table = match (stride, vectors, store) {
        (1, 1, Store::F32) => table!(1, 1, F32),
        (1, 2, Store::F32) => table!(1, 2, F32),
        (1, 2, Store::Bf16) => table!(1, 2, BF16),
        (1, 2, Store::Split) => table!(1, 2, SPLIT),
        (_, 1, Store::F32) => table!(ANY, 1, F32),
        (_, 2, Store::F32) => table!(ANY, 2, F32),
        (_, 2, Store::Bf16) => table!(ANY, 2, BF16),
        (_, 2, Store::Split) => table!(ANY, 2, SPLIT),
        _ => return None,
    };
    table.get(pixels.checked_sub(1)?).copied()
}

/// # Safety
/// The conditions of [`TileFn`] hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn tile<const PIXELS: usize, const STRIDE: usize, const VECTORS: usize, const STORE: u8>(
    tile: &Tile<'_>,
) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; PIXELS];
    for v in 0..VECTORS {
        // SAFETY: one line for each vector; lines are aligned.
        let bias = unsafe { _mm512_load_ps(tile.bias.add(v).cast()) };
        for sum in &mut sums {
            sum[v] = bias;
        }
    }
    let step = if STRIDE == ANY { tile.step } else { STRIDE };
    for k in tile.k {
        // SAFETY: a block's lines are there by the caller's promise.
        let (a, b) = unsafe { (tile.a.add(k.a as usize), tile.b.add(k.b as usize)) };
        for i in 0..16 {
            // SAFETY: a block has 16 × VECTORS lines of weights.
            let mut weights = [unsafe { load_pairs(b.add(i * VECTORS)) }; VECTORS];
            for (v, w) in weights.iter_mut().enumerate().skip(1) {
                // SAFETY: a block has 16 × VECTORS lines of weights.
                *w = unsafe { load_pairs(b.add(i * VECTORS + v)) };
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the pixel's line holds 16 pairs.
                let a = unsafe { broadcast_pair(a.add(p * step), i) };
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_dpbf16_ps(*sum, a, w);
                }
            }
        }
    }
    let fused = Fused::of(tile);
    // Written out, for an index that the compiler cannot know would keep the sums in memory.
    macro_rules! finish {
        ($($p:literal)*) => {$(
            if $p < PIXELS {
                // SAFETY: the caller promises output and residual for each pixel; no kernel with one vector stores
                // bfloat16.
                unsafe { finish::<VECTORS, STORE>(tile, fused, [$p, $p], sums[$p % PIXELS]) };
            }
        )*};
    }
    finish!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
}

/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn load_pairs(line: *const Line) -> __m512bh {
    // SAFETY: there by the caller's promise, and aligned; any bits are 32 bfloat16.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_load_si512(line.cast())) }
}

/// Pair number `i` of a line in all lanes.
///
/// # Safety
/// `line` is there and `i < 16`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn broadcast_pair(line: *const Line, i: usize) -> __m512bh {
    // SAFETY: inside of the line by the caller's promise; any bits are 32 bfloat16.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*line.cast::<i32>().add(i))) }
}

/// What is fused into a tile's epilogue: constants where a kernel is made for each combination, else looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fused {
    pub(crate) residual: bool,
    pub(crate) relu: bool,
    /// Whether results are bounded by [`Tile::most`]; only with `relu`.
    pub(crate) clip: bool,
}

impl Fused {
    #[inline(always)]
    pub(crate) fn of(tile: &Tile<'_>) -> Fused {
        Fused {
            residual: !tile.residual.is_null(),
            relu: tile.relu,
            clip: tile.relu && tile.most < f32::INFINITY,
        }
    }
}

/// Adds the residual, makes negative sums zero if asked to, and stores one pixel's sums, `p` lines from the output's
/// first pixel; the residual's pixel is `residual` lines from its first.
///
/// # Safety
/// All that `tile` points to is there for that pixel, nobody else uses the output, and `STORE` is `F32` or `VECTORS` 2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) unsafe fn finish<const VECTORS: usize, const STORE: u8>(
    tile: &Tile<'_>,
    fused: Fused,
    [p, residual]: [usize; 2],
    mut sums: [__m512; VECTORS],
) {
    if fused.residual {
        // SAFETY: the residual is there and has a line for each block of the output.
        unsafe { add_residual::<VECTORS, STORE>(tile, residual, &mut sums) };
    }
    if fused.relu {
        for sum in &mut sums {
            // The second operand is the result for NaN and for zeros of either sign.
            *sum = _mm512_max_ps(*sum, _mm512_setzero_ps());
        }
    }
    if fused.clip {
        for sum in &mut sums {
            *sum = _mm512_min_ps(*sum, _mm512_set1_ps(tile.most));
        }
    }
    // SAFETY: the output has a line for each block.
    let put = |block: usize| unsafe { tile.out.add(block * tile.out_stride + p) };
    if STORE == F32 {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: the output has a line for each block; lines are aligned.
            unsafe { _mm512_store_ps(put(v).cast(), sum) };
        }
        return;
    }
    let high = round(sums[0], sums[VECTORS - 1]);
    // SAFETY: the output has a line for each block; lines are aligned.
    unsafe { _mm512_store_si512(put(0).cast(), high) };
    if STORE == SPLIT {
        let [h0, h1] = widen(high);
        let low = round(
            _mm512_sub_ps(sums[0], h0),
            _mm512_sub_ps(sums[VECTORS - 1], h1),
        );
        // SAFETY: the output has a line for each block; lines are aligned.
        unsafe { _mm512_store_si512(put(1).cast(), low) };
    }
}

/// # Safety
/// The conditions of [`finish`] hold, and the residual is not null.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn add_residual<const VECTORS: usize, const STORE: u8>(
    tile: &Tile<'_>,
    p: usize,
    sums: &mut [__m512; VECTORS],
) {
    // SAFETY: the caller promises the residual's line of the pixel in each block.
    let line = |block: usize| unsafe { tile.residual.add(block * tile.residual_stride + p) };
    if STORE == F32 {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller promises the residual's line in this block; lines are aligned.
            *sum = _mm512_add_ps(*sum, unsafe { _mm512_load_ps(line(v).cast()) });
        }
        return;
    }
    // SAFETY: the caller promises the residual's line in the first block; lines are aligned.
    let mut added = widen(unsafe { _mm512_load_si512(line(0).cast()) });
    if STORE == SPLIT {
        // SAFETY: the caller promises the residual's line in the second block; lines are aligned.
        let low = widen(unsafe { _mm512_load_si512(line(1).cast()) });
        for (high, low) in added.iter_mut().zip(low) {
            *high = _mm512_add_ps(*high, low);
        }
    }
    for (sum, r) in sums.iter_mut().zip(added) {
        *sum = _mm512_add_ps(*sum, r);
    }
}

/// 32 values as bfloat16, `low` first.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the same 512 bits.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// 32 bfloat16 as values, the first 16 first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn widen(x: __m512i) -> [__m512; 2] {
    let half = |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)));
    [
        half(_mm512_castsi512_si256(x)),
        half(_mm512_extracti64x4_epi64::<1>(x)),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::features::Bf16Unit;
    use crate::nn::denormals::flush_denormals;
    use crate::nn::micro::oracle::bf16::tile_bf16;
    use crate::nn::micro::oracle::sample::Sample;

    proptest! {
        #[test]
        fn vectors_give_the_bits_of_the_oracle(sample in Sample::any(MAX_PIXELS), flush in any::<bool>()) {
            if Bf16Unit::Avx512.is_supported() {
                let _guard = flush.then(flush_denormals);
                let kernel = kernel(sample.pixels, sample.stride, sample.vectors, sample.store).unwrap();
                // SAFETY: the CPU has the unit, and a sample's tile is whole.
                let got = sample.run(|tile| unsafe { kernel(tile) });
                sample.check(&got, Bf16Unit::Avx512)?;
            }
        }
    }

    #[test]
    fn kernels_exist_for_what_they_are_written_for() {
        for store in [Store::F32, Store::Bf16, Store::Split] {
            for pixels in 1..=MAX_PIXELS {
                for stride in [1, 2, 3, 9] {
                    assert!(kernel(pixels, stride, 2, store).is_some());
                    assert_eq!(
                        kernel(pixels, stride, 1, store).is_some(),
                        store == Store::F32
                    );
                }
            }
            assert!(kernel(0, 1, 2, store).is_none());
            assert!(kernel(MAX_PIXELS + 1, 1, 2, store).is_none());
            assert!(kernel(1, 1, 3, store).is_none());
        }
    }

    #[test]
    fn what_is_no_number_is_stored_as_the_oracle_does() {
        if !Bf16Unit::Avx512.is_supported() {
            return;
        }
        let mut values = [1.0_f32; 16];
        values[..8].copy_from_slice(&[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            -0.0,
            1e-40,
            -1e-40,
            f32::MIN_POSITIVE,
        ]);
        let bias = [Line::from_f32(values), Line::from_f32(values.map(|x| -x))];
        for store in [Store::F32, Store::Bf16, Store::Split] {
            for relu in [false, true] {
                let run = |compute: &dyn Fn(&Tile<'_>)| {
                    let mut out = [Line::ZERO; 2];
                    compute(&Tile {
                        a: bias.as_ptr(),
                        step: 1,
                        k: &[],
                        b: bias.as_ptr(),
                        bias: bias.as_ptr(),
                        residual: std::ptr::null(),
                        residual_stride: 0,
                        out: out.as_mut_ptr(),
                        out_stride: 1,
                        relu,
                        most: 0.75,
                    });
                    out.map(|line| *line.words())
                };
                let kernel = kernel(1, 1, 2, store).unwrap();
                // SAFETY: the CPU has the unit, and the tile is whole.
                let got = run(&|tile| unsafe { kernel(tile) });
                // SAFETY: the tile is whole.
                let expected =
                    run(&|tile| unsafe { tile_bf16(tile, [1, 1, 2], store, Bf16Unit::Avx512) });
                assert_eq!(got, expected, "{store:?} {relu}");
            }
        }
    }
}
