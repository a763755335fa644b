//! How far the outputs of two precisions agree, and how far is far enough.
//!
//! Called by `precision`, and by `registry` to tell probabilities from logits.

use crate::postprocess::{largest, softmax};

/// Largest difference of a probability between bfloat16 and f32 on the probe images that `auto` accepts.
///
/// A logit that moves by `d` moves a probability by at most about `d / 4`, so this is 0.2 on the scale of logits, whose
/// largest is about 10. Measured with AVX512-BF16 by `resnet show`: 0.018 with ResNet-50, 0.030 with ResNet-18, 0.005
/// with the built-in model; bfloat16 of OpenVINO 2026.4 on the same images is 0.027, 0.038 and 0.008 off. No class
/// changed; the closest decision had a margin of 0.41 logits. A broken kernel, or weights beyond bfloat16's reach, are
/// off by far more.
const BOUND: f32 = 0.05;

/// How far two precisions agree on the probe images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Agreement {
    images: usize,
    /// Images whose most probable class is the same.
    same_class: usize,
    /// Largest difference of a probability; NaN where an output is not finite.
    difference: f32,
}

impl Agreement {
    /// Compares the outputs for the same images.
    pub(super) fn of(expected: &[Vec<f32>], got: &[Vec<f32>]) -> Agreement {
        let mut agreement = Agreement {
            images: expected.len(),
            same_class: 0,
            difference: 0.0,
        };
        for (expected, got) in expected.iter().zip(got) {
            agreement.same_class += usize::from(largest(expected) == largest(got));
            // What f32 gives decides for both: rounding must not turn probabilities, or scores like them, into logits.
            let is_probability = |v: &f32| (0.0..=1.0).contains(v);
            let (expected, got) = match expected.iter().all(is_probability) {
                true => (expected.clone(), got.clone()),
                false => (softmax(expected), softmax(got)),
            };
            for (e, g) in expected.iter().zip(&got) {
                let difference = (e - g).abs();
                // a NaN stays: no comparison with it holds
                if difference.is_nan() || difference > agreement.difference {
                    agreement.difference = difference;
                }
            }
        }
        agreement
    }

    /// Whether the second precision may stand for the first.
    pub(super) fn is_close(self) -> bool {
        self.same_class == self.images && self.difference <= BOUND
    }
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} probe images keep their class, largest probability difference {:.4} (bound {BOUND})",
            self.same_class, self.images, self.difference
        )
    }
}

/// Tells probabilities from logits by one output: logits are practically never all in 0 to 1 with a sum of 1.
///
/// The tolerance of 1e-3 is far above the rounding of a softmax over 1000 classes in `f32`, and far below the
/// distance of any sum of logits that was seen.
#[must_use]
pub fn is_distribution(output: &[f32]) -> bool {
    let sum: f64 = output.iter().map(|&v| f64::from(v)).sum();
    output.iter().all(|v| (0.0..=1.0).contains(v)) && (sum - 1.0).abs() < 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_largest_difference_decide() {
        let expected = [vec![2.0, 0.0], vec![0.0, 3.0]];
        let same = Agreement::of(&expected, &expected);
        assert!(same.is_close() && same.difference == 0.0, "{same}");
        let other = Agreement::of(&expected, &[vec![2.0, 0.0], vec![3.0, 0.0]]);
        assert_eq!((other.images, other.same_class), (2, 1));
        assert!(!other.is_close());
        // 1 / (1 + e^-2) against 1 / (1 + e^-2.5)
        let moved = Agreement::of(&expected, &[vec![2.5, 0.0], vec![0.0, 3.0]]);
        assert!((moved.difference - 0.0433).abs() < 1e-3, "{moved}");
        assert!(moved.is_close());
    }

    #[test]
    fn scores_of_independent_classes_are_compared_as_they_are() {
        let scores = [vec![0.9, 0.8, 0.1]];
        let moved = Agreement::of(&scores, &[vec![0.84, 0.8, 0.1]]);
        assert!((moved.difference - 0.06).abs() < 1e-6, "{moved}");
        assert!(!moved.is_close());
    }

    #[test]
    fn nothing_else_undoes_a_value_that_is_no_number() {
        let expected = [vec![2.0, 0.0], vec![0.0, 3.0]];
        let got = [vec![f32::NAN, 0.0], vec![0.0, 4.0]];
        let agreement = Agreement::of(&expected, &got);
        assert!(agreement.difference.is_nan() && !agreement.is_close());
    }
}
