//! The 8-bit micro-kernel with `vpdpbusd` on 512-bit vectors, and the epilogue that the tile code shares.
//!
//! All sums of a call stay in registers: of 32, up to 28 hold sums, two the weights of a quad of bytes, one the quad of
//! a pixel in all lanes.

use core::arch::x86_64::*;

use super::requantize::SHIFT;
use super::tile::{BLOCK_LINES, FLOAT, Kind, PLAIN, Panel, RESIDUAL, SUM, Target, TileFn};
use crate::nn::layout::line::Line;

/// The most pixels of one call.
pub(crate) const MAX_PIXELS: usize = 14;

/// The kernels for 1, 2, … pixels.
///
/// They want AVX-512 F, BW and VL and AVX512-VNNI.
pub(crate) fn kernels(kind: Kind) -> [TileFn; MAX_PIXELS] {
    macro_rules! table {
        ($kind:expr; $($pixels:literal)*) => { [$(tile::<$pixels, $kind>),*] };
    }
    match kind {
        Kind::Plain => table!(PLAIN; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Kind::Residual => table!(RESIDUAL; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Kind::Sum => table!(SUM; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Kind::Float => table!(FLOAT; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    }
}

/// # Safety
/// The conditions of [`TileFn`] hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const PIXELS: usize, const KIND: u8>(panel: &Panel<'_>, at: Target, stride: usize) {
    // SAFETY: the caller promises the panel's two lines that sums begin with; lines are aligned.
    let offset = unsafe { [load(panel.offset), load(panel.offset.add(1))] };
    let mut sums = [offset; PIXELS];
    let mut b = panel.b;
    for k in panel.k {
        // SAFETY: a block's bytes are there by the caller's promise.
        let a = unsafe { at.a.add(k.a as usize) };
        for i in 0..k.quads as usize {
            // SAFETY: a block has 16 × 2 lines of weights.
            let weights = unsafe { [load(b.add(2 * i)), load(b.add(2 * i + 1))] };
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: inside of the pixel's bytes.
                let quad = unsafe { a.add(p * stride + 4 * i).cast::<i32>().read_unaligned() };
                let quad = _mm512_set1_epi32(quad);
                sums[0] = _mm512_dpbusd_epi32(sums[0], quad, weights[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], quad, weights[1]);
            }
        }
        // SAFETY: the weights of the next block, or the end of the panel's.
        b = unsafe { b.add(BLOCK_LINES) };
    }
    // SAFETY: the caller promises the panel's lines of factors.
    let ending = unsafe { Ending::new(panel, at) };
    // Written out, for an index that the compiler cannot know would keep the sums in memory.
    macro_rules! finish {
        ($($p:literal)*) => {$(
            if $p + 1 < PIXELS {
                // SAFETY: the caller promises output and residual for `PIXELS` pixels.
                unsafe { ending.two::<KIND>([$p, $p], [sums[$p % PIXELS], sums[($p + 1) % PIXELS]]) };
            } else if $p < PIXELS {
                // SAFETY: the caller promises output and residual for `PIXELS` pixels.
                unsafe { ending.one::<KIND>([$p, $p], sums[$p % PIXELS]) };
            }
        )*};
    }
    finish!(0 2 4 6 8 10 12);
}

/// # Safety
/// `line` is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: *const Line) -> __m512i {
    // SAFETY: there by the caller's promise, and aligned.
    unsafe { _mm512_load_si512(line.cast()) }
}

/// The epilogue: what sums are multiplied by, bounded by and added to, in registers.
pub(crate) struct Ending {
    at: Target,
    factor: [__m512; 2],
    /// Whether the output's zero is another byte than 0.
    is_shifted: bool,
    zero: __m512i,
    low: __m512i,
    lowest: __m512,
    highest: __m512,
    own: __m512,
    other: __m512,
    shift: __m512,
}

impl Ending {
    /// # Safety
    /// The panel's factors are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(crate) unsafe fn new(panel: &Panel<'_>, at: Target) -> Ending {
        let finish = panel.finish;
        let zero = _mm512_setzero_ps();
        let mut ending = Ending {
            at,
            // SAFETY: the caller promises the panel's two lines of factors; lines are aligned.
            factor: unsafe {
                [
                    _mm512_load_ps(panel.factor.cast()),
                    _mm512_load_ps(panel.factor.add(1).cast()),
                ]
            },
            is_shifted: finish.zero != 0,
            zero: _mm512_set1_epi16(i16::from(finish.zero)),
            low: _mm512_set1_epi16(i16::from(finish.low)),
            lowest: _mm512_set1_ps(finish.bounds()[0]),
            highest: _mm512_set1_ps(finish.bounds()[1]),
            own: zero,
            other: zero,
            shift: zero,
        };
        if let Some(own) = &finish.own {
            ending.lowest = _mm512_set1_ps(own.lowest);
            ending.highest = _mm512_set1_ps(own.highest);
            ending.own = _mm512_set1_ps(own.ratio);
        }
        if let Some(residual) = &finish.residual {
            ending.other = _mm512_set1_ps(residual.ratio);
            ending.shift = _mm512_set1_ps(residual.shift);
        }
        ending
    }

    /// Stores the sums of two neighbouring pixels, `out` lines from the output's first and `residual` from the
    /// residual's.
    ///
    /// # Safety
    /// All that the target points to is there for those pixels, and nobody else uses the output.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(crate) unsafe fn two<const KIND: u8>(
        &self,
        [out, residual]: [usize; 2],
        [first, second]: [[__m512i; 2]; 2],
    ) {
        if KIND == FLOAT {
            // SAFETY: the caller promises the output's lines of both pixels.
            unsafe {
                self.float(out, first);
                self.float(out + 1, second);
            }
            return;
        }
        // SAFETY: the caller promises the residual's bytes of both pixels.
        let words = unsafe {
            [
                self.words::<KIND>(residual, first),
                self.words::<KIND>(residual + 1, second),
            ]
        };
        // Of each 128 bits the lower half is the first pixel's.
        let bytes = _mm512_packus_epi16(words[0], words[1]);
        let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        let bytes = _mm512_permutexvar_epi64(order, bytes);
        // SAFETY: the caller promises 32 bytes of either pixel of the output, in halves of lines.
        unsafe {
            let to = self.at.out.add(out * size_of::<Line>());
            _mm256_store_si256(to.cast(), _mm512_castsi512_si256(bytes));
            let to = to.add(size_of::<Line>());
            _mm256_store_si256(to.cast(), _mm512_extracti64x4_epi64::<1>(bytes));
        }
    }

    /// Stores the sums of one pixel, `out` lines from the output's first and `residual` from the residual's.
    ///
    /// # Safety
    /// The conditions of [`Ending::two`] hold.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(crate) unsafe fn one<const KIND: u8>(
        &self,
        [out, residual]: [usize; 2],
        sums: [__m512i; 2],
    ) {
        if KIND == FLOAT {
            // SAFETY: the caller promises the output's lines of the pixel.
            unsafe { self.float(out, sums) };
            return;
        }
        // SAFETY: the caller promises the residual's bytes of the pixel.
        let words = unsafe { self.words::<KIND>(residual, sums) };
        let bytes = _mm512_cvtusepi16_epi8(_mm512_max_epi16(words, self.low));
        // SAFETY: the caller promises 32 bytes of the output for the pixel, half of a line.
        unsafe { _mm256_store_si256(self.at.out.add(out * size_of::<Line>()).cast(), bytes) };
    }

    /// # Safety
    /// The conditions of [`Ending::two`] hold.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn float(&self, out: usize, sums: [__m512i; 2]) {
        let values = [
            self.bounded(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[0]), self.factor[0])),
            self.bounded(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[1]), self.factor[1])),
        ];
        // SAFETY: the caller promises the pixel's two lines of `f32`; lines are aligned.
        unsafe {
            let to = self.at.out.add(out * size_of::<Line>());
            _mm512_store_ps(to.cast(), values[0]);
            _mm512_store_ps(to.add(self.at.out_stride).cast(), values[1]);
        }
    }

    /// The results of one pixel as words, not yet bounded by 255, nor by 0 where that is the output's zero.
    ///
    /// # Safety
    /// The conditions of [`Ending::two`] hold.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn words<const KIND: u8>(&self, residual: usize, sums: [__m512i; 2]) -> __m512i {
        let sums = [_mm512_cvtepi32_ps(sums[0]), _mm512_cvtepi32_ps(sums[1])];
        let values = if KIND == RESIDUAL || KIND == SUM {
            // SAFETY: the caller promises the pixel's 32 bytes of the residual, half of a line.
            let bytes = unsafe {
                _mm256_load_si256(self.at.residual.add(residual * size_of::<Line>()).cast())
            };
            let words = _mm512_cvtepu8_epi16(bytes);
            let zero = _mm512_setzero_si512();
            [
                self.add::<KIND>(0, sums[0], _mm512_unpacklo_epi16(words, zero)),
                self.add::<KIND>(1, sums[1], _mm512_unpackhi_epi16(words, zero)),
            ]
        } else {
            [
                _mm512_mul_ps(sums[0], self.factor[0]),
                _mm512_mul_ps(sums[1], self.factor[1]),
            ]
        };
        let words =
            _mm512_packs_epi32(_mm512_cvtps_epi32(values[0]), _mm512_cvtps_epi32(values[1]));
        // Where the output's zero is 0, negative words become 0 when they are narrowed.
        match self.is_shifted {
            true => _mm512_max_epi16(_mm512_adds_epi16(words, self.zero), self.low),
            false => words,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn bounded(&self, values: __m512) -> __m512 {
        _mm512_min_ps(_mm512_max_ps(values, self.lowest), self.highest)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn add<const KIND: u8>(&self, vector: usize, sum: __m512, residual: __m512i) -> __m512 {
        let residual = _mm512_cvtepi32_ps(residual);
        let residual = _mm512_fmadd_ps(residual, self.other, self.shift);
        if KIND == SUM {
            return _mm512_fmadd_ps(sum, self.factor[vector], residual);
        }
        let shift = _mm512_set1_ps(SHIFT);
        let own = _mm512_fmadd_ps(sum, self.factor[vector], shift);
        let own = self.bounded(_mm512_sub_ps(own, shift));
        _mm512_fmadd_ps(own, self.own, residual)
    }
}
