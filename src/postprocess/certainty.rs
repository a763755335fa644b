//! How sure a network is of its answer: what changes when the photos are no longer those that it was trained for.
//!
//! Called by `classifier` for each image; told by the metrics.

/// How sure a network is of an image's class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certainty {
    /// The largest probability, 0 to 1.
    pub top1: f32,
    /// By how much it is larger than the second largest, 0 to 1.
    pub margin: f32,
    /// Shannon's entropy of all of them, in bits: 0 if one is 1, `log2(n)` if all `n` are equal.
    pub entropy: f32,
}

impl Certainty {
    /// The certainty of these probabilities, one a class, which sum to one; none if there are no classes.
    #[must_use]
    pub fn of(probabilities: &[f32]) -> Option<Certainty> {
        let (mut first, mut second) = (*probabilities.first()?, 0.0);
        for &p in &probabilities[1..] {
            (first, second) = match p > first {
                true => (p, first),
                false => (first, p.max(second)),
            };
        }
        let bits = |&p: &f32| if p > 0.0 { -p * p.log2() } else { 0.0 };
        Some(Certainty {
            top1: first,
            margin: first - second,
            entropy: probabilities.iter().map(bits).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_is_that_of_the_two_largest_and_of_all() {
        let of = |p: &[f32]| Certainty::of(p).expect("there are classes");
        let sure = of(&[0.0, 1.0, 0.0]);
        assert_eq!((sure.top1, sure.margin, sure.entropy), (1.0, 1.0, 0.0));
        let torn = of(&[0.25, 0.5, 0.25]);
        assert_eq!((torn.top1, torn.margin, torn.entropy), (0.5, 0.25, 1.5));
        assert_eq!(of(&[0.5, 0.25, 0.25]), torn);
        assert_eq!(of(&[0.25, 0.25, 0.5]), torn);
        let uniform = of(&[1.0 / 1024.0; 1024]);
        assert_eq!((uniform.margin, uniform.entropy), (0.0, 10.0));
        assert_eq!(of(&[1.0]).margin, 1.0);
        assert_eq!(Certainty::of(&[]), None);
    }
}
