//! Operators of ONNX Runtime's own in those of ONNX that its optimizer has put together in them.
//!
//! Called by `synonyms`. What each means is ONNX Runtime's definition, `ContribOperators.md`.

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::super::proto::{float, integer, integers, text};
use super::numbers::{numbers_of, one};
use super::words::Words;

/// How the attributes of the activation begin, where it is part of another operator.
const OF_ACTIVATION: &str = "activation";

impl Words<'_> {
    /// A convolution, a sum and an activation in one.
    pub(super) fn fused_conv(&mut self) -> Result<(), String> {
        let node = self.node;
        let more: Vec<&str> = [self.input(1), self.input(2)]
            .into_iter()
            .flatten()
            .collect();
        self.push("Conv", &more, own_attributes(node));
        if let Some(other) = self.input(3) {
            self.push("Add", &[other], Vec::new());
        }
        let numbers = numbers_of(node, "activation_params").unwrap_or_default();
        let number = |i: usize, default: f32| numbers.get(i).map_or(default, |n| *n as f32);
        match activation(node).as_str() {
            "" => {}
            op @ ("Relu" | "Sigmoid" | "Tanh" | "HardSwish") => self.push(op, &[], Vec::new()),
            "LeakyRelu" => self.push("LeakyRelu", &[], vec![float("alpha", number(0, 0.01))]),
            "HardSigmoid" => {
                let numbers = vec![
                    float("alpha", number(0, 0.2)),
                    float("beta", number(1, 0.5)),
                ];
                self.push("HardSigmoid", &[], numbers);
            }
            "Clip" => {
                let [least, most] = [number(0, f32::MIN), number(1, f32::MAX)];
                let (least, most) = (self.floats(&[], &[least]), self.floats(&[], &[most]));
                self.push("Max", &[&least], Vec::new());
                self.push("Min", &[&most], Vec::new());
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    /// A fully connected layer and an activation, whose attributes have names of their own here.
    pub(super) fn fused_gemm(&mut self) -> Result<(), String> {
        let node = self.node;
        self.copy("Gemm", own_attributes(node));
        let numbers = node.attribute.iter().filter_map(|attribute| {
            let name = attribute.name.strip_prefix("activation_")?;
            Some(AttributeProto {
                name: name.into(),
                ..attribute.clone()
            })
        });
        match activation(node).as_str() {
            "" => {}
            op @ ("HardSwish" | "Relu" | "Sigmoid" | "Softplus" | "Softsign" | "Tanh") => {
                self.push(op, &[], Vec::new())
            }
            op @ ("Elu" | "HardSigmoid" | "LeakyRelu" | "Selu" | "ThresholdedRelu") => {
                self.push(op, &[], numbers.collect())
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    /// A product of matrices, each of which may have its axes turned round before, times a factor.
    pub(super) fn fused_mat_mul(&mut self) {
        let node = self.node;
        let is_set = |name: &str| one(node, name).is_some_and(|flag| flag != 0.0);
        let left = turned(["m", "k"], is_set("transA"), is_set("transBatchA"));
        let right = turned(["k", "n"], is_set("transB"), is_set("transBatchB"));
        match (&*left, &*right) {
            ("...mk", "...kn") => self.copy("MatMul", Vec::new()),
            _ => self.copy(
                "Einsum",
                vec![text("equation", &format!("{left},{right}->...mn"))],
            ),
        }
        let alpha = one(node, "alpha").unwrap_or(1.0) as f32;
        if alpha != 1.0 {
            let alpha = self.floats(&[], &[alpha]);
            self.push("Mul", &[&alpha], Vec::new());
        }
    }

    /// The norm of a sum of two values, and perhaps of a row of numbers; the sum may be read by others too.
    pub(super) fn skip_layer_norm(&mut self) {
        let node = self.node;
        let (norm, beta, bias) = match &*node.op_type {
            "SkipSimplifiedLayerNormalization" => {
                ("SimplifiedLayerNormalization", None, self.input(3))
            }
            _ => ("LayerNormalization", self.input(3), self.input(4)),
        };
        for other in [self.input(1), bias].into_iter().flatten() {
            self.push("Add", &[other], Vec::new());
        }
        if let Some(sum) = node.output.get(3).filter(|name| !name.is_empty()) {
            self.call_last(sum);
        }
        let more: Vec<&str> = [self.input(2), beta].into_iter().flatten().collect();
        let epsilon = one(node, "epsilon").unwrap_or(1e-12) as f32;
        self.push(norm, &more, vec![float("epsilon", epsilon)]);
    }

    /// Queries, keys and values of one value, by one product, and their attention.
    pub(super) fn attention_of_one(&mut self) -> Result<(), String> {
        let node = self.node;
        self.refuse_inputs(&[(3, "mask_index"), (4, "past"), (6, "past_sequence_length")])?;
        if one(node, "do_rotary").is_some_and(|flag| flag != 0.0) {
            return Err("its do_rotary is 1, served is 0".into());
        }
        let weights = self.input(1).ok_or("it has no weights")?;
        self.push("MatMul", &[weights], Vec::new());
        if let Some(bias) = self.input(2) {
            self.push("Add", &[bias], Vec::new());
        }
        let sizes = numbers_of(node, "qkv_hidden_sizes").filter(|sizes| !sizes.is_empty());
        let sizes = sizes.map(|sizes| sizes.iter().map(|size| *size as i64).collect());
        let [keys, values] = self.in_three(-1, sizes);
        self.attention(&keys, &values, self.input(5))
    }

    /// Attention of queries, keys and values of three axes, to each of which a row of numbers may be added before.
    pub(super) fn multi_head_attention(&mut self) -> Result<(), String> {
        self.refuse_inputs(&[
            (4, "key_padding_mask"),
            (6, "past_key"),
            (7, "past_value"),
            (8, "past_sequence_length"),
            (9, "cache_indirection"),
        ])?;
        let packed = "its key or value is missing: export them apart from the query";
        let (keys, values) = (self.input(1).ok_or(packed)?, self.input(2).ok_or(packed)?);
        let (mut keys, mut values) = (keys.to_owned(), values.to_owned());
        if let Some(biases) = self.input(3) {
            let mut of_others = [String::new(), String::new()];
            let of_queries = self.aside(biases, |words| of_others = words.in_three(0, None));
            self.push("Add", &[&of_queries], Vec::new());
            for (value, bias) in [&mut keys, &mut values].into_iter().zip(&of_others) {
                *value = self.aside(&value.clone(), |words| {
                    words.push("Add", &[bias], Vec::new());
                });
            }
        }
        self.attention(&keys, &values, self.input(5))
    }

    /// The value before in three along an axis, of equal parts where no sizes are said: the first is what is read next.
    fn in_three(&mut self, axis: i64, sizes: Option<Vec<i64>>) -> [String; 2] {
        let mut attributes = vec![integer("axis", axis)];
        let mut more = Vec::new();
        match sizes {
            Some(sizes) if self.version < 13 => attributes.push(integers("split", &sizes)),
            Some(sizes) => more.push(self.integers(&sizes)),
            None if self.version < 18 => {}
            None => attributes.push(integer("num_outputs", 3)),
        }
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        self.push("Split", &more, attributes);
        [self.another_output(), self.another_output()]
    }

    /// ONNX's attention of the value before, in heads, with the node's own numbers.
    fn attention(&mut self, keys: &str, values: &str, added: Option<&str>) -> Result<(), String> {
        let node = self.node;
        let number = |name| one(node, name);
        let heads = number("num_heads").ok_or("it has no num_heads")? as i64;
        let causal = number("unidirectional").unwrap_or(0.0) as i64;
        let mut attributes = vec![
            integer("q_num_heads", heads),
            integer("kv_num_heads", heads),
            integer("is_causal", causal),
        ];
        attributes.extend(number("scale").map(|scale| float("scale", scale as f32)));
        let more: Vec<&str> = [keys, values].into_iter().chain(added).collect();
        self.push("Attention", &more, attributes);
        Ok(())
    }

    /// Refuses a node that has one of these inputs.
    fn refuse_inputs(&self, inputs: &[(usize, &str)]) -> Result<(), String> {
        match inputs.iter().find(|(i, _)| self.input(*i).is_some()) {
            Some((_, name)) => Err(format!("its {name} is given, which is not served")),
            None => Ok(()),
        }
    }

    /// `x · sigmoid(alpha · x)`. With a factor of one it is what every exporter writes for `SiLU`, and kernels have that.
    pub(super) fn quick_gelu(&mut self) {
        if one(self.node, "alpha") == Some(1.0) {
            self.swish();
        }
    }

    /// `x · sigmoid(alpha · x)`, with a factor of one if none is said.
    pub(super) fn swish(&mut self) {
        let value = self.last.clone();
        match one(self.node, "alpha") {
            None | Some(1.0) => {}
            Some(alpha) => {
                let alpha = self.floats(&[], &[alpha as f32]);
                self.push("Mul", &[&alpha], Vec::new());
            }
        }
        self.push("Sigmoid", &[], Vec::new());
        self.push("Mul", &[&value], Vec::new());
    }
}

/// The axes of a matrix: `batch` moves the first behind those of the batch, `last` then turns the last two round.
fn turned([row, column]: [&str; 2], last: bool, batch: bool) -> String {
    match (last, batch) {
        (false, false) => format!("...{row}{column}"),
        (true, false) => format!("...{column}{row}"),
        (false, true) => format!("{row}...{column}"),
        (true, true) => format!("{column}...{row}"),
    }
}

/// The activation that is part of an operator; empty if none is.
fn activation(node: &NodeProto) -> String {
    let attribute = node.attribute.iter().find(|a| a.name == OF_ACTIVATION);
    attribute.map_or_else(String::new, |a| String::from_utf8_lossy(&a.s).into_owned())
}

/// An operator's attributes without its activation's.
fn own_attributes(node: &NodeProto) -> Vec<AttributeProto> {
    let own = |a: &&AttributeProto| !a.name.starts_with(OF_ACTIVATION);
    node.attribute.iter().filter(own).cloned().collect()
}

fn unknown(activation: &str) -> String {
    format!("its activation \"{activation}\" is not known here")
}

#[cfg(test)]
mod tests {
    use super::super::synonyms::rewrite;
    use super::*;
    use crate::engine::proto::{integer, node};
    use tract_onnx::pb::GraphProto;

    /// What an operator is said by: name and equation of each, or why not.
    fn said(op: &str, attribute: Vec<AttributeProto>) -> Result<Vec<String>, String> {
        let call = NodeProto {
            domain: "com.microsoft".into(),
            name: "a".into(),
            attribute,
            ..node(op, &["x", "w"], &["y"])
        };
        let mut graph = GraphProto {
            node: vec![call],
            ..GraphProto::default()
        };
        rewrite(&mut graph, 17).map_err(|e| e.to_string())?;
        assert_eq!(graph.node.last().expect("some").output, ["y"]);
        let word = |node: &NodeProto| {
            let equation = node.attribute.iter().find(|a| a.name == "equation");
            let equation = equation.map_or(String::new(), |a| {
                format!(" {}", String::from_utf8_lossy(&a.s))
            });
            node.op_type.clone() + &equation
        };
        Ok(graph.node.iter().map(word).collect())
    }

    #[test]
    fn axes_of_a_product_are_turned_as_they_are_said() {
        let product = |flags: &[&str]| {
            let flags = flags.iter().map(|flag| integer(flag, 1)).collect();
            said("FusedMatMul", flags).expect("said").join(", ")
        };
        assert_eq!(product(&[]), "MatMul");
        for (flags, equation) in [
            (&["transA"][..], "...km,...kn->...mn"),
            (&["transB"], "...mk,...nk->...mn"),
            (&["transA", "transB"], "...km,...nk->...mn"),
            (&["transBatchA"], "m...k,...kn->...mn"),
            (&["transBatchA", "transA"], "k...m,...kn->...mn"),
            (&["transBatchB", "transB"], "...mk,n...k->...mn"),
        ] {
            assert_eq!(product(flags), format!("Einsum {equation}"));
        }
        let scaled = said("FusedMatMul", vec![float("alpha", 0.5)]);
        assert_eq!(scaled.expect("said"), ["MatMul", "Mul"]);
    }

    #[test]
    fn activation_that_is_not_known_is_named() {
        for op in ["FusedConv", "FusedGemm"] {
            let error = said(op, vec![text("activation", "Mish")]).expect_err(op);
            let reason = "node \"a\": its activation \"Mish\" is not known here";
            assert_eq!(error, reason);
            let known = said(op, vec![text("activation", "Relu")]).expect(op);
            assert_eq!(known.last().map(String::as_str), Some("Relu"));
        }
    }
}
