//! Small networks and the built-in one through the whole of it: what is folded, what becomes bytes, what is refused.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::proto::{self, float_tensor, float_value, integer};
use super::*;
use crate::engine::{
    ColorValues, EngineOptions, Model, ModelSource, OutputWish, TractModel, probes,
};
use crate::tensor::Image;
use kernels::nn::Precision;

const TINY: &[u8] = include_bytes!("../../../models/resnet18-tiny.onnx");

const SIDE: Size = Size {
    height: 64,
    width: 64,
};

fn photos(size: Size) -> Vec<Image> {
    probes::of_any_range(size, &ColorValues::UNIT)
        .take(5)
        .map(|probe| probe.image)
        .collect()
}

fn numbers(image: &Image) -> &[f32] {
    match image {
        Image::Tensor(image) => image.data(),
        Image::Values(_) | Image::Crop(_) => panic!("a tensor"),
    }
}

fn rounded(file: &Quantizable, size: Size) -> Rounded {
    let mut observer = file.observer(size).unwrap();
    for image in photos(size) {
        observer.see(numbers(&image)).unwrap();
    }
    file.rounded(observer.observed(), 2)
}

fn load(onnx: &[u8], size: Size, precision: Option<Precision>) -> TractModel {
    let source = ModelSource {
        bytes: onnx.to_vec().into(),
        dir: None,
        default_size: size,
        output: OutputWish::default(),
    };
    let network = crate::engine::Network::read(source).unwrap();
    let options = EngineOptions {
        precision,
        ..EngineOptions::default()
    };
    TractModel::load(network, &ColorValues::UNIT, &options).unwrap()
}

/// The outputs of both for the photos, and how far they are apart: root mean square over that of the first.
fn distance(before: &TractModel, after: &TractModel, size: Size) -> f64 {
    let images = photos(size);
    let run = |model: &TractModel| -> Vec<f32> {
        let mut engine = model.spawn().unwrap();
        let outputs = images
            .iter()
            .map(|image| engine.run(std::slice::from_ref(image)).unwrap().remove(0));
        outputs.collect::<Vec<_>>().concat()
    };
    let (before, after) = (run(before), run(after));
    let square = |x: f32| f64::from(x).powi(2);
    let apart: f64 = before.iter().zip(&after).map(|(b, a)| square(b - a)).sum();
    (apart / before.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

fn computes_bytes() -> bool {
    let features = EngineOptions::default().features;
    kernels::nn::Arithmetic::new(Precision::Int8, features).is_some()
}

#[test]
fn built_in_network_becomes_bytes_altogether_and_answers_alike() {
    let file = Quantizable::read(TINY.into(), None).unwrap();
    assert_eq!(file.layers().count(), 21);
    let rounded = rounded(&file, SIDE);
    let metadata = [("key".to_owned(), "value".to_owned())];
    let onnx = file.quantized(&rounded, &HashSet::new(), &metadata);
    assert!(crate::engine::metadata_of(&onnx).contains(&metadata[0]));
    let before = load(TINY, SIDE, Some(Precision::F32));
    let after = load(&onnx, SIDE, None);
    if computes_bytes() {
        assert_eq!(after.spec().precision, Precision::Int8);
        assert_eq!(after.spec().lowering.left, [], "nothing is left to tract");
        assert_eq!(after.spec().lowering.refused, []);
    }
    let all = distance(&before, &after, SIDE);
    assert!((1e-4..0.1).contains(&all), "{all}");
    // Without the layers that bytes cost most it is nearer, and without any it is the network.
    let order = file.by_noise(&rounded);
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 21);
    let kept = |count: usize, precision: Option<Precision>| -> f64 {
        let kept = order[..count].iter().copied().collect();
        let onnx = file.quantized(&rounded, &kept, &[]);
        distance(&before, &load(&onnx, SIDE, precision), SIDE)
    };
    // A file without bytes is computed in what is fastest here, where nothing is asked for.
    let (most, none) = (kept(16, None), kept(21, Some(Precision::F32)));
    assert!(most < 0.8 * all, "{most} {all}");
    assert!(none < 1e-5, "{none}");
}

#[test]
fn what_is_quantized_is_not_quantized_again() {
    let file = Quantizable::read(TINY.into(), None).unwrap();
    let onnx = file.quantized(&rounded(&file, SIDE), &HashSet::new(), &[]);
    let error = Quantizable::read(onnx.into(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("it has 8 bits already"), "{error}");
}

const SMALL: Size = Size {
    height: 8,
    width: 8,
};

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: format!("{output}_node"),
        ..proto::node(op, inputs, &[output])
    }
}

/// A convolution with a batch normalization and a `ReLU`, a sum, the mean, and a layer whose weights stand with the
/// inputs first; and a convolution in two groups.
fn small(version: i64) -> ModelProto {
    let spread = |count: usize| -> Vec<f32> {
        let number = |i: usize| ((i * 37 + 11) % 64) as f32 / 32.0 - 1.0;
        (0..count).map(number).collect()
    };
    let positive = |count: usize| {
        spread(count)
            .iter()
            .map(|x| 0.5 + x.abs())
            .collect::<Vec<_>>()
    };
    let mut grouped = node("Conv", &["r", "wg"], "g");
    grouped.attribute.push(integer("group", 2));
    let graph = GraphProto {
        name: "small".into(),
        node: vec![
            node("Conv", &["x", "w"], "c"),
            node(
                "BatchNormalization",
                &["c", "scale", "shift", "mean", "variance"],
                "n",
            ),
            node("Relu", &["n"], "r"),
            grouped,
            node("Add", &["g", "r"], "s"),
            node("GlobalAveragePool", &["s"], "p"),
            node("Flatten", &["p"], "f"),
            node("Gemm", &["f", "wf", "bf"], "y"),
        ],
        initializer: vec![
            float_tensor("w", &[4, 3, 1, 1], &spread(12)),
            float_tensor("scale", &[4], &positive(4)),
            float_tensor("shift", &[4], &spread(4)),
            float_tensor("mean", &[4], &spread(4)),
            float_tensor("variance", &[4], &positive(4)),
            float_tensor("wg", &[4, 2, 1, 1], &spread(8)),
            float_tensor("wf", &[4, 5], &spread(20)),
            float_tensor("bf", &[5], &spread(5)),
        ],
        input: vec![float_value("x", &[1, 3, 8, 8])],
        output: vec![float_value("y", &[1, 5])],
        ..GraphProto::default()
    };
    proto::model(graph, version)
}

#[test]
fn batch_normalization_is_folded_and_groups_become_bytes() {
    for version in [9, 13] {
        let bytes = Bytes::from(small(version).encode_to_vec());
        let file = Quantizable::read(bytes.clone(), None).unwrap();
        let layers = ["c_node", "g_node", "y_node"];
        assert_eq!(file.layers().collect::<Vec<_>>(), layers);
        let nodes = &file.network.graph().node;
        assert!(nodes.iter().all(|n| n.op_type != "BatchNormalization"));
        let rounded = rounded(&file, SMALL);
        let before = load(&bytes, SMALL, Some(Precision::F32));
        // With everything kept, what is left is the folding.
        for (kept, bounds) in [(0..3, 0.0..1e-6), (0..0, 1e-5..0.05)] {
            let onnx = file.quantized(&rounded, &kept.collect(), &[]);
            let apart = distance(&before, &load(&onnx, SMALL, None), SMALL);
            assert!(bounds.contains(&apart), "set {version}: {apart}");
        }
        let proto = ModelProto::decode(&*file.quantized(&rounded, &HashSet::new(), &[])).unwrap();
        assert!(
            proto.opset_import[0].version >= 13,
            "scales by channel need it"
        );
    }
}

#[test]
fn depthwise_layers_and_what_a_clip_bounds_become_bytes() {
    let mut model = small(13);
    let graph = model.graph.as_mut().unwrap();
    graph.node[2] = node("Clip", &["n", "least", "most"], "r");
    graph.initializer.extend([
        float_tensor("least", &[], &[0.0]),
        float_tensor("most", &[], &[0.5]),
    ]);
    graph.node[3].attribute = vec![integer("group", 4), proto::integers("pads", &[1, 1, 1, 1])];
    let weights: Vec<f32> = (0..36)
        .map(|i| ((i * 29) % 37) as f32 / 37.0 - 0.4)
        .collect();
    graph.initializer[5] = float_tensor("wg", &[4, 1, 3, 3], &weights);
    let bytes = Bytes::from(model.encode_to_vec());
    let file = Quantizable::read(bytes.clone(), None).unwrap();
    let layers = ["c_node", "g_node", "y_node"];
    assert_eq!(file.layers().collect::<Vec<_>>(), layers);
    let rounded = rounded(&file, SMALL);
    assert_eq!(file.by_noise(&rounded).len(), layers.len());
    let onnx = file.quantized(&rounded, &HashSet::new(), &[]);
    let (before, after) = (
        load(&bytes, SMALL, Some(Precision::F32)),
        load(&onnx, SMALL, None),
    );
    if computes_bytes() {
        assert_eq!(after.spec().lowering.layers, [("int8", layers.len())]);
    }
    let apart = distance(&before, &after, SMALL);
    assert!((1e-5..0.05).contains(&apart), "{apart}");
}

/// Of a network in several parts, because tract computes what is between them, one may be on numbers altogether.
#[test]
fn layers_on_numbers_are_named_in_whatever_part_they_are() {
    let mut model = small(13);
    let graph = model.graph.as_mut().unwrap();
    graph.node[7] = node("Gemm", &["t", "wf", "bf"], "y");
    graph.node.insert(7, node("Tanh", &["f"], "t"));
    let file = Quantizable::read(model.encode_to_vec().into(), None).unwrap();
    assert_eq!(file.layers().count(), 3);
    let onnx = file.quantized(&rounded(&file, SMALL), &HashSet::from([1, 2]), &[]);
    let model = load(&onnx, SMALL, None);
    if computes_bytes() {
        let spec = model.spec();
        assert!(spec.precision_reason.contains("y_node"), "{spec:?}");
        assert!(spec.lowering.layers.contains(&("f32", 3)), "{spec:?}");
    }
}

#[test]
fn what_cannot_be_quantized_is_refused_with_the_reason() {
    type Change = fn(&mut ModelProto);
    let cases: [(Change, &str); 4] =
        [
            (
                |m| {
                    m.graph.as_mut().unwrap().node.retain(|n| {
                        n.name != "nothing" && n.op_type != "Conv" && n.op_type != "Gemm"
                    })
                },
                "produced by no node",
            ),
            (|m| m.opset_import[0].version = 8, "operator set 8"),
            (
                |m| {
                    let graph = m.graph.as_mut().unwrap();
                    graph.node[2] = node("Elu", &["n"], "r");
                    m.opset_import[0].version = 11;
                },
                "Elu may mean something else",
            ),
            (
                |m| {
                    let graph = m.graph.as_mut().unwrap();
                    graph.initializer[0] = float_tensor("w", &[4, 3, 1, 1], &[f32::NAN; 12]);
                    graph.initializer[5] = float_tensor("wg", &[4, 2, 1, 1], &[f32::NAN; 8]);
                    graph.initializer[7] = float_tensor("bf", &[5], &[f32::NAN; 5]);
                    graph.initializer[6] = float_tensor("wf", &[4, 5], &[f32::NAN; 20]);
                },
                "no convolution and no Gemm",
            ),
        ];
    for (change, reason) in cases {
        let mut model = small(13);
        change(&mut model);
        let error = Quantizable::read(model.encode_to_vec().into(), None).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// What `change` makes of the small network, before and on bytes, and how far they are apart.
fn changed(change: impl Fn(&mut GraphProto)) -> (ModelProto, f64) {
    let mut model = small(13);
    change(model.graph.as_mut().unwrap());
    let bytes = Bytes::from(model.encode_to_vec());
    let file = Quantizable::read(bytes.clone(), None).unwrap();
    let onnx = file.quantized(&rounded(&file, SMALL), &HashSet::new(), &[]);
    let before = load(&bytes, SMALL, Some(Precision::F32));
    let apart = distance(&before, &load(&onnx, SMALL, None), SMALL);
    (ModelProto::decode(&*onnx).unwrap(), apart)
}

#[test]
fn names_that_the_file_has_are_not_given_again() {
    let (written, apart) = changed(|graph| {
        graph.node[7] = node("Gemm", &["m", "wf", "bf"], "y");
        graph.node.insert(7, node("Mul", &["f", "r_scale"], "m"));
        graph
            .initializer
            .push(float_tensor("r_scale", &[1], &[1.5]));
        graph
            .initializer
            .push(float_tensor("c_node_weight_scale", &[1], &[1.5]));
    });
    let graph = written.graph.unwrap();
    let mut names: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    assert!((1e-6..0.05).contains(&apart), "{apart}");
}

#[test]
fn bias_beside_weights_of_next_to_nothing_is_kept() {
    let (_, apart) = changed(|graph| {
        graph.initializer[1] = float_tensor("scale", &[4], &[1e-9, 1.0, 1e-12, 0.0]);
        graph.initializer[2] = float_tensor("shift", &[4], &[0.8, 0.1, 0.5, 0.7]);
    });
    assert!(apart < 0.05, "{apart}");
}

#[test]
fn weights_of_odd_shapes_are_no_layers_and_no_panic() {
    for dims in [&[][..], &[20], &[4, 5, 0]] {
        let mut model = small(13);
        let graph = model.graph.as_mut().unwrap();
        let count = dims.iter().product::<i64>() as usize;
        graph.initializer[6] = float_tensor("wf", dims, &vec![0.5; count]);
        let mut cast = node("Cast", &["bf"], "unread");
        cast.output.clear();
        graph.node.push(cast);
        if let Ok(file) = Quantizable::read(model.encode_to_vec().into(), None) {
            let layers = ["c_node", "g_node"];
            assert_eq!(file.layers().collect::<Vec<_>>(), layers, "{dims:?}");
        }
    }
}

#[test]
fn operators_that_the_reader_says_in_others_are_observed_too() {
    let (_, apart) = changed(|graph| graph.node[2] = node("Celu", &["n"], "r"));
    assert!((1e-6..0.05).contains(&apart), "{apart}");
}
