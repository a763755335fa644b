//! Steps that are small each and come to much together.

use super::super::proto::{integer, integers};
use super::{Attributes, Graph};

/// Graphs, and words of the error for each.
pub(super) fn cases() -> Vec<(Graph, &'static str)> {
    // An operator behind itself; it reads the value before as often as is said.
    let repeated = |count: usize, op: &str, reads: usize, attributes: &Attributes| {
        let mut graph = Graph::new();
        let mut last = "x".to_owned();
        for i in 1..=count {
            let output = if i == count {
                "v".into()
            } else {
                i.to_string()
            };
            graph = graph.node(op, &vec![&*last; reads], &output, attributes.clone());
            last = output;
        }
        graph
    };
    let padding = vec![
        integers("kernel_shape", &[1, 1]),
        integers("pads", &[60_000; 4]),
    ];
    let channels = vec![integer("axis", 1)];
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
        .node(
            "Conv",
            &["x", "kernel"],
            "v",
            vec![integers("pads", &[3000; 4])],
        );
    vec![
        (repeated(4, "MaxPool", 1, &padding), "its result is"),
        (repeated(34, "Concat", 2, &channels), "its result is"),
        (
            constants,
            "the more\": it and the operators on constants before it make ",
        ),
        (kernel, ""),
    ]
}
