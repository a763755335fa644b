//! What graphs do to pixels before the first layer, as exporters write it and as nobody should.

use super::*;
use crate::engine::proto::{self, float_tensor, int64_row, integer, integers, uint8_scalar};
use tract_onnx::pb::{AttributeProto, NodeProto};

/// A graph whose input is `x`.
#[derive(Default)]
struct Graph(GraphProto);

impl Graph {
    /// A constant of one number, or of one for each channel.
    fn floats(mut self, name: &str, numbers: &[f32]) -> Graph {
        let dims = [numbers.len() as i64, 1, 1];
        let dims = if numbers.len() == 1 { &[][..] } else { &dims };
        self.0.initializer.push(float_tensor(name, dims, numbers));
        self
    }

    fn integers(mut self, name: &str, numbers: &[i64]) -> Graph {
        self.0.initializer.push(int64_row(name, numbers));
        self
    }

    fn dims(mut self, dims: &[i64]) -> Graph {
        self.0.initializer.last_mut().unwrap().dims = dims.to_vec();
        self
    }

    fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> Graph {
        self.0.node.push(NodeProto {
            name: op.to_lowercase(),
            ..proto::node(op, inputs, outputs)
        });
        self
    }

    /// An attribute of the last node.
    fn with(mut self, name: &str, ints: &[i64]) -> Graph {
        let attribute = match ints {
            [i] => integer(name, *i),
            _ => integers(name, ints),
        };
        let last = self.0.node.last_mut().unwrap();
        last.attribute.push(attribute);
        self
    }

    /// What is recognized where the network proper reads a value.
    fn read(self, value: &str) -> (Pixels, Option<String>) {
        let graph = self.node("Conv", &[value, "weights"], &["features"]);
        of(&graph.0, "x")
    }
}

/// What is recognized where the network begins with these operators.
fn pixels(operators: &[(&str, &[f32])]) -> Pixels {
    recognized(operators).0
}

fn recognized(operators: &[(&str, &[f32])]) -> (Pixels, Option<String>) {
    let mut graph = Graph::default();
    let mut value = "x".to_owned();
    for (i, (op, numbers)) in operators.iter().enumerate() {
        let (constant, output) = (format!("k{i}"), format!("v{i}"));
        graph = graph
            .floats(&constant, numbers)
            .node(op, &[&value, &constant], &[&output]);
        value = output;
    }
    graph.read(&value)
}

const CAFFE: [f32; 3] = [103.939, 116.779, 123.68];

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
    assert_eq!(bytes, [const { Pixels::Bytes }; 5]);
    let unit = [
        pixels(&[
            ("Sub", &[0.485, 0.456, 0.406]),
            ("Div", &[0.229, 0.224, 0.225]),
        ]),
        pixels(&[("Mul", &[2.0]), ("Sub", &[1.0])]),
        pixels(&[("Sub", &[0.485, 0.456, 0.406])]),
        pixels(&[("Mul", &[255.0]), ("Sub", &CAFFE)]),
    ];
    assert_eq!(unit, [const { Pixels::Unit }; 4]);
}

#[test]
fn reversed_channels_are_followed_and_their_means_are_of_rgb() {
    let means = |graph: Graph, value: &str| {
        graph
            .floats("means", &CAFFE)
            .node("Sub", &[value, "means"], &["centered"])
            .read("centered")
    };
    let graph = Graph::default;
    let gathered = graph()
        .integers("order", &[2, 1, 0])
        .node("Gather", &["x", "order"], &["bgr"])
        .with("axis", &[1]);
    let sliced = graph()
        .integers("start", &[-1])
        .integers("end", &[i64::MIN])
        .integers("axis", &[1])
        .integers("step", &[-1])
        .node("Slice", &["x", "start", "end", "axis", "step"], &["bgr"]);
    let split = graph()
        .node("Split", &["x"], &["r", "g", "b"])
        .with("axis", &[1])
        .node("Concat", &["b", "g", "r"], &["bgr"])
        .with("axis", &[1]);
    let picked =
        ["r", "g", "b"]
            .iter()
            .zip(0..)
            .fold(graph().integers("one", &[1]), |graph, (name, i)| {
                let (index, flat) = (format!("i{name}"), format!("flat {name}"));
                graph
                    .integers(&index, &[i])
                    .dims(&[])
                    .node("Gather", &["x", &index], &[&flat])
                    .with("axis", &[1])
                    .node("Unsqueeze", &[&flat, "one"], &[name])
            });
    let picked = picked
        .node("Concat", &["b", "g", "r"], &["bgr"])
        .with("axis", &[1]);
    for graph in [gathered, sliced, split, picked] {
        assert_eq!(means(graph, "bgr"), (Pixels::Bytes, None));
    }
    let (pixels, note) = means(graph(), "x");
    assert_eq!(pixels, Pixels::Bytes);
    assert!(note.unwrap().contains("trained on BGR"));
}

#[test]
fn channels_may_be_last_while_they_are_normalized() {
    let (pixels, note) = Graph::default()
        .floats("means", &CAFFE)
        .dims(&[3])
        .integers("order", &[2, 1, 0])
        .node("Transpose", &["x"], &["last"])
        .with("perm", &[0, 2, 3, 1])
        .node("Gather", &["last", "order"], &["bgr"])
        .with("axis", &[-1])
        .node("Sub", &["bgr", "means"], &["centered"])
        .node("Transpose", &["centered"], &["first"])
        .with("perm", &[0, 3, 1, 2])
        .read("first");
    assert_eq!((pixels, note), (Pixels::Bytes, None));
}

#[test]
fn channels_may_be_taken_one_by_one_from_the_last_axis() {
    let graph = Graph::default()
        .integers("one", &[1])
        .node("Transpose", &["x"], &["last"])
        .with("perm", &[0, 2, 3, 1]);
    let channels = [("r", 0, 123.68), ("g", 1, 116.779), ("b", 2, 103.939)];
    let graph = channels.iter().fold(graph, |graph, (name, i, mean)| {
        let [index, of, flat, centered] = ["i", "m", "f", "c"].map(|part| format!("{part}{name}"));
        graph
            .integers(&index, &[*i])
            .dims(&[])
            .floats(&of, &[*mean])
            .node("Gather", &["last", &index], &[&flat])
            .with("axis", &[-1])
            .node("Sub", &[&flat, &of], &[&centered])
            .node("Unsqueeze", &[&centered, "one"], &[name])
    });
    let graph = graph
        .node("Concat", &["b", "g", "r"], &["bgr"])
        .with("axis", &[1]);
    assert_eq!(graph.read("bgr"), (Pixels::Bytes, None));
}

#[test]
fn group_of_several_channels_begins_behind_those_of_the_group_before() {
    let (pixels, note) = Graph::default()
        .integers("order", &[0, 2, 1, 1, 2, 0])
        .floats("w", &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
        .dims(&[3, 2, 1, 1])
        .floats("means", &CAFFE)
        .node("Gather", &["x", "order"], &["six"])
        .with("axis", &[1])
        .node("Conv", &["six", "w"], &["bgr"])
        .with("group", &[3])
        .node("Sub", &["bgr", "means"], &["centered"])
        .read("centered");
    assert_eq!((pixels, note), (Pixels::Bytes, None));
}

#[test]
fn hostile_operators_on_channels_are_not_followed() {
    let endless = Graph::default()
        .floats("step", &[1e-30])
        .dims(&[1])
        .integers("start", &[0])
        .integers("end", &[3])
        .integers("axis", &[1])
        .node("Slice", &["x", "start", "end", "axis", "step"], &["v"]);
    let nothing = Graph::default()
        .node("Split", &["x"], &[])
        .with("axis", &[1]);
    let mut doubled = Graph::default();
    for i in 0..64 {
        let (from, to) = (format!("d{i}"), format!("d{}", i + 1));
        let from = if i == 0 { "x" } else { &*from };
        doubled = doubled
            .node("Concat", &[from, from], &[&to])
            .with("axis", &[1]);
    }
    let gathered = Graph::default()
        .integers("many", &[0; 65])
        .node("Gather", &["x", "many"], &["v"])
        .with("axis", &[1]);
    for graph in [endless, nothing, doubled, gathered] {
        let node = graph.0.node[0].op_type.clone();
        let is_known = matches!(graph.read("v").0, Pixels::Unit | Pixels::Bytes);
        assert!(!is_known, "{node}");
    }
}

#[test]
fn layers_that_normalize_are_known_by_their_numbers() {
    let norm = |mean: [f32; 3], variance: [f32; 3]| {
        Graph::default()
            .floats("ones", &[1.0; 3])
            .floats("zeros", &[0.0; 3])
            .floats("mean", &mean)
            .floats("variance", &variance)
            .node(
                "BatchNormalization",
                &["x", "ones", "zeros", "mean", "variance"],
                &["n"],
            )
            .read("n")
            .0
    };
    assert_eq!(norm([123.7, 116.3, 103.5], [3400.0; 3]), Pixels::Bytes);
    assert_eq!(norm([0.485, 0.456, 0.406], [0.05; 3]), Pixels::Unit);
    assert_eq!(norm([0.0; 3], [1.0; 3]), Pixels::Normalized);
    // By channel, and to other colors.
    let conv = |weights: &[f32], dims: &[i64], group: i64, bias: f32| {
        Graph::default()
            .floats("w", weights)
            .dims(dims)
            .floats("b", &[bias; 3])
            .dims(&[3])
            .node("Conv", &["x", "w", "b"], &["n"])
            .with("group", &[group])
            .read("n")
            .0
    };
    let (scale, bias) = (1.0 / 57.0, -2.0);
    assert_eq!(conv(&[scale; 3], &[3, 1, 1, 1], 3, bias), Pixels::Bytes);
    let mut turned = [0.0; 9];
    for i in [2, 4, 6] {
        turned[i] = scale;
    }
    assert_eq!(conv(&turned, &[3, 3, 1, 1], 1, bias), Pixels::Bytes);
    let wide = [0.3; 24];
    assert_eq!(conv(&wide, &[8, 3, 1, 1], 1, bias), Pixels::Normalized);
}

#[test]
fn what_is_left_as_it_is_tells_the_range() {
    let clip = |least: f32, most: f32| {
        let graph = Graph::default()
            .floats("least", &[least])
            .floats("most", &[most]);
        graph
            .node("Clip", &["x", "least", "most"], &["c"])
            .read("c")
            .0
    };
    assert_eq!(clip(0.0, 255.0), Pixels::Bytes);
    assert_eq!(clip(0.0, 1.0), Pixels::Unit);
    assert_eq!(clip(-3.0, 3.0), Pixels::Normalized);
    let Pixels::Unknown(why) = clip(-1.0, 1.0) else {
        panic!("normalized pixels are cut")
    };
    assert!(why.contains("cut what is not from -1 to 1"), "{why}");
    let cast = Graph::default()
        .node("Cast", &["x"], &["i"])
        .with("to", &[2])
        .node("Cast", &["i"], &["f"])
        .with("to", &[1]);
    assert_eq!(cast.read("f").0, Pixels::Bytes);
    let quantize = |scale: f32, zero: u8| {
        let mut graph = Graph::default().floats("scale", &[scale]);
        graph.0.initializer.push(uint8_scalar("zero", zero));
        graph
            .node("QuantizeLinear", &["x", "scale", "zero"], &["q"])
            .node("DequantizeLinear", &["q", "scale", "zero"], &["d"])
            .read("d")
            .0
    };
    assert_eq!(quantize(1.0, 0), Pixels::Bytes);
    assert_eq!(quantize(1.0 / 255.0, 0), Pixels::Unit);
    assert_eq!(quantize(0.0187, 114), Pixels::Normalized);
    assert!(matches!(quantize(1.0 / 127.5, 128), Pixels::Unknown(_)));
}

#[test]
fn clip_may_be_made_of_the_larger_and_the_smaller() {
    let clip = |first: &str, second: &str, least: f32, most: f32| {
        let bound = |op: &str| if op == "Max" { "least" } else { "most" };
        let graph = Graph::default()
            .floats("least", &[least])
            .floats("most", &[most])
            .floats("k", &[1.0 / most])
            .node(first, &["x", bound(first)], &["a"])
            .node(second, &[bound(second), "a"], &["b"])
            .node("Mul", &["b", "k"], &["c"]);
        graph.read("c").0
    };
    assert_eq!(clip("Max", "Min", 0.0, 255.0), Pixels::Bytes);
    assert_eq!(clip("Min", "Max", 0.0, 255.0), Pixels::Bytes);
    assert_eq!(clip("Max", "Min", 0.0, 1.0), Pixels::Unit);
    for alone in ["Max", "Min"] {
        let one = pixels(&[(alone, &[0.0])]);
        assert!(matches!(one, Pixels::Unknown(_)), "{alone}: {one:?}");
    }
}

#[test]
fn constant_that_operators_make_of_another_is_followed() {
    let made = |operators: &[&str], constant: &[f32], then: &str| {
        let graph = Graph::default()
            .floats("k0", constant)
            .integers("shape", &[1, 3, 8, 8]);
        let (graph, last) = operators
            .iter()
            .fold((graph, "k0".to_owned()), |(graph, last), op| {
                let next = format!("{last} {op}");
                let graph = match *op {
                    "Expand" => graph.node(op, &[&last, "shape"], &[&next]),
                    "Cast" => graph.node(op, &[&last], &[&next]).with("to", &[1]),
                    _ => graph.node(op, &[&last], &[&next]),
                };
                (graph, next)
            });
        graph.node(then, &["x", &last], &["y"]).read("y").0
    };
    let rgb = [123.68, 116.779, 103.939];
    let bytes = [
        made(&["Reciprocal"], &[255.0], "Mul"),
        made(&["Cast"], &[255.0], "Div"),
        made(&["Expand"], &rgb, "Sub"),
        made(&["Neg", "Identity"], &rgb, "Add"),
        made(&["Sqrt"], &[65025.0], "Div"),
    ];
    assert_eq!(bytes, [const { Pixels::Bytes }; 5]);
    // Nobody writes as many, and each is looked at again.
    assert!(matches!(made(&["Neg"; 6], &rgb, "Sub"), Pixels::Unknown(_)));
}

#[test]
fn mean_of_every_pixel_counts_as_that_of_its_channel() {
    let image: Vec<f32> = CAFFE
        .iter()
        .flat_map(|m| [m - 2.0, m + 2.0, *m, *m])
        .collect();
    let mean = Graph::default().floats("mean", &image).dims(&[1, 3, 2, 2]);
    let (pixels, note) = mean.node("Sub", &["x", "mean"], &["c"]).read("c");
    assert_eq!(pixels, Pixels::Bytes);
    assert!(note.is_some());
}

#[test]
fn colors_changed_otherwise_are_asked_for() {
    let unknown = |pixels: Pixels, words: &str| match pixels {
        Pixels::Unknown(why) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}, expected {words}"),
    };
    unknown(
        pixels(&[("Pow", &[2.2])]),
        "node \"pow\" (Pow) changes pixels",
    );
    unknown(pixels(&[("Mul", &[0.0])]), "multiply pixels by 0 and add 0");
    unknown(pixels(&[("Div", &[0.0])]), "multiply pixels by");
    unknown(pixels(&[("Div", &[2.0])]), "multiply pixels by 0.5");
    unknown(pixels(&[("Sub", &[1.0])]), "add -1,");
    unknown(pixels(&[("Sub", &[f32::NAN])]), "add NaN");
    unknown(pixels(&[("Sub", &[1000.0])]), "add -1000");
    let own_mean =
        Graph::default()
            .node("ReduceMean", &["x"], &["m"])
            .node("Sub", &["x", "m"], &["c"]);
    unknown(own_mean.read("c").0, "(ReduceMean)");
    let chosen = Graph::default()
        .floats("k", &[127.0])
        .floats("zero", &[0.0])
        .node("Greater", &["x", "k"], &["bright"])
        .node("Where", &["bright", "x", "zero"], &["w"]);
    unknown(chosen.read("w").0, "(Greater) changes pixels");
    let both = Graph::default()
        .floats("k", &[1.0 / 255.0])
        .node("Mul", &["x", "k"], &["s"])
        .node("Conv", &["x", "w"], &["c"]);
    unknown(both.read("s").0, "take pixels in several ways");
}

#[test]
fn graph_inside_of_a_node_that_reads_pixels_takes_them_as_they_come() {
    let mut graph = Graph::default()
        .floats("k", &[1.0 / 255.0])
        .node("Mul", &["x", "k"], &["y"])
        .node("If", &["c"], &["z"]);
    let pixels = |graph: &Graph| Graph(graph.0.clone()).read("y").0;
    assert_eq!(pixels(&graph), Pixels::Bytes);
    graph.0.node[1].attribute.push(AttributeProto {
        g: Some(Graph::default().node("Relu", &["x"], &["r"]).0),
        ..AttributeProto::default()
    });
    assert!(matches!(pixels(&graph), Pixels::Unknown(_)));
}

#[test]
fn means_from_blue_to_red_are_worth_a_word() {
    let (_, note) = recognized(&[("Add", &CAFFE.map(|m| -m))]);
    assert!(note.is_some());
    let rgb = [123.68, 116.779, 103.939];
    for none in [&rgb[..], &[127.5], &[116.0, 117.0, 118.0]] {
        assert_eq!(recognized(&[("Sub", none)]).1, None);
    }
}

#[test]
fn anything_else_takes_normalized_pixels() {
    let parts = Graph::default()
        .integers("one", &[1])
        .node("Split", &["x", "one"], &["a", "b", "c"])
        .node("Shape", &["x"], &["shape"]);
    let others = [
        pixels(&[]),
        pixels(&[("Conv", &[0.3])]),
        pixels(&[("Mul", &[1.02, 0.98, 1.0]), ("Add", &[0.1])]),
        pixels(&[
            ("Mul", &[0.458, 0.448, 0.45]),
            ("Add", &[-0.03, -0.088, -0.188]),
        ]), // Inception's own input
        parts.read("a").0,
    ];
    assert_eq!(others, [const { Pixels::Normalized }; 5]);
}
