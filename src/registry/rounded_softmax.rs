//! Whether numbers can be those of a softmax, though they may have been rounded since.
//!
//! Used by `output_kind`, which calls such numbers probabilities.

/// How far their sum may be from one where no step is found: 1000 classes rounded to four decimals are so far off, and a
/// quantizer whose range is that of some photos cuts as much off the largest.
const UNROUNDED: f64 = 0.05;

/// The finest step that is looked for. Numbers that have none in common come below it soon.
const FINEST: f64 = 0.9e-3;

/// The coarsest step, that of two decimals; bytes have at least 127 steps up to one.
const COARSEST: f64 = 0.01;

/// How far a multiple of a step may be from one: many times what `f32` loses, a small part of the finest step.
const NEAR: f64 = 5e-5;

/// Whether each output can be a softmax.
///
/// # Errors
/// A sentence with the value that cannot, and what is allowed.
pub(super) fn check(outputs: &[Vec<f32>]) -> Result<(), String> {
    let step = step(outputs).unwrap_or(0.0);
    let beyond = (step / 2.0).max(1e-3) as f32;
    for output in outputs {
        let is_share = |v: &f32| (-beyond..=1.0 + beyond).contains(v);
        if let Some(class) = output.iter().position(|v| !is_share(v)) {
            return Err(format!(
                "class {class} is {} for a test image, allowed are 0 to 1",
                output[class]
            ));
        }
        let (least, most) = sums(output, step);
        let sum: f64 = output.iter().map(|v| f64::from(*v)).sum();
        if !(least..=most).contains(&sum) {
            return Err(format!(
                "the numbers of a test image sum to {sum:.3}, allowed is 1, and {least:.2} to {most:.2} with what rounding \
                may change"
            ));
        }
    }
    Ok(())
}

/// The least and the largest sum of numbers that sum to one before each is rounded to a multiple of `step`.
///
/// Each is off by half a step at most, so that `n` classes may lose `n / 2` steps: 1000 classes of 1/256 may all become
/// zero. Only those that are not zero can have gained; each of these was half a step at least, and so no more than doubled.
fn sums(output: &[f32], step: f64) -> (f64, f64) {
    let lost = output.len() as f64 * step / 2.0;
    let gained = output.iter().filter(|v| **v != 0.0).count() as f64 * step / 2.0;
    let least = (1.0 - lost.max(UNROUNDED)).max(0.0);
    (least, 1.0 + gained.clamp(UNROUNDED, 1.0))
}

/// The step of which all numbers are multiples, the largest that is: what a quantizer of 8 bits leaves, or a rounding to
/// few decimals. It is their greatest common divisor, by Euclid; where that is too coarse, the largest part of it that is
/// not.
fn step(outputs: &[Vec<f32>]) -> Option<f64> {
    let mut step = 0.0;
    for value in outputs.iter().flatten() {
        let (mut larger, mut smaller) = (f64::from(value.abs()), step);
        while smaller > NEAR {
            let rest = (larger - (larger / smaller).round() * smaller).abs();
            (larger, smaller) = (smaller, rest);
        }
        step = larger;
        if step > NEAR && step < FINEST || !step.is_finite() {
            return None;
        }
    }
    (step >= FINEST).then(|| step / (step / COARSEST - 1e-3).ceil().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A softmax of `classes` numbers that spread as logits do, each rounded to multiples of `step`.
    fn softmax(classes: usize, spread: f32, step: f32) -> Vec<f32> {
        let power = |i: usize| (((i * 7919) % classes) as f32 / classes as f32 * spread).exp();
        let sum: f32 = (0..classes).map(power).sum();
        let share = |i| power(i) / sum;
        match step {
            0.0 => (0..classes).map(share).collect(),
            _ => (0..classes)
                .map(|i| (share(i) / step).round() * step)
                .collect(),
        }
    }

    #[test]
    fn sum_of_a_rounded_softmax_may_be_off_by_half_a_step_for_each_class() {
        for step in [0.0, 0.01, 1.0 / 256.0, 0.0031, 0.001, 1e-4] {
            for (classes, spread) in [(10, 3.0), (1000, 5.0), (1000, 12.0), (200, 30.0)] {
                let outputs = [softmax(classes, spread, step)];
                assert_eq!(check(&outputs), Ok(()), "{step} {classes} {spread}");
            }
        }
        // What is lost by rounding 1000 classes no other sum may lack.
        let lost = softmax(1000, 5.0, 1.0 / 256.0);
        assert!(lost.iter().sum::<f32>() < 0.8);
        let scaled: Vec<f32> = softmax(1000, 5.0, 0.0).iter().map(|v| v * 0.7).collect();
        let error = check(&[scaled]).unwrap_err();
        assert!(error.contains("sum to 0.700, allowed is 1"), "{error}");
    }

    #[test]
    fn numbers_of_another_kind_are_named() {
        for (output, words) in [
            (vec![0.978, -0.612, -4.641], "class 1 is -0.612"),
            (vec![20.0, 30.0, 50.0], "class 0 is 20"),
            (vec![0.9, 0.8, 0.1], "sum to 1.800"),
            (vec![0.5, 0.25, 0.0], "sum to 0.750"),
            (vec![f32::NAN, 0.5, 0.5], "class 0 is NaN"),
            // Two groups of classes, each with a softmax of its own.
            (vec![0.996_093_75, 0.003_906_25, 0.5, 0.5], "sum to 2.000"),
        ] {
            let error = check(std::slice::from_ref(&output)).expect_err(words);
            assert!(error.contains(words), "{output:?}: {error}");
        }
    }

    #[test]
    fn step_is_that_of_all_numbers() {
        let of = |numbers: &[f32]| step(&[numbers.to_vec()]);
        for (numbers, expected) in [
            (&[13.0 / 256.0, 19.0 / 256.0, 0.0, 1.0][..], 1.0 / 256.0),
            (&[0.21, 0.33, 0.46], 0.01),
            (&[0.0031 * 100.0, 0.0031 * 7.0], 0.0031),
        ] {
            let got = of(numbers).expect("a step");
            assert!((got - expected).abs() < 1e-4, "{got}, expected {expected}");
        }
        assert_eq!(of(&[0.21, 0.331_7, 0.458_3]), None);
        let few = of(&[0.5, 0.25, 0.25]).expect("a part of a quarter");
        assert!((few - 0.01).abs() < 1e-9, "{few}");
        assert_eq!(of(&[0.0, 0.0]), None);
        assert_eq!(of(&[f32::INFINITY, 1.0]), None);
    }
}
