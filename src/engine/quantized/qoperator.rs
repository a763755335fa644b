//! Operators on bytes said by operators on numbers: `QLinearConv` is `DequantizeLinear` of its operands, `Conv`, and
//! `QuantizeLinear` of its result.
//!
//! So both formats that ONNX Runtime's tools write become one, before anything else looks at the graph.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::LoadError;
use super::super::onnx::{floats, node_name};
use super::super::proto::{float_tensor, integer, linear};
use super::check::constants;

/// Operators that move bytes without looking at them, or choose among them: what they mean stays the same.
const CARRIERS: [&str; 7] = [
    "Flatten",
    "Identity",
    "MaxPool",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// The attributes of a pool.
const POOL: [&str; 6] = [
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "kernel_shape",
    "pads",
    "strides",
];

/// Whether [`rewrite`] replaces an operator of this type by others.
fn is_known(op_type: &str) -> bool {
    matches!(
        op_type,
        "QLinearConv"
            | "QLinearMatMul"
            | "QLinearAdd"
            | "QLinearAveragePool"
            | "QLinearConcat"
            | "QLinearGlobalAveragePool"
            | "QLinearLeakyRelu"
            | "QLinearMul"
            | "QLinearSigmoid"
            | "QLinearSoftmax"
            | "QLinearWhere"
            | "QGemm"
    )
}

/// Replaces the operators on bytes; `version` is that of the operator set.
///
/// # Errors
/// [`LoadError::BadNode`] where one lacks an operand, or its scales are no constants of numbers.
pub(in crate::engine) fn rewrite(graph: &mut GraphProto, version: i64) -> Result<(), LoadError> {
    if !graph.node.iter().any(|n| is_known(&n.op_type)) {
        return Ok(());
    }
    let biases = biases(graph)?;
    let mut rewriter = Rewriter {
        nodes: Vec::with_capacity(3 * graph.node.len()),
        meanings: HashMap::new(),
        biases,
        version,
    };
    for node in std::mem::take(&mut graph.node) {
        let name = node_name(&node);
        rewriter
            .node(node)
            .map_err(|reason| LoadError::BadNode { node: name, reason })?;
    }
    graph.node = rewriter.nodes;
    graph.initializer.extend(rewriter.biases.into_values());
    Ok(())
}

/// The scales of each node's bias, by the node's first output: those of its input times those of its weights.
fn biases(graph: &GraphProto) -> Result<HashMap<String, TensorProto>, LoadError> {
    let constants = constants(graph);
    let mut biases = HashMap::new();
    for node in &graph.node {
        let bias = match &*node.op_type {
            "QLinearConv" => 8,
            "QGemm" => 6,
            _ => continue,
        };
        if node.input.get(bias).is_none_or(String::is_empty) {
            continue;
        }
        let scales = |i: usize| -> Result<Vec<f32>, LoadError> {
            let tensor = node
                .input
                .get(i)
                .and_then(|name| constants.get(name.as_str()));
            tensor
                .and_then(|t| floats(t))
                .ok_or_else(|| LoadError::BadNode {
                    node: node_name(node),
                    reason: format!("input {i} is its scale, expected a constant of float32"),
                })
        };
        let (input, weights) = (scales(1)?, scales(4)?);
        let alpha = node.attribute.iter().find(|a| a.name == "alpha");
        let alpha = alpha
            .filter(|_| node.op_type == "QGemm")
            .map_or(1.0, |a| a.f);
        let input = input.first().copied().unwrap_or(f32::NAN) * alpha;
        let scales: Vec<f32> = weights.iter().map(|w| input * w).collect();
        let output = node.output.first().cloned().unwrap_or_default();
        let count = [scales.len() as i64];
        let dims = if count == [1] { &[][..] } else { &count };
        let tensor = float_tensor(&format!("{output}/bias_scale"), dims, &scales);
        biases.insert(output, tensor);
    }
    Ok(biases)
}

/// What new values of a node are named after: its first output, because names of values are unique and those of nodes
/// need not be.
fn value_name(node: &NodeProto) -> String {
    (node.output.first().cloned()).unwrap_or_else(|| node_name(node))
}

/// The names of a scale and a zero point, which say what bytes mean.
type Meaning = [String; 2];

struct Rewriter {
    nodes: Vec<NodeProto>,
    /// The meanings of values of bytes, by the values' names.
    meanings: HashMap<String, Meaning>,
    biases: HashMap<String, TensorProto>,
    /// The version of the operator set.
    version: i64,
}

impl Rewriter {
    fn node(&mut self, mut node: NodeProto) -> Result<(), String> {
        match &*node.op_type {
            "QuantizeLinear" => {
                if let ([_, scale, zero], [output]) = (&node.input[..], &node.output[..]) {
                    let meaning = [scale.clone(), zero.clone()];
                    self.meanings.insert(output.clone(), meaning);
                }
                self.nodes.push(node);
            }
            "QLinearConv" => self.product(
                node,
                "Conv",
                &[
                    "group",
                    "pads",
                    "strides",
                    "dilations",
                    "kernel_shape",
                    "auto_pad",
                ],
                [6, 8],
            )?,
            "QLinearMatMul" => self.product(node, "MatMul", &[], [6, usize::MAX])?,
            "QGemm" => self.product(node, "Gemm", &["transA", "transB", "alpha"], [7, 6])?,
            op @ ("QLinearAdd" | "QLinearMul") => {
                let op = op.trim_start_matches("QLinear").to_owned();
                let operands = [self.read(&node, 0, None)?, self.read(&node, 3, None)?];
                self.finish(node, &op, &[], operands.to_vec(), 6)?;
            }
            "QLinearConcat" => {
                let operands = (2..node.input.len()).step_by(3);
                let operands = operands.map(|first| self.read(&node, first, None));
                let operands = operands.collect::<Result<_, String>>()?;
                self.finish(node, "Concat", &["axis"], operands, 0)?;
            }
            op @ ("QLinearAveragePool"
            | "QLinearGlobalAveragePool"
            | "QLinearLeakyRelu"
            | "QLinearSigmoid"
            | "QLinearSoftmax") => {
                let (op, attributes) = match op.trim_start_matches("QLinear") {
                    "Softmax" => {
                        self.check_softmax(&node)?;
                        if !node.attribute.iter().any(|a| a.name == "axis") {
                            node.attribute.push(integer("axis", -1)); // ONNX's default is another
                        }
                        ("Softmax", &["axis"][..])
                    }
                    "LeakyRelu" => ("LeakyRelu", &["alpha"][..]),
                    op => (op, &POOL[..]),
                };
                let op = op.to_owned();
                let operand = self.read(&node, 0, None)?;
                self.finish(node, &op, attributes, vec![operand], 3)?;
            }
            "QLinearWhere" => {
                let condition = node.input.first().cloned().unwrap_or_default();
                let operands = [self.read(&node, 1, None)?, self.read(&node, 4, None)?];
                let operands = std::iter::once(condition).chain(operands).collect();
                self.finish(node, "Where", &[], operands, 7)?;
            }
            op if CARRIERS.contains(&op) => self.carrier(node),
            _ => self.nodes.push(node),
        }
        Ok(())
    }

    /// Below operator set 13 a softmax is over its axis and all behind it, since then over its axis alone.
    fn check_softmax(&self, node: &NodeProto) -> Result<(), String> {
        let set = node.attribute.iter().find(|a| a.name == "opset");
        let set = set.map(|a| a.i).ok_or("it does not say its opset")?;
        match (set < 13) == (self.version < 13) {
            true => Ok(()),
            false => Err(format!(
                "its opset is {set}, allowed is one that has the Softmax of the file's, which is {}",
                self.version
            )),
        }
    }

    /// A convolution or product of matrices; its output's scale is operand number `output`, its bias number `bias`.
    fn product(
        &mut self,
        node: NodeProto,
        op_type: &str,
        attributes: &[&str],
        [output, bias]: [usize; 2],
    ) -> Result<(), String> {
        let axis = match op_type {
            "Conv" => 0,
            "Gemm"
                if node
                    .attribute
                    .iter()
                    .any(|a| a.name == "transB" && a.i != 0) =>
            {
                0
            }
            _ => 1,
        };
        let mut operands = vec![self.read(&node, 0, None)?, self.read(&node, 3, Some(axis))?];
        if let Some(name) = node.input.get(bias).filter(|n| !n.is_empty()) {
            let output = node.output.first().ok_or("it has no output")?;
            let scale = self.biases.get(output);
            let scale = scale
                .map(|t| t.name.clone())
                .ok_or("its bias has no scale")?;
            let inputs = vec![name.clone(), scale];
            operands.push(self.dequantize(&node, "bias", inputs, Some(0)));
        }
        self.finish(node, op_type, attributes, operands, output)
    }

    /// The numbers that operand number `first` means, whose scale and zero point follow.
    fn read(
        &mut self,
        node: &NodeProto,
        first: usize,
        axis: Option<i64>,
    ) -> Result<String, String> {
        let inputs: Vec<String> = node.input.iter().skip(first).take(3).cloned().collect();
        if inputs.len() < 3 || inputs[..2].iter().any(String::is_empty) {
            return Err(format!(
                "it has {} operands, operand {first} lacks its scale or zero point",
                node.input.len()
            ));
        }
        Ok(self.dequantize(node, &first.to_string(), inputs, axis))
    }

    fn dequantize(
        &mut self,
        node: &NodeProto,
        operand: &str,
        mut inputs: Vec<String>,
        axis: Option<i64>,
    ) -> String {
        if inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let name = format!("{}/{operand}", value_name(node));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.nodes.push(NodeProto {
            name: name.clone(),
            ..linear("DequantizeLinear", &inputs, &name, axis)
        });
        name
    }

    /// The operator on numbers, and what makes bytes of its result, if operand number `scale` says how.
    fn finish(
        &mut self,
        node: NodeProto,
        op_type: &str,
        attributes: &[&str],
        operands: Vec<String>,
        scale: usize,
    ) -> Result<(), String> {
        let name = node_name(&node);
        let output = node.output.first().cloned().ok_or("it has no output")?;
        let meaning: Vec<String> = node.input.iter().skip(scale).take(2).cloned().collect();
        let is_numbers = meaning.iter().all(String::is_empty);
        if is_numbers && op_type != "Gemm" {
            return Err("its output lacks its scale".into());
        }
        if !is_numbers && (meaning.len() < 2 || meaning[0].is_empty()) {
            return Err("its output lacks its scale or zero point".into());
        }
        let result = match is_numbers {
            true => output.clone(),
            false => format!("{output}/result"),
        };
        let kept = node.attribute.into_iter();
        self.nodes.push(NodeProto {
            input: operands,
            output: vec![result.clone()],
            name: name.clone(),
            op_type: op_type.into(),
            attribute: kept
                .filter(|a| attributes.contains(&a.name.as_str()))
                .collect(),
            ..NodeProto::default()
        });
        if let [scale, zero] = &meaning[..]
            && !is_numbers
        {
            self.quantize(&name, &result, [scale.clone(), zero.clone()], output);
        }
        Ok(())
    }

    fn quantize(&mut self, name: &str, from: &str, [scale, zero]: Meaning, to: String) {
        let inputs = [from, &scale, &zero].into_iter().filter(|n| !n.is_empty());
        let inputs: Vec<&str> = inputs.collect();
        self.nodes.push(NodeProto {
            name: format!("{name}/quantized"),
            ..linear("QuantizeLinear", &inputs, &to, None)
        });
        self.meanings.insert(to, [scale, zero]);
    }

    /// An operator that takes bytes as it would take numbers.
    fn carrier(&mut self, mut node: NodeProto) {
        let meaning = node
            .input
            .first()
            .and_then(|i| self.meanings.get(i))
            .cloned();
        let (Some([scale, zero]), [output]) = (meaning, &node.output[..]) else {
            self.nodes.push(node);
            return;
        };
        let (name, output) = (node_name(&node), output.clone());
        let inputs = vec![node.input[0].clone(), scale.clone(), zero.clone()];
        node.input[0] = self.dequantize(&node, "0", inputs, None);
        let result = format!("{output}/result");
        node.output[0] = result.clone();
        self.nodes.push(node);
        self.quantize(&name, &result, [scale, zero], output);
    }
}
