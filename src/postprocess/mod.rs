//! Logits to a ranking: softmax and top-k.
//!
//! Called by `classifier` with one image's output; hands on class indices with probabilities, no labels. `engine`
//! compares precisions by the same softmax.

mod certainty;

pub use self::certainty::Certainty;

/// A class and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Position in the network's output.
    pub class_index: usize,
    /// 0 to 1.
    pub probability: f32,
}

/// A network's output, or what else it gives of an image, holds a value that is no number, so there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("output {class_index} is {value}, not a finite number")]
pub struct NotFinite {
    /// The position of the value in the output.
    pub class_index: usize,
    /// NaN or an infinity.
    pub value: f32,
}

/// Ranks the `k` largest of a network's output, one number a class, with the probability of each.
///
/// # Panics
/// If there are fewer probabilities than numbers.
#[must_use]
pub fn rank(output: &[f32], probabilities: &[f32], k: usize) -> Vec<Ranked> {
    let ranked = |class_index| Ranked {
        class_index,
        probability: probabilities[class_index],
    };
    top_k(output, k).into_iter().map(ranked).collect()
}

/// Puts the least number in place of −∞, the logarithm of nothing, as a logarithm of probabilities gives it, or a mask that
/// leaves classes out: the class gets the probability 0, and JSON has no infinity. Where no number is finite all stay.
pub fn bound_below(output: &mut [f32]) {
    if output.iter().any(|value| value.is_finite()) {
        let nothing = output.iter_mut().filter(|v| **v == f32::NEG_INFINITY);
        nothing.for_each(|value| *value = f32::MIN);
    }
}

/// Checks that all numbers are finite.
///
/// # Errors
/// The first number that is not.
pub fn check_finite(output: &[f32]) -> Result<(), NotFinite> {
    match output.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((class_index, &value)) => Err(NotFinite { class_index, value }),
        None => Ok(()),
    }
}

/// Indices of the `k` largest values, largest first, ties by index.
///
/// Ranks by the network's own values: two logits may round to one probability and still differ.
#[must_use]
pub fn top_k(output: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..output.len()).collect();
    let by_rank = |a: &usize, b: &usize| output[*b].total_cmp(&output[*a]).then(a.cmp(b));
    let k = k.min(order.len());
    if k > 0 && k < order.len() {
        order.select_nth_unstable_by(k - 1, by_rank);
    }
    order.truncate(k);
    order.sort_unstable_by(by_rank);
    order
}

/// `exp(x - max) / Σ exp(x - max)`, summed in `f64`.
///
/// # Numerics
/// The maximum is subtracted, so that no exponential overflows.
#[must_use]
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&x| f64::from(x - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| (e / sum) as f32).collect()
}

/// Index of the largest value, the first of equal ones; none of nothing.
#[must_use]
pub fn largest(output: &[f32]) -> Option<usize> {
    (0..output.len()).reduce(|best, i| if output[i] > output[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranked(logits: &[f32], k: usize) -> Vec<Ranked> {
        rank(logits, &softmax(logits), k)
    }

    #[test]
    fn ties_are_ordered_by_class_index() {
        let indices: Vec<_> = ranked(&[1.0, 3.0, 3.0, 2.0, 3.0], 4)
            .iter()
            .map(|r| r.class_index)
            .collect();
        assert_eq!(indices, [1, 2, 4, 3]);
    }

    #[test]
    fn extreme_logits_do_not_overflow() {
        assert_eq!(ranked(&[-1e30, 0.0], 1)[0].probability, 1.0);
        assert_eq!(ranked(&[3e38, 3e38], 2)[1].probability, 0.5);
    }

    #[test]
    fn class_that_is_left_out_has_the_probability_zero() {
        let mut masked = [1.0, f32::NEG_INFINITY, 3.0];
        bound_below(&mut masked);
        assert_eq!(masked, [1.0, f32::MIN, 3.0]);
        let probabilities = softmax(&masked);
        assert!(probabilities[1] == 0.0 && check_finite(&masked).is_ok());
        for mut others in [[f32::NEG_INFINITY; 2], [f32::INFINITY, 0.0]] {
            bound_below(&mut others);
            assert!(check_finite(&others).is_err(), "{others:?}");
        }
    }

    #[test]
    fn first_number_that_is_none_is_told() {
        let got = check_finite(&[0.0, f32::NAN, f32::INFINITY]).expect_err("not finite");
        assert_eq!(got.class_index, 1);
        assert!(check_finite(&[0.0, f32::MAX]).is_ok());
    }

    proptest! {
        #[test]
        fn top_k_agrees_with_a_full_sort(output in prop::collection::vec(-20.0f32..20.0, 1..50), k in 1usize..60) {
            let got = ranked(&output, k);
            let mut want: Vec<(usize, f32)> = output.iter().copied().enumerate().collect();
            want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            prop_assert_eq!(
                got.iter().map(|r| r.class_index).collect::<Vec<_>>(),
                want.iter().take(k).map(|w| w.0).collect::<Vec<_>>()
            );
            let sum: f32 = ranked(&output, output.len()).iter().map(|r| r.probability).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
    }
}
