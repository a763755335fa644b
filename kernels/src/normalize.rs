//! Bytes to normalized floats, one plane at a time: `(x · scale / 255 - mean) / std`.
//!
//! Called by `preprocess::normalize` with the planes of the crop, and by the first convolution of a network that takes
//! bytes.
//!
//! # Numerics
//! The result is that of three correctly rounded `f32` operations, `x · scale / 255` being one. The vector code
//! replaces both divisions by a product with the divisor's reciprocal in two parts, `fma(x, high, x * low)`, which
//! nearly always rounds the same way; there are only 256 inputs, so [`Normalization::new`] tries all of them, and a
//! channel where one bit differs keeps its table. So does a channel with an unusual scale, mean or deviation, where a
//! part of the sum could be a denormal number: workers flush those.

use super::Isa;

/// The right to run the normalization for one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalizeKernel {
    isa: Isa,
}

impl NormalizeKernel {
    /// The kernel for `isa`, if this CPU supports it.
    #[must_use]
    pub fn new(isa: Isa) -> Option<NormalizeKernel> {
        isa.is_supported().then_some(NormalizeKernel { isa })
    }

    /// The kernel for the widest instruction set of this CPU.
    #[must_use]
    pub fn detect() -> NormalizeKernel {
        NormalizeKernel { isa: Isa::detect() }
    }
}

/// `(x · scale / 255 - mean) / std` for one mean and standard deviation.
#[derive(Debug, Clone)]
pub struct Normalization {
    kernel: NormalizeKernel,
    table: Box<[f32; 256]>,
    /// Present if its result is that of the table for all 256 values.
    steps: Option<Steps>,
}

/// The operations without a division: `t = fma(x, scale.0, x * scale.1) - mean`, `fma(t, inverse.0, t * inverse.1)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    scale: (f32, f32),
    mean: f32,
    inverse: (f32, f32),
}

impl Steps {
    fn new(scale: f32, mean: f32, std: f32) -> Steps {
        let parts = |exact: f64| {
            let high = exact as f32;
            (high, (exact - f64::from(high)) as f32)
        };
        Steps {
            scale: parts(f64::from(scale) / 255.0),
            mean,
            inverse: parts(1.0 / f64::from(std)),
        }
    }

    /// The normalized value.
    #[inline(always)]
    pub(super) fn run(self, value: u8) -> f32 {
        let x = f32::from(value);
        let t = x.mul_add(self.scale.0, x * self.scale.1) - self.mean;
        t.mul_add(self.inverse.0, t * self.inverse.1)
    }
}

impl Normalization {
    /// Tabulates the three operations in `f32`, each rounded, and finds out whether the faster ones agree.
    #[must_use]
    pub fn new(kernel: NormalizeKernel, scale: f32, mean: f32, std: f32) -> Normalization {
        let value = |x: usize| {
            // A byte times a short factor is exact in f64, so that the quotient is rounded once.
            let scaled = (x as f64 * f64::from(scale) / 255.0) as f32;
            (scaled - mean) / std
        };
        let table: Box<[f32; 256]> = Box::new(std::array::from_fn(value));
        let steps = Steps::new(scale, mean, std);
        let agree = is_usual(scale, mean, std)
            && (0..=u8::MAX)
                .zip(table.iter())
                .all(|(x, y)| steps.run(x).to_bits() == y.to_bits());
        Normalization {
            kernel,
            table,
            steps: agree.then_some(steps),
        }
    }

    /// The operations that give the table's values on every CPU, with denormal numbers flushed or not.
    pub(super) fn steps(&self) -> Option<Steps> {
        self.steps
    }

    /// The normalized value of each byte.
    pub(super) fn table(&self) -> &[f32; 256] {
        &self.table
    }

    /// Appends the normalized `plane` to `out`.
    pub fn append(&self, plane: &[u8], out: &mut Vec<f32>) {
        match (self.kernel.isa, self.steps) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Some(steps)) => {
                // SAFETY: the kernel is only made for an instruction set that the CPU supports.
                unsafe { avx2(steps, plane, out) };
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Some(steps)) => {
                // SAFETY: the kernel is only made for an instruction set that the CPU supports.
                unsafe { avx512(steps, plane, out) };
            }
            _ => out.extend(plane.iter().map(|&x| self.table[usize::from(x)])),
        }
    }
}

/// Whether no operation of [`Steps`] meets a denormal number.
///
/// A mean from 2⁻¹⁰ on, or none, leaves differences from `x · scale / 255` of 0 or at least 2⁻⁴², as the product is at
/// least 2⁻¹⁸ where it is not 0; the low part of a reciprocal of 2⁻²⁰ or more is 0 or at least 2⁻⁷³, and so is that of
/// the scale. Their product is far above 2⁻¹²⁶. Published recipes have means of 0 to 124 and deviations of 1/255 to
/// 255.
fn is_usual(scale: f32, mean: f32, std: f32) -> bool {
    let limits = 2_f32.powi(-10)..=2_f32.powi(20);
    let is_usual = |value: f32| limits.contains(&value);
    (mean == 0.0 || is_usual(mean.abs())) && is_usual(std) && is_usual(scale)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: Steps, plane: &[u8], out: &mut Vec<f32>) {
    use std::arch::x86_64::*;

    out.reserve(plane.len());
    let (full, tail) = plane.as_chunks::<8>();
    let start = out.len();
    for (bytes, to) in full
        .iter()
        .zip(out.spare_capacity_mut().as_chunks_mut::<8>().0)
    {
        let x = _mm_cvtsi64_si128(i64::from_le_bytes(*bytes));
        let x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x));
        let low = _mm256_mul_ps(x, _mm256_set1_ps(steps.scale.1));
        let t = _mm256_fmadd_ps(x, _mm256_set1_ps(steps.scale.0), low);
        let t = _mm256_sub_ps(t, _mm256_set1_ps(steps.mean));
        let low = _mm256_mul_ps(t, _mm256_set1_ps(steps.inverse.1));
        let y = _mm256_fmadd_ps(t, _mm256_set1_ps(steps.inverse.0), low);
        // SAFETY: `to` is eight floats long.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr().cast(), y) };
    }
    // SAFETY: that many are reserved, and the loop has written them: as many chunks as `full` has fit into the reserve.
    unsafe { out.set_len(start + full.len() * 8) };
    out.extend(tail.iter().map(|&x| steps.run(x)));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn avx512(steps: Steps, plane: &[u8], out: &mut Vec<f32>) {
    use std::arch::x86_64::*;

    out.reserve(plane.len());
    let (full, tail) = plane.as_chunks::<16>();
    let start = out.len();
    for (bytes, to) in full
        .iter()
        .zip(out.spare_capacity_mut().as_chunks_mut::<16>().0)
    {
        // SAFETY: `bytes` is 16 bytes long.
        let x = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        let x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x));
        let low = _mm512_mul_ps(x, _mm512_set1_ps(steps.scale.1));
        let t = _mm512_fmadd_ps(x, _mm512_set1_ps(steps.scale.0), low);
        let t = _mm512_sub_ps(t, _mm512_set1_ps(steps.mean));
        let low = _mm512_mul_ps(t, _mm512_set1_ps(steps.inverse.1));
        let y = _mm512_fmadd_ps(t, _mm512_set1_ps(steps.inverse.0), low);
        // SAFETY: `to` is 16 floats long.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr().cast(), y) };
    }
    // SAFETY: that many are reserved, and the loop has written them: as many chunks as `full` has fit into the reserve.
    unsafe { out.set_len(start + full.len() * 16) };
    out.extend(tail.iter().map(|&x| steps.run(x)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scales, means and deviations: ImageNet's, those of other published recipes, and some where a shortcut would go
    /// wrong.
    const RECIPES: [(f32, f32, f32); 15] = [
        (1.0, 0.485, 0.229),
        (1.0, 0.456, 0.224),
        (1.0, 0.406, 0.225),
        (1.0, 0.5, 0.5),
        (1.0, 0.0, 1.0),
        (1.0, 0.0, 1.0 / 255.0),
        (1.0, 103.53, 57.375),
        (1.0, -7.3, 1e-38),
        (1.0, -7.3, 1e-39),
        (1.0, 1e38, 3e38),
        (255.0, 103.939, 1.0),
        (255.0, 123.675, 58.395),
        (2.0, 1.0, 1.0),
        (255.0 / 256.0, 0.0, 1.0),
        (1e-39, 0.5, 0.5),
    ];

    /// As `ToTensor` and `Normalize` have it where the scale is 1.
    fn value(x: u8, (scale, mean, std): (f32, f32, f32)) -> f32 {
        let scaled = match scale == 1.0 {
            true => f32::from(x) / 255.0,
            false => (f64::from(x) * f64::from(scale) / 255.0) as f32,
        };
        (scaled - mean) / std
    }

    #[test]
    fn every_isa_equals_three_rounded_operations_for_all_values_and_lengths() {
        for isa in Isa::ALL {
            let Some(kernel) = NormalizeKernel::new(isa) else {
                continue;
            };
            for recipe in RECIPES {
                let (scale, mean, std) = recipe;
                let normalization = Normalization::new(kernel, scale, mean, std);
                let bytes: Vec<u8> = (0..=255).chain(0..40).collect();
                for length in (0..70).chain([bytes.len()]) {
                    let plane = &bytes[bytes.len() - length..];
                    let mut out = vec![-1.0];
                    normalization.append(plane, &mut out);
                    assert_eq!(out.len(), 1 + length);
                    for (x, y) in plane.iter().zip(&out[1..]) {
                        let expected = value(*x, recipe);
                        assert_eq!(
                            y.to_bits(),
                            expected.to_bits(),
                            "{isa:?}: {x} by {recipe:?} is {y}, not {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn published_recipes_need_no_table_and_an_overflow_does() {
        let kernel = NormalizeKernel::detect();
        let needs_none = |(scale, mean, std): (f32, f32, f32)| {
            Normalization::new(kernel, scale, mean, std).steps.is_some()
        };
        assert!(RECIPES[..3].iter().all(|recipe| needs_none(*recipe)));
        assert!(needs_none((255.0, 103.939, 1.0)));
        assert!(!needs_none((1.0, -7.3, 1e-39)));
    }
}
