//! Answers and truths to figures: accuracy with intervals, calibration, and the classes that go wrong.
//!
//! Fed by `eval` photo by photo, read by `report`. `docs/ACCURACY.md` defines the figures for users.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use super::labels::Photo;
use crate::classifier::Classification;

/// Classes of an answer that count as a hit of top-5.
pub const TOP_K: usize = 5;

/// Bins of the calibration error. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", who use 15.
const BINS: usize = 15;

/// The 97.5% quantile of the normal distribution, which makes a 95% interval.
const Z: f64 = 1.959_963_984_540_054;

/// What is known after some photos.
#[derive(Debug, Default)]
pub struct Score {
    photos: usize,
    top1: usize,
    top5: usize,
    bins: [Bin; BINS],
    classes: BTreeMap<usize, ClassScore>,
    failures: Vec<Failure>,
}

/// Photos whose highest probability lies in one fifteenth of 0 to 1.
#[derive(Debug, Default, Clone, Copy)]
struct Bin {
    photos: usize,
    right: usize,
    confidence: f64,
}

/// One class of the truth.
#[derive(Debug, Default)]
pub(super) struct ClassScore {
    /// Photos that show it.
    pub(super) photos: usize,
    /// Photos of the class whose first answer is right.
    pub(super) right: usize,
    /// Photos of the class without an answer.
    pub(super) failed: usize,
    /// The wrong first answers: class index to count.
    pub(super) taken_for: BTreeMap<usize, usize>,
}

/// A photo without an answer.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// As the labels call it.
    pub file: String,
    /// Why.
    pub error: String,
}

/// A share of the photos with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Proportion {
    /// Photos that count.
    pub right: usize,
    /// The share of them, 0 to 1.
    pub accuracy: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Proportion {
    /// The share with its Wilson score interval.
    ///
    /// Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    #[must_use]
    pub fn of(right: usize, photos: usize) -> Proportion {
        let n = photos.max(1) as f64;
        let p = right as f64 / n;
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Proportion {
            right,
            accuracy: p,
            // Rounding may miss the ends of 0 to 1, which the exact interval of none and of all touches.
            low: ((middle - half) / scale).max(0.0).min(p),
            high: ((middle + half) / scale).min(1.0).max(p),
        }
    }
}

impl Score {
    /// Takes the answer for a photo; one without an answer counts as wrong.
    pub fn add(&mut self, photo: &Photo, answer: Result<Classification, impl Display>) {
        match answer {
            Ok(answer) => {
                let ranking: Vec<_> = answer
                    .predictions
                    .iter()
                    .map(|p| (p.class_index, f64::from(p.probability)))
                    .collect();
                self.add_ranking(photo.class_index, &ranking);
            }
            Err(e) => self.add_failure(photo, e.to_string()),
        }
    }

    fn add_ranking(&mut self, truth: usize, ranking: &[(usize, f64)]) {
        let class = self.classes.entry(truth).or_default();
        let (first, confidence) = ranking[0];
        let right = first == truth;
        self.photos += 1;
        class.photos += 1;
        if right {
            class.right += 1;
            self.top1 += 1;
        } else {
            *class.taken_for.entry(first).or_default() += 1;
        }
        let within = ranking.iter().take(TOP_K).any(|(class, _)| *class == truth);
        self.top5 += usize::from(within);
        let bin = &mut self.bins[bin_of(confidence)];
        bin.photos += 1;
        bin.right += usize::from(right);
        bin.confidence += confidence;
    }

    fn add_failure(&mut self, photo: &Photo, error: String) {
        let class = self.classes.entry(photo.class_index).or_default();
        self.photos += 1;
        class.photos += 1;
        class.failed += 1;
        let file = photo.file.clone();
        self.failures.push(Failure { file, error });
    }

    /// All photos, those without an answer included.
    #[must_use]
    pub fn photos(&self) -> usize {
        self.photos
    }

    /// Photos whose first answer is right.
    #[must_use]
    pub fn top1(&self) -> Proportion {
        Proportion::of(self.top1, self.photos)
    }

    /// Photos with the right class among the first five.
    #[must_use]
    pub fn top5(&self) -> Proportion {
        Proportion::of(self.top5, self.photos)
    }

    /// Mean probability of the first answer, over the photos with an answer; `None` without any.
    #[must_use]
    pub fn mean_confidence(&self) -> Option<f64> {
        let sum: f64 = self.bins.iter().map(|b| b.confidence).sum();
        (self.answered() > 0).then(|| sum / self.answered() as f64)
    }

    /// Expected calibration error, over the photos with an answer; `None` without any.
    ///
    /// The mean over the bins of `|right - confidence|`, weighted by their photos.
    #[must_use]
    pub fn calibration_error(&self) -> Option<f64> {
        let gap = |b: &Bin| (b.right as f64 - b.confidence).abs();
        let sum: f64 = self.bins.iter().map(gap).sum();
        (self.answered() > 0).then(|| sum / self.answered() as f64)
    }

    fn answered(&self) -> usize {
        self.bins.iter().map(|b| b.photos).sum()
    }

    /// The classes of the truth, those with most wrong answers first, among equals the less accurate.
    pub(super) fn worst_classes(&self) -> Vec<(usize, &ClassScore)> {
        let mut classes: Vec<_> = self.classes.iter().map(|(&i, c)| (i, c)).collect();
        // With as many wrong answers, fewer photos mean a lower accuracy.
        classes.sort_by_key(|(i, c)| (std::cmp::Reverse(c.wrong()), c.photos, *i));
        classes
    }

    /// The photos without an answer, in the order of the labels.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl ClassScore {
    /// Photos whose first answer is another class, or that have none.
    pub(super) fn wrong(&self) -> usize {
        self.photos - self.right
    }

    /// What its photos were taken for, the most frequent first.
    pub(super) fn confusions(&self) -> Vec<(usize, usize)> {
        let mut taken: Vec<_> = self.taken_for.iter().map(|(&i, &n)| (i, n)).collect();
        taken.sort_by_key(|&(i, n)| (std::cmp::Reverse(n), i));
        taken
    }
}

/// The bin of a probability: bin `i` holds those above `i / 15` up to `(i + 1) / 15`.
fn bin_of(confidence: f64) -> usize {
    let above = (confidence * BINS as f64).ceil() as usize;
    above.clamp(1, BINS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn interval_is_wilsons() {
        let share = Proportion::of(251, 300);
        assert!(
            close(share.accuracy, 0.8367) && close(share.low, 0.7906) && close(share.high, 0.8742),
            "{share:?}"
        );
        let none = Proportion::of(0, 10);
        assert!(none.low == 0.0 && close(none.high, 0.2775), "{none:?}");
        let all = Proportion::of(10, 10);
        assert!(close(all.low, 0.7225) && all.high == 1.0, "{all:?}");
    }

    #[test]
    fn calibration_error_is_the_weighted_gap_of_the_bins() {
        let mut score = Score::default();
        assert_eq!(
            (score.mean_confidence(), score.calibration_error()),
            (None, None)
        );
        // The last bin: 2 of 4 right at 0.95, a gap of 0.45. The one around 0.5: 1 of 1 right, a gap of 0.5.
        for truth in [7, 7, 8, 8] {
            score.add_ranking(truth, &[(7, 0.95), (9, 0.05)]);
        }
        score.add_ranking(3, &[(3, 0.5), (4, 0.5)]);
        let error = score.calibration_error().expect("five answers");
        assert!(close(error, (4.0 * 0.45 + 0.5) / 5.0), "{error}");
        assert!(close(score.mean_confidence().expect("five answers"), 0.86));
        assert_eq!((score.top1().right, score.top5().right), (3, 3));
    }

    #[test]
    fn bins_include_their_upper_end() {
        assert_eq!(bin_of(0.0), 0);
        assert_eq!(bin_of(0.01), 0);
        assert_eq!(bin_of(1.0), 14);
        assert_eq!(bin_of(0.2), 2); // 3/15
        assert_eq!(bin_of(0.200_1), 3);
    }

    #[test]
    fn worst_class_has_most_wrong_answers_and_failures_count() {
        let mut score = Score::default();
        for (truth, first) in [
            (1, 1),
            (1, 2),
            (1, 2),
            (1, 3),
            (4, 5),
            (4, 5),
            (6, 6),
            (7, 1),
            (7, 1),
            (7, 7),
        ] {
            score.add_ranking(truth, &[(first, 0.5)]);
        }
        let photo = Photo {
            file: "a.jpg".into(),
            path: "a.jpg".into(),
            class_index: 4,
        };
        score.add_failure(&photo, "cannot be read".into());
        let worst = score.worst_classes();
        let order: Vec<usize> = worst.iter().map(|(i, _)| *i).collect();
        assert_eq!(order, [4, 1, 7, 6]);
        assert_eq!(
            (worst[0].1.photos, worst[0].1.right, worst[0].1.failed),
            (3, 0, 1)
        );
        assert_eq!(worst[1].1.confusions(), [(2, 2), (3, 1)]);
        assert_eq!(
            (score.photos(), score.top1().right, score.failures().len()),
            (11, 3, 1)
        );
    }

    proptest! {
        #[test]
        fn interval_holds_the_share_and_lies_in_0_to_1(photos in 1usize..5000, part in 0.0f64..=1.0) {
            let right = (part * photos as f64) as usize;
            let share = Proportion::of(right, photos);
            prop_assert!(0.0 <= share.low && share.low <= share.accuracy);
            prop_assert!(share.accuracy <= share.high && share.high <= 1.0);
            // Wilson's definition: at both ends the share is exactly Z standard deviations away.
            for end in [share.low, share.high] {
                let (away, deviation) = (share.accuracy - end, (end * (1.0 - end) / photos as f64).sqrt());
                prop_assert!((away.abs() - Z * deviation).abs() < 1e-7, "{:?}", share);
            }
        }

        #[test]
        fn calibration_error_is_at_most_the_error_of_one_bin(
            answers in prop::collection::vec((any::<bool>(), 0.0f64..=1.0), 1..200),
        ) {
            let mut score = Score::default();
            for (right, confidence) in &answers {
                score.add_ranking(usize::from(!*right), &[(0, *confidence)]);
            }
            let error = score.calibration_error().expect("answers");
            let gap = (score.top1().accuracy - score.mean_confidence().expect("answers")).abs();
            prop_assert!(gap - 1e-12 <= error && error <= 1.0, "{} {}", gap, error);
        }
    }
}
