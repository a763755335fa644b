//! The depthwise kernels for bytes with `vpdpbusd` on 512-bit vectors.
//!
//! They want AVX-512 F, BW and VL and AVX512-VNNI. Of 32 registers 14 hold the sums of seven pixels, up to ten
//! weights, two an interleaved column.

use core::arch::x86_64::*;

use super::super::requantize::{Own, SHIFT};
use super::super::tile::{Kind, PLAIN, RESIDUAL, SUM};
use super::row::{HEAD, QUAD, Row, RowFn, VECTORS, Window, row_kernels, weights_at};
use crate::nn::layout::line::Line;

type Vector = __m512i;

row_kernels!(
    "avx512f,avx512bw,avx512vl,avx512vnni",
    1 parts,
    7 pixels,
    columns 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
);

/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: *const Line, _part: usize) -> __m512i {
    // SAFETY: there by the caller's promise, and aligned.
    unsafe { _mm512_load_si512(line.cast()) }
}

/// # Safety
/// The line of bytes is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn read(bytes: *const u8, _part: usize) -> __m512i {
    // SAFETY: there by the caller's promise, and aligned as all lines are.
    unsafe { _mm512_load_si512(bytes.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn zero() -> __m512i {
    _mm512_setzero_si512()
}

/// Interleaves four rows of bytes, so that the four bytes of a channel are neighbours.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: [__m512i; QUAD]) -> [__m512i; VECTORS] {
    let low = [
        _mm512_unpacklo_epi8(rows[0], rows[1]),
        _mm512_unpacklo_epi8(rows[2], rows[3]),
    ];
    let high = [
        _mm512_unpackhi_epi8(rows[0], rows[1]),
        _mm512_unpackhi_epi8(rows[2], rows[3]),
    ];
    [
        _mm512_unpacklo_epi16(low[0], low[1]),
        _mm512_unpackhi_epi16(low[0], low[1]),
        _mm512_unpacklo_epi16(high[0], high[1]),
        _mm512_unpackhi_epi16(high[0], high[1]),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply(sum: __m512i, quad: __m512i, weights: __m512i, _rows: usize) -> __m512i {
    _mm512_dpbusd_epi32(sum, quad, weights)
}

/// Rounds and bounds `sum × factor` as `own` says, and adds `added`.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(sum: __m512, factor: __m512, own: &Own, added: __m512) -> __m512 {
    let shift = _mm512_set1_ps(SHIFT);
    let value = _mm512_sub_ps(_mm512_fmadd_ps(sum, factor, shift), shift);
    let value = _mm512_max_ps(value, _mm512_set1_ps(own.lowest));
    let value = _mm512_min_ps(value, _mm512_set1_ps(own.highest));
    _mm512_fmadd_ps(value, _mm512_set1_ps(own.ratio), added)
}

/// The results of two vectors of a pixel as words.
///
/// # Safety
/// The conditions of [`RowFn`] hold.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn words<const KIND: u8, const PAIR: usize>(
    row: &Row<'_>,
    _part: usize,
    pixel: usize,
    sums: [__m512i; 2],
) -> __m512i {
    let mut factors = [_mm512_setzero_ps(); 2];
    let mut values = factors;
    for v in 0..2 {
        // SAFETY: the block's lines of factors, behind those that sums begin with.
        let factor = unsafe { load(row.weights.add(VECTORS + 2 * PAIR + v), 0) };
        factors[v] = _mm512_castsi512_ps(factor);
        values[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[v]), factors[v]);
    }
    if (KIND == RESIDUAL || KIND == SUM)
        && let Some(residual) = &row.finish.residual
    {
        // SAFETY: the pixel's line by the caller's promise.
        let bytes = unsafe { read(row.residual.add(pixel * size_of::<Line>()), 0) };
        let others = interleave([bytes, zero(), zero(), zero()]);
        for v in 0..2 {
            let sum = _mm512_cvtepi32_ps(sums[v]);
            let other = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(others[2 * PAIR + v]),
                _mm512_set1_ps(residual.ratio),
                _mm512_set1_ps(residual.shift),
            );
            values[v] = match &row.finish.own {
                Some(own) if KIND == RESIDUAL => rounded(sum, factors[v], own, other),
                _ => _mm512_fmadd_ps(sum, factors[v], other),
            };
        }
    }
    let [low, high] = [_mm512_cvtps_epi32(values[0]), _mm512_cvtps_epi32(values[1])];
    let words = _mm512_packs_epi32(low, high);
    let words = _mm512_adds_epi16(words, _mm512_set1_epi16(i16::from(row.finish.zero)));
    _mm512_max_epi16(words, _mm512_set1_epi16(i16::from(row.finish.low)))
}

/// Stores the words of a pixel as bytes.
///
/// # Safety
/// The conditions of [`RowFn`] hold.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store(row: &Row<'_>, _part: usize, pixel: usize, words: [__m512i; 2]) {
    let bytes = _mm512_packus_epi16(words[0], words[1]);
    // SAFETY: the pixel's line by the caller's promise, aligned as all lines are.
    unsafe {
        let to = row.to.add(pixel * size_of::<Line>());
        _mm512_store_si512(to.cast(), bytes);
    }
}
