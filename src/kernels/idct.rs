//! The inverse discrete cosine transform of an 8×8 block of JPEG coefficients.
//!
//! Called by `preprocess::jpeg` for each block that the crop needs.
//!
//! Source: the accurate integer method of the Independent JPEG Group (`jidctint.c`), after Loeffler, Ligtenberg and
//! Moschytz, ICASSP 1989, restated here: the same constants, roundings and shifts, so the same samples.

use super::Isa;

/// Fraction bits of the constants.
pub const CONST_BITS: u32 = 13;
/// Bits kept beyond the integer between the two passes.
pub const PASS1_BITS: u32 = 2;

/// A constant in fixed point.
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

fn scalar(block: &[i16; 64], quant: &[u16; 64]) -> [u8; 64] {
    let mut values: [i32; 64] =
        std::array::from_fn(|i| i32::from(block[i]).wrapping_mul(i32::from(quant[i])));
    for x in 0..8 {
        let column = std::array::from_fn(|y| values[y * 8 + x]);
        let column = transform(column, CONST_BITS - PASS1_BITS);
        for (y, value) in column.into_iter().enumerate() {
            values[y * 8 + x] = value;
        }
    }
    for row in values.as_chunks_mut::<8>().0 {
        *row = transform(*row, CONST_BITS + PASS1_BITS + 3);
    }
    values.map(|v| v.wrapping_add(128).clamp(0, 255) as u8)
}

/// One dimension of the 8-point transform.
fn transform(x: [i32; 8], shift: u32) -> [i32; 8] {
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = |value: i32, constant: f64| value.wrapping_mul(fix(constant));
    let descale = |value: i32| value.wrapping_add(1 << (shift - 1)) >> shift;
    // Even part
    let z1 = mul(add(x[2], x[6]), 0.541196100);
    let even2 = sub(z1, mul(x[6], 1.847759065));
    let even3 = add(z1, mul(x[2], 0.765366865));
    let even0 = add(x[0], x[4]) << CONST_BITS;
    let even1 = sub(x[0], x[4]) << CONST_BITS;
    let even = [
        add(even0, even3),
        add(even1, even2),
        sub(even1, even2),
        sub(even0, even3),
    ];
    // Odd part
    let z5 = mul(add(add(x[7], x[3]), add(x[5], x[1])), 1.175875602);
    let z1 = mul(add(x[7], x[1]), 0.899976223);
    let z2 = mul(add(x[5], x[3]), 2.562915447);
    let z3 = sub(z5, mul(add(x[7], x[3]), 1.961570560));
    let z4 = sub(z5, mul(add(x[5], x[1]), 0.390180644));
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
        *row = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(c), _mm256_cvtepu16_epi32(q));
    }
    let columns = avx2_transposed(avx2_transform::<{ (CONST_BITS - PASS1_BITS) as i32 }>(rows));
    let rows = avx2_transposed(avx2_transform::<{ (CONST_BITS + PASS1_BITS + 3) as i32 }>(
        columns,
    ));
    let center = _mm256_set1_epi32(128);
    let rows = rows.map(|row| _mm256_add_epi32(row, center));
    // Saturating packs clamp; they work on halves, which the permutation puts in order again.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let pack = |a, b, c, d| {
        let bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        _mm256_permutevar8x32_epi32(bytes, order)
    };
    let mut out = [0; 64];
    // SAFETY: the array has room for two vectors of 32 bytes.
    unsafe {
        let at: *mut __m256i = out.as_mut_ptr().cast();
        _mm256_storeu_si256(at, pack(rows[0], rows[1], rows[2], rows[3]));
        _mm256_storeu_si256(at.add(1), pack(rows[4], rows[5], rows[6], rows[7]));
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
    let shifted = |value| _mm256_slli_epi32::<{ CONST_BITS as i32 }>(value);
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
    let (z3, z4) = (add(x[7], x[3]), add(x[5], x[1]));
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_transposed(r: [std::arch::x86_64::__m256i; 8]) -> [std::arch::x86_64::__m256i; 8] {
    use std::arch::x86_64::*;

    let pair = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let four = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let ((a0, a1), (a2, a3)) = (pair(r[0], r[1]), pair(r[2], r[3]));
    let ((a4, a5), (a6, a7)) = (pair(r[4], r[5]), pair(r[6], r[7]));
    let ((b0, b1), (b2, b3)) = (four(a0, a2), four(a1, a3));
    let ((b4, b5), (b6, b7)) = (four(a4, a6), four(a5, a7));
    let low = |a, b| _mm256_permute2x128_si256::<0x20>(a, b);
    let high = |a, b| _mm256_permute2x128_si256::<0x31>(a, b);
    [
        low(b0, b4),
        low(b1, b5),
        low(b2, b6),
        low(b3, b7),
        high(b0, b4),
        high(b1, b5),
        high(b2, b6),
        high(b3, b7),
    ]
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
            stride in 8usize..40,
        ) {
            let block = std::array::from_fn(|i| if sparse[i] { coefficients[i] } else { 0 });
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
