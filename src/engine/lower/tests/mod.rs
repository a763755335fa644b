//! Lowered networks against tract's own, with the nested loops of `ops::reference` in place of kernels.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod net;
mod networks;

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ToDim;

use self::net::Net;
use super::{Lowering, prepare};
use crate::ops::graph::{Graph, Node, Op};
use crate::ops::{CompileError, Region};

/// The graph typed for any batch, and the symbol of the batch.
fn typed(mut model: InferenceModel, side: usize) -> (TypedModel, Symbol) {
    let n = model.symbols.new_with_prefix("N");
    let shape = tvec!((&n).into(), 3.to_dim(), side.to_dim(), side.to_dim());
    model
        .set_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), shape))
        .unwrap();
    (model.into_typed().unwrap(), n)
}

/// A lowered network, and the graphs of its regions.
struct Outcome {
    model: TypedModel,
    lowering: Lowering,
    graphs: Vec<Graph>,
}

fn lowered(model: TypedModel) -> Outcome {
    let mut graphs = Vec::new();
    let (model, found) = prepare(model).unwrap();
    let lowered = found
        .replace(model, &mut |graph, outputs| {
            graphs.push(graph.clone());
            Ok(Region::reference(graph.clone(), outputs))
        })
        .unwrap();
    Outcome {
        model: lowered.model,
        lowering: lowered.lowering,
        graphs,
    }
}

fn run(model: TypedModel, images: usize, side: usize) -> Vec<f32> {
    let shape = [images, 3, side, side];
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 500.0 - 1.0;
    let data: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    let input = Tensor::from_shape(&shape, &data).unwrap();
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    let output = plan.run(tvec!(input.into())).unwrap();
    output[0]
        .try_as_plain_ram()
        .unwrap()
        .as_slice::<f32>()
        .unwrap()
        .to_vec()
}

/// Lowers a network, and checks that for batches of one and three it answers as tract's does.
fn check(name: &str, model: InferenceModel, side: usize) -> Outcome {
    let (typed, n) = typed(model, side);
    let outcome = lowered(typed.clone());
    for images in [1, 3] {
        let fixed = HashMap::from([(n.clone(), images.to_dim())]);
        let want = run(typed.set_symbols(&fixed).unwrap(), images, side);
        let got = run(outcome.model.clone(), images, side);
        let largest = want.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
        assert!(largest > 1e-3 && largest.is_finite(), "{name}: {largest}");
        assert_eq!(got.len(), want.len(), "{name}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 2e-5 * largest, "{name}: {got} {want}");
        }
    }
    outcome
}

fn left(lowering: &Lowering) -> Vec<(&str, usize)> {
    lowering
        .left
        .iter()
        .map(|(n, c)| (n.as_str(), *c))
        .collect()
}

/// How many of each word: convolutions, affines, sums, pools, and activations, products and joined values together.
fn census(graphs: &[Graph]) -> [usize; 5] {
    let mut count = [0; 5];
    for node in graphs.iter().flat_map(|g| &g.nodes) {
        match node.op {
            Op::Input(_) | Op::Quantize { .. } | Op::Dequantize { .. } => {}
            Op::Conv(_) => count[0] += 1,
            Op::Affine { .. } => count[1] += 1,
            Op::Add { .. } => count[2] += 1,
            Op::MaxPool { .. } | Op::AvgPool { .. } | Op::GlobalAvgPool { .. } => count[3] += 1,
            Op::Activation { .. } | Op::Mul { .. } | Op::Concat { .. } => count[4] += 1,
        }
    }
    count
}

#[test]
fn every_family_is_lowered_to_one_region_and_answers_as_before() {
    for (name, network, census_expected) in networks::families() {
        let outcome = check(name, network.model(), net::SIDE);
        assert_eq!(left(&outcome.lowering), [], "{name}");
        assert_eq!(outcome.graphs.len(), 1, "{name}");
        assert_eq!(census(&outcome.graphs), census_expected, "{name}");
        let steps: usize = census_expected.iter().sum();
        assert_eq!(outcome.lowering.steps, steps, "{name}");
    }
}

#[test]
fn what_has_no_words_stays_between_the_regions() {
    for (name, network, regions, left_expected) in networks::partial() {
        let outcome = check(name, network.model(), net::SIDE);
        assert_eq!(left(&outcome.lowering), left_expected, "{name}");
        assert_eq!(outcome.graphs.len(), regions, "{name}");
    }
}

#[test]
fn refused_region_stays_tracts_and_the_others_are_ours() {
    let (_, network, ..) = networks::partial().remove(0);
    let (typed, n) = typed(network.model(), net::SIDE);
    for refused in 0..2 {
        let (model, found) = prepare(typed.clone()).unwrap();
        let mut number = 0;
        let lowered = found
            .replace(model, &mut |graph, outputs| {
                number += 1;
                if number == refused + 1 {
                    let (node, reason) = ("a".into(), "test".into());
                    return Err(CompileError { node, reason });
                }
                Ok(Region::reference(graph.clone(), outputs))
            })
            .unwrap();
        assert_eq!(number, 2);
        assert!(lowered.lowering.left.len() > 2, "{:?}", lowered.lowering);
        let one = HashMap::from([(n.clone(), 1.to_dim())]);
        let want = run(typed.set_symbols(&one).unwrap(), 1, net::SIDE);
        let got = run(lowered.model, 1, net::SIDE);
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 2e-5, "{refused}: {got} {want}");
        }
    }
}

#[test]
fn refused_node_stays_tracts_with_its_kind_and_those_around_it_are_ours() {
    let mut net = Net::new();
    let x = net.stem();
    let x = net.conv_bn_relu(&x, 8, 8, 3, 1);
    let x = net.conv(&x, 8, 8, 5, [1, 1], 1);
    let x = net.relu(&x);
    let x = net.conv(&x, 8, 8, 5, [1, 1], 1);
    let x = net.conv_bn_relu(&x, 8, 8, 3, 1);
    let x = net.head(&x, 8);
    let (typed, n) = typed(net.finish(&x).model(), net::SIDE);
    let (model, found) = prepare(typed.clone()).unwrap();
    let (mut refusals, mut convolutions) = (0, Vec::new());
    let lowered = found
        .replace(model, &mut |graph, outputs| {
            let is_wide = |n: &Node| matches!(&n.op, Op::Conv(c) if c.window.kernel == [5, 5]);
            if let Some(node) = graph.nodes.iter().find(|n| is_wide(n)) {
                refusals += 1;
                return Err(CompileError {
                    node: node.name.clone(),
                    reason: "it is wide".into(),
                });
            }
            convolutions.push(census(std::slice::from_ref(graph))[0]);
            Ok(Region::reference(graph.clone(), outputs))
        })
        .unwrap();
    // the second of its kind goes with the first; what only stands between them is no region
    assert_eq!((refusals, &convolutions[..]), (1, &[2, 2][..]));
    let lowering = &lowered.lowering;
    let wide = left(lowering).into_iter().find(|(op, _)| *op == "Conv");
    assert_eq!(wide, Some(("Conv", 2)));
    let reasons: Vec<&str> = lowering.refused.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(reasons, ["it is wide"; 2]);
    let one = HashMap::from([(n, 1.to_dim())]);
    let want = run(typed.set_symbols(&one).unwrap(), 1, net::SIDE);
    let got = run(lowered.model, 1, net::SIDE);
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= 2e-5, "{got} {want}");
    }
}

#[test]
fn resnets_from_files_are_lowered_to_one_region() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        (root.join("models/resnet18-tiny.onnx"), 64, [21, 0, 0, 1, 0]),
        (
            root.join("../shared/models/resnet18.onnx"),
            224,
            [21, 0, 0, 2, 0],
        ),
        (
            root.join("../shared/models/resnet50.onnx"),
            224,
            [54, 0, 0, 2, 0],
        ),
    ];
    for (path, side, expected) in files {
        let Ok(bytes) = std::fs::read(&path) else {
            assert!(
                !path.starts_with(root.join("models")),
                "the built-in model is there"
            );
            continue;
        };
        let model = tract_onnx::onnx()
            .with_ignore_value_info(true)
            .model_for_read(&mut &bytes[..])
            .unwrap();
        let outcome = lowered(typed(model, side).0);
        assert_eq!(left(&outcome.lowering), [], "{}", path.display());
        assert_eq!(outcome.graphs.len(), 1, "{}", path.display());
        assert_eq!(census(&outcome.graphs), expected, "{}", path.display());
    }
}

#[test]
fn constants_in_odd_places_are_not_taken_for_channels() {
    // A factor for each column, and one for each image of the batch of one that a constant can stand for.
    for shape in [[1, 1, 1, 4], [1, 1, 4, 1], [1, 6, 4, 4], [1, 1, 1, 1]] {
        let mut net = Net::new();
        let x = net.conv("data", 3, 6, 3, [4, 4], 1);
        let factor = net.weight(&shape, 1.0);
        let x = net.node("Mul", &[&x, &factor], &[]);
        let x = net.head(&x, 6);
        let outcome = check("odd constant", net.finish(&x).model(), net::SIDE);
        let ours = shape == [1, 1, 1, 1];
        assert_eq!(left(&outcome.lowering).is_empty(), ours, "{shape:?}");
    }
}

/// The classes as a linear layer of the mean, with something between or behind.
fn ending(between: Option<&str>, behind: &[&str]) -> InferenceModel {
    let mut net = Net::new();
    let x = net.conv_bn_relu("data", 3, 8, 3, 1);
    let x = net.node("GlobalAveragePool", &[&x], &[]);
    let mut x = net.node("Flatten", &[&x], &[]);
    if let Some(op) = between {
        x = net.node(op, &[&x], &[]);
    }
    let weights = net.weight(&[8, 5], 0.5);
    x = net.node("MatMul", &[&x, &weights], &[]);
    for op in behind {
        let two = net.tensor(&[1], &[-2.0]);
        x = match *op {
            "Mul" => net.node("Mul", &[&x, &two], &[]),
            op => net.node(op, &[&x], &[]),
        };
    }
    net.finish(&x).model()
}

#[test]
fn mean_that_the_linear_layer_reads_is_found_and_no_other() {
    let pooling = |model| {
        let (model, found) = prepare(typed(model, net::SIDE).0).unwrap();
        found.pooling(&model)
    };
    let plain = pooling(ending(None, &[])).expect("it ends so").weights;
    let first = |weights: &crate::ops::Weights| weights.of_output(0, 8).unwrap();
    for (behind, factor) in [
        (&["Softmax"][..], 1.0),
        (&["Mul"], -2.0),
        (&["Mul", "Softmax"], -2.0),
        (&["Sigmoid", "Mul"], 1.0),
    ] {
        let found = pooling(ending(None, behind)).expect("it ends so");
        let expected: Vec<f32> = first(&plain).iter().map(|w| w * factor).collect();
        assert_eq!(first(&found.weights), expected, "{behind:?}");
    }
    for between in ["Softmax", "Sigmoid"] {
        assert!(pooling(ending(Some(between), &[])).is_none(), "{between}");
    }
}
