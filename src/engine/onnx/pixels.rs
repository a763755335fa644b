//! What numbers a network takes for a pixel, where its first layers tell: networks that normalize images themselves.
//!
//! Called by `onnx` on the decoded file. Only what is plain is recognized; anything else takes normalized pixels.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::quantized::constants;
use super::readers::readers;
use super::tensors;

/// The numbers that stand for a pixel at the network's input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Normalized by mean and deviation.
    #[default]
    Normalized,
    /// From 0 to 1; the network normalizes them.
    Unit,
    /// From 0 to 255; the network normalizes them.
    Bytes,
}

impl Pixels {
    /// The mean and deviation, for a pixel from 0 to 1, that give these numbers; none if the model's own do.
    #[must_use]
    pub fn mean_and_std(self) -> Option<(f32, f32)> {
        match self {
            Pixels::Normalized => None,
            Pixels::Unit => Some((0.0, 1.0)),
            Pixels::Bytes => Some((0.0, 1.0 / 255.0)),
        }
    }
}

/// What is said of a network that subtracts means in the order of blue, green and red.
const OF_BGR: &str = "its first operators subtract means in the order of blue, green and red: it may have been trained on \
    BGR, and it is given RGB";

/// Most operators looked at behind the input.
const MAX_STEPS: usize = 8;

/// What the first operators of a graph make of its input `name` says of the numbers that it takes, and what is to be
/// said of that.
pub(super) fn of(graph: &GraphProto, name: &str) -> (Pixels, Option<String>) {
    let constants = constants(graph);
    // What is computed is `value × scale + shift`, in each channel about the same.
    let (mut value, mut scale, mut shift) = (name, 1.0_f32, 0.0_f32);
    let mut note = None;
    for _ in 0..MAX_STEPS {
        let readers = readers(graph, value);
        let Some([node]) = readers.as_deref() else {
            break;
        };
        let Some([output]) = node.output.first_chunk::<1>() else {
            break;
        };
        if !matches!(
            &*node.op_type,
            "Cast" | "Transpose" | "Identity" | "Squeeze" | "Unsqueeze" | "Resize"
        ) {
            let Some((numbers, first)) = operand(node, value, &constants) else {
                break;
            };
            let number = numbers.iter().sum::<f32>() / numbers.len() as f32;
            if let ("Add" | "Sub", [blue, green, red]) = (&*node.op_type, &numbers[..]) {
                // As large as they are subtracted; those of photos grow from blue to red.
                let (blue, green, red) = (blue.abs(), green.abs(), red.abs());
                let grows = blue < green && green < red && (red - blue) > 0.1 * green;
                note = note.or(grows.then(|| OF_BGR.to_owned()));
            }
            (scale, shift) = match (&*node.op_type, first) {
                ("Mul", _) => (scale * number, shift * number),
                ("Div", false) => (scale / number, shift / number),
                ("Add", _) => (scale, shift + number),
                ("Sub", false) => (scale, shift - number),
                _ => break,
            };
        }
        value = output;
    }
    // A pixel of mean brightness becomes about zero, and a deviation about one.
    let (middle, deviation) = (-shift / scale, 1.0 / scale);
    let near = |low: f32, high: f32| low <= deviation && deviation <= high;
    let pixels = match scale > 0.0 && scale.is_finite() {
        _ if scale == 1.0 && shift.abs() < 30.0 => Pixels::Normalized,
        true if near(30.0, 300.0) && (0.0..=140.0).contains(&middle) => Pixels::Bytes,
        true if scale == 1.0 && (30.0..=140.0).contains(&middle) => Pixels::Bytes,
        true if near(0.15, 0.55) && (0.25..=0.6).contains(&middle) => Pixels::Unit,
        _ => Pixels::Normalized,
    };
    (pixels, note.filter(|_| pixels != Pixels::Normalized))
}

/// The constant that a node combines a value with, and whether it comes first; none if it is none of one number or one
/// for each of three channels.
fn operand(
    node: &NodeProto,
    value: &str,
    constants: &HashMap<&str, &TensorProto>,
) -> Option<(Vec<f32>, bool)> {
    let [a, b] = &node.input[..] else {
        return None;
    };
    let (constant, first) = match (a == value, b == value) {
        (true, false) => (b, false),
        (false, true) => (a, true),
        _ => return None,
    };
    let numbers = tensors::floats(constants.get(constant.as_str())?)?;
    matches!(numbers.len(), 1 | 3).then_some((numbers, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::AttributeProto;

    /// What is recognized where the network begins with these operators.
    fn pixels(operators: &[(&str, &[f32])]) -> Pixels {
        recognized(operators).0
    }

    fn recognized(operators: &[(&str, &[f32])]) -> (Pixels, Option<String>) {
        let mut graph = GraphProto::default();
        let mut value = "x".to_owned();
        for (i, (op, numbers)) in operators.iter().enumerate() {
            let (constant, output) = (format!("k{i}"), format!("v{i}"));
            graph.initializer.push(TensorProto {
                name: constant.clone(),
                data_type: 1,
                dims: vec![numbers.len() as i64],
                float_data: numbers.to_vec(),
                ..TensorProto::default()
            });
            graph.node.push(NodeProto {
                op_type: (*op).into(),
                input: vec![value, constant],
                output: vec![output.clone()],
                ..NodeProto::default()
            });
            value = output;
        }
        of(&graph, "x")
    }

    #[test]
    fn networks_that_normalize_bytes_or_units_are_known() {
        let bytes = [
            pixels(&[
                ("Mul", &[1.0 / 255.0]),
                ("Sub", &[0.485, 0.456, 0.406]),
                ("Div", &[0.229, 0.224, 0.225]),
            ]),
            pixels(&[
                ("Sub", &[123.675, 116.28, 103.53]),
                ("Div", &[58.395, 57.12, 57.375]),
            ]),
            pixels(&[("Div", &[127.5]), ("Sub", &[1.0])]),
            pixels(&[("Mul", &[1.0 / 255.0])]),
            pixels(&[("Add", &[-103.939, -116.779, -123.68])]),
        ];
        assert_eq!(bytes, [Pixels::Bytes; 5]);
        let unit = [
            pixels(&[
                ("Sub", &[0.485, 0.456, 0.406]),
                ("Div", &[0.229, 0.224, 0.225]),
            ]),
            pixels(&[("Mul", &[2.0]), ("Sub", &[1.0])]),
        ];
        assert_eq!(unit, [Pixels::Unit; 2]);
    }

    #[test]
    fn graph_inside_of_a_node_that_reads_pixels_takes_them_as_they_come() {
        let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let mut graph = GraphProto {
            node: vec![node("Mul", &["x", "k"], "y"), node("If", &["c"], "z")],
            initializer: vec![TensorProto {
                name: "k".into(),
                data_type: 1,
                dims: vec![1],
                float_data: vec![1.0 / 255.0],
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        };
        assert_eq!(of(&graph, "x").0, Pixels::Bytes);
        graph.node[1].attribute.push(AttributeProto {
            g: Some(GraphProto {
                node: vec![node("Relu", &["x"], "r")],
                ..GraphProto::default()
            }),
            ..AttributeProto::default()
        });
        assert_eq!(of(&graph, "x").0, Pixels::Normalized);
    }

    #[test]
    fn means_from_blue_to_red_are_worth_a_word() {
        let bgr = [103.939, 116.779, 123.68];
        let (pixels, note) = recognized(&[("Sub", &bgr)]);
        assert_eq!(pixels, Pixels::Bytes);
        assert!(note.unwrap().contains("trained on BGR"));
        let (_, note) = recognized(&[("Add", &bgr.map(|m| -m))]);
        assert!(note.is_some());
        let rgb = [123.68, 116.779, 103.939];
        for none in [&rgb[..], &[127.5], &[116.0, 117.0, 118.0]] {
            assert_eq!(recognized(&[("Sub", none)]).1, None);
        }
    }

    #[test]
    fn anything_else_takes_normalized_pixels() {
        let others = [
            pixels(&[]),
            pixels(&[("Conv", &[0.3])]),
            pixels(&[("Mul", &[1.02, 0.98, 1.0]), ("Add", &[0.1])]),
            pixels(&[
                ("Mul", &[0.458, 0.448, 0.45]),
                ("Add", &[-0.03, -0.088, -0.188]),
            ]), // Inception's own input
            pixels(&[("Mul", &[0.0])]),
            pixels(&[("Div", &[0.0])]),
            pixels(&[("Sub", &[f32::NAN])]),
        ];
        assert_eq!(others, [Pixels::Normalized; 7]);
    }
}
