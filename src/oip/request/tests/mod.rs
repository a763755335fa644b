//! What the reading of a request refuses and takes, on a model of 2×2 pixels and two classes.

use serde_json::{Value, json};

mod messages;
mod tensors;
mod wrong_tensors;

use super::*;
use crate::oip::{InputForm, OutputForm};
use crate::tensor::Size;

const MAX_IMAGES: usize = 4;

fn form() -> ModelForm {
    let output = |name, values, shape: &[usize]| OutputForm {
        name,
        values,
        shape: shape.to_vec(),
    };
    ModelForm {
        input: InputForm {
            name: "data".into(),
            size: Size::square(2),
        },
        outputs: vec![
            output("logits", Values::Raw, &[2]),
            output("probabilities", Values::Probabilities, &[2]),
            output("features", Values::Features, &[5]),
            output("feature_map", Values::FeatureMap, &[5, 3, 1]),
        ],
        own_output: "dense0_fwd".into(),
        classes: 2,
    }
}

/// The work of a body with this JSON and this tail.
fn with_tail(json: &Value, tail: &[u8]) -> Result<Work, String> {
    let json = json.to_string();
    let body = [json.as_bytes(), tail].concat();
    take_apart(body.into(), Some(json.len() as u64), &form(), MAX_IMAGES).map_err(|e| e.to_string())
}

/// The work of a body that is this JSON.
fn of(json: &Value) -> Result<Work, String> {
    let body = json.to_string().into_bytes().into();
    take_apart(body, None, &form(), MAX_IMAGES).map_err(|e| e.to_string())
}

fn input(datatype: &str, shape: &Value, data: &Value) -> Value {
    json!({"inputs": [{"name": "input", "datatype": datatype, "shape": shape, "data": data}]})
}

fn error(work: Result<Work, String>) -> String {
    work.expect_err("it is wrong")
}

/// Twelve values, flat and nested to `[1, 3, 2, 2]`.
fn flat() -> Value {
    json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.5])
}

fn nested() -> Value {
    json!([[[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11.5]]]])
}

fn values() -> Vec<u8> {
    let values = (0..11_u8).map(f32::from).chain([11.5]);
    values.flat_map(f32::to_le_bytes).collect()
}
