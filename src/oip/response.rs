//! An inference request's answer: what its outputs hold, and how that is written for REST.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use super::{Datatype, Values, Wanted, WantedOutput};
use crate::classifier::Classification;
use crate::desk::DeskError;
use crate::postprocess::{softmax, top_k};
use crate::registry::{Labels, LoadedModel};

/// An answer.
#[derive(Debug, Serialize)]
pub struct Response {
    /// The model that answered.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// The request's own name, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its outputs, in the order in which they were asked for.
    pub outputs: Vec<OutputTensor>,
}

/// An output of an answer.
#[derive(Debug)]
pub struct OutputTensor {
    /// The name by which it was asked for.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: OutputData,
    /// Whether the elements stand behind the JSON.
    is_binary: bool,
}

/// An output's elements, row-major.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum OutputData {
    /// Numbers, in JSON the shortest digits that give the same 32 bits back.
    Floats(Vec<f32>),
    /// Lines of `value:index:label`.
    Lines(Vec<String>),
}

impl Response {
    /// The answer to a request for these images.
    ///
    /// # Errors
    /// [`DeskError::Panicked`] if one of them lacks what was wanted of it.
    pub fn new(
        model: &LoadedModel,
        wanted: Wanted,
        mut classifications: Vec<Classification>,
    ) -> Result<Response, DeskError> {
        let output = |output| OutputTensor::new(output, &mut classifications, &model.labels);
        let outputs: Result<_, _> = wanted.outputs.into_iter().map(output).collect();
        Ok(Response {
            model_name: model.base_name().to_owned(),
            model_version: model.version().to_string(),
            id: wanted.id,
            outputs: outputs?,
        })
    }

    /// The body for REST, and how long its JSON is where bytes stand behind it.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Option<usize>) {
        let mut body = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        let json = body.len();
        let mut is_binary = false;
        for output in self.outputs.iter().filter(|output| output.is_binary) {
            is_binary = true;
            output.write(&mut body);
        }
        (body, is_binary.then_some(json))
    }
}

impl OutputTensor {
    fn new(
        wanted: WantedOutput,
        classifications: &mut [Classification],
        labels: &Labels,
    ) -> Result<OutputTensor, DeskError> {
        let WantedOutput {
            name,
            values,
            shape,
            is_binary,
            classes,
        } = wanted;
        let count = classifications.len();
        let (shape, data) = match classes {
            None => {
                let length = shape.iter().product::<usize>();
                let mut floats = Vec::with_capacity(count * length);
                for classification in classifications {
                    floats.extend_from_slice(&numbers(values, classification)?);
                }
                (shape, OutputData::Floats(floats))
            }
            Some(k) => {
                let mut lines = Vec::with_capacity(count * k);
                for classification in classifications {
                    lines.extend(ranked(&numbers(values, classification)?, k, labels));
                }
                (vec![k], OutputData::Lines(lines))
            }
        };
        Ok(OutputTensor {
            name,
            shape: [vec![count], shape].concat(),
            data,
            is_binary,
        })
    }

    /// What its elements are.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        match self.data {
            OutputData::Floats(_) => Datatype::Fp32,
            OutputData::Lines(_) => Datatype::Bytes,
        }
    }

    /// Bytes of its elements.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.data {
            OutputData::Floats(values) => 4 * values.len(),
            OutputData::Lines(lines) => lines.iter().map(|line| 4 + line.len()).sum(),
        }
    }

    /// Writes the elements: little-endian, a length before each line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.size());
        match &self.data {
            OutputData::Floats(values) => values.iter().for_each(|v| out.extend(v.to_le_bytes())),
            OutputData::Lines(lines) => {
                for line in lines {
                    let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
                    out.extend(length.to_le_bytes());
                    out.extend(line.as_bytes());
                }
            }
        }
    }
}

/// What is wanted of an image. What may be large is taken from it, and gone once it is in its tensor: no request asks for
/// it twice.
fn numbers(
    values: Values,
    classification: &mut Classification,
) -> Result<Cow<'_, [f32]>, DeskError> {
    let further = &mut classification.further;
    let taken = match values {
        Values::Raw => return Ok(Cow::Borrowed(&classification.output)),
        Values::Probabilities => Some(softmax(&classification.output)),
        Values::Features => further.features.take(),
        Values::FeatureMap => further.feature_map.take(),
    };
    taken.map(Cow::Owned).ok_or(DeskError::Panicked) // the model has it, and it was wished for
}

/// The `k` largest values as `value:index:label`.
fn ranked(values: &[f32], k: usize, labels: &Labels) -> Vec<String> {
    let line = |index: usize| match labels.get(index) {
        Some(label) => format!("{}:{index}:{}", values[index], label.label),
        None => format!("{}:{index}", values[index]),
    };
    top_k(values, k).into_iter().map(line).collect()
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

impl Serialize for OutputTensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut output = serializer.serialize_struct("output", 4)?;
        output.serialize_field("name", &self.name)?;
        output.serialize_field("datatype", self.datatype().name())?;
        output.serialize_field("shape", &self.shape)?;
        if self.is_binary {
            let binary_data_size = self.size();
            output.serialize_field("parameters", &Size { binary_data_size })?;
        } else {
            output.serialize_field("data", &self.data)?;
        }
        output.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::classifier::{Began, Further, Timings};
    use crate::registry::OutputKind;

    fn classification(further: Further) -> Classification {
        let now = Instant::now();
        Classification {
            predictions: Vec::new(),
            kind: OutputKind::Logits,
            image: None,
            output: vec![0.0, 1.0],
            further,
            began: Began {
                submitted: now,
                decode: now,
                queue: now,
                infer: now,
            },
            timings: Timings {
                decode: Duration::ZERO,
                preprocess: Duration::ZERO,
                queue: Duration::ZERO,
                infer: Duration::ZERO,
                postprocess: Duration::ZERO,
                batch_size: 1,
            },
        }
    }

    #[test]
    fn what_an_image_lacks_is_a_fault_and_no_short_tensor() {
        let labels = Labels::numbers(2);
        let whole = Further {
            features: Some(vec![1.0, 2.0, 3.0]),
            feature_map: Some(vec![4.0, 5.0, 6.0]),
            ..Further::default()
        };
        for values in [Values::Features, Values::FeatureMap] {
            let wanted = WantedOutput {
                name: "it".into(),
                values,
                shape: vec![3],
                is_binary: false,
                classes: None,
            };
            let mut images = [classification(whole.clone()), classification(whole.clone())];
            let tensor = OutputTensor::new(wanted.clone(), &mut images, &labels).expect("all");
            assert_eq!((tensor.shape.clone(), tensor.size()), (vec![2, 3], 24));
            let mut images = [
                classification(whole.clone()),
                classification(Further::default()),
            ];
            let fault = OutputTensor::new(wanted, &mut images, &labels).map(|_| ());
            assert!(matches!(fault, Err(DeskError::Panicked)), "{values:?}");
        }
    }
}
