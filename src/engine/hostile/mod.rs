//! Graphs of a few bytes that ask for more than any machine has, or for nothing that is: each is refused, with its node.

mod sizes;
mod steps;
mod windows;

use prost::Message;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::proto::{self, float_tensor, float_value, int64_row, integers, value};
use super::{LoadError, ModelSource, Network, OutputWish};
use crate::tensor::Size;

type Attributes = Vec<AttributeProto>;

/// A number beyond every bound.
const FAR: i64 = 1 << 40;

/// A classifier of `[1, 3, 8, 8]` whose value `v` is one operator's.
struct Graph(GraphProto);

impl Graph {
    fn new() -> Graph {
        let graph = Graph(GraphProto {
            input: vec![float_value("x", &[1, 3, 8, 8])],
            output: vec![value("y")],
            ..GraphProto::default()
        });
        let weights: Vec<f32> = (0..54).map(|i| i as f32 / 54.0 - 0.4).collect();
        graph.floats("w", &[2, 3, 3, 3], &weights)
    }

    fn constant(mut self, tensor: TensorProto) -> Graph {
        self.0.initializer.push(tensor);
        self
    }

    fn floats(self, name: &str, dims: &[i64], numbers: &[f32]) -> Graph {
        self.constant(float_tensor(name, dims, numbers))
    }

    fn integers(self, name: &str, numbers: &[i64]) -> Graph {
        self.constant(int64_row(name, numbers))
    }

    fn number(self, name: &str, number: i64) -> Graph {
        self.constant(TensorProto {
            dims: vec![],
            ..int64_row(name, &[number])
        })
    }

    fn node(mut self, op: &str, inputs: &[&str], output: &str, attribute: Attributes) -> Graph {
        self.0.node.push(NodeProto {
            name: format!("the {output}"),
            attribute,
            ..proto::node(op, inputs, &[output])
        });
        self
    }

    /// The graph with a pooling head on `v`, as the bytes of a file.
    fn bytes(self, opset: i64) -> Vec<u8> {
        let graph = self
            .node("GlobalAveragePool", &["v"], "pooled", vec![])
            .node("Flatten", &["pooled"], "y", vec![]);
        proto::model(graph.0, opset).encode_to_vec()
    }

    fn read(self, opset: i64) -> Result<Network, LoadError> {
        Network::read(ModelSource {
            bytes: self.bytes(opset).into(),
            dir: None,
            default_size: Size::square(8),
            output: OutputWish::default(),
        })
    }
}

/// A classifier whose `v` is this operator of the image.
fn of_image(op: &str, more: &[&str], attributes: Attributes) -> Graph {
    let inputs: Vec<&str> = std::iter::once("x").chain(more.iter().copied()).collect();
    Graph::new().node(op, &inputs, "v", attributes)
}

/// A node or a tensor, or that it is a graph and no classifier.
const NAMED: [&str; 3] = ["node \"the ", "tensor \"", "not an image classifier"];

#[test]
fn graph_that_asks_for_too_much_is_refused_with_its_node() {
    let mut wrong = Vec::new();
    let cases = [windows::cases(), sizes::cases(), steps::cases()];
    for (graph, words) in cases.into_iter().flatten() {
        let nodes: Vec<String> = graph.0.node.iter().map(|n| format!("{n:?}")).collect();
        let node = &nodes[0][..nodes[0].len().min(300)];
        match graph.read(18).map(|_| ()).map_err(|e| e.to_string()) {
            Ok(()) => wrong.push(format!("served: {node}")),
            Err(e) if !NAMED.iter().any(|name| e.contains(name)) => {
                wrong.push(format!("{e} without its node: {node}"));
            }
            Err(e) if e.contains(words) && !e.contains('\n') && e.len() < 600 => {}
            Err(e) => wrong.push(format!("{e}, expected {words}: {node}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn windows_as_large_as_pictures_are_served() {
    for graph in [
        of_image("AveragePool", &[], vec![integers("kernel_shape", &[8, 8])]),
        of_image(
            "Conv",
            &["w"],
            vec![integers("pads", &[7; 4]), integers("strides", &[16, 16])],
        ),
        of_image("Conv", &["w"], vec![integers("dilations", &[3, 3])]),
        of_image(
            "MaxPool",
            &[],
            vec![
                integers("kernel_shape", &[65, 65]),
                integers("pads", &[32; 4]),
            ],
        ),
    ] {
        let network = graph.read(18);
        assert!(network.is_ok(), "{:?}", network.err());
    }
}
