//! What the numbers of a network's output are: logits, probabilities, or scores that are neither.
//!
//! Used by `load`, which tells the kind from how the network ends and from what it answers to test images; where that
//! leaves it open, `model.toml` decides.

use serde::{Deserialize, Serialize};

use super::rounded_softmax;
use crate::engine::{Ending, is_distribution};

/// What the numbers of an output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Unbounded scores, on which softmax is still due.
    Logits,
    /// Non-negative values that sum to one.
    Probabilities,
    /// Values of their own scale, left as they are: of classes that do not exclude each other, or percentages.
    Scores,
}

impl OutputKind {
    /// The word for it in `model.toml`, answers and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OutputKind::Logits => "logits",
            OutputKind::Probabilities => "probabilities",
            OutputKind::Scores => "scores",
        }
    }

    /// Tells the kind from how the network ends and its outputs for some images.
    ///
    /// # Errors
    /// A sentence that names the line of `model.toml` which decides, where neither says what they are.
    pub(super) fn of(ending: Ending, outputs: &[Vec<f32>]) -> Result<OutputKind, String> {
        let all = |test: &dyn Fn(&[f32]) -> bool| outputs.iter().all(|output| test(output));
        if all(&is_distribution) {
            return Ok(OutputKind::Probabilities);
        }
        match ending {
            Ending::Linear | Ending::LogSoftmax => Ok(OutputKind::Logits),
            Ending::Softmax if rounded_softmax::check(outputs).is_ok() => {
                Ok(OutputKind::Probabilities)
            }
            Ending::Softmax | Ending::Sigmoid => Ok(OutputKind::Scores),
            // Endings that are no class scores have been refused by the engine.
            Ending::Sorted | Ending::Winner | Ending::NegatedLogSoftmax | Ending::Other => {
                if !all(&is_not_negative) {
                    return Ok(OutputKind::Logits);
                }
                // Nothing but a division by their sum makes it the same for all images.
                let first = outputs.first().map_or(0.0, |output| sum(output));
                if all(&|output| (sum(output) - first).abs() < 1e-3 * first) {
                    return Ok(OutputKind::Scores);
                }
                match all(&|output| output.iter().all(|v| *v <= 1.0)) {
                    false => Ok(OutputKind::Logits),
                    true => Err(
                        "all outputs for test images are from 0 to 1 and do not sum to 1, so that they may be scores of \
                        classes that do not exclude each other, or small logits: say which in model.toml, [output] kind \
                        = \"scores\" or \"logits\""
                            .into(),
                    ),
                }
            }
        }
    }

    /// Whether the outputs for some images can be what `model.toml` says; with a sentence for people where one is due.
    ///
    /// # Errors
    /// A sentence that names the line and the number against it.
    pub(super) fn said(
        self,
        ending: Ending,
        outputs: &[Vec<f32>],
    ) -> Result<Option<String>, String> {
        match self {
            OutputKind::Probabilities => {
                rounded_softmax::check(outputs)
                    .map_err(|reason| format!("model.toml says [output] kind = \"probabilities\", but {reason}: {SAY_OTHERWISE}"))?;
                Ok(None)
            }
            OutputKind::Logits => {
                let is_softmax = OutputKind::of(ending, outputs) == Ok(OutputKind::Probabilities);
                Ok(is_softmax.then(|| SECOND_SOFTMAX.to_owned()))
            }
            OutputKind::Scores => Ok(None),
        }
    }
}

/// What to do with a line that the outputs contradict.
const SAY_OTHERWISE: &str = "leave the line out, or say \"logits\" for numbers that a softmax is due on, \"scores\" for others";

/// What is said of a softmax on probabilities.
const SECOND_SOFTMAX: &str = "model.toml says [output] kind = \"logits\", but its outputs for test images are probabilities \
    already: a second softmax makes all classes nearly alike; leave the line out to answer them as they are";

fn sum(output: &[f32]) -> f64 {
    output.iter().map(|v| f64::from(*v)).sum()
}

fn is_not_negative(output: &[f32]) -> bool {
    output.iter().all(|v| *v >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(ending: Ending, outputs: [[f32; 3]; 2]) -> Result<OutputKind, String> {
        OutputKind::of(ending, &outputs.map(|output| output.to_vec()))
    }

    #[test]
    fn numbers_that_sum_to_one_are_probabilities_whatever_makes_them() {
        for ending in [
            Ending::Softmax,
            Ending::Sigmoid,
            Ending::Linear,
            Ending::Other,
        ] {
            let got = kind(ending, [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]);
            assert_eq!(got, Ok(OutputKind::Probabilities));
        }
        // one image of several that by chance sums to one
        let got = kind(Ending::Linear, [[0.2, 0.3, 0.5], [0.2, 0.3, 0.6]]);
        assert_eq!(got, Ok(OutputKind::Logits));
        let got = kind(Ending::Linear, [[-0.5, 1.5, 0.0], [-0.5, 1.5, 0.0]]);
        assert_eq!(got, Ok(OutputKind::Logits));
    }

    #[test]
    fn sigmoid_and_scaled_softmax_are_left_as_they_are() {
        for (ending, outputs) in [
            (Ending::Sigmoid, [[0.9, 0.8, 0.1], [0.0, 0.5, 0.3]]),
            (Ending::Softmax, [[20.0, 30.0, 50.0], [99.0, 0.5, 0.5]]),
            (Ending::Other, [[20.0, 30.0, 50.0], [99.0, 0.5, 0.5]]),
            (Ending::Softmax, [[0.1, 0.1, 0.1], [0.9, 0.0, 0.0]]),
        ] {
            assert_eq!(kind(ending, outputs), Ok(OutputKind::Scores), "{outputs:?}");
        }
        let rounded = [[0.203_125, 0.296_875, 0.484_375], [0.996_093_75, 0.0, 0.0]];
        assert_eq!(
            kind(Ending::Softmax, rounded),
            Ok(OutputKind::Probabilities)
        );
    }

    #[test]
    fn what_may_be_either_is_asked_for_by_the_line_that_decides() {
        let error = kind(Ending::Other, [[0.9, 0.8, 0.1], [0.0, 0.5, 0.3]]).unwrap_err();
        assert!(
            error.contains("[output] kind = \"scores\" or \"logits\""),
            "{error}"
        );
        for outputs in [
            [[0.9, -0.1, 0.1], [0.0, 0.5, 0.3]],
            [[0.9, 1.1, 0.1], [0.0, 0.5, 0.3]],
        ] {
            assert_eq!(kind(Ending::Other, outputs), Ok(OutputKind::Logits));
        }
        let small = [[0.9, 0.8, 0.1], [0.0, 0.5, 0.3]];
        assert_eq!(kind(Ending::Linear, small), Ok(OutputKind::Logits));
    }

    #[test]
    fn line_that_the_outputs_contradict_is_refused_or_told() {
        let said = |kind: OutputKind, output: &[f32]| {
            kind.said(Ending::Linear, &[output.to_vec(), output.to_vec()])
        };
        let error = said(OutputKind::Probabilities, &[0.978, -0.612, -4.641]).unwrap_err();
        for words in [
            "[output] kind = \"probabilities\"",
            "class 1 is -0.612",
            "allowed are 0 to 1",
        ] {
            assert!(error.contains(words), "{error}");
        }
        let note = said(OutputKind::Logits, &[0.2, 0.3, 0.5]).unwrap();
        assert!(note.expect("a word").contains("second softmax"));
        for (kind, output) in [
            (OutputKind::Probabilities, [0.2, 0.3, 0.5]),
            (OutputKind::Probabilities, [0.2, 0.31, 0.5]),
            (OutputKind::Logits, [0.978, -0.612, -4.641]),
            (OutputKind::Scores, [0.2, 0.3, 0.5]),
        ] {
            assert_eq!(said(kind, &output), Ok(None));
        }
    }
}
