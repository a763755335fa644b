//! Which of a network's outputs gives the classes.
//!
//! Called by `import` with the graph typed for each output. What a file does not say is not guessed: where several
//! outputs can be class scores, whoever serves the model names one.

use std::collections::HashSet;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, ToDim};

use super::input::type_name;
use super::{Ending, LoadError, sizes};

/// Most outputs that are looked at where none is named: the graph is typed for each. The largest detectors have some ten.
pub(super) const MAX_OUTPUTS: usize = 64;

/// What whoever serves a model says of its output.
#[derive(Debug, Clone, Default)]
pub struct OutputWish {
    /// Its name, where the file has several.
    pub name: Option<String>,
    /// How many classes have labels.
    pub classes: Option<usize>,
    /// What an output of a single number is.
    pub single: Option<Single>,
}

impl OutputWish {
    /// The reason for an output where the file has no other.
    pub const ONLY: &str = "the only output";
}

/// What the single number of an output says of the second of two classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    /// Its probability.
    Probability,
    /// Its logit, where the other's is zero.
    Logit,
}

/// How far a probability may be from 0 to 1: it may be rounded to 8 bits.
const ROUNDED: f32 = 0.01;

impl Single {
    /// Whether an image's number, of the output `name`, can be what it is taken for.
    ///
    /// # Errors
    /// [`LoadError::NotAClassifier`] if it is no probability.
    pub(super) fn check(self, number: f32, name: &str) -> Result<(), LoadError> {
        match self {
            Single::Probability if !(-ROUNDED..=1.0 + ROUNDED).contains(&number) => {
                refuse(format!(
                    "the only number of its output \"{name}\" is {number} for a test image, expected the probability of the \
                second of two classes, from 0 to 1: export it as that, or if it is a logit, say so in model.toml: \
                [output] kind = \"logits\""
                ))
            }
            _ => Ok(()),
        }
    }

    /// The numbers of both classes.
    pub(super) fn both(self, number: f32) -> Vec<f32> {
        match self {
            Single::Probability => vec![1.0 - number, number],
            Single::Logit => vec![0.0, number],
        }
    }
}

/// What an output gives for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// One for each class.
    Classes(usize),
    One,
}

/// Numbers of an output of this type for a batch of images.
///
/// # Errors
/// What it is instead, behind "its output".
pub(super) fn numbers(fact: &TypedFact, batch: &TDim) -> Result<Numbers, String> {
    if fact.datum_type != f32::datum_type() {
        let kind = type_name(fact.datum_type);
        let whole = fact.datum_type.is_integer();
        let what_to_do = match whole {
            true => ": export the scores as they are before they become whole numbers",
            false => "",
        };
        return Err(format!("is {kind}, expected float32{what_to_do}"));
    }
    let is_batch = |dims: &[TDim]| dims.first().is_some_and(|n| n == batch);
    let rest = match &fact.shape[..] {
        dims if is_batch(dims) => &dims[1..],
        // An output for one image may have no batch.
        dims if *batch == 1.to_dim() => dims,
        dims => return Err(wrong_shape(dims)),
    };
    let mut sizes = rest.iter().filter(|d| **d != 1.to_dim());
    match (sizes.next().map(|d| d.to_usize().ok()), sizes.next()) {
        (None, _) => Ok(Numbers::One),
        (Some(Some(classes)), None) if classes > 1 => Ok(Numbers::Classes(classes)),
        _ => Err(wrong_shape(&fact.shape)),
    }
}

fn wrong_shape(dims: &[TDim]) -> String {
    format!("is [{}], expected [N, classes]", sizes::listed(dims))
}

/// An output for which the graph could be typed, or why not.
pub(super) struct Output<T> {
    pub(super) name: String,
    pub(super) ending: Ending,
    pub(super) typed: Result<(T, Numbers), LoadError>,
}

/// An output that was chosen, and why.
pub(super) struct Chosen<T> {
    pub(super) name: String,
    pub(super) ending: Ending,
    pub(super) typed: T,
    pub(super) classes: usize,
    /// Where there is but one number.
    pub(super) single: Option<Single>,
    pub(super) reason: String,
}

/// Chooses among a file's outputs; `inner` are those that others are computed from.
///
/// # Errors
/// [`LoadError::NotAClassifier`] if none can be class scores, or several can; what is wrong with the only one.
pub(super) fn choose<T>(
    outputs: Vec<Output<T>>,
    inner: &HashSet<String>,
    wish: &OutputWish,
) -> Result<Chosen<T>, LoadError> {
    let count = outputs.len();
    if count <= 1 || wish.name.is_some() {
        let Some(output) = outputs.into_iter().next() else {
            return refuse("it has no output".into());
        };
        let reason = match &wish.name {
            Some(_) => "named in model.toml".into(),
            None => OutputWish::ONLY.into(),
        };
        return accept(output, wish, reason);
    }
    let listed: Vec<String> = outputs.iter().map(listed).collect();
    let listed = listed.join("; ");
    let (mut fits, _): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| {
        matches!(&output.typed, Ok((_, Numbers::Classes(_)))) && output.ending.fault().is_none()
    });
    if fits.is_empty() {
        return refuse(format!(
            "none of its {count} outputs gives one number for each class: {listed}"
        ));
    }
    let mut reason = format!("the only one of {count} that can be class scores");
    if fits.len() > 1 {
        let of_labels = |output: &Output<T>| match (&output.typed, wish.classes) {
            (Ok((_, Numbers::Classes(classes))), Some(labels)) => *classes == labels,
            _ => false,
        };
        let is_last = |output: &Output<T>| !inner.contains(&output.name);
        if fits.iter().filter(|o| of_labels(o)).count() == 1 {
            fits.retain(|o| of_labels(o));
            reason = format!("the only one of {count} with as many numbers as there are labels");
        } else if fits.iter().filter(|o| is_last(o)).count() == 1 {
            fits.retain(|o| is_last(o));
            reason = format!("of {count} outputs the one that the others lead to");
        }
    }
    match <[Output<T>; 1]>::try_from(fits) {
        Ok([output]) => accept(output, wish, reason),
        Err(fits) => refuse(format!(
            "{} of its outputs can be class scores: {listed}; choose one in model.toml: [output] name = \"{}\"",
            fits.len(),
            fits[fits.len() - 1].name
        )),
    }
}

fn accept<T>(output: Output<T>, wish: &OutputWish, reason: String) -> Result<Chosen<T>, LoadError> {
    let Output {
        name,
        ending,
        typed,
    } = output;
    if let Some(fault) = ending.fault().filter(|_| is_known(&typed)) {
        return refuse(format!("its output \"{name}\" {fault}"));
    }
    let (typed, numbers) = typed?;
    let (classes, single) = match (numbers, wish.single, ending) {
        (Numbers::Classes(classes), ..) => (classes, None),
        (Numbers::One, Some(single), _) => (2, Some(single)),
        (Numbers::One, None, Ending::Sigmoid) => (2, Some(Single::Probability)),
        (Numbers::One, None, _) => {
            return refuse(format!(
                "its output has 1 class, expected at least 2; if the number of \"{name}\" is the logit of the second of two \
                classes, say so in model.toml: [output] kind = \"logits\""
            ));
        }
    };
    Ok(Chosen {
        name,
        ending,
        typed,
        classes,
        single,
        reason,
    })
}

/// Whether type and shape of an output are known, fitting or not: how it ends then says more than these.
fn is_known<T>(typed: &Result<T, LoadError>) -> bool {
    matches!(typed, Ok(_) | Err(LoadError::NotAClassifier(_)))
}

fn listed<T>(output: &Output<T>) -> String {
    let name = &output.name;
    let short = match output.ending {
        Ending::Sorted => Some("is sorted"),
        Ending::Winner => Some("says only which class is the most probable"),
        Ending::NegatedLogSoftmax => Some("is a LogSoftmax with its sign changed"),
        _ => None,
    };
    if let Some(short) = short.filter(|_| is_known(&output.typed)) {
        return format!("\"{name}\" {short}");
    }
    match &output.typed {
        Ok((_, Numbers::Classes(classes))) => format!("\"{name}\" is [N, {classes}]"),
        Ok((_, Numbers::One)) => format!("\"{name}\" is [N, 1]"),
        Err(LoadError::NotAClassifier(reason)) => {
            format!("\"{name}\" {}", reason.trim_start_matches("its output "))
        }
        Err(e) => format!("\"{name}\": {e}"),
    }
}

fn refuse<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::NotAClassifier(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_outside_of_0_to_1_is_no_probability_and_any_is_a_logit() {
        for number in [0.0, 0.5, 1.0, 1.004, -0.004] {
            assert!(Single::Probability.check(number, "y").is_ok(), "{number}");
        }
        for number in [40.0, 6.0, 1.02, -0.02, f32::NAN] {
            let error = Single::Probability.check(number, "y").unwrap_err();
            let reason =
                format!("the only number of its output \"y\" is {number} for a test image");
            assert!(error.to_string().contains(&reason), "{error}");
            assert!(Single::Logit.check(number, "y").is_ok(), "{number}");
        }
    }
}
