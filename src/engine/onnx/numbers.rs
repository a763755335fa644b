//! Small constants of the decoded file as numbers, whatever type they have and however they are stored.
//!
//! Used by what interprets a graph's operators; weights are left where they are. What a few operators make of a constant,
//! as exporters leave it that fold none, is a constant too.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::quantized::constants;
use super::tensors::is_elsewhere;

/// A constant.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Numbers {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
    /// Whether its type has numbers below zero.
    pub(super) is_signed: bool,
}

/// Most numbers of a constant that is read: an image's mean, `[3, 512, 512]`.
const MAX_NUMBERS: usize = 3 << 18;

/// The constants of a graph by name.
#[derive(Debug)]
pub(super) struct Constants<'g> {
    tensors: HashMap<&'g str, &'g TensorProto>,
    /// What makes one, and how many operators it is behind the last that is none.
    nodes: HashMap<&'g str, (&'g NodeProto, usize)>,
}

/// Most operators that make a constant of another, behind one another.
const MAX_STEPS: usize = 4;

impl<'g> Constants<'g> {
    pub(super) fn of(graph: &'g GraphProto) -> Constants<'g> {
        let mut all = Constants {
            tensors: constants(graph),
            nodes: HashMap::new(),
        };
        for node in &graph.node {
            let steps = match &*node.op_type {
                "Constant" => Some(0),
                "Cast" | "DequantizeLinear" | "Expand" | "Identity" | "Neg" | "Reciprocal"
                | "Sqrt" => all.steps(node).filter(|steps| *steps <= MAX_STEPS),
                _ => None,
            };
            if let (Some(steps), Some(output)) = (steps, node.output.first()) {
                all.nodes.insert(output, (node, steps));
            }
        }
        all
    }

    /// How many operators a node's first input, if a constant, makes behind one another with it.
    fn steps(&self, node: &NodeProto) -> Option<usize> {
        let input = node.input.first()?.as_str();
        match self.nodes.get(input) {
            Some((_, steps)) => Some(steps + 1),
            None => self.tensors.contains_key(input).then_some(1),
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.nodes.contains_key(name)
    }

    /// The sizes of a small constant that the file stores, whatever its type.
    pub(super) fn dims(&self, name: &str) -> Option<Vec<i64>> {
        let dims = &self.tensors.get(name)?.dims;
        let product = |all: usize, size: &i64| all.checked_mul(usize::try_from(*size).ok()?);
        let count = dims.iter().try_fold(1, product)?;
        (count <= MAX_NUMBERS).then(|| dims.clone())
    }

    /// Whether an operator makes the constant of others: most readers want one that is there.
    pub(super) fn is_made(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|(_, steps)| *steps > 0)
    }

    /// The numbers of a constant, if it is a small one.
    pub(super) fn get(&self, name: &str) -> Option<Numbers> {
        if let Some(tensor) = self.tensors.get(name) {
            return of_tensor(tensor);
        }
        let (node, steps) = self.nodes.get(name)?;
        if *steps == 0 {
            return node.attribute.iter().find_map(of_attribute);
        }
        let numbers = self.get(node.input.first()?)?;
        let each = |function: fn(f64) -> f64| Numbers {
            values: numbers.values.iter().map(|v| function(*v)).collect(),
            ..numbers.clone()
        };
        match &*node.op_type {
            "Cast" => {
                let to = one(node, "to").map(|to| to as i32);
                match to.and_then(|to| DataType::try_from(to).ok())? {
                    DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double => {
                        Some(numbers)
                    }
                    _ => Some(each(f64::trunc)),
                }
            }
            "DequantizeLinear" => {
                let single = |input: usize| match node.input.get(input).map(String::as_str) {
                    None | Some("") => Some(None),
                    Some(name) => self.get(name).filter(|n| n.values.len() == 1).map(Some),
                };
                let [scale, zero] = [single(1)??, single(2)?.unwrap_or_default()];
                let zero = zero.values.first().copied().unwrap_or(0.0);
                let values = numbers.values.iter().map(|v| (v - zero) * scale.values[0]);
                Some(Numbers {
                    dims: numbers.dims,
                    values: values.collect(),
                    is_signed: true,
                })
            }
            // Whatever it meets repeats it as far as it must.
            "Expand" | "Identity" => Some(numbers),
            "Neg" => Some(each(|v| -v)),
            "Reciprocal" => Some(each(f64::recip)),
            "Sqrt" => Some(each(f64::sqrt)),
            _ => None,
        }
    }
}

/// The numbers of an attribute.
pub(super) fn numbers_of(node: &NodeProto, name: &str) -> Option<Vec<f64>> {
    let attribute = node.attribute.iter().find(|a| a.name == name)?;
    let floats = attribute.floats.iter().map(|f| f64::from(*f));
    Some(
        attribute
            .ints
            .iter()
            .map(|i| *i as f64)
            .chain(floats)
            .collect(),
    )
}

/// The number of an attribute.
pub(super) fn one(node: &NodeProto, name: &str) -> Option<f64> {
    let attribute = node.attribute.iter().find(|a| a.name == name)?;
    Some(match attribute.f {
        0.0 => attribute.i as f64,
        f => f64::from(f),
    })
}

/// The number or numbers that a node holds in place of a tensor.
fn of_attribute(attribute: &AttributeProto) -> Option<Numbers> {
    let floats = || attribute.floats.iter().map(|f| f64::from(*f));
    let (values, is_one): (Vec<f64>, bool) = match attribute.name.as_str() {
        "value_float" => (vec![attribute.f.into()], true),
        "value_int" => (vec![attribute.i as f64], true),
        "value_floats" => (floats().collect(), false),
        "value_ints" => (attribute.ints.iter().map(|i| *i as f64).collect(), false),
        _ => return None,
    };
    Some(Numbers {
        dims: if is_one {
            Vec::new()
        } else {
            vec![values.len()]
        },
        values,
        is_signed: true,
    })
}

fn of_tensor(tensor: &TensorProto) -> Option<Numbers> {
    let dims = tensor.dims.iter().map(|d| usize::try_from(*d).ok());
    let dims: Vec<usize> = dims.collect::<Option<_>>()?;
    let count = dims.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))?;
    if count > MAX_NUMBERS || is_elsewhere(tensor) {
        return None;
    }
    let raw = &tensor.raw_data;
    let small = || tensor.int32_data.iter().map(|i| f64::from(*i));
    let values: Vec<f64> = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float => match raw.is_empty() {
            true => tensor.float_data.iter().map(|f| f64::from(*f)).collect(),
            false => each(raw, |b| f64::from(f32::from_le_bytes(b))),
        },
        DataType::Int64 => match raw.is_empty() {
            true => tensor.int64_data.iter().map(|i| *i as f64).collect(),
            false => each(raw, |b| i64::from_le_bytes(b) as f64),
        },
        DataType::Int32 => match raw.is_empty() {
            true => small().collect(),
            false => each(raw, |b| f64::from(i32::from_le_bytes(b))),
        },
        DataType::Uint8 => match raw.is_empty() {
            true => small().collect(),
            false => each(raw, |[b]: [u8; 1]| f64::from(b)),
        },
        DataType::Int8 => match raw.is_empty() {
            true => small().collect(),
            false => each(raw, |b| f64::from(i8::from_le_bytes(b))),
        },
        _ => return None,
    };
    (values.len() == count).then_some(Numbers {
        dims,
        values,
        is_signed: tensor.data_type != DataType::Uint8 as i32,
    })
}

fn each<const N: usize>(raw: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    raw.as_chunks::<N>().0.iter().map(|b| number(*b)).collect()
}
