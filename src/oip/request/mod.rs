//! An inference request, whoever has read it, and what is to be done for it.

use std::time::Duration;

use bytes::Bytes;

use super::binary::{self, Body};
use super::{InputTensor, ModelForm, OipError, Parameters, RequestedOutput, Values, json, tensor};
use crate::classifier::Wish;
use crate::desk::cut;
use crate::preprocess::{ExifMode, Source};

/// An inference request as it came.
#[derive(Debug)]
pub struct Request<'a> {
    /// The client's own name for it.
    pub id: Option<String>,
    /// The request's parameters.
    pub parameters: Parameters,
    /// Its tensors.
    pub inputs: Vec<InputTensor<'a>>,
    /// The outputs that it asks for; all, as they are, where it names none.
    pub outputs: Vec<RequestedOutput>,
}

/// What is to be done for a request.
#[derive(Debug)]
pub struct Work {
    /// Its images, at least one.
    pub images: Vec<Source>,
    /// What its answer is to have.
    pub wanted: Wanted,
    /// How long its client waits, if it has told.
    pub timeout: Option<Duration>,
    /// Whether photos are turned upright.
    pub exif: ExifMode,
}

/// What an answer is to have.
#[derive(Debug)]
pub struct Wanted {
    /// The request's own name, to be repeated.
    pub id: Option<String>,
    /// The outputs in order.
    pub outputs: Vec<WantedOutput>,
}

impl Wanted {
    /// What the classifier is asked for beside the classes.
    #[must_use]
    pub fn wish(&self) -> Wish {
        let wants = |values| self.outputs.iter().any(|output| output.values == values);
        Wish {
            explain: None,
            features: wants(Values::Features),
            feature_map: wants(Values::FeatureMap),
        }
    }

    /// Most bytes that an answer takes for one image, those of its classes apart: its numbers as the network gives them,
    /// as they stand in their tensor, and as they are written.
    #[must_use]
    pub fn bytes_beside_classes(&self) -> usize {
        let of = |output: &WantedOutput| {
            let numbers = output.shape.iter().product::<usize>();
            let written = match output.is_binary {
                true => BINARY_NUMBER,
                false => JSON_NUMBER,
            };
            numbers.saturating_mul(4 + 4 + written)
        };
        let outputs = self.outputs.iter();
        let outputs = outputs.filter(|output| output.values.is_on_request());
        outputs.map(of).sum()
    }

    /// Numbers of an answer for one image.
    #[must_use]
    pub fn numbers(&self) -> usize {
        let of = |output: &WantedOutput| output.shape.iter().product::<usize>();
        self.outputs.iter().map(of).sum()
    }
}

/// An output as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedOutput {
    /// The name by which it was asked for.
    pub name: String,
    /// What its values are.
    pub values: Values,
    /// Its extents for one image.
    pub shape: Vec<usize>,
    /// Whether it stands behind the JSON, where there is JSON.
    pub is_binary: bool,
    /// How many of the classes are wanted, ranked and by name; all of them as numbers where that was not asked for.
    pub classes: Option<usize>,
}

/// Bytes of a number of 32 bits where it stands behind the JSON: in its output, and in the body.
const BINARY_NUMBER: usize = 4 + 4;

/// Most bytes of one in JSON, with its comma: a sign, nine digits, a point, four zeros after it and one before it.
pub(crate) const JSON_NUMBER: usize = 17;

/// Reads a body of REST.
///
/// # Errors
/// [`OipError`].
pub fn take_apart(
    body: Bytes,
    json_length: Option<u64>,
    form: &ModelForm,
    max_images: usize,
) -> Result<Work, OipError> {
    match binary::split(body, json_length)? {
        Body::Message { json, tail } => Work::of(json::read(&json, tail)?, form, max_images),
        Body::Photo(photo) => Ok(Work::of_photo(photo, form)),
    }
}

impl Work {
    /// The work of a request.
    ///
    /// # Errors
    /// [`OipError`]: what of it is wrong.
    pub fn of(request: Request<'_>, form: &ModelForm, max_images: usize) -> Result<Work, OipError> {
        let Request {
            id,
            parameters,
            inputs,
            outputs,
        } = request;
        parameters.check()?;
        // Checked and without effect: clients are served in turn, whatever they call themselves.
        parameters.number("priority", 0)?;
        let binary = parameters.switch("binary_data_output")?.unwrap_or(false);
        let outputs = wanted(outputs, binary, form)?;
        Ok(Work {
            timeout: parameters.timeout()?,
            exif: parameters.exif()?,
            wanted: Wanted { id, outputs },
            images: tensor::images(only(inputs, form)?, &form.input, max_images)?,
        })
    }

    /// The work of a body which is one encoded image: all outputs, as bytes.
    #[must_use]
    pub fn of_photo(photo: Bytes, form: &ModelForm) -> Work {
        Work {
            images: vec![Source::Encoded(photo)],
            wanted: Wanted {
                id: None,
                outputs: all(form, true),
            },
            timeout: None,
            exif: ExifMode::Apply,
        }
    }
}

/// The request's input: there is one.
fn only<'a>(inputs: Vec<InputTensor<'a>>, form: &ModelForm) -> Result<InputTensor<'a>, OipError> {
    let count = inputs.len();
    let mut inputs = inputs.into_iter();
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => Ok(input),
        (None, _) => Err(OipError::Input(format!(
            "there is no input, the model has one: {}",
            form.input.name
        ))),
        (Some(first), Some(second)) => {
            let twice = if first.name == second.name {
                ", one of them twice"
            } else {
                ""
            };
            Err(OipError::Input(format!(
                "there are {count} inputs{twice}, the model has one: {}",
                form.input.name
            )))
        }
    }
}

fn all(form: &ModelForm, is_binary: bool) -> Vec<WantedOutput> {
    let output = |output: &super::OutputForm| WantedOutput {
        name: output.name.to_owned(),
        values: output.values,
        shape: output.shape.clone(),
        is_binary,
        classes: None,
    };
    let outputs = form.outputs.iter().filter(|o| !o.values.is_on_request());
    outputs.map(output).collect()
}

fn wanted(
    outputs: Vec<RequestedOutput>,
    binary: bool,
    form: &ModelForm,
) -> Result<Vec<WantedOutput>, OipError> {
    if outputs.is_empty() {
        return Ok(all(form, binary));
    }
    let mut wanted: Vec<WantedOutput> = Vec::with_capacity(outputs.len());
    for RequestedOutput { name, parameters } in outputs {
        parameters.check()?;
        let output = form.output(&name)?;
        if wanted.iter().any(|other| other.name == name) {
            let text = format!("output \"{}\" is asked for twice", cut(&name));
            return Err(OipError::Output(text));
        }
        let classes = parameters.number("classification", 1)?;
        if classes.is_some() && output.values.is_on_request() {
            let text = format!("output \"{}\" has no classes to rank", cut(&name));
            return Err(OipError::Output(text));
        }
        wanted.push(WantedOutput {
            name,
            values: output.values,
            shape: output.shape.clone(),
            is_binary: parameters.switch("binary_data")?.unwrap_or(binary),
            classes: classes.map(|k| usize::try_from(k).unwrap_or(usize::MAX).min(form.classes)),
        });
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
