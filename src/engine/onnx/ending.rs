//! How a network ends: which function makes the numbers of an output, and what they so can be.
//!
//! Called by `onnx` on the graph as it is handed to the importer. Looks at operators and constants only; what the numbers
//! of an output really are, its values for probe images say.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::quantized::constants;
use super::tensors;

/// What makes the numbers of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A sum of products, as a fully connected layer: any numbers.
    Linear,
    /// The logarithm of a softmax.
    LogSoftmax,
    /// A softmax, whatever scales or rounds it.
    Softmax,
    /// A sigmoid, or another function from 0 to 1 of each number alone.
    Sigmoid,
    /// The largest numbers in their order, which is not that of the classes.
    Sorted,
    /// Something else.
    Other,
}

/// The ending of each output, by name.
pub(super) fn endings(graph: &GraphProto) -> HashMap<String, Ending> {
    let makers = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |o| (o.as_str(), node)))
        .collect();
    let mut walk = Walk {
        makers,
        constants: constants(graph),
        known: HashMap::new(),
    };
    let outputs = graph.output.iter().map(|o| o.name.as_str());
    outputs
        .map(|name| (name.to_owned(), walk.ending(name, MAX_STEPS)))
        .collect()
}

/// Most operators looked at behind one another, from an output on.
const MAX_STEPS: usize = 24;

struct Walk<'g> {
    makers: HashMap<&'g str, &'g NodeProto>,
    constants: HashMap<&'g str, &'g TensorProto>,
    /// Of values with the steps left there: many ways may lead to one.
    known: HashMap<(&'g str, usize), Ending>,
}

impl<'g> Walk<'g> {
    fn ending(&mut self, value: &'g str, steps: usize) -> Ending {
        let (Some(node), Some(left)) = (self.makers.get(value).copied(), steps.checked_sub(1))
        else {
            return Ending::Other;
        };
        if let Some(known) = self.known.get(&(value, steps)) {
            return *known;
        }
        let ending = self.of_node(node, left);
        self.known.insert((value, steps), ending);
        ending
    }

    fn of_node(&mut self, node: &'g NodeProto, steps: usize) -> Ending {
        let first = || node.input.first().map(String::as_str).unwrap_or_default();
        match node.op_type.as_str() {
            "Softmax" | "Hardmax" => Ending::Softmax,
            "LogSoftmax" => Ending::LogSoftmax,
            "Sigmoid" | "HardSigmoid" => Ending::Sigmoid,
            "TopK" => Ending::Sorted,
            "Gemm" | "MatMul" | "Conv" | "Einsum" | "BatchNormalization" => Ending::Linear,
            // The same numbers, or some of them, or the same but for rounding.
            "Cast" | "DequantizeLinear" | "Dropout" | "Flatten" | "Gather" | "Identity"
            | "QuantizeLinear" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Transpose"
            | "Unsqueeze" => self.ending(first(), steps),
            // Means and largest of the same, and functions that are not bounded.
            "AveragePool" | "Elu" | "GlobalAveragePool" | "GlobalMaxPool" | "HardSwish"
            | "LeakyRelu" | "MaxPool" | "PRelu" | "ReduceMax" | "ReduceMean" | "Relu"
            | "Softplus" => self.ending(first(), steps),
            "Clip" => self.clip(node, steps),
            "Div" if self.is_share(node) => Ending::Softmax,
            "Div" | "Reciprocal" if self.is_logistic(node) => Ending::Sigmoid,
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Mean" | "Max" | "Min" | "Concat" => {
                self.joined(node, steps)
            }
            _ => Ending::Other,
        }
    }

    /// What several values make together: numbers from 0 to 1 stay such but for a factor, and numbers of any size any.
    fn joined(&mut self, node: &'g NodeProto, steps: usize) -> Ending {
        let mut endings = HashSet::new();
        for input in &node.input {
            if self.is_computed(input) {
                endings.insert(self.ending(input, steps));
            }
        }
        let mut endings = endings.into_iter();
        let scales = matches!(&*node.op_type, "Mul" | "Div");
        match (endings.next(), endings.next()) {
            // The product of two values is neither.
            (Some(ending), None) if !scales || self.computed(node) == 1 => ending,
            (Some(Ending::Softmax), Some(Ending::Sigmoid))
            | (Some(Ending::Sigmoid), Some(Ending::Softmax))
                if endings.next().is_none() =>
            {
                Ending::Sigmoid
            }
            _ => Ending::Other,
        }
    }

    /// Whether a division is by the sum of what is divided, as a softmax in parts ends.
    fn is_share(&self, node: &NodeProto) -> bool {
        let [value, sum] = &node.input[..] else {
            return false;
        };
        let maker = self.makers.get(sum.as_str());
        maker.is_some_and(|m| m.op_type == "ReduceSum" && m.input.first() == Some(value))
    }

    /// Whether a node computes `1 / (1 + exp(…))`.
    fn is_logistic(&self, node: &NodeProto) -> bool {
        let computed = |node: &NodeProto| {
            let mut computed = node.input.iter().filter(|i| self.is_computed(i));
            match (computed.next(), computed.next()) {
                (Some(one), None) => self.makers.get(one.as_str()).copied(),
                _ => None,
            }
        };
        let divides = node.input.last().is_some_and(|last| self.is_computed(last));
        let sum = computed(node).filter(|sum| divides && sum.op_type == "Add");
        sum.and_then(computed)
            .is_some_and(|power| power.op_type == "Exp")
    }

    /// A clip to an interval from 0 up is a hard sigmoid; any other changes little of what it clips.
    fn clip(&mut self, node: &'g NodeProto, steps: usize) -> Ending {
        let attribute = |name: &str| -> Option<f32> {
            let find = |a: &&AttributeProto| a.name == name;
            node.attribute.iter().find(find).map(|a| a.f)
        };
        let input = |i: usize| -> Option<f32> {
            let tensor = self.constants.get(node.input.get(i)?.as_str())?;
            tensors::floats(tensor)?.first().copied()
        };
        let low = input(1).or_else(|| attribute("min"));
        let high = input(2).or_else(|| attribute("max"));
        let first = node.input.first().map(String::as_str).unwrap_or_default();
        match (self.ending(first, steps), low, high) {
            (Ending::Linear, Some(low), Some(high)) if low >= 0.0 && high.is_finite() => {
                Ending::Sigmoid
            }
            (ending, ..) => ending,
        }
    }

    fn is_computed(&self, value: &str) -> bool {
        !value.is_empty() && !self.constants.contains_key(value)
    }

    fn computed(&self, node: &NodeProto) -> usize {
        node.input.iter().filter(|i| self.is_computed(i)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{AttributeProto, ValueInfoProto};

    /// The ending of `y` in a graph of `output = operator(inputs)`, with `k` constant.
    fn ending(nodes: &[(&str, &[&str], &str)]) -> Ending {
        let node = |(op, inputs, output): &(&str, &[&str], &str)| NodeProto {
            op_type: (*op).into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![(*output).into()],
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: nodes.iter().map(node).collect(),
            initializer: vec![TensorProto {
                name: "k".into(),
                ..TensorProto::default()
            }],
            output: vec![ValueInfoProto {
                name: "y".into(),
                ..ValueInfoProto::default()
            }],
            ..GraphProto::default()
        };
        endings(&graph)["y"]
    }

    #[test]
    fn function_is_found_behind_what_moves_rounds_and_scales() {
        let of = |op: &str| {
            let first = (op, &["x"][..], "a");
            [
                ending(&[(op, &["x"], "y")]),
                ending(&[first, ("Reshape", &["a", "k"], "b"), ("Cast", &["b"], "y")]),
                ending(&[
                    first,
                    ("QuantizeLinear", &["a", "k", "k"], "b"),
                    ("DequantizeLinear", &["b", "k", "k"], "y"),
                ]),
                ending(&[
                    first,
                    ("Mul", &["a", "k"], "b"),
                    ("Slice", &["b", "k"], "y"),
                ]),
                ending(&[
                    first,
                    ("Sub", &["k", "a"], "b"),
                    ("Concat", &["a", "b"], "y"),
                ]),
            ]
        };
        assert_eq!(of("Softmax"), [Ending::Softmax; 5]);
        assert_eq!(of("LogSoftmax"), [Ending::LogSoftmax; 5]);
        assert_eq!(of("Sigmoid"), [Ending::Sigmoid; 5]);
        assert_eq!(of("HardSigmoid"), [Ending::Sigmoid; 5]);
        assert_eq!(of("Gemm"), [Ending::Linear; 5]);
        assert_eq!(of("Erf"), [Ending::Other; 5]);
    }

    #[test]
    fn value_that_many_ways_lead_to_is_looked_at_once() {
        let bomb = |op: &str, copies: usize| {
            let mut graph = GraphProto::default();
            let mut push = |op: &str, inputs: Vec<String>, output: String| {
                graph.node.push(NodeProto {
                    op_type: op.into(),
                    input: inputs,
                    output: vec![output],
                    ..NodeProto::default()
                });
            };
            push("Sigmoid", vec!["x".into()], "0".into());
            let last = MAX_STEPS - 1;
            for i in 0..last {
                push(op, vec![i.to_string(); copies], (i + 1).to_string());
            }
            graph.output.push(ValueInfoProto {
                name: last.to_string(),
                ..ValueInfoProto::default()
            });
            endings(&graph)[&last.to_string()]
        };
        assert_eq!(bomb("Add", 2), Ending::Sigmoid);
        assert_eq!(bomb("Sum", 100), Ending::Sigmoid);
        assert_eq!(bomb("Concat", 100), Ending::Sigmoid);
    }

    #[test]
    fn swish_and_sums_of_different_kinds_are_something_else() {
        let (gemm, sigmoid) = (("Gemm", &["x"][..], "a"), ("Sigmoid", &["a"][..], "b"));
        assert_eq!(
            ending(&[gemm, sigmoid, ("Mul", &["a", "b"], "y")]),
            Ending::Other
        );
        assert_eq!(
            ending(&[gemm, sigmoid, ("Add", &["a", "b"], "y")]),
            Ending::Other
        );
        assert_eq!(ending(&[gemm, ("Mul", &["a", "a"], "y")]), Ending::Other);
        let mean = [
            ("Softmax", &["x"][..], "a"),
            ("Softmax", &["z"], "b"),
            ("Add", &["a", "b"], "c"),
        ];
        assert_eq!(
            ending(&[mean[0], mean[1], mean[2], ("Div", &["c", "k"], "y")]),
            Ending::Softmax
        );
        assert_eq!(
            ending(&[
                gemm,
                ("Relu", &["a"], "b"),
                ("GlobalAveragePool", &["b"], "y")
            ]),
            Ending::Linear
        );
        assert_eq!(ending(&[gemm, ("TopK", &["a", "k"], "y")]), Ending::Sorted);
        assert_eq!(ending(&[]), Ending::Other);
    }

    #[test]
    fn functions_in_parts_are_known_by_their_division() {
        let (exp, sum) = (("Exp", &["x"][..], "a"), ("ReduceSum", &["a"][..], "b"));
        assert_eq!(
            ending(&[exp, sum, ("Div", &["a", "b"], "y")]),
            Ending::Softmax
        );
        assert_eq!(
            ending(&[exp, sum, ("Div", &["b", "a"], "y")]),
            Ending::Other
        );
        let one_more = ("Add", &["a", "k"][..], "b");
        assert_eq!(
            ending(&[exp, one_more, ("Div", &["k", "b"], "y")]),
            Ending::Sigmoid
        );
        assert_eq!(
            ending(&[exp, one_more, ("Reciprocal", &["b"], "y")]),
            Ending::Sigmoid
        );
        assert_eq!(
            ending(&[exp, one_more, ("Div", &["b", "k"], "y")]),
            Ending::Other
        );
    }

    #[test]
    fn clip_from_zero_is_a_hard_sigmoid() {
        let clip = |min: f32, max: f32| {
            let attribute = |(name, f): (&str, f32)| AttributeProto {
                name: name.into(),
                f,
                ..AttributeProto::default()
            };
            let node = |op: &str, input: &str, output: &str| NodeProto {
                op_type: op.into(),
                input: vec![input.into()],
                output: vec![output.into()],
                attribute: [("min", min), ("max", max)].map(attribute).to_vec(),
                ..NodeProto::default()
            };
            let graph = GraphProto {
                node: vec![node("Gemm", "x", "a"), node("Clip", "a", "y")],
                output: vec![ValueInfoProto {
                    name: "y".into(),
                    ..ValueInfoProto::default()
                }],
                ..GraphProto::default()
            };
            endings(&graph)["y"]
        };
        assert_eq!(clip(0.0, 6.0), Ending::Sigmoid);
        assert_eq!(clip(-50.0, 50.0), Ending::Linear);
        assert_eq!(clip(0.0, f32::INFINITY), Ending::Linear);
    }
}
