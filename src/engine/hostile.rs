//! Graphs of a few bytes that ask for more than any machine has, or for nothing that is: each is refused, with its node.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::{LoadError, ModelSource, Network, OutputWish};
use crate::tensor::Size;

/// An attribute's value.
enum Value {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

type Attributes = Vec<(&'static str, Value)>;

fn ints<const N: usize>(name: &'static str, values: [i64; N]) -> (&'static str, Value) {
    (name, Value::Ints(values.to_vec()))
}

fn int(name: &'static str, value: i64) -> (&'static str, Value) {
    (name, Value::Int(value))
}

fn text(name: &'static str, value: &'static str) -> (&'static str, Value) {
    (name, Value::Text(value))
}

/// A classifier of `[1, 3, 8, 8]` whose value `v` is one operator's.
struct Graph(GraphProto);

impl Graph {
    fn new() -> Graph {
        let graph = Graph(GraphProto {
            input: vec![value("x", &[1, 3, 8, 8])],
            output: vec![value("y", &[])],
            ..GraphProto::default()
        });
        let weights: Vec<f32> = (0..54).map(|i| i as f32 / 54.0 - 0.4).collect();
        graph.floats("w", &[2, 3, 3, 3], &weights)
    }

    fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Graph {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: data.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    fn integers(mut self, name: &str, data: &[i64]) -> Graph {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: vec![data.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: data.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    fn number(mut self, name: &str, number: i64) -> Graph {
        self = self.integers(name, &[number]);
        self.0.initializer.last_mut().unwrap().dims.clear();
        self
    }

    fn node(mut self, op: &str, inputs: &[&str], output: &str, attributes: Attributes) -> Graph {
        let attribute = |(name, value)| {
            let named = AttributeProto {
                name: String::from(name),
                ..AttributeProto::default()
            };
            match value {
                Value::Int(i) => AttributeProto {
                    i,
                    r#type: AttributeType::Int as i32,
                    ..named
                },
                Value::Ints(ints) => AttributeProto {
                    ints,
                    r#type: AttributeType::Ints as i32,
                    ..named
                },
                Value::Float(f) => AttributeProto {
                    f,
                    r#type: AttributeType::Float as i32,
                    ..named
                },
                Value::Text(text) => AttributeProto {
                    s: text.as_bytes().to_vec(),
                    r#type: AttributeType::String as i32,
                    ..named
                },
            }
        };
        self.0.node.push(NodeProto {
            name: format!("the {output}"),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.into()],
            attribute: attributes.into_iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        self
    }

    /// With a head on `v`, encoded.
    fn bytes(self, opset: i64) -> Vec<u8> {
        let graph = self
            .node("GlobalAveragePool", &["v"], "pooled", vec![])
            .node("Flatten", &["pooled"], "y", vec![]);
        let proto = ModelProto {
            ir_version: 8,
            graph: Some(graph.0),
            opset_import: vec![OperatorSetIdProto {
                version: opset,
                ..OperatorSetIdProto::default()
            }],
            ..ModelProto::default()
        };
        prost::Message::encode_to_vec(&proto)
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

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| Dimension {
        value: Some(dimension::Value::DimValue(*size)),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: (!dims.is_empty()).then(|| TensorShapeProto {
            dim: dims.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A classifier whose `v` is this operator of the image.
fn of_image(op: &str, more: &[&str], attributes: Attributes) -> Graph {
    let inputs: Vec<&str> = std::iter::once("x").chain(more.iter().copied()).collect();
    Graph::new().node(op, &inputs, "v", attributes)
}

const FAR: i64 = 1 << 40;

fn windows() -> Vec<(Graph, &'static str)> {
    let conv = |attributes| of_image("Conv", &["w"], attributes);
    let pool = |op, mut attributes: Attributes| {
        if !attributes.iter().any(|(name, _)| *name == "kernel_shape") {
            attributes.push(ints("kernel_shape", [2, 2]));
        }
        of_image(op, &[], attributes)
    };
    let transposed = |attributes| {
        let weights: Vec<f32> = (0..54).map(|i| i as f32 / 54.0).collect();
        Graph::new().floats("t", &[3, 2, 3, 3], &weights).node(
            "ConvTranspose",
            &["x", "t"],
            "v",
            attributes,
        )
    };
    let mut all = vec![
        (
            conv(vec![ints("pads", [1 << 20; 4])]),
            "its pads holds 1048576, allowed are 0 to 65536",
        ),
        (
            conv(vec![ints("pads", [1 << 16; 4])]),
            "its result is [1, 2, 131078, 131078]",
        ),
        (conv(vec![ints("pads", [-1; 4])]), "its pads holds -1"),
        (
            conv(vec![ints("strides", [FAR; 2])]),
            "its strides holds 1099511627776",
        ),
        (conv(vec![ints("strides", [0, 1])]), "its strides holds 0"),
        (conv(vec![ints("strides", [-1, 1])]), "its strides holds -1"),
        (
            conv(vec![ints("dilations", [1 << 62; 2])]),
            "its dilations holds 4611686018427387904",
        ),
        (
            conv(vec![ints("dilations", [0, 0])]),
            "its dilations holds 0",
        ),
        (
            conv(vec![ints("kernel_shape", [FAR; 2])]),
            "its kernel_shape holds 1099511627776",
        ),
        (
            conv(vec![ints("kernel_shape", [60_000; 2])]),
            "its kernel_shape is [60000, 60000]",
        ),
        (conv(vec![ints("kernel_shape", [5, 5])]), ""),
        (
            conv(vec![int("group", FAR)]),
            "its group holds 1099511627776",
        ),
        (conv(vec![int("group", 0)]), "its group holds 0"),
        (conv(vec![int("group", 2)]), ""),
        (conv(vec![ints("strides", [1])]), ""),
        (conv(vec![ints("pads", [1, 1, 1])]), ""),
        (
            transposed(vec![ints("strides", [60_000; 2])]),
            "the v\": its result is",
        ),
        (
            transposed(vec![ints("strides", [FAR; 2])]),
            "its strides holds",
        ),
        (
            transposed(vec![ints("pads", [1 << 20; 4])]),
            "its pads holds",
        ),
        (transposed(vec![ints("pads", [60_000; 4])]), ""),
        (
            transposed(vec![ints("output_padding", [FAR; 2])]),
            "its output_padding holds",
        ),
        (
            transposed(vec![ints("output_shape", [FAR; 2])]),
            "its output_shape is [1099511627776, 1099511627776]",
        ),
        (
            transposed(vec![ints("output_shape", [1, 1])]),
            "its output_shape is [1, 1], served are pads",
        ),
        (
            transposed(vec![ints("dilations", [60_000; 2])]),
            "its result is",
        ),
    ];
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        all.extend([
            (
                pool(op, vec![ints("kernel_shape", [FAR; 2])]),
                "its kernel_shape holds",
            ),
            (
                pool(op, vec![ints("kernel_shape", [0, 0])]),
                "its kernel_shape holds 0",
            ),
            (
                pool(op, vec![ints("kernel_shape", [4096; 2])]),
                "its kernel_shape is [4096, 4096]",
            ),
            (
                pool(op, vec![ints("strides", [1 << 62; 2])]),
                "its strides holds",
            ),
            (
                pool(op, vec![ints("strides", [0; 2])]),
                "its strides holds 0",
            ),
            (
                pool(op, vec![ints("dilations", [1 << 62; 2])]),
                "its dilations holds",
            ),
            (pool(op, vec![ints("pads", [1 << 20; 4])]), "its pads holds"),
            (pool(op, vec![ints("pads", [60_000; 4])]), "its result is"),
            (
                pool(
                    op,
                    vec![ints("pads", [2000; 4]), ints("kernel_shape", [2000, 2000])],
                ),
                "an image takes",
            ),
        ]);
    }
    all
}

fn sizes() -> Vec<(Graph, &'static str)> {
    // An operator of constants, whose result is added to the image.
    let made = |graph: Graph, op: &str, inputs: &[&str], attributes| {
        graph
            .node(op, inputs, "made", attributes)
            .node("Add", &["x", "made"], "v", vec![])
    };
    let shape = |dims: &[i64]| Graph::new().integers("shape", dims);
    let of_shape = |dims: &[i64]| made(shape(dims), "ConstantOfShape", &["shape"], vec![]);
    let numbers = |op: &str, of: &[i64]| {
        Graph::new()
            .integers("k", of)
            .node(op, &["x", "k"], "v", vec![])
    };
    let range = |from: f32, to: f32, by: f32| {
        let graph = Graph::new().floats("from", &[], &[from]);
        let graph = graph.floats("to", &[], &[to]).floats("by", &[], &[by]);
        made(graph, "Range", &["from", "to", "by"], vec![])
    };
    let long = Graph::new()
        .number("from", 0)
        .number("to", FAR)
        .number("by", 1);
    let stuck = Graph::new()
        .number("from", 0)
        .number("to", 8)
        .number("by", 0);
    let scaled = |scales: [f32; 4], mode| {
        let graph = Graph::new().floats("s", &[4], &scales);
        graph.node("Resize", &["x", "", "s"], "v", vec![text("mode", mode)])
    };
    let mut all = vec![
        (
            of_shape(&[FAR]),
            "\"the made\": its input holds 1099511627776",
        ),
        (
            of_shape(&[1 << 20, 1 << 20, 1 << 20, 1 << 20]),
            "its result is",
        ),
        (of_shape(&[i64::MAX, i64::MAX]), ""),
        (of_shape(&[-1]), ""),
        (
            numbers("Tile", &[1, 1, 1 << 20, 1 << 20]),
            "\"the v\": its result is",
        ),
        (numbers("Tile", &[1, 1, i64::MAX, i64::MAX]), ""),
        (numbers("Tile", &[1, 1, -1, 1]), ""),
        (numbers("Expand", &[FAR, 3, 8, 8]), "its input holds"),
        (numbers("Expand", &[1, 3, 8, -8]), ""),
        (numbers("Pad", &[0, 0, 0, 0, 0, 0, FAR, FAR]), ""),
        (numbers("Pad", &[0, 0, 1 << 62, 0, 0, 0, 1 << 62, 0]), ""),
        (numbers("Reshape", &[1, 3, 64, FAR]), ""),
        (numbers("Reshape", &[1, -1, -1, 8]), ""),
        (numbers("Unsqueeze", &[FAR]), ""),
        (numbers("Squeeze", &[FAR]), "its axes holds"),
        (numbers("ReduceMean", &[FAR]), "its axes holds"),
        (
            numbers("Pad", &[0, 0, i64::MIN, 0, 0, 0, 0, 0]),
            "its pads holds -9223372036854775808",
        ),
        (numbers("Pad", &[0, 0, -1]), "the v\": it has 3 pads"),
        (
            numbers("Pad", &[0, 0, -8, 0, 0, 0, 0, 0]),
            "its result is [1, 3, 0, 8]",
        ),
        (numbers("TopK", &[FAR]), ""),
        (numbers("Gather", &[FAR]), ""),
        (range(0.0, 1e30, 1.0), ""),
        (range(0.0, 1e9, 1e-9), ""),
        (range(0.0, f32::NAN, 1.0), ""),
        (
            made(long, "Range", &["from", "to", "by"], vec![]),
            "its input holds 1099511627776",
        ),
        (made(stuck, "Range", &["from", "to", "by"], vec![]), ""),
        (scaled([1.0, 1.0, 1e9, 1e9], "nearest"), "its result is"),
        (scaled([1.0, 1.0, f32::INFINITY, 1.0], "linear"), ""),
        (scaled([1.0, 1.0, f32::NAN, 1.0], "linear"), ""),
        (scaled([1.0, 1.0, 0.0, 0.0], "nearest"), "its result is"),
        (scaled([1.0, 1.0, -1.0, -1.0], "nearest"), ""),
        (
            of_image("LayerNormalization", &["w"], vec![int("axis", FAR)]),
            "its axis holds",
        ),
        (
            of_image("ScatterElements", &["x", "x"], vec![int("axis", 1 << 31)]),
            "its axis holds",
        ),
        (
            of_image("OneHot", &["w", "w"], vec![int("axis", 1 << 31)]),
            "its axis holds",
        ),
        (
            of_image("ReduceMax", &[], vec![ints("axes", [FAR, 1])]),
            "its axes holds",
        ),
        (
            of_image("DepthToSpace", &[], vec![int("blocksize", FAR)]),
            "its blocksize holds",
        ),
        (
            of_image("DepthToSpace", &[], vec![int("blocksize", 0)]),
            "its blocksize holds 0",
        ),
        (of_image("SpaceToDepth", &[], vec![int("blocksize", 3)]), ""),
        (
            of_image("LRN", &[], vec![int("size", FAR)]),
            "its size holds",
        ),
        (
            of_image("Flatten", &[], vec![int("axis", FAR)]),
            "its axis holds",
        ),
        (
            of_image("Softmax", &[], vec![int("axis", i64::MIN)]),
            "its axis holds",
        ),
        (
            of_image("Concat", &["x"], vec![int("axis", 1 << 62)]),
            "its axis holds",
        ),
        (
            of_image("Split", &[], vec![int("axis", 1), int("num_outputs", FAR)]),
            "its num_outputs",
        ),
        (
            of_image("Transpose", &[], vec![ints("perm", [FAR, 1, 2, 3])]),
            "",
        ),
        (
            of_image("Transpose", &[], vec![ints("perm", [0, 0, 0, 0])]),
            "",
        ),
        (
            of_image("Celu", &[], vec![("alpha", Value::Float(0.0))]),
            "",
        ),
    ];
    let aligned = Graph::new().floats("s", &[4], &[1.0, 1.0, 1.3, 1.0]).node(
        "Resize",
        &["x", "", "s"],
        "v",
        vec![
            text("mode", "linear"),
            text("coordinate_transformation_mode", "align_corners"),
        ],
    );
    all.push((aligned, "export it with `sizes`"));
    for (axis, words) in [
        (2, "export it with `sizes`"),
        (-2, "export it with `sizes`"),
        (99, ""),
        (-99, ""),
    ] {
        let aligned = Graph::new().floats("s", &[1], &[1.3]).node(
            "Resize",
            &["x", "", "s"],
            "v",
            vec![
                text("mode", "linear"),
                text("coordinate_transformation_mode", "align_corners"),
                ints("axes", [axis]),
            ],
        );
        all.push((aligned, words));
    }
    let packed = |n: i64| {
        let attributes = vec![int("N", n), int("K", 192), int("block_size", 32)];
        let mut graph = Graph::new()
            .floats("b", &[1, 6, 16], &[0.0; 96])
            .node("Flatten", &["x"], "flat", vec![])
            .node("MatMulNBits", &["flat", "b", "w"], "v", attributes);
        graph.0.node[1].domain = "com.microsoft".into();
        graph
    };
    all.push((packed(1 << 31), "its N holds 2147483648"));
    all.push((packed(2), "do not hold"));
    let sizes = Graph::new().integers("to", &[1, 3, FAR, FAR]);
    let resized = sizes.node(
        "Resize",
        &["x", "", "", "to"],
        "v",
        vec![text("mode", "linear")],
    );
    all.push((resized, "its input holds"));
    let one_hot =
        Graph::new()
            .number("index", 3)
            .number("depth", FAR)
            .floats("values", &[2], &[0.0, 1.0]);
    all.push((
        made(one_hot, "OneHot", &["index", "depth", "values"], vec![]),
        "its input holds",
    ));
    let window = Graph::new().number("size", FAR);
    all.push((made(window, "HannWindow", &["size"], vec![]), ""));
    let random = vec![ints("shape", [FAR])];
    all.push((made(Graph::new(), "RandomUniform", &[], random), ""));
    // A weight of more numbers than it holds.
    let hollow = Graph::new().floats("hollow", &[FAR], &[]);
    all.push((hollow.node("Add", &["x", "hollow"], "v", vec![]), "hollow"));
    let negative = Graph::new().floats("hollow", &[-1], &[1.0]);
    all.push((negative.node("Add", &["x", "hollow"], "v", vec![]), ""));
    all
}

/// Small steps to much.
fn many() -> Vec<(Graph, &'static str)> {
    let padded = |count: usize, pads: i64| {
        let mut graph = Graph::new();
        let mut last = "x".to_owned();
        for i in 0..count {
            let output = if i + 1 == count {
                "v".into()
            } else {
                format!("p{i}")
            };
            let more = vec![ints("kernel_shape", [1, 1]), ints("pads", [pads; 4])];
            graph = graph.node("MaxPool", &[&last], &output, more);
            last = output;
        }
        graph
    };
    let doubled = |count: usize| {
        let mut graph = Graph::new();
        let mut last = "x".to_owned();
        for i in 0..count {
            let output = if i + 1 == count {
                "v".into()
            } else {
                format!("d{i}")
            };
            graph = graph.node("Concat", &[&last, &last], &output, vec![int("axis", 1)]);
            last = output;
        }
        graph
    };
    // The larger one alone is as much as is allowed, so that nothing large is made here.
    let constants = Graph::new()
        .integers("few", &[1 << 10])
        .integers("most", &[1 << 28])
        .node("ConstantOfShape", &["few"], "made", vec![])
        .node("ConstantOfShape", &["most"], "more", vec![])
        .node("ReduceMean", &["made"], "mean", vec![])
        .node("ReduceMean", &["more"], "mean of more", vec![])
        .node("Add", &["x", "mean"], "a", vec![])
        .node("Add", &["a", "mean of more"], "v", vec![]);
    let kernel = Graph::new()
        .integers("shape", &[1, 3, 600, 600])
        .node("ConstantOfShape", &["shape"], "kernel", vec![])
        .node("Conv", &["x", "kernel"], "v", vec![ints("pads", [3000; 4])]);
    vec![
        (padded(4, 60_000), "its result is"),
        (doubled(34), "its result is"),
        (
            constants,
            "the more\": it and the operators on constants before it make ",
        ),
        (kernel, ""),
    ]
}

/// A node or a tensor, or that it is a graph and no classifier.
const NAMED: [&str; 3] = ["node \"the ", "tensor \"", "not an image classifier"];

#[test]
fn graph_that_asks_for_too_much_is_refused_with_its_node() {
    let mut wrong = Vec::new();
    for (graph, words) in windows().into_iter().chain(sizes()).chain(many()) {
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
        of_image("AveragePool", &[], vec![ints("kernel_shape", [8, 8])]),
        of_image(
            "Conv",
            &["w"],
            vec![ints("pads", [7; 4]), ints("strides", [16, 16])],
        ),
        of_image("Conv", &["w"], vec![ints("dilations", [3, 3])]),
        of_image(
            "MaxPool",
            &[],
            vec![ints("kernel_shape", [65, 65]), ints("pads", [32; 4])],
        ),
    ] {
        let network = graph.read(18);
        assert!(network.is_ok(), "{:?}", network.err());
    }
}
