//! Pillow's resampling filters as fixed-point weights, bit for bit.
//!
//! Called by `ResizePlan` once for the columns and once for the rows of an image.
//!
//! Source: Pillow's `Resample.c` (`bilinear_filter`, `bicubic_filter`, `precompute_coeffs`, `normalize_coeffs_8bpc`),
//! restated here.

use super::Interpolation;
use kernels::{PRECISION_BITS, Weights};

/// Weights of the outputs `offset..offset + count` of a resize from `from` to `to` pixels.
///
/// The filter is stretched over the source pixels of an output when shrinking, as antialiasing asks for.
pub(super) fn window(
    interpolation: Interpolation,
    (from, to): (u32, u32),
    offset: u32,
    count: u32,
) -> Weights {
    match interpolation {
        // Pillow skips a pass that changes nothing; one weight of 1 is the same to the bit.
        _ if from == to => {
            let mut weights = Weights::default();
            for i in offset..offset + count {
                weights.push(i as usize, [1 << PRECISION_BITS]);
            }
            weights
        }
        Interpolation::Bilinear => filtered(1.0, triangle, (from, to), offset, count),
        Interpolation::Bicubic => filtered(2.0, cubic, (from, to), offset, count),
    }
}

/// Weights by a filter that is zero beyond `radius`. All in `f64`, in Pillow's order of operations.
fn filtered(
    radius: f64,
    filter: impl Fn(f64) -> f64,
    (from, to): (u32, u32),
    offset: u32,
    count: u32,
) -> Weights {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = radius * stretch;
    let inverse = 1.0 / stretch;
    let mut weights = Weights::default();
    let mut exact = Vec::with_capacity(support.ceil() as usize * 2 + 1);
    for i in offset..offset + count {
        let center = (f64::from(i) + 0.5) * scale;
        // `as` truncates and clamps at zero, as C's cast and the `if (xmin < 0)` after it do.
        let first = (center - support + 0.5) as usize;
        let last = ((center + support + 0.5) as usize).min(from as usize);
        exact.clear();
        exact.extend((first..last).map(|at| filter((at as f64 - center + 0.5) * inverse)));
        let sum: f64 = exact.iter().fold(0.0, |sum, weight| sum + weight);
        if sum != 0.0 {
            exact.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.push(first, exact.iter().copied().map(fixed));
    }
    weights
}

/// The triangle of bilinear interpolation.
fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// The cubic convolution of Keys with `a` = -0.5, Pillow's choice.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Rounded to fixed point, halves away from zero; `as` truncates as C's cast does.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if weight < 0.0 {
        scaled - 0.5
    } else {
        scaled + 0.5
    }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_an_output_sum_to_one_within_rounding() {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for (from, to) in [
                (500, 341),
                (10, 256),
                (1, 7),
                (16_384, 3),
                (255, 256),
                (7, 7),
            ] {
                for (first, taps) in window(interpolation, (from, to), 0, to).iter() {
                    let sum: i32 = taps.iter().sum();
                    assert!(
                        (sum - (1 << PRECISION_BITS)).unsigned_abs() as usize <= taps.len(),
                        "{interpolation:?} {from} to {to}: {taps:?}"
                    );
                    assert!(first + taps.len() <= from as usize);
                }
            }
        }
    }

    #[test]
    fn bicubic_overshoots_and_bilinear_does_not() {
        let negative = |interpolation| {
            let weights = window(interpolation, (10, 25), 0, 25);
            weights.iter().any(|(_, taps)| taps.iter().any(|w| *w < 0))
        };
        assert!(negative(Interpolation::Bicubic));
        assert!(!negative(Interpolation::Bilinear));
    }
}
