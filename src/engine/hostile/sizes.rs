//! Operators whose result is as large, or lies where, a constant or an attribute says.

use super::super::proto::{float, integer, integers, text};
use super::{FAR, Graph, of_image};

/// Graphs, and words of the error for each.
pub(super) fn cases() -> Vec<(Graph, &'static str)> {
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
            of_image("LayerNormalization", &["w"], vec![integer("axis", FAR)]),
            "its axis holds",
        ),
        (
            of_image(
                "ScatterElements",
                &["x", "x"],
                vec![integer("axis", 1 << 31)],
            ),
            "its axis holds",
        ),
        (
            of_image("OneHot", &["w", "w"], vec![integer("axis", 1 << 31)]),
            "its axis holds",
        ),
        (
            of_image("ReduceMax", &[], vec![integers("axes", &[FAR, 1])]),
            "its axes holds",
        ),
        (
            of_image("DepthToSpace", &[], vec![integer("blocksize", FAR)]),
            "its blocksize holds",
        ),
        (
            of_image("DepthToSpace", &[], vec![integer("blocksize", 0)]),
            "its blocksize holds 0",
        ),
        (
            of_image("SpaceToDepth", &[], vec![integer("blocksize", 3)]),
            "",
        ),
        (
            of_image("LRN", &[], vec![integer("size", FAR)]),
            "its size holds",
        ),
        (
            of_image("Flatten", &[], vec![integer("axis", FAR)]),
            "its axis holds",
        ),
        (
            of_image("Softmax", &[], vec![integer("axis", i64::MIN)]),
            "its axis holds",
        ),
        (
            of_image("Concat", &["x"], vec![integer("axis", 1 << 62)]),
            "its axis holds",
        ),
        (
            of_image(
                "Split",
                &[],
                vec![integer("axis", 1), integer("num_outputs", FAR)],
            ),
            "its num_outputs",
        ),
        (
            of_image("Transpose", &[], vec![integers("perm", &[FAR, 1, 2, 3])]),
            "",
        ),
        (
            of_image("Transpose", &[], vec![integers("perm", &[0, 0, 0, 0])]),
            "",
        ),
        (of_image("Celu", &[], vec![float("alpha", 0.0)]), ""),
    ];
    let aligned = |scales: &[f32], axes: Option<i64>| {
        let mut attributes = vec![
            text("mode", "linear"),
            text("coordinate_transformation_mode", "align_corners"),
        ];
        attributes.extend(axes.map(|axis| integers("axes", &[axis])));
        let graph = Graph::new().floats("s", &[scales.len() as i64], scales);
        graph.node("Resize", &["x", "", "s"], "v", attributes)
    };
    let all_axes = aligned(&[1.0, 1.0, 1.3, 1.0], None);
    all.push((all_axes, "export it with `sizes`"));
    for (axis, words) in [
        (2, "export it with `sizes`"),
        (-2, "export it with `sizes`"),
        (99, ""),
        (-99, ""),
    ] {
        all.push((aligned(&[1.3], Some(axis)), words));
    }
    let packed = |n: i64| {
        let attributes = vec![
            integer("N", n),
            integer("K", 192),
            integer("block_size", 32),
        ];
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
    let random = vec![integers("shape", &[FAR])];
    all.push((made(Graph::new(), "RandomUniform", &[], random), ""));
    // A weight of more numbers than it holds.
    let hollow = Graph::new().floats("hollow", &[FAR], &[]);
    all.push((hollow.node("Add", &["x", "hollow"], "v", vec![]), "hollow"));
    let negative = Graph::new().floats("hollow", &[-1], &[1.0]);
    all.push((negative.node("Add", &["x", "hollow"], "v", vec![]), ""));
    all
}
