//! The depthwise kernels for bytes on 256-bit vectors: with `vpdpbusd` (AVX-VNNI), and with nothing but AVX2.
//!
//! A line's halves are computed one after the other, so that the sums of four pixels stay in registers. Without VNNI,
//! even and odd bytes are widened to words and multiplied by `vpmaddwd`: each channel has so few weights that two of
//! them seldom are small enough for [pairs](super::super::pairs).

use core::arch::x86_64::*;

use super::super::avx2::{load, rounded};
use super::super::tile::{Kind, PLAIN, RESIDUAL, SUM};
use super::row::{HEAD, QUAD, Row, RowFn, VECTORS, Window, row_kernels, weights_at};
use crate::nn::layout::line::Line;

type Vector = __m256i;

pub(crate) use self::plain::kernel;
pub(crate) use self::vnni::kernel as vnni_kernel;

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

/// The results of two vectors of a pixel as words.
///
/// # Safety
/// As of [`RowFn`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn words<const KIND: u8, const PAIR: usize>(
    row: &Row<'_>,
    half: usize,
    pixel: usize,
    sums: [__m256i; 2],
) -> __m256i {
    let mut factors = [_mm256_setzero_ps(); 2];
    let mut values = factors;
    for v in 0..2 {
        // SAFETY: the lines behind those that sums begin with.
        let factor = unsafe { load(row.weights.add(VECTORS + 2 * PAIR + v), half) };
        factors[v] = _mm256_castsi256_ps(factor);
        values[v] = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[v]), factors[v]);
    }
    if (KIND == RESIDUAL || KIND == SUM)
        && let Some(residual) = &row.finish.residual
    {
        // SAFETY: the pixel's line by the caller's promise.
        let bytes = unsafe { read(row.residual.add(pixel * size_of::<Line>()), half) };
        let others = interleave([bytes, zero(), zero(), zero()]);
        for v in 0..2 {
            let sum = _mm256_cvtepi32_ps(sums[v]);
            let other = _mm256_fmadd_ps(
                _mm256_cvtepi32_ps(others[2 * PAIR + v]),
                _mm256_set1_ps(residual.ratio),
                _mm256_set1_ps(residual.shift),
            );
            values[v] = match &row.finish.own {
                Some(own) if KIND == RESIDUAL => rounded(sum, factors[v], own, other),
                _ => _mm256_fmadd_ps(sum, factors[v], other),
            };
        }
    }
    let [low, high] = [_mm256_cvtps_epi32(values[0]), _mm256_cvtps_epi32(values[1])];
    let words = _mm256_packs_epi32(low, high);
    let words = _mm256_adds_epi16(words, _mm256_set1_epi16(i16::from(row.finish.zero)));
    _mm256_max_epi16(words, _mm256_set1_epi16(i16::from(row.finish.low)))
}

/// Stores the words of half of a pixel as bytes.
///
/// # Safety
/// As of [`RowFn`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(row: &Row<'_>, half: usize, pixel: usize, words: [__m256i; 2]) {
    let bytes = _mm256_packus_epi16(words[0], words[1]);
    // SAFETY: inside of the pixel's line by the caller's promise, aligned as all lines are.
    unsafe {
        let to = row.to.add(pixel * size_of::<Line>());
        _mm256_store_si256(to.cast::<__m256i>().add(half), bytes);
    }
}

mod vnni {
    use super::*;

    row_kernels!("avx2,fma,avxvnni", 2 parts, 4 pixels, columns 0 1 2 3 4 5 6 7 8 9 10);

    #[inline]
    #[target_feature(enable = "avx2,avxvnni")]
    fn multiply(sum: __m256i, quad: __m256i, weights: __m256i, _rows: usize) -> __m256i {
        _mm256_dpbusd_avx_epi32(sum, quad, weights)
    }
}

mod plain {
    use super::*;

    row_kernels!("avx2,fma", 2 parts, 4 pixels, columns 0 1 2 3 4 5 6 7 8 9 10);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply(sum: __m256i, quad: __m256i, weights: __m256i, rows: usize) -> __m256i {
        let even = _mm256_madd_epi16(
            _mm256_and_si256(quad, _mm256_set1_epi16(0xff)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)),
        );
        let sum = _mm256_add_epi32(sum, even);
        if rows == 1 {
            return sum;
        }
        let odd = _mm256_madd_epi16(
            _mm256_srli_epi16::<8>(quad),
            _mm256_srai_epi16::<8>(weights),
        );
        _mm256_add_epi32(sum, odd)
    }
}
