//! The 8-bit micro-kernels on 256-bit vectors: with `vpdpbusd` (AVX-VNNI), and on weights in [pairs](super::pairs) with
//! nothing but AVX2.
//!
//! A call computes half of a panel, lanes 0 to 7 or 8 to 15 of both its vectors: so the sums of all pixels stay in
//! registers.

use core::arch::x86_64::*;

use super::pairs::{Half, Step};
use super::requantize::{Own, SHIFT};
use super::tile::{BLOCK_LINES, FLOAT, Kind, PLAIN, Panel, RESIDUAL, SUM, Target, TileFn};
use crate::nn::layout::line::Line;

/// The most pixels of one call: twelve registers of sums, two of weights, one of the input.
pub(crate) const VNNI_PIXELS: usize = 6;

/// The most pixels of one call on weights in pairs: ten registers of sums, two of weights, one each of the input, of
/// its order, of products and of ones.
pub(crate) const PAIRED_PIXELS: usize = 5;

/// The kernels for 1, 2, … pixels, which want AVX2, FMA and AVX-VNNI.
pub(crate) fn vnni_kernels(kind: Kind) -> [TileFn; VNNI_PIXELS] {
    macro_rules! table {
        ($kind:expr; $($pixels:literal)*) => { [$(vnni_tile::<$pixels, $kind>),*] };
    }
    match kind {
        Kind::Plain => table!(PLAIN; 1 2 3 4 5 6),
        Kind::Residual => table!(RESIDUAL; 1 2 3 4 5 6),
        Kind::Sum => table!(SUM; 1 2 3 4 5 6),
        Kind::Float => table!(FLOAT; 1 2 3 4 5 6),
    }
}

/// The kernels for 1, 2, … pixels on weights in pairs, which want AVX2 and FMA.
pub(crate) fn paired_kernels(kind: Kind) -> [TileFn; PAIRED_PIXELS] {
    macro_rules! table {
        ($kind:expr; $($pixels:literal)*) => { [$(paired_tile::<$pixels, $kind>),*] };
    }
    match kind {
        Kind::Plain => table!(PLAIN; 1 2 3 4 5),
        Kind::Residual => table!(RESIDUAL; 1 2 3 4 5),
        Kind::Sum => table!(SUM; 1 2 3 4 5),
        Kind::Float => table!(FLOAT; 1 2 3 4 5),
    }
}

/// Loads half a line of weights or numbers, 32 bytes.
///
/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn load(line: *const Line, half: usize) -> __m256i {
    // SAFETY: inside of the line by the caller's promise, and aligned.
    unsafe { _mm256_load_si256(line.cast::<__m256i>().add(half)) }
}

/// Loads half a line as eight `f32`.
///
/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_ps(line: *const Line, half: usize) -> __m256 {
    // SAFETY: the caller promises a line at `line`.
    _mm256_castsi256_ps(unsafe { load(line, half) })
}

/// Stores half of one pixel's results.
///
/// # Safety
/// All that panel and target point to is there for pixel `p`, and nobody else uses the output.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn finish<const KIND: u8>(
    panel: &Panel<'_>,
    at: Target,
    half: usize,
    p: usize,
    sums: [__m256i; 2],
) {
    // SAFETY: the caller promises the panel's two lines of factors.
    let factor = unsafe {
        [
            load_ps(panel.factor, half),
            load_ps(panel.factor.add(1), half),
        ]
    };
    let sums = [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])];
    let mut values = [
        _mm256_mul_ps(sums[0], factor[0]),
        _mm256_mul_ps(sums[1], factor[1]),
    ];
    // SAFETY: the pixel's part of the output by the caller's promise.
    let to = unsafe { at.out.add(p * size_of::<Line>()) };
    if KIND == FLOAT {
        let [lowest, highest] = panel.finish.bounds();
        for value in &mut values {
            *value = _mm256_max_ps(*value, _mm256_set1_ps(lowest));
            *value = _mm256_min_ps(*value, _mm256_set1_ps(highest));
        }
        // SAFETY: the caller promises the pixel's two lines of `f32`, of which these are halves.
        unsafe {
            _mm256_store_ps(to.cast::<f32>().add(8 * half), values[0]);
            let to = to.add(at.out_stride).cast::<f32>();
            _mm256_store_ps(to.add(8 * half), values[1]);
        }
        return;
    }
    let finish = panel.finish;
    if (KIND == RESIDUAL || KIND == SUM)
        && let Some(residual) = &finish.residual
    {
        // SAFETY: the caller promises the pixel's 32 bytes of the residual, of which these are half.
        let bytes = unsafe {
            let from = at.residual.add(p * size_of::<Line>() + 16 * half);
            _mm_load_si128(from.cast())
        };
        let words = _mm256_cvtepu8_epi16(bytes);
        let zero = _mm256_setzero_si256();
        let residuals = [
            _mm256_unpacklo_epi16(words, zero),
            _mm256_unpackhi_epi16(words, zero),
        ];
        for (i, other) in residuals.into_iter().enumerate() {
            let other = _mm256_fmadd_ps(
                _mm256_cvtepi32_ps(other),
                _mm256_set1_ps(residual.ratio),
                _mm256_set1_ps(residual.shift),
            );
            values[i] = match &finish.own {
                Some(own) if KIND == RESIDUAL => rounded(sums[i], factor[i], own, other),
                _ => _mm256_fmadd_ps(sums[i], factor[i], other),
            };
        }
    }
    let words = _mm256_packs_epi32(_mm256_cvtps_epi32(values[0]), _mm256_cvtps_epi32(values[1]));
    let words = _mm256_adds_epi16(words, _mm256_set1_epi16(i16::from(finish.zero)));
    let words = _mm256_max_epi16(words, _mm256_set1_epi16(i16::from(finish.low)));
    let bytes = _mm256_packus_epi16(words, words);
    let bytes = _mm256_permute4x64_epi64::<0b10_00>(bytes);
    // SAFETY: 16 bytes of the pixel.
    unsafe { _mm_store_si128(to.add(16 * half).cast(), _mm256_castsi256_si128(bytes)) };
}

/// Rounds and bounds `sum × factor` as `own` says, and adds `added`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn rounded(sum: __m256, factor: __m256, own: &Own, added: __m256) -> __m256 {
    let shift = _mm256_set1_ps(SHIFT);
    let value = _mm256_sub_ps(_mm256_fmadd_ps(sum, factor, shift), shift);
    let value = _mm256_max_ps(value, _mm256_set1_ps(own.lowest));
    let value = _mm256_min_ps(value, _mm256_set1_ps(own.highest));
    _mm256_fmadd_ps(value, _mm256_set1_ps(own.ratio), added)
}

/// # Safety
/// The conditions of [`TileFn`] hold.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn vnni_tile<const PIXELS: usize, const KIND: u8>(
    panel: &Panel<'_>,
    at: Target,
    stride: usize,
) {
    let half = panel.half;
    // SAFETY: the caller promises the panel's two lines that sums begin with.
    let offset = unsafe { [load(panel.offset, half), load(panel.offset.add(1), half)] };
    let mut sums = [offset; PIXELS];
    let mut b = panel.b;
    for k in panel.k {
        // SAFETY: a block's bytes are there by the caller's promise.
        let a = unsafe { at.a.add(k.a as usize) };
        for i in 0..k.quads as usize {
            // SAFETY: a block has 16 × 2 lines of weights.
            let weights = unsafe { [load(b.add(2 * i), half), load(b.add(2 * i + 1), half)] };
            for (p, sums) in sums.iter_mut().enumerate() {
                let quad = a.wrapping_add(p * stride + 4 * i).cast::<i32>();
                // SAFETY: inside of the pixel's bytes.
                let quad = _mm256_set1_epi32(unsafe { quad.read_unaligned() });
                sums[0] = _mm256_dpbusd_avx_epi32(sums[0], quad, weights[0]);
                sums[1] = _mm256_dpbusd_avx_epi32(sums[1], quad, weights[1]);
            }
        }
        // SAFETY: the weights of the next block, or the end of the panel's.
        b = unsafe { b.add(BLOCK_LINES) };
    }
    // SAFETY: the caller promises all that panel and target point to, for `PIXELS` pixels.
    unsafe { finish_all::<PIXELS, KIND>(panel, at, sums) };
}

/// # Safety
/// The conditions of [`TileFn`] hold; the weights are in pairs.
#[target_feature(enable = "avx2,fma")]
unsafe fn paired_tile<const PIXELS: usize, const KIND: u8>(
    panel: &Panel<'_>,
    at: Target,
    stride: usize,
) {
    let half = panel.half;
    let Half {
        neighbours,
        shuffled,
        b,
    } = panel.halves[half];
    // SAFETY: the caller promises the panel's two lines that sums begin with.
    let offset = unsafe { [load(panel.offset, half), load(panel.offset.add(1), half)] };
    let mut sums = [offset; PIXELS];
    // SAFETY: the caller promises the steps' weights, the bytes that they read, and the output.
    unsafe {
        add_steps::<PIXELS, false>(&mut sums, neighbours, b, (at.a, stride));
        add_steps::<PIXELS, true>(&mut sums, shuffled, b.add(neighbours.len()), (at.a, stride));
        finish_all::<PIXELS, KIND>(panel, at, sums);
    }
}

/// Adds the products of steps of one kind.
///
/// # Safety
/// The CPU has AVX2; there is a line of weights for each step and what it reads of each pixel: four bytes, or a window.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_steps<const PIXELS: usize, const SHUFFLED: bool>(
    sums: &mut [[__m256i; 2]; PIXELS],
    steps: &[Step],
    mut b: *const Line,
    (a, stride): (*const u8, usize),
) {
    let ones = _mm256_set1_epi16(1);
    for step in steps {
        let order = _mm256_set1_epi32(i32::from_le_bytes(step.bytes));
        // SAFETY: the step's weights, and what it reads of the first pixel.
        let (weights, a) = unsafe { ([load(b, 0), load(b, 1)], a.add(step.a as usize)) };
        for (p, sums) in sums.iter_mut().enumerate() {
            // SAFETY: what the step reads of this pixel.
            let quad = unsafe {
                let a = a.add(p * stride);
                match SHUFFLED {
                    true => {
                        let window = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.cast()));
                        _mm256_shuffle_epi8(window, order)
                    }
                    false => _mm256_set1_epi32(a.cast::<i32>().read_unaligned()),
                }
            };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let pairs = _mm256_maddubs_epi16(quad, weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        // SAFETY: the weights of the next step, or the end of the steps'.
        b = unsafe { b.add(1) };
    }
}

/// Stores the results of half a panel.
///
/// # Safety
/// The conditions of [`finish`] hold.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn finish_all<const PIXELS: usize, const KIND: u8>(
    panel: &Panel<'_>,
    at: Target,
    sums: [[__m256i; 2]; PIXELS],
) {
    // Copies, for the compiler has to read again what may lie where results are stored.
    let (panel, finish_by) = (*panel, *panel.finish);
    let panel = Panel {
        finish: &finish_by,
        ..panel
    };
    for (p, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller promises all that panel and target point to, for `PIXELS` pixels.
        unsafe { finish::<KIND>(&panel, at, panel.half, p, sums) };
    }
}
