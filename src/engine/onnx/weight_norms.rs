//! Weights that a batch normalization standardizes by statistics which the graph computes of them.
//!
//! Called by `onnx` on the decoded file, behind `training`. So PyTorch's dynamo exporter writes the standardized weights
//! of `timm`'s `BiT` networks; the importer takes statistics that are constants only, and folds weights of more than 4 MiB
//! into none.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::names::names;
use super::numbers::Constants;
use super::words::{Words, say_instead};

/// What ONNX adds to a variance where nothing is said.
const EPSILON: f32 = 1e-5;

/// Says each of these normalizations by the arithmetic that defines it; `version` is that of the operator set.
pub(super) fn rewrite(graph: &mut GraphProto, version: i64) {
    let is_norm = |node: &NodeProto| node.op_type == "BatchNormalization" && node.input.len() == 5;
    if !graph.node.iter().any(is_norm) {
        return;
    }
    let mut names = names(graph);
    let constants = Constants::of(graph);
    let makers: HashMap<&str, &NodeProto> = (graph.node.iter())
        .flat_map(|node| node.output.iter().map(move |o| (o.as_str(), node)))
        .collect();
    let (mut said, mut added) = (Vec::new(), Vec::new());
    for (i, node) in graph.node.iter().enumerate().filter(|(_, n)| is_norm(n)) {
        if node.input[1..].iter().all(|name| constants.contains(name)) {
            continue;
        }
        let Some(rank @ 2..) = rank_of_weights(&node.input[0], &makers, &constants) else {
            continue;
        };
        let mut words = Words::of(node, version, &mut names);
        words.normalize(rank);
        added.extend(words.constants);
        said.push((i, words.nodes));
    }
    say_instead(graph, said, added);
}

/// The number of dimensions of a constant in another shape; none of what is no such thing.
fn rank_of_weights(
    name: &str,
    makers: &HashMap<&str, &NodeProto>,
    constants: &Constants<'_>,
) -> Option<usize> {
    let maker = makers.get(name).filter(|node| node.op_type == "Reshape")?;
    let [weights, shape] = &maker.input[..] else {
        return None;
    };
    let shape = constants.get(shape)?;
    constants.contains(weights).then_some(shape.values.len())
}

impl Words<'_> {
    /// `(x - mean) · (scale / √(variance + epsilon)) + bias`, the channels along the second of so many dimensions.
    fn normalize(&mut self, rank: usize) {
        let node = self.node;
        let mut sizes = vec![1; rank];
        sizes[1] = -1;
        let sizes = self.integers(&sizes);
        let epsilon = node.attribute.iter().find(|a| a.name == "epsilon");
        let epsilon = self.floats(&[], &[epsilon.map_or(EPSILON, |a| a.f)]);
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| {
            self.last.clone_from(&node.input[i]);
            self.push("Reshape", &[&sizes], Vec::new());
            self.last.clone()
        });
        self.last = variance;
        self.push("Add", &[&epsilon], Vec::new());
        self.push("Sqrt", &[], Vec::new());
        let deviation = std::mem::replace(&mut self.last, scale);
        self.push("Div", &[&deviation], Vec::new());
        let factor = std::mem::replace(&mut self.last, node.input[0].clone());
        self.push("Sub", &[&mean], Vec::new());
        self.push("Mul", &[&factor], Vec::new());
        self.push("Add", &[&bias], Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::proto::{
        float, float_tensor, float_value, int64_row, integer, integers, model, node,
    };
    use crate::engine::{
        ColorValues, EngineOptions, Model, ModelSource, Network, OutputWish, TractModel,
    };
    use crate::tensor::{Size, Tensor};
    use kernels::nn::Precision;
    use prost::Message;

    const SIDE: usize = 8;
    const INPUTS: usize = 3 * SIDE * SIDE;

    /// A convolution of the whole image, whose weights are standardized as dynamo writes it.
    fn network(weights: &[f32], scale: &[f32], bias: &[f32]) -> Vec<u8> {
        let (classes, side) = (scale.len() as i64, SIDE as i64);
        let mean = |of: &str, keep, output: &str| NodeProto {
            attribute: vec![integers("axes", &[0, 2]), integer("keepdims", keep)],
            ..node("ReduceMean", &[of], &[output])
        };
        let graph = GraphProto {
            name: "standardized weights".into(),
            node: vec![
                node("Reshape", &["w", "row"], &["view"]),
                mean("view", 0, "mean"),
                mean("view", 1, "middle"),
                node("Sub", &["view", "middle"], &["apart"]),
                node("Mul", &["apart", "apart"], &["square"]),
                mean("square", 0, "variance"),
                NodeProto {
                    attribute: vec![float("epsilon", 1e-6)],
                    ..node(
                        "BatchNormalization",
                        &["view", "scale", "bias", "mean", "variance"],
                        &["even"],
                    )
                },
                node("Reshape", &["even", "kernels"], &["standard"]),
                node("Conv", &["x", "standard"], &["conv"]),
                node("Flatten", &["conv"], &["y"]),
            ],
            input: vec![float_value("x", &[1, 3, side, side])],
            output: vec![float_value("y", &[1, classes])],
            initializer: vec![
                float_tensor("w", &[classes, 3, side, side], weights),
                float_tensor("scale", &[classes], scale),
                float_tensor("bias", &[classes], bias),
                int64_row("row", &[1, classes, -1]),
                int64_row("kernels", &[classes, 3, side, side]),
            ],
            ..GraphProto::default()
        };
        model(graph, 13).encode_to_vec()
    }

    #[test]
    fn weights_of_any_size_are_standardized_by_their_own_statistics() {
        for classes in [5, (5 << 20) / 4 / INPUTS] {
            let number = |i: usize, step: usize| (i * step % 101) as f32 / 50.0 - 1.0;
            let weights: Vec<f32> = (0..classes * INPUTS).map(|i| number(i, 37) + 0.3).collect();
            let scale: Vec<f32> = (0..classes).map(|i| number(i, 13)).collect();
            let bias: Vec<f32> = (0..classes).map(|i| number(i, 29) / 10.0).collect();
            let image: Vec<f32> = (0..INPUTS).map(|i| number(i, 53)).collect();
            let source = ModelSource {
                bytes: network(&weights, &scale, &bias).into(),
                dir: None,
                default_size: Size::square(SIDE as u32),
                output: OutputWish::default(),
            };
            let options = EngineOptions {
                precision: Some(Precision::F32),
                ..EngineOptions::default()
            };
            let network = Network::read(source).unwrap();
            let model = TractModel::load(network, &ColorValues::UNIT, &options).unwrap();
            let tensor = Tensor::new(vec![3, SIDE, SIDE], image.clone());
            let answer = model.spawn().unwrap().run(&[tensor.into()]).unwrap();
            assert_eq!(answer[0].len(), classes);
            for (class, got) in answer[0].iter().enumerate() {
                let kernel = &weights[class * INPUTS..][..INPUTS];
                let count = INPUTS as f64;
                let mean = kernel.iter().map(|w| f64::from(*w)).sum::<f64>() / count;
                let apart = |w: &f32| f64::from(*w) - mean;
                let variance = kernel.iter().map(|w| apart(w).powi(2)).sum::<f64>() / count;
                let factor = f64::from(scale[class]) / (variance + 1e-6).sqrt();
                let standard = |w: &f32| apart(w) * factor + f64::from(bias[class]);
                let products = kernel.iter().zip(&image);
                let want: f64 = products.map(|(w, x)| standard(w) * f64::from(*x)).sum();
                assert!(
                    (f64::from(*got) - want).abs() < 1e-3,
                    "{class}: {got} {want}"
                );
            }
        }
    }

    #[test]
    fn statistics_that_are_constants_stay() {
        let mut graph = GraphProto {
            node: vec![
                node("Reshape", &["w", "row"], &["view"]),
                node("BatchNormalization", &["view", "k", "k", "k", "k"], &["y"]),
            ],
            initializer: ["w", "row", "k"]
                .map(|name| float_tensor(name, &[1], &[1.0]))
                .to_vec(),
            ..GraphProto::default()
        };
        let before = graph.clone();
        rewrite(&mut graph, 13);
        assert_eq!(graph, before);
    }
}
