//! The depthwise kernels for bytes on 256-bit vectors: with `vpdpbusd` (AVX-VNNI), and with nothing but AVX2.
//!
//! A line's halves are computed one after the other, so that the sums of two pixels stay in registers. Without VNNI,
//! even and odd bytes are widened to words and multiplied by `vpmaddwd`, as in the [direct kernels](super::super::avx2).

use core::arch::x86_64::*;

use super::super::requantize::SHIFT;
use super::super::tile::{Kind, PLAIN, RESIDUAL};
use super::row::{HEAD, QUAD, Row, RowFn, VECTORS, Window, row_kernels, weights_at};
use crate::nn::layout::line::Line;

type Vector = __m256i;

pub(crate) use self::plain::kernel;
pub(crate) use self::vnni::kernel as vnni_kernel;

/// Half a line of weights or numbers.
///
/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(line: *const Line, half: usize) -> __m256i {
    // SAFETY: inside of the line by the caller's promise, and aligned.
    unsafe { _mm256_load_si256(line.cast::<__m256i>().add(half)) }
}

/// Half a line of bytes.
///
/// # Safety
/// The line is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn read(bytes: *const u8, half: usize) -> __m256i {
    // SAFETY: inside of the line by the caller's promise, and aligned as all lines are.
    unsafe { _mm256_load_si256(bytes.cast::<__m256i>().add(half)) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn zero() -> __m256i {
    _mm256_setzero_si256()
}

/// Four bytes of each channel next to each other.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(rows: [__m256i; QUAD]) -> [__m256i; VECTORS] {
    let low = [
        _mm256_unpacklo_epi8(rows[0], rows[1]),
        _mm256_unpacklo_epi8(rows[2], rows[3]),
    ];
    let high = [
        _mm256_unpackhi_epi8(rows[0], rows[1]),
        _mm256_unpackhi_epi8(rows[2], rows[3]),
    ];
    [
        _mm256_unpacklo_epi16(low[0], low[1]),
        _mm256_unpackhi_epi16(low[0], low[1]),
        _mm256_unpacklo_epi16(high[0], high[1]),
        _mm256_unpackhi_epi16(high[0], high[1]),
    ]
}

/// Stores half of one pixel's results.
///
/// # Safety
/// As of [`RowFn`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn finish<const KIND: u8>(
    row: &Row<'_>,
    half: usize,
    pixel: usize,
    sums: [__m256i; VECTORS],
) {
    let mut factors = [_mm256_setzero_ps(); VECTORS];
    let mut values = factors;
    for v in 0..VECTORS {
        // SAFETY: the lines behind those that sums begin with.
        factors[v] = _mm256_castsi256_ps(unsafe { load(row.weights.add(VECTORS + v), half) });
        values[v] = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[v]), factors[v]);
    }
    let at = pixel * size_of::<Line>();
    if KIND == RESIDUAL
        && let Some(residual) = &row.finish.residual
    {
        // SAFETY: the pixel's line by the caller's promise.
        let bytes = unsafe { read(row.residual.add(at), half) };
        let others = interleave([bytes, zero(), zero(), zero()]);
        for v in 0..VECTORS {
            let shift = _mm256_set1_ps(SHIFT);
            let own = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[v]), factors[v], shift);
            let own = _mm256_sub_ps(own, shift);
            let own = _mm256_max_ps(own, _mm256_set1_ps(residual.lowest));
            let own = _mm256_min_ps(own, _mm256_set1_ps(residual.highest));
            let other = _mm256_fmadd_ps(
                _mm256_cvtepi32_ps(others[v]),
                _mm256_set1_ps(residual.other),
                _mm256_set1_ps(residual.shift),
            );
            values[v] = _mm256_fmadd_ps(own, _mm256_set1_ps(residual.own), other);
        }
    }
    let words = [
        _mm256_packs_epi32(_mm256_cvtps_epi32(values[0]), _mm256_cvtps_epi32(values[1])),
        _mm256_packs_epi32(_mm256_cvtps_epi32(values[2]), _mm256_cvtps_epi32(values[3])),
    ];
    let zero = _mm256_set1_epi16(i16::from(row.finish.zero));
    let low = _mm256_set1_epi16(i16::from(row.finish.low));
    let bounded = [
        _mm256_max_epi16(_mm256_adds_epi16(words[0], zero), low),
        _mm256_max_epi16(_mm256_adds_epi16(words[1], zero), low),
    ];
    // SAFETY: half of the pixel's line by the caller's promise, aligned as all lines are.
    unsafe {
        let bytes = _mm256_packus_epi16(bounded[0], bounded[1]);
        let to = row.to.add(at).cast::<__m256i>();
        _mm256_store_si256(to.add(half), bytes);
    }
}

mod vnni {
    use super::*;

    row_kernels!("avx2,fma,avxvnni", 2 parts, 2 pixels, columns 0 1 2 3 4 5 6);

    #[inline]
    #[target_feature(enable = "avx2,avxvnni")]
    fn multiply(sum: __m256i, quad: __m256i, weights: __m256i) -> __m256i {
        _mm256_dpbusd_avx_epi32(sum, quad, weights)
    }
}

mod plain {
    use super::*;

    row_kernels!("avx2,fma", 2 parts, 2 pixels, columns 0 1 2 3 4 5 6);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply(sum: __m256i, quad: __m256i, weights: __m256i) -> __m256i {
        let even = _mm256_madd_epi16(
            _mm256_and_si256(quad, _mm256_set1_epi16(0xff)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)),
        );
        let odd = _mm256_madd_epi16(
            _mm256_srli_epi16::<8>(quad),
            _mm256_srai_epi16::<8>(weights),
        );
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}
