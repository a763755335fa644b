//! Networks of which some layers are on bytes and others on numbers, against the nested loops.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::graph::{Conv, Graph, Node, Op, Shape, ValueId, Window};
use super::super::weights::Weights;
use super::super::{CompileError, compile, fuse, oracle};
use super::networks::{Numbers, depthwise, network, push};
use super::run;
use kernels::Features;
use kernels::nn::{Arithmetic, Precision, Quantization};

fn int8(features: Features) -> Option<Arithmetic> {
    Arithmetic::new(Precision::Int8, features)
}

/// A network with bytes between most of its nodes, whose scales fit the values that `image` gives, and weights of bytes in
/// most of its convolutions.
fn mixed(plain: &Graph, n: &mut Numbers, image: &[f32]) -> Graph {
    with_bytes(plain, image, &mut || n.below(4) > 0)
}

/// The same between all of its nodes and in all of its convolutions.
fn all_on_bytes(plain: &Graph, image: &[f32]) -> Graph {
    with_bytes(plain, image, &mut || true)
}

/// A network with bytes wherever `wants` says so.
fn with_bytes(plain: &Graph, image: &[f32], wants: &mut dyn FnMut() -> bool) -> Graph {
    let all = Graph {
        outputs: (0..plain.nodes.len()).map(ValueId).collect(),
        ..plain.clone()
    };
    let values = oracle::evaluate(&all, &[image.to_vec()]);
    let mut graph = Graph::default();
    let mut place: Vec<ValueId> = Vec::new();
    for (node, values) in plain.nodes.iter().zip(values) {
        let mut op = node.op.clone();
        super::super::fuse::for_each_read(&mut op, |read| *read = place[read.0]);
        if let Op::Conv(conv) = &mut op
            && wants()
        {
            let weights = conv.weights.scaled().into_owned();
            let each = weights.len() / conv.outputs;
            let largest = |w: &[f32]| w.iter().fold(1e-3_f32, |m, w| m.max(w.abs()));
            let scales: Vec<f32> = weights.chunks(each).map(|w| largest(w) / 127.0).collect();
            let bytes = weights.iter().enumerate();
            let bytes: Vec<i8> = bytes
                .map(|(i, w)| (w / scales[i / each]).round() as i8)
                .collect();
            conv.weights = Weights::int8(Arc::new(bytes), scales);
        }
        let mut value = push(&mut graph, op, node.shape);
        if wants() {
            value = through_bytes(&mut graph, value, range(&values));
        }
        place.push(value);
    }
    graph.outputs = plain.outputs.iter().map(|v| place[v.0]).collect();
    graph
}

/// The bytes for values, zero among them.
fn range(values: &[f32]) -> Quantization {
    let (least, most) =
        (values.iter()).fold((0.0_f32, 0.1_f32), |(l, m), v| (l.min(*v), m.max(*v)));
    let scale = (most - least) / 255.0;
    Quantization {
        scale,
        zero: (-least / scale).round() as u8,
    }
}

fn through_bytes(graph: &mut Graph, input: ValueId, quantization: Quantization) -> ValueId {
    let shape = graph.nodes[input.0].shape;
    let op = Op::Quantize {
        input,
        quantization,
    };
    let input = push(graph, op, shape);
    let op = Op::Dequantize {
        input,
        quantization,
    };
    push(graph, op, shape)
}

/// The root of the mean square.
fn size(values: impl Iterator<Item = f32>) -> f64 {
    let squares: Vec<f64> = values.map(|v| f64::from(v) * f64::from(v)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Another rounding of a sum makes a byte a step larger or smaller, and layers behind it carry that on: seldom, and
    /// never far.
    #[test]
    fn mixed_programs_compute_what_nested_loops_do(seed in any::<u64>(), fused in any::<bool>()) {
        let Some(best) = int8(Features::detect()) else {
            return Ok(());
        };
        let plain = network(seed);
        let Shape { channels, height, width } = plain.nodes[0].shape;
        let n = &mut Numbers(seed ^ 0x7777 | 1);
        let image = n.values(channels * height * width, 2.0);
        let graph = mixed(&plain, n, &image);
        let expected = oracle::evaluate(&graph, std::slice::from_ref(&image));
        let graph = if fused { fuse(graph) } else { graph };
        let program = match compile(&graph, best, 3, 2, None) {
            Ok(program) => program,
            Err(CompileError { reason, .. }) => {
                // What no kernel computes on numbers either.
                let known = ["groups", "single values", "different shapes", "another shape"];
                prop_assert!(known.iter().any(|k| reason.contains(k)), "{reason}");
                let floats = Arithmetic::new(Precision::F32, Features::detect()).expect("as bytes");
                let plain = compile(&if fused { fuse(plain.clone()) } else { plain.clone() }, floats, 3, 2, None);
                prop_assert!(plain.is_err(), "only the bytes are refused: {reason}");
                return Ok(());
            }
        };
        let got = run(&program, &graph, 1, std::slice::from_ref(&image));
        for (got, expected) in got.iter().zip(&expected) {
            let apart = size(got.iter().zip(expected).map(|(g, e)| g - e));
            let all = size(expected.iter().copied()).max(0.1);
            prop_assert!(apart <= 0.02 * all, "{apart} of {all}");
        }
        for features in Features::supported() {
            let Some(arithmetic) = int8(features) else { continue };
            let other = compile(&graph, arithmetic, 1, 1, None).expect("as before");
            let other = run(&other, &graph, 1, std::slice::from_ref(&image));
            let same = got.iter().flatten().zip(other.iter().flatten()).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same, "{features:?} gives other bits");
        }
    }

    #[test]
    fn mixed_programs_give_an_image_the_same_bits_in_any_company(
        seed in any::<u64>(),
        count in 1_usize..6,
        capacity in 1_usize..5,
        threads in 1_usize..4,
    ) {
        let Some(best) = int8(Features::detect()) else {
            return Ok(());
        };
        let plain = network(seed);
        let Shape { channels, height, width } = plain.nodes[0].shape;
        let n = &mut Numbers(seed ^ 0xbbbb | 1);
        let images: Vec<Vec<f32>> =
            (0..count).map(|_| n.values(channels * height * width, 2.0)).collect();
        let graph = fuse(mixed(&plain, n, &images[0]));
        let (alone, together) =
            (compile(&graph, best, 1, 1, None), compile(&graph, best, capacity, threads, None));
        prop_assert_eq!(alone.is_ok(), together.is_ok());
        let (Ok(alone), Ok(together)) = (alone, together) else {
            return Ok(());
        };
        let got = run(&together, &graph, threads, &images);
        for (i, image) in images.iter().enumerate() {
            let expected = run(&alone, &graph, 1, std::slice::from_ref(image));
            for (got, expected) in got.iter().zip(&expected) {
                let got = &got[i * expected.len()..][..expected.len()];
                let same = got.iter().zip(expected).all(|(g, e)| g.to_bits() == e.to_bits());
                prop_assert!(same, "image {i} of {count}");
            }
        }
    }
}

#[test]
fn depthwise_layers_between_bytes_are_computed_on_bytes() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    for seed in 1..40 {
        let n = &mut Numbers(seed);
        let shape = Shape {
            channels: 2 + n.below(150),
            height: 2 + n.below(20),
            width: 2 + n.below(20),
        };
        let mut plain = Graph::default();
        let input = push(&mut plain, Op::Input(0), shape);
        let one = depthwise(&mut plain, n, input);
        let other = depthwise(&mut plain, n, one);
        plain.outputs = vec![other];
        for node in &mut plain.nodes {
            // What is added to numbers is read as numbers; a bound that is no byte's is one of numbers.
            if let Op::Conv(conv) = &mut node.op {
                (conv.residual, conv.most) = (None, f32::INFINITY);
            }
        }
        let image = n.values(shape.channels * shape.height * shape.width, 2.0);
        let graph = all_on_bytes(&plain, &image);
        let program = compile(&graph, int8, 2, 1, None).expect("there are kernels");
        let layers: Vec<_> = program.layers().map(|(_, precision)| precision).collect();
        assert_eq!(layers, [Precision::Int8; 2], "{seed}");
        let expected = oracle::evaluate(&graph, std::slice::from_ref(&image));
        let got = run(&program, &graph, 1, &[image]);
        let apart = size(got[0].iter().zip(&expected[0]).map(|(g, e)| g - e));
        let all = size(expected[0].iter().copied()).max(0.1);
        assert!(apart <= 0.01 * all, "{seed}: {apart} of {all}");
    }
}

/// A layer of random weights whose result has the shape of what it reads.
fn layer(n: &mut Numbers, shape: Shape, side: usize, groups: usize) -> Op {
    let channels = shape.channels;
    let weights = channels * channels / groups * side * side;
    let most = (3.0 / (weights / channels) as f32).sqrt();
    Op::Conv(Conv {
        input: ValueId(0),
        outputs: channels,
        groups,
        weights: n.values(weights, most).into(),
        bias: n.values(channels, 0.3),
        window: Window {
            kernel: [side; 2],
            stride: [1; 2],
            pad_before: [side / 2; 2],
            pad_after: [side / 2; 2],
        },
        residual: None,
        relu: false,
        most: f32::INFINITY,
    })
}

/// Two layers and their sum, without bytes between one of them and the sum. Were the sum rounded twice, as where bytes
/// are between both, a fifth of its bytes would be others.
#[test]
fn layer_without_bytes_before_its_sum_is_one_step_with_it_that_rounds_once() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    let shape = Shape {
        channels: 70,
        height: 9,
        width: 11,
    };
    for (side, groups) in [(1, 1), (3, 1), (3, 2), (5, 70)] {
        // Which of both has no bytes, and whether it comes first in the sum.
        for (without, swapped) in [(0, false), (0, true), (1, false), (1, true)] {
            let n = &mut Numbers(0x1157);
            let mut plain = Graph::default();
            push(&mut plain, Op::Input(0), shape);
            let mut inputs = [0, 1].map(|i| {
                let groups = if i == without { groups } else { 1 };
                push(&mut plain, layer(n, shape, side, groups), shape)
            });
            if swapped {
                inputs.reverse();
            }
            let sum = Op::Add { inputs, relu: true };
            plain.outputs = vec![push(&mut plain, sum, shape)];
            let image = n.values(70 * 99, 2.0);
            let mut asked = 0;
            let once = with_bytes(&plain, &image, &mut || {
                asked += 1;
                // Of the image's values, then of either layer's weights and values.
                asked != [3, 5][without]
            });
            let expected = oracle::evaluate(&once, std::slice::from_ref(&image));
            let case = (side, groups, without, swapped);
            let others = |graph: &Graph| {
                let program = compile(&fuse(graph.clone()), int8, 1, 1, None);
                let program = program.expect("there are kernels");
                let layers: Vec<_> = program.layers().map(|(_, precision)| precision).collect();
                assert_eq!(layers, [Precision::Int8; 2], "{case:?}");
                let steps = program.profile().into_iter().map(|step| step.kind);
                let sums = steps.filter(|kind| kind.starts_with("add")).count();
                assert_eq!(sums, 0, "{case:?}");
                let got = run(&program, graph, 1, std::slice::from_ref(&image));
                let pairs = got[0].iter().zip(&expected[0]);
                let others = pairs.filter(|(got, expected)| (*got - *expected).abs() > 1e-3);
                others.count() as f64 / expected[0].len() as f64
            };
            let (once, twice) = (others(&once), others(&all_on_bytes(&plain, &image)));
            assert!(once < 0.002, "{case:?}: {once}");
            assert!(twice > 0.05, "{case:?}: {twice}");
        }
    }
}

#[test]
fn channels_of_any_scale_stay_on_bytes() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    let shape = Shape {
        channels: 8,
        height: 6,
        width: 6,
    };
    // The last as where a batch normalization turns the sign of an ordinary channel.
    for (bias, scale) in [
        (0.5, 1e-10_f32),
        (-0.5, 1e-12),
        (0.4, 3e-8),
        (0.5, -1e-10),
        (0.5, -0.01),
    ] {
        let n = &mut Numbers(0xdead);
        let mut plain = Graph::default();
        push(&mut plain, Op::Input(0), shape);
        let output = depthwise(&mut plain, n, ValueId(0));
        plain.outputs = vec![output];
        let Op::Conv(conv) = &mut plain.nodes[output.0].op else {
            panic!("a convolution")
        };
        (conv.residual, conv.most) = (None, f32::INFINITY);
        (conv.bias[1], conv.relu) = (bias, false);
        let image = n.values(8 * 36, 2.0);
        let mut graph = all_on_bytes(&plain, &image);
        let conv = graph.nodes.iter_mut().find_map(|node| match &mut node.op {
            Op::Conv(conv) => Some(conv),
            _ => None,
        });
        let conv = conv.expect("it is there");
        let (bytes, scales) = conv.weights.as_int8().expect("they are bytes");
        let (bytes, mut scales) = (bytes.into_owned(), scales.to_vec());
        scales[1] = scale;
        conv.weights = Weights::int8(Arc::new(bytes), scales);
        let program = compile(&graph, int8, 1, 1, None).expect("there are kernels");
        let layers: Vec<_> = program.layers().map(|(_, precision)| precision).collect();
        assert_eq!(layers, [Precision::Int8], "{scale}");
        let expected = oracle::evaluate(&graph, std::slice::from_ref(&image));
        let got = run(&program, &graph, 1, &[image]);
        let apart = size(got[0].iter().zip(&expected[0]).map(|(g, e)| g - e));
        let all = size(expected[0].iter().copied());
        assert!(apart <= 0.01 * all, "{scale}: {apart} of {all}");
    }
}

#[test]
fn what_leaves_the_network_as_numbers_is_bounded_on_bytes() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    for most in [0.6, f32::INFINITY] {
        let n = &mut Numbers(0x51ed);
        let shape = Shape {
            channels: 24,
            height: 5,
            width: 6,
        };
        let mut plain = Graph::default();
        push(&mut plain, Op::Input(0), shape);
        let output = depthwise(&mut plain, n, ValueId(0));
        let Op::Conv(conv) = &mut plain.nodes[output.0].op else {
            panic!("a convolution")
        };
        // In two groups: a depthwise layer is on numbers where its result is.
        (conv.groups, conv.residual, conv.relu, conv.most) = (2, None, true, most);
        let weights = conv.outputs * 12 * conv.window.kernel[0] * conv.window.kernel[1];
        conv.weights = n.values(weights, 0.2).into();
        let image = n.values(24 * 30, 2.0);
        let mut graph = all_on_bytes(&plain, &image);
        // The numbers themselves leave, not their bytes.
        let is_conv = |node: &Node| matches!(node.op, Op::Conv(_));
        let conv = graph.nodes.iter().position(is_conv).expect("it is there");
        graph.nodes.truncate(conv + 1);
        graph.outputs = vec![ValueId(conv)];
        let program = compile(&graph, int8, 1, 1, None).expect("there are kernels");
        let layers: Vec<_> = program.layers().map(|(_, precision)| precision).collect();
        assert_eq!(layers, [Precision::Int8]);
        let expected = oracle::evaluate(&graph, std::slice::from_ref(&image));
        let got = run(&program, &graph, 1, &[image]);
        assert!(got[0].contains(&0.0) && got[0].iter().any(|x| *x >= 0.6));
        let most_apart = got[0].iter().zip(&expected[0]).map(|(g, e)| (g - e).abs());
        let most_apart = most_apart.fold(0.0, f32::max);
        assert!(most_apart < 1e-3, "{most}: {most_apart}");
    }
}

#[test]
fn what_bytes_cannot_add_is_added_as_numbers() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    let shape = Shape {
        channels: 3,
        height: 2,
        width: 2,
    };
    let with = |scale| Quantization { scale, zero: 0 };
    let mut graph = Graph::default();
    let input = push(&mut graph, Op::Input(0), shape);
    let small = through_bytes(&mut graph, input, with(0.01));
    let large = through_bytes(&mut graph, input, with(1e9));
    let op = Op::Add {
        inputs: [small, large],
        relu: false,
    };
    let sum = push(&mut graph, op, shape);
    graph.outputs = vec![through_bytes(&mut graph, sum, with(0.01))];
    let image: Vec<f32> = (0..12).map(|i| i as f32 / 5.0).collect();
    let expected = oracle::evaluate(&graph, std::slice::from_ref(&image));
    let program = compile(&graph, int8, 1, 1, None).expect("there are kernels for numbers");
    assert_eq!(run(&program, &graph, 1, &[image]), expected);
}

#[test]
fn bytes_that_leave_by_another_scale_than_they_came_are_refused() {
    let Some(int8) = int8(Features::detect()) else {
        println!("SKIPPED: this CPU computes no bytes");
        return;
    };
    let shape = Shape {
        channels: 3,
        height: 4,
        width: 4,
    };
    let step = |scale| Quantization { scale, zero: 3 };
    for (written, read, fits) in [(0.1, 0.1, true), (0.1, 0.2, false)] {
        let mut graph = Graph::default();
        let input = push(&mut graph, Op::Input(0), shape);
        let quantization = step(written);
        let bytes = push(
            &mut graph,
            Op::Quantize {
                input,
                quantization,
            },
            shape,
        );
        let (input, quantization) = (bytes, step(read));
        let numbers = push(
            &mut graph,
            Op::Dequantize {
                input,
                quantization,
            },
            shape,
        );
        graph.outputs = vec![numbers];
        let compiled = compile(&graph, int8, 1, 1, None);
        assert_eq!(compiled.is_ok(), fits, "{written} {read}");
    }
}
