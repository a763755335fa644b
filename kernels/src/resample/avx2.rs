//! The resampler's passes in 256-bit vectors: two output pixels, or 32 columns, at a time.
//!
//! Called by `HorizontalPass` and `VerticalPass` when the CPU has AVX2; `packed` says how the weights lie.

use std::arch::x86_64::*;

use super::packed::{Blocks, LOAD, LOW_BITS, PairLine};
use super::{HALF, PRECISION_BITS, scalar};

/// Outputs in a block.
const BLOCK: usize = 8;

/// Writes the outputs of `blocks` into the planes of `out`, `[3, outputs]`.
///
/// # Safety
/// The CPU has AVX2, and what [`Blocks`] says of its fields holds.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn horizontal(blocks: Blocks<'_>, out: &mut [u8]) {
    let (lines, outputs) = (2 * blocks.groups, out.len() / 3);
    let (red, rest) = out.split_at_mut(outputs);
    let (green, blue) = rest.split_at_mut(outputs);
    let offsets = blocks.offsets.as_chunks::<2>().0.as_chunks::<4>().0;
    let weights = blocks.weights.chunks_exact(lines * 4);
    for ((block, offsets), weights) in offsets.iter().enumerate().zip(weights) {
        let sum = |k: usize| {
            // SAFETY: the caller promises that all loads of each offset stay within the source.
            unsafe { pixels(blocks.source, offsets[k], &weights[k * lines..][..lines]) }
        };
        let planes = planes([sum(0), sum(1), sum(2), sum(3)]);
        let at = blocks.first + block * BLOCK;
        store(_mm256_extract_epi64::<0>(planes), &mut red[at..]);
        store(_mm256_extract_epi64::<1>(planes), &mut green[at..]);
        store(_mm256_extract_epi64::<2>(planes), &mut blue[at..]);
    }
}

/// The sums of two outputs, one in each half: R, G, B and an idle fourth, shifted to the scale of the output.
///
/// # Safety
/// From each offset on, `source` holds as many loads, 12 bytes apart, as there are pairs of lines.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pixels(source: &[u8], offsets: [u32; 2], weights: &[PairLine]) -> __m256i {
    let first_two = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
    ));
    let last_two = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    ));
    let mut low = _mm256_set1_epi32(HALF);
    let mut high = _mm256_setzero_si256();
    for (group, [near, far]) in weights.as_chunks::<2>().0.iter().enumerate() {
        // SAFETY: the caller promises that all loads of each offset stay within `source`; a line is two vectors.
        let (four, near, far) = unsafe {
            let load = |offset: u32| {
                let at = offset as usize + group * 12;
                debug_assert!(at + LOAD <= source.len(), "a load stays within the row");
                _mm_loadu_si128(source.as_ptr().add(at).cast())
            };
            let vectors = |line: &PairLine| {
                let start: *const __m256i = line.0.as_ptr().cast();
                [_mm256_load_si256(start), _mm256_load_si256(start.add(1))]
            };
            let four = _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(load(offsets[0])),
                load(offsets[1]),
            );
            (four, vectors(near), vectors(far))
        };
        let two = _mm256_shuffle_epi8(four, first_two);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(two, near[0]));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(two, near[1]));
        let two = _mm256_shuffle_epi8(four, last_two);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(two, far[0]));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(two, far[1]));
    }
    scaled(low, high)
}

/// Both parts of a sum put together and shifted to the scale of the output.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled(low: __m256i, high: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(low, _mm256_slli_epi32::<{ LOW_BITS as i32 }>(high));
    _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sum)
}

/// Four vectors of sums, clamped to bytes: eight of R, of G, of B, and eight to ignore.
#[inline]
#[target_feature(enable = "avx2")]
fn planes(sums: [__m256i; 4]) -> __m256i {
    let words = [
        _mm256_packs_epi32(sums[0], sums[1]),
        _mm256_packs_epi32(sums[2], sums[3]),
    ];
    let pixels = _mm256_packus_epi16(words[0], words[1]);
    let by_channel = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(pixels, by_channel), order)
}

/// Writes a block to the start of `plane`, or as much of it as fits.
#[inline]
fn store(bytes: i64, plane: &mut [u8]) {
    let bytes = bytes.to_le_bytes();
    if let Some(full) = plane.first_chunk_mut::<BLOCK>() {
        *full = bytes;
    } else {
        plane.copy_from_slice(&bytes[..plane.len()]);
    }
}

/// Columns in a vector.
const COLUMNS: usize = 32;

/// Computes one output row from `taps.len()` rows; `pairs` are the taps as `packed` lays them out.
#[target_feature(enable = "avx2")]
pub(super) fn vertical(pairs: &[(u32, u32)], taps: &[i32], rows: &[u8], out: &mut [u8]) {
    let length = out.len();
    assert_eq!(rows.len(), taps.len() * length);
    assert_eq!(pairs.len(), taps.len().div_ceil(2));
    let Some(last) = length.checked_sub(COLUMNS) else {
        return scalar::columns(taps, rows, out, 0);
    };
    // The tail is the last full vector again, from further left.
    for at in (0..last).step_by(COLUMNS).chain([last]) {
        let mut low = [_mm256_set1_epi32(HALF); 4];
        let mut high = [_mm256_setzero_si256(); 4];
        for (two, &(pair_low, pair_high)) in pairs.iter().enumerate() {
            let (row, next) = (2 * two, (2 * two + 1).min(taps.len() - 1));
            // SAFETY: both rows are among the `taps.len()` rows, and `at + 32 <= length`.
            let (a, b) = unsafe {
                let load =
                    |row: usize| _mm256_loadu_si256(rows.as_ptr().add(row * length + at).cast());
                (load(row), load(next))
            };
            let weights = [
                _mm256_set1_epi32(pair_low.cast_signed()),
                _mm256_set1_epi32(pair_high.cast_signed()),
            ];
            let zero = _mm256_setzero_si256();
            let (front, back) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let words = [
                _mm256_unpacklo_epi8(front, zero),
                _mm256_unpackhi_epi8(front, zero),
                _mm256_unpacklo_epi8(back, zero),
                _mm256_unpackhi_epi8(back, zero),
            ];
            for (i, word) in words.into_iter().enumerate() {
                low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(word, weights[0]));
                high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(word, weights[1]));
            }
        }
        // Packing undoes the order of unpacking, half by half.
        let words = [
            _mm256_packs_epi32(scaled(low[0], high[0]), scaled(low[1], high[1])),
            _mm256_packs_epi32(scaled(low[2], high[2]), scaled(low[3], high[3])),
        ];
        let bytes = _mm256_packus_epi16(words[0], words[1]);
        // SAFETY: `at + 32 <= length`.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), bytes) };
    }
}
