//! The inverse discrete cosine transform of an 8×8 block of JPEG coefficients.
//!
//! Called by `preprocess::jpeg` for each block that the crop needs.
//!
//! Source: the accurate integer method of the Independent JPEG Group (`jidctint.c`), after Loeffler, Ligtenberg and
//! Moschytz, ICASSP 1989, restated here: the same constants, roundings and shifts, so the same samples. Values that no
//! encoder makes of a picture, but a damaged file or a huge quantization step can, overflow where they do in
//! libjpeg-turbo's x86 code, which keeps 16 bits: products and the first sums wrap, the first pass's results saturate.

use super::Isa;

/// Fraction bits of the constants.
pub const CONST_BITS: u32 = 13;
/// Fraction bits of values between the two passes.
pub const PASS1_BITS: u32 = 2;

/// A constant in fixed point, with [`CONST_BITS`] fraction bits.
#[must_use]
pub const fn fix(value: f64) -> i32 {
    (value * (1 << CONST_BITS) as f64 + 0.5) as i32
}

/// The right to run the transform for one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdctKernel {
    isa: Isa,
}

impl IdctKernel {
    /// The kernel for `isa`, if this CPU supports it.
    #[must_use]
    pub fn new(isa: Isa) -> Option<IdctKernel> {
        isa.is_supported().then_some(IdctKernel { isa })
    }

    /// Writes the 8×8 samples of a block, rows `stride` apart, into `out`, which starts at the first.
    ///
    /// # Shapes
    /// - `block`, `quant`: 64 values, row-major; they are multiplied with each other first
    /// - `out`: at least `7 * stride + 8` samples
    ///
    /// # Panics
    /// If `out` is shorter.
    #[inline]
    pub fn run(self, block: &[i16; 64], quant: &[u16; 64], out: &mut [u8], stride: usize) {
        let samples = match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => {
                // SAFETY: the kernel is only made for an instruction set that the CPU supports, and AVX-512 as we ask
                // for it includes AVX2.
                unsafe { avx2(block, quant) }
            }
            _ => scalar(block, quant),
        };
        for (row, line) in samples
            .as_chunks::<8>()
            .0
            .iter()
            .zip(out.chunks_mut(stride))
        {
            line[..8].copy_from_slice(row);
        }
    }
}

/// Keeps the lower 16 bits of a value, sign-extended.
#[must_use]
#[inline(always)]
pub const fn wrap(value: i32) -> i32 {
    value as i16 as i32
}

/// Clamps a value to the range of `i16`.
#[must_use]
#[inline(always)]
pub fn saturate(value: i32) -> i32 {
    value.clamp(i16::MIN.into(), i16::MAX.into())
}

fn scalar(block: &[i16; 64], quant: &[u16; 64]) -> [u8; 64] {
    let mut values: [i32; 64] =
        std::array::from_fn(|i| wrap(i32::from(block[i]).wrapping_mul(i32::from(quant[i]))));
    let only_first_row = block[8..].iter().all(|&c| c == 0);
    for x in 0..8 {
        let column = if only_first_row {
            // A column that is zero below its first value is flat: what the transform gives too, unless it overflows.
            [wrap(values[x] << PASS1_BITS); 8]
        } else {
            let column = std::array::from_fn(|y| values[y * 8 + x]);
            transform(column, CONST_BITS - PASS1_BITS).map(saturate)
        };
        for (y, value) in column.into_iter().enumerate() {
            values[y * 8 + x] = value;
        }
    }
    for row in values.as_chunks_mut::<8>().0 {
        *row = transform(*row, CONST_BITS + PASS1_BITS + 3);
    }
    values.map(|v| v.wrapping_add(128).clamp(0, 255) as u8)
}

/// The 8-point transform of one column or row; results are shifted right by `shift`, rounded.
fn transform(x: [i32; 8], shift: u32) -> [i32; 8] {
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = |value: i32, constant: f64| value.wrapping_mul(fix(constant));
    let descale = |value: i32| value.wrapping_add(1 << (shift - 1)) >> shift;
    // Even part
    let z1 = mul(add(x[2], x[6]), 0.541196100);
    let even2 = sub(z1, mul(x[6], 1.847759065));
    let even3 = add(z1, mul(x[2], 0.765366865));
    let even0 = wrap(add(x[0], x[4])) << CONST_BITS;
    let even1 = wrap(sub(x[0], x[4])) << CONST_BITS;
    let even = [
        add(even0, even3),
        add(even1, even2),
        sub(even1, even2),
        sub(even0, even3),
    ];
    // Odd part
    let (z3, z4) = (wrap(add(x[7], x[3])), wrap(add(x[5], x[1])));
    let z5 = mul(add(z3, z4), 1.175875602);
    let z1 = mul(add(x[7], x[1]), 0.899976223);
    let z2 = mul(add(x[5], x[3]), 2.562915447);
    let z3 = sub(z5, mul(z3, 1.961570560));
    let z4 = sub(z5, mul(z4, 0.390180644));
    let odd = [
        add(sub(mul(x[1], 1.501321110), z1), z4),
        add(sub(mul(x[3], 3.072711026), z2), z3),
        add(sub(mul(x[5], 2.053119869), z2), z4),
        add(sub(mul(x[7], 0.298631336), z1), z3),
    ];
    std::array::from_fn(|i| {
        descale(if i < 4 {
            add(even[i], odd[i])
        } else {
            sub(even[7 - i], odd[7 - i])
        })
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(block: &[i16; 64], quant: &[u16; 64]) -> [u8; 64] {
    use std::arch::x86_64::*;

    let mut rows = [_mm256_setzero_si256(); 8];
    let mut below_first = _mm_setzero_si128();
    for ((row, coefficients), steps) in rows
        .iter_mut()
        .zip(block.as_chunks::<8>().0)
        .zip(quant.as_chunks::<8>().0)
    {
        // SAFETY: both arrays have eight values of 16 bits, 128 bits in all.
        let (c, q) = unsafe {
            (
                _mm_loadu_si128(coefficients.as_ptr().cast()),
                _mm_loadu_si128(steps.as_ptr().cast()),
            )
        };
        *row = _mm256_cvtepi16_epi32(_mm_mullo_epi16(c, q));
    }
    for below in block.as_chunks::<8>().0[1..].iter() {
        // SAFETY: the array has eight values of 16 bits, 128 bits in all.
        let c = unsafe { _mm_loadu_si128(below.as_ptr().cast()) };
        below_first = _mm_or_si128(below_first, c);
    }
    let rows = if _mm_testz_si128(below_first, below_first) != 0 {
        // `wrap(value << PASS1_BITS)`, as in the scalar code.
        let first = _mm256_slli_epi32::<{ 16 + PASS1_BITS as i32 }>(rows[0]);
        [_mm256_srai_epi32::<16>(first); 8]
    } else {
        avx2_transform::<{ (CONST_BITS - PASS1_BITS) as i32 }>(rows)
    };
    let [c04, c15, c26, c37] = avx2_transposed(rows);
    let low = |v| _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v));
    let high = |v| _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(v));
    let columns = [
        low(c04),
        low(c15),
        low(c26),
        low(c37),
        high(c04),
        high(c15),
        high(c26),
        high(c37),
    ];
    let columns = avx2_transform::<{ (CONST_BITS + PASS1_BITS + 3) as i32 }>(columns);
    let [r04, r15, r26, r37] = avx2_transposed(columns);
    // Packing saturates samples to -128 to 127; flipping the top bit makes them 0 to 255.
    let center = _mm256_set1_epi8(-128);
    let rows_0145 = _mm256_xor_si256(_mm256_packs_epi16(r04, r15), center);
    let rows_2367 = _mm256_xor_si256(_mm256_packs_epi16(r26, r37), center);
    let mut out = [0; 64];
    // SAFETY: the array has room for two vectors of 32 bytes.
    unsafe {
        let at: *mut __m256i = out.as_mut_ptr().cast();
        let rows_0123 = _mm256_permute2x128_si256::<0x20>(rows_0145, rows_2367);
        let rows_4567 = _mm256_permute2x128_si256::<0x31>(rows_0145, rows_2367);
        _mm256_storeu_si256(at, rows_0123);
        _mm256_storeu_si256(at.add(1), rows_4567);
    }
    out
}

/// [`transform`] in each of eight lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_transform<const SHIFT: i32>(
    x: [std::arch::x86_64::__m256i; 8],
) -> [std::arch::x86_64::__m256i; 8] {
    use std::arch::x86_64::*;

    let add = |a, b| _mm256_add_epi32(a, b);
    let sub = |a, b| _mm256_sub_epi32(a, b);
    let mul = |value, constant: f64| _mm256_mullo_epi32(value, _mm256_set1_epi32(fix(constant)));
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let descale = |value| _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(value, half));
    // The lower 16 bits with their sign, as `wrap` has them, shifted by CONST_BITS.
    let shifted =
        |value| _mm256_srai_epi32::<{ 16 - CONST_BITS as i32 }>(_mm256_slli_epi32::<16>(value));
    let wrap = |value| _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(value));
    let z1 = mul(add(x[2], x[6]), 0.541196100);
    let even2 = sub(z1, mul(x[6], 1.847759065));
    let even3 = add(z1, mul(x[2], 0.765366865));
    let even0 = shifted(add(x[0], x[4]));
    let even1 = shifted(sub(x[0], x[4]));
    let even = [
        add(even0, even3),
        add(even1, even2),
        sub(even1, even2),
        sub(even0, even3),
    ];
    let (z3, z4) = (wrap(add(x[7], x[3])), wrap(add(x[5], x[1])));
    let z5 = mul(add(z3, z4), 1.175875602);
    let z1 = mul(add(x[7], x[1]), 0.899976223);
    let z2 = mul(add(x[5], x[3]), 2.562915447);
    let z3 = sub(z5, mul(z3, 1.961570560));
    let z4 = sub(z5, mul(z4, 0.390180644));
    let odd = [
        add(sub(mul(x[1], 1.501321110), z1), z4),
        add(sub(mul(x[3], 3.072711026), z2), z3),
        add(sub(mul(x[5], 2.053119869), z2), z4),
        add(sub(mul(x[7], 0.298631336), z1), z3),
    ];
    [
        descale(add(even[0], odd[0])),
        descale(add(even[1], odd[1])),
        descale(add(even[2], odd[2])),
        descale(add(even[3], odd[3])),
        descale(sub(even[3], odd[3])),
        descale(sub(even[2], odd[2])),
        descale(sub(even[1], odd[1])),
        descale(sub(even[0], odd[0])),
    ]
}

/// Saturates eight rows of eight values to 16 bits and turns them into columns: the first and the fifth in the halves
/// of the first vector, and so on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_transposed(r: [std::arch::x86_64::__m256i; 8]) -> [std::arch::x86_64::__m256i; 4] {
    use std::arch::x86_64::*;

    let narrow = |i: usize| _mm256_packs_epi32(r[i], r[i + 4]);
    let words = |a, b| (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
    let pairs = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let fours = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (rows_01, rows_45) = words(narrow(0), narrow(1));
    let (rows_23, rows_67) = words(narrow(2), narrow(3));
    let (upper_0145, upper_2367) = pairs(rows_01, rows_23);
    let (lower_0145, lower_2367) = pairs(rows_45, rows_67);
    let (column_04, column_15) = fours(upper_0145, lower_0145);
    let (column_26, column_37) = fours(upper_2367, lower_2367);
    [column_04, column_15, column_26, column_37]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mean_alone_gives_a_flat_block() {
        let mut block = [0; 64];
        block[0] = 40;
        let mut out = [0; 64];
        let kernel = IdctKernel::new(Isa::Scalar).expect("everywhere");
        kernel.run(&block, &[2; 64], &mut out, 8);
        assert_eq!(out, [138; 64]); // 128 + 40 · 2 / 8
    }

    proptest! {
        #[test]
        fn every_isa_gives_the_scalar_samples(
            coefficients in prop::collection::vec(any::<i16>(), 64),
            sparse in prop::collection::vec(any::<bool>(), 64),
            quant in prop::collection::vec(prop_oneof![0u16..64, any::<u16>()], 64),
            rows in 1usize..=8,
            stride in 8usize..40,
        ) {
            let kept = |i: usize| sparse[i] && i < rows * 8;
            let block = std::array::from_fn(|i| if kept(i) { coefficients[i] } else { 0 });
            let quant = std::array::from_fn(|i| quant[i]);
            let run = |isa| {
                let mut out = vec![7; 7 * stride + 8];
                IdctKernel::new(isa).map(|kernel| {
                    kernel.run(&block, &quant, &mut out, stride);
                    out
                })
            };
            let expected = run(Isa::Scalar);
            for out in [run(Isa::Avx2), run(Isa::Avx512)].into_iter().flatten() {
                prop_assert_eq!(Some(&out), expected.as_ref());
            }
        }
    }
}
