//! Steps that are small each and come to much together.

use super::super::proto::{integer, integers};
use super::Graph;

/// Graphs, and words of the error for each.
pub(super) fn cases() -> Vec<(Graph, &'static str)> {
    let padded = |count: usize, pads: i64| {
        let mut graph = Graph::new();
        let mut last = "x".to_owned();
        for i in 0..count {
            let output = if i + 1 == count {
                "v".into()
            } else {
                format!("p{i}")
            };
            let more = vec![
                integers("kernel_shape", &[1, 1]),
                integers("pads", &[pads; 4]),
            ];
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
            graph = graph.node("Concat", &[&last, &last], &output, vec![integer("axis", 1)]);
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
        .node(
            "Conv",
            &["x", "kernel"],
            "v",
            vec![integers("pads", &[3000; 4])],
        );
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
