//! The resampler's passes in 512-bit vectors: four output pixels, or 64 columns, at a time.
//!
//! Called by `HorizontalPass` and `VerticalPass` when the CPU has AVX-512 F, BW and VL; `packed` says how the weights
//! lie.

use std::arch::x86_64::*;

use super::packed::{Blocks, LOAD, LOW_BITS, PairLine};
use super::{HALF, PRECISION_BITS};

/// Outputs in a block.
const BLOCK: usize = 16;

/// Writes the outputs of `blocks` into the planes of `out`, `[3, outputs]`.
///
/// # Safety
/// The CPU has AVX-512 F, BW and VL, and what [`Blocks`] says of its fields holds.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn horizontal(blocks: Blocks<'_>, out: &mut [u8]) {
    let (lines, outputs) = (4 * blocks.groups, out.len() / 3);
    let (red, rest) = out.split_at_mut(outputs);
    let (green, blue) = rest.split_at_mut(outputs);
    let offsets = blocks.offsets.as_chunks::<4>().0.as_chunks::<4>().0;
    let weights = blocks.weights.chunks_exact(lines * 4);
    for ((block, offsets), weights) in offsets.iter().enumerate().zip(weights) {
        let sum = |k: usize| {
            // SAFETY: the caller promises that all loads of each offset stay within the source.
            unsafe { pixels(blocks.source, offsets[k], &weights[k * lines..][..lines]) }
        };
        let planes = planes([sum(0), sum(1), sum(2), sum(3)]);
        let at = blocks.first + block * BLOCK;
        store(_mm512_castsi512_si128(planes), &mut red[at..]);
        store(_mm512_extracti32x4_epi32::<1>(planes), &mut green[at..]);
        store(_mm512_extracti32x4_epi32::<2>(planes), &mut blue[at..]);
    }
}

/// The sums of four outputs, one in each quarter: R, G, B and an idle fourth, shifted to the scale of the output.
///
/// # Safety
/// From each offset on, `source` holds as many loads, 12 bytes apart, as there are fours of lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pixels(source: &[u8], offsets: [u32; 4], weights: &[PairLine]) -> __m512i {
    let first_two = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
    ));
    let last_two = _mm512_broadcast_i32x4(_mm_setr_epi8(
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    ));
    let mut low = _mm512_set1_epi32(HALF);
    let mut high = _mm512_setzero_si512();
    for (group, lines) in weights.as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: the caller promises that all loads of each offset stay within `source`; a line is one vector.
        let (four, weights) = unsafe {
            let load = |offset: u32| {
                let at = offset as usize + group * 12;
                debug_assert!(at + LOAD <= source.len(), "a load stays within the row");
                _mm_loadu_si128(source.as_ptr().add(at).cast())
            };
            let four = _mm512_castsi128_si512(load(offsets[0]));
            let four = _mm512_inserti32x4::<1>(four, load(offsets[1]));
            let four = _mm512_inserti32x4::<2>(four, load(offsets[2]));
            let four = _mm512_inserti32x4::<3>(four, load(offsets[3]));
            let vector = |line: &PairLine| _mm512_load_si512(line.0.as_ptr().cast());
            (
                four,
                [
                    vector(&lines[0]),
                    vector(&lines[1]),
                    vector(&lines[2]),
                    vector(&lines[3]),
                ],
            )
        };
        let two = _mm512_shuffle_epi8(four, first_two);
        low = _mm512_add_epi32(low, _mm512_madd_epi16(two, weights[0]));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(two, weights[1]));
        let two = _mm512_shuffle_epi8(four, last_two);
        low = _mm512_add_epi32(low, _mm512_madd_epi16(two, weights[2]));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(two, weights[3]));
    }
    scaled(low, high)
}

/// Both parts of a sum put together and shifted to the scale of the output.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn scaled(low: __m512i, high: __m512i) -> __m512i {
    let sum = _mm512_add_epi32(low, _mm512_slli_epi32::<LOW_BITS>(high));
    _mm512_srai_epi32::<PRECISION_BITS>(sum)
}

/// Four vectors of sums, clamped to bytes: 16 of R, of G, of B, and 16 to ignore.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn planes(sums: [__m512i; 4]) -> __m512i {
    let words = [
        _mm512_packs_epi32(sums[0], sums[1]),
        _mm512_packs_epi32(sums[2], sums[3]),
    ];
    let pixels = _mm512_packus_epi16(words[0], words[1]);
    let by_channel = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, _mm512_shuffle_epi8(pixels, by_channel))
}

/// Writes a block to the start of `plane`, or as much of it as fits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store(bytes: __m128i, plane: &mut [u8]) {
    let mask = ((1_u32 << BLOCK.min(plane.len())) - 1) as u16;
    // SAFETY: the plane is as long as a block, or the mask keeps the store within it.
    unsafe {
        if plane.len() >= BLOCK {
            _mm_storeu_si128(plane.as_mut_ptr().cast(), bytes);
        } else {
            _mm_mask_storeu_epi8(plane.as_mut_ptr().cast(), mask, bytes);
        }
    }
}

/// Columns in a vector.
const COLUMNS: usize = 64;

/// Computes one output row from `taps.len()` rows; `pairs` are the taps as `packed` lays them out.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn vertical(pairs: &[(u32, u32)], taps: &[i32], rows: &[u8], out: &mut [u8]) {
    let length = out.len();
    assert_eq!(rows.len(), taps.len() * length);
    assert_eq!(pairs.len(), taps.len().div_ceil(2));
    for at in (0..length).step_by(COLUMNS) {
        let count = COLUMNS.min(length - at);
        let mask = u64::MAX >> (COLUMNS - count);
        let mut low = [_mm512_set1_epi32(HALF); 4];
        let mut high = [_mm512_setzero_si512(); 4];
        for (two, &(pair_low, pair_high)) in pairs.iter().enumerate() {
            let (row, next) = (2 * two, (2 * two + 1).min(taps.len() - 1));
            // SAFETY: both rows are among the `taps.len()` rows, and the mask ends with the row.
            let (a, b) = unsafe {
                let load = |row: usize| {
                    _mm512_maskz_loadu_epi8(mask, rows.as_ptr().add(row * length + at).cast())
                };
                (load(row), load(next))
            };
            let weights = [
                _mm512_set1_epi32(pair_low.cast_signed()),
                _mm512_set1_epi32(pair_high.cast_signed()),
            ];
            let zero = _mm512_setzero_si512();
            let (front, back) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let words = [
                _mm512_unpacklo_epi8(front, zero),
                _mm512_unpackhi_epi8(front, zero),
                _mm512_unpacklo_epi8(back, zero),
                _mm512_unpackhi_epi8(back, zero),
            ];
            for (i, word) in words.into_iter().enumerate() {
                low[i] = _mm512_add_epi32(low[i], _mm512_madd_epi16(word, weights[0]));
                high[i] = _mm512_add_epi32(high[i], _mm512_madd_epi16(word, weights[1]));
            }
        }
        // Packing undoes the order of unpacking, quarter by quarter.
        let words = [
            _mm512_packs_epi32(scaled(low[0], high[0]), scaled(low[1], high[1])),
            _mm512_packs_epi32(scaled(low[2], high[2]), scaled(low[3], high[3])),
        ];
        let bytes = _mm512_packus_epi16(words[0], words[1]);
        let to = &mut out[at..at + count];
        // SAFETY: the mask keeps the store within the `count` bytes of `to`.
        unsafe {
            if count == COLUMNS {
                _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes);
            } else {
                _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn as_much_of_a_block_is_stored_as_fits() {
        if !Isa::Avx512.is_supported() {
            println!("SKIPPED: this CPU has no AVX-512");
            return;
        }
        for length in 0..=BLOCK + 1 {
            let mut bytes = [7_u8; 2 * BLOCK];
            // SAFETY: the CPU has AVX-512, as asked above.
            unsafe { store(_mm_set1_epi8(1), &mut bytes[..length]) };
            let stored = length.min(BLOCK);
            assert!(bytes[..stored].iter().all(|b| *b == 1), "{length}");
            assert!(bytes[stored..].iter().all(|b| *b == 7), "{length}");
        }
    }
}
