//! Programs of random networks against the nested loops, in every arithmetic, and the same bits in any company.

mod mixed;
mod networks;
mod rounding;

use proptest::prelude::*;

use self::networks::{Numbers, network, push};
use super::graph::{Conv, Graph, Op, Shape, ValueId, Window};
use super::{CompileError, compile, fuse, oracle};
use kernels::nn::{Arithmetic, Input, Precision, Program, Team};
use kernels::{Features, Isa};

/// All that this CPU computes with, and the largest error to expect, relative to the largest output.
fn arithmetics() -> Vec<(Arithmetic, f32)> {
    let best = Features::detect();
    let mut all = Vec::new();
    for isa in [Isa::Avx2, Isa::Avx512] {
        let features = Features::vectors(isa);
        all.extend(Arithmetic::new(Precision::F32, features).map(|a| (a, 2e-5)));
    }
    all.extend(Arithmetic::new(Precision::Bf16x3, best).map(|a| (a, 2e-4)));
    all.extend(Arithmetic::new(Precision::Bf16, best).map(|a| (a, 6e-2)));
    all
}

fn run(program: &Program, graph: &Graph, threads: usize, images: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let size = |v: &ValueId| {
        let s = graph.nodes[v.0].shape;
        s.channels * s.height * s.width
    };
    let mut outputs: Vec<Vec<f32>> = graph
        .outputs
        .iter()
        .map(|v| vec![f32::NAN; images.len() * size(v)])
        .collect();
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let input = images.concat();
    let mut memory = program.memory();
    Team::new(threads).lead(threads, |lead| {
        program.run(
            &mut memory,
            lead,
            images.len(),
            &[Input::F32(&input)],
            &mut slices,
        );
    });
    outputs
}

/// Whether the programs of a network, in every arithmetic, compute what the nested loops do.
fn check(seed: u64, fused: bool) -> Result<(), TestCaseError> {
    let plain = network(seed);
    let graph = if fused {
        fuse(plain.clone())
    } else {
        plain.clone()
    };
    let Shape {
        channels,
        height,
        width,
    } = plain.nodes[0].shape;
    let image = Numbers(seed ^ 0x5555 | 1).values(channels * height * width, 2.0);
    let expected = oracle::evaluate(&plain, std::slice::from_ref(&image));
    let mut in_f32: Option<Vec<Vec<f32>>> = None;
    for (arithmetic, tolerance) in arithmetics() {
        let program = match compile(&graph, arithmetic, 3, 2, None) {
            Ok(program) => program,
            // Narrow groups and windows over what is a vector of features have no kernel of ours.
            Err(CompileError { reason, .. }) => {
                let known = ["groups", "single values", "different shapes"];
                prop_assert!(known.iter().any(|k| reason.contains(k)), "{reason}");
                continue;
            }
        };
        let got = run(&program, &graph, 1, std::slice::from_ref(&image));
        // In f32 the instruction set makes no difference: the same sums in the same order.
        if arithmetic.precision() == Precision::F32 {
            let first = in_f32.get_or_insert_with(|| got.clone());
            let pairs = got.iter().flatten().zip(first.iter().flatten());
            let same = pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same, "{arithmetic:?} gives other bits");
        }
        for (output, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
            let apart = |i: &usize| (got[*i] - expected[*i]).abs();
            let is_near = |i: &usize| apart(i) <= tolerance * largest;
            let Some(i) = (0..got.len()).find(|i| !is_near(i)) else {
                continue;
            };
            // Rare: terms that cancel each other, or the steep middle of a sigmoid behind large numbers.
            let bounds = rounding::bounds(&plain, std::slice::from_ref(&image), unit(arithmetic));
            let area = got.len() / bounds[output].len();
            let within = |i: usize| f64::from(apart(&i)) <= bounds[output][i / area];
            prop_assert!(
                (0..got.len()).all(within),
                "{arithmetic:?}: value {i} is {}, not {} (largest {largest})",
                got[i],
                expected[i]
            );
        }
    }
    Ok(())
}

/// What a value loses at most when it is rounded, of itself.
fn unit(arithmetic: Arithmetic) -> f64 {
    match arithmetic.precision() {
        Precision::F32 => 2.0_f64.powi(-24),
        Precision::Bf16x3 => 2.0_f64.powi(-16),
        Precision::Bf16 | Precision::Int8 => 2.0_f64.powi(-8),
    }
}

#[test]
fn bfloat16_is_no_further_off_than_rounding_leads_it() {
    for (seed, fused) in [
        (17_024_600_642_572_795_913, true),
        (16_796_004_798_150_217_212, false),
        (2_309_610_812_798_550_905, false),
    ] {
        check(seed, fused).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn programs_compute_what_nested_loops_do(seed in any::<u64>(), fused in any::<bool>()) {
        check(seed, fused)?;
    }

    #[test]
    fn bits_of_an_image_depend_on_nothing_else(
        seed in any::<u64>(),
        count in 1_usize..6,
        capacity in 1_usize..5,
        threads in 1_usize..4,
    ) {
        let graph = fuse(network(seed));
        let Shape { channels, height, width } = graph.nodes[0].shape;
        let mut numbers = Numbers(seed ^ 0xaaaa | 1);
        let images: Vec<Vec<f32>> =
            (0..count).map(|_| numbers.values(channels * height * width, 2.0)).collect();
        for (arithmetic, _) in arithmetics() {
            let (Ok(alone), Ok(together)) =
                (compile(&graph, arithmetic, 1, 1, None), compile(&graph, arithmetic, capacity, threads, None))
            else {
                continue;
            };
            let got = run(&together, &graph, threads, &images);
            for (i, image) in images.iter().enumerate() {
                let expected = run(&alone, &graph, 1, std::slice::from_ref(image));
                for (got, expected) in got.iter().zip(&expected) {
                    let got = &got[i * expected.len()..][..expected.len()];
                    let same = got.iter().zip(expected).all(|(g, e)| g.to_bits() == e.to_bits());
                    prop_assert!(same, "{arithmetic:?}: image {i} of {count}");
                }
            }
        }
    }
}

/// Groups that end between the channels of a line, as those of some `RegNet`s do.
#[test]
fn groups_of_any_width_are_computed() {
    for (groups, inputs, outputs) in [
        (3, 10, 10),
        (3, 56, 56),
        (7, 24, 24),
        (2, 24, 48),
        (5, 7, 3),
        (12, 1, 2),
        (6, 33, 1),
    ] {
        let n = &mut Numbers(7);
        let shape = |channels| Shape {
            channels,
            height: 5,
            width: 6,
        };
        let mut graph = Graph::default();
        let input = push(&mut graph, Op::Input(0), shape(groups * inputs));
        let op = Op::Conv(Conv {
            input,
            outputs: groups * outputs,
            groups,
            weights: n.values(groups * outputs * inputs * 9, 0.5).into(),
            bias: n.values(groups * outputs, 1.0),
            window: Window {
                kernel: [3, 3],
                stride: [1, 1],
                pad_before: [1, 1],
                pad_after: [1, 1],
            },
            residual: None,
            relu: false,
            most: f32::INFINITY,
        });
        let conv = push(&mut graph, op, shape(groups * outputs));
        graph.outputs = vec![conv];
        let image = n.values(groups * inputs * 30, 1.0);
        let expected = oracle::evaluate(&graph, std::slice::from_ref(&image)).concat();
        for (arithmetic, tolerance) in arithmetics() {
            let program = compile(&graph, arithmetic, 1, 1, None).expect("kernels for it");
            let got = run(&program, &graph, 1, std::slice::from_ref(&image)).concat();
            let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (got, expected) in got.iter().zip(&expected) {
                let apart = (got - expected).abs();
                assert!(
                    apart <= tolerance * largest,
                    "{groups} of {inputs} in {arithmetic:?}"
                );
            }
        }
    }
}

/// A convolution as wide as its input, from images of one channel to one channel.
fn point(input: ValueId, residual: Option<ValueId>, pad: usize, stride: usize) -> Op {
    Op::Conv(Conv {
        input,
        outputs: 1,
        groups: 1,
        weights: vec![2.0].into(),
        bias: vec![0.5],
        window: Window {
            kernel: [1, 1],
            stride: [stride; 2],
            pad_before: [pad; 2],
            pad_after: [pad; 2],
        },
        residual,
        relu: false,
        most: f32::INFINITY,
    })
}

#[test]
fn first_convolution_with_a_sum_keeps_it() {
    let shape = Shape {
        channels: 1,
        height: 3,
        width: 3,
    };
    let mut graph = Graph::default();
    let first = push(&mut graph, Op::Input(0), shape);
    let second = push(&mut graph, Op::Input(1), shape);
    let a = push(&mut graph, point(first, None, 0, 1), shape);
    let sum = push(&mut graph, point(second, Some(a), 0, 1), shape);
    graph.outputs = vec![sum];
    for (arithmetic, _) in arithmetics() {
        let program = compile(&graph, arithmetic, 1, 1, None).expect("kernels for it");
        let mut output = vec![0.0; 9];
        let (ones, threes) = ([1.0; 9], [3.0; 9]);
        let inputs = [Input::F32(&ones), Input::F32(&threes)];
        let mut memory = program.memory();
        Team::new(1).lead(1, |lead| {
            program.run(&mut memory, lead, 1, &inputs, &mut [&mut output]);
        });
        assert_eq!(output, [9.0; 9], "{arithmetic:?}");
    }
}

#[test]
fn padded_window_over_a_mean_is_left_to_tract() {
    let image = Shape {
        channels: 1,
        height: 3,
        width: 3,
    };
    let single = Shape {
        height: 1,
        width: 1,
        ..image
    };
    let mut graph = Graph::default();
    let input = push(&mut graph, Op::Input(0), image);
    let mean = push(&mut graph, Op::GlobalAvgPool { input }, single);
    graph.outputs = vec![push(&mut graph, point(mean, None, 1, 3), single)];
    for (arithmetic, _) in arithmetics() {
        assert!(compile(&graph, arithmetic, 1, 1, None).is_err());
    }
}
