//! Rows of YCbCr samples to rows of interleaved RGB.
//!
//! Called by `preprocess::jpeg` for each row of a color photo.
//!
//! Source: ITU-T T.871 (JFIF), in the 16-bit fixed point and with the rounding of libjpeg's `build_ycc_rgb_table`.

use super::Isa;

/// The right to convert with one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColorKernel {
    isa: Isa,
}

/// A factor in 16-bit fixed point.
const fn fix(value: f64) -> i32 {
    (value * 65536.0 + 0.5) as i32
}

const HALF: i32 = 1 << 15;
const RED_OF_CR: i32 = fix(1.40200);
const GREEN_OF_CB: i32 = -fix(0.34414);
const GREEN_OF_CR: i32 = -fix(0.71414);
const BLUE_OF_CB: i32 = fix(1.77200);

/// Converts one YCbCr pixel to RGB.
#[inline(always)]
#[must_use]
pub fn ycc_to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((RED_OF_CR * cr + HALF) >> 16);
    let green = y + ((GREEN_OF_CB * cb + GREEN_OF_CR * cr + HALF) >> 16);
    let blue = y + ((BLUE_OF_CB * cb + HALF) >> 16);
    [red, green, blue].map(|v| v.clamp(0, 255) as u8)
}

impl ColorKernel {
    /// The kernel for `isa`, if this CPU supports it.
    #[must_use]
    pub fn new(isa: Isa) -> Option<ColorKernel> {
        isa.is_supported().then_some(ColorKernel { isa })
    }

    /// Converts a row.
    ///
    /// # Shapes
    /// - `y`, `cb`, `cr`: `[n]`
    /// - `out`: `[n, 3]`
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn ycc_to_rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        let (out, rest) = out.as_chunks_mut::<3>();
        let n = out.len();
        assert!(
            rest.is_empty() && [y.len(), cb.len(), cr.len()] == [n; 3],
            "a row of each component"
        );
        let done = match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => {
                // SAFETY: the kernel is only made for an instruction set that the CPU supports, and AVX-512 as we ask
                // for it includes AVX2.
                unsafe { avx2(y, cb, cr, out) }
            }
            _ => 0,
        };
        let rest = y[done..].iter().zip(&cb[done..]).zip(&cr[done..]);
        for (out, ((&y, &cb), &cr)) in out[done..].iter_mut().zip(rest) {
            *out = ycc_to_rgb(y, cb, cr);
        }
    }
}

/// Converts as many whole groups of eight pixels as there are; returns their number of pixels.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) -> usize {
    use std::arch::x86_64::*;

    let widen =
        |bytes: &[u8; 8]| _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*bytes)));
    let center = _mm256_set1_epi32(128);
    let times = |value, factor| _mm256_mullo_epi32(value, _mm256_set1_epi32(factor));
    let scaled = |value| _mm256_srai_epi32::<16>(_mm256_add_epi32(value, _mm256_set1_epi32(HALF)));
    // Red and green of eight pixels, eight bytes each, and blue twice, are put in the order of pixels.
    let from_red_green = _mm_setr_epi8(0, 8, -1, 1, 9, -1, 2, 10, -1, 3, 11, -1, 4, 12, -1, 5);
    let from_blue = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
    let tail_red_green =
        _mm_setr_epi8(13, -1, 6, 14, -1, 7, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    let tail_blue = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, -1, -1, -1, -1, -1, -1);

    let groups = y
        .as_chunks::<8>()
        .0
        .iter()
        .zip(cb.as_chunks::<8>().0)
        .zip(cr.as_chunks::<8>().0)
        .zip(out.as_chunks_mut::<8>().0);
    let mut done = 0;
    for (((y, cb), cr), out) in groups {
        let y = widen(y);
        let (cb, cr) = (
            _mm256_sub_epi32(widen(cb), center),
            _mm256_sub_epi32(widen(cr), center),
        );
        let red = _mm256_add_epi32(y, scaled(times(cr, RED_OF_CR)));
        let green = _mm256_add_epi32(times(cb, GREEN_OF_CB), times(cr, GREEN_OF_CR));
        let green = _mm256_add_epi32(y, scaled(green));
        let blue = _mm256_add_epi32(y, scaled(times(cb, BLUE_OF_CB)));
        // Saturating packs clamp; they work on halves, which the permutations put in order again.
        let red_green = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(red, green));
        let blue = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(blue, blue));
        let red_green = _mm_packus_epi16(
            _mm256_castsi256_si128(red_green),
            _mm256_extracti128_si256::<1>(red_green),
        );
        let blue = _mm_packus_epi16(
            _mm256_castsi256_si128(blue),
            _mm256_extracti128_si256::<1>(blue),
        );
        let first = _mm_or_si128(
            _mm_shuffle_epi8(red_green, from_red_green),
            _mm_shuffle_epi8(blue, from_blue),
        );
        let last = _mm_or_si128(
            _mm_shuffle_epi8(red_green, tail_red_green),
            _mm_shuffle_epi8(blue, tail_blue),
        );
        let to = out.as_flattened_mut();
        // SAFETY: eight pixels are 24 bytes, 16 for the first store and 8 for the second.
        unsafe {
            _mm_storeu_si128(to.as_mut_ptr().cast(), first);
            _mm_storel_epi64(to.as_mut_ptr().add(16).cast(), last);
        }
        done += 8;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_gives_the_scalar_pixels_for_all_samples_and_tails() {
        // All pairs of chroma at some luma, in rows of every length up to 40.
        let all: Vec<(u8, u8)> = (0..=u16::MAX).map(|i| ((i >> 8) as u8, i as u8)).collect();
        let mut at = 0;
        for length in (0..=40).cycle() {
            let Some(row) = all.get(at..at + length) else {
                break;
            };
            at += length;
            let y: Vec<u8> = (0..length).map(|i| (at * 7 + i * 31) as u8).collect();
            let (cb, cr): (Vec<u8>, Vec<u8>) = row.iter().copied().unzip();
            let expected: Vec<[u8; 3]> = (0..length)
                .map(|i| ycc_to_rgb(y[i], cb[i], cr[i]))
                .collect();
            for kernel in Isa::ALL.into_iter().filter_map(ColorKernel::new) {
                let mut out = vec![0; length * 3];
                kernel.ycc_to_rgb(&y, &cb, &cr, &mut out);
                assert_eq!(out, expected.as_flattened(), "{kernel:?}, {length} pixels");
            }
        }
    }

    #[test]
    fn grey_stays_grey_and_colors_are_clamped() {
        assert_eq!(ycc_to_rgb(77, 128, 128), [77; 3]);
        assert_eq!(ycc_to_rgb(255, 128, 255)[0], 255);
        assert_eq!(ycc_to_rgb(0, 0, 128)[2], 0);
    }
}
