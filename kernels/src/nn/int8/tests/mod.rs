//! Networks of bytes against nested loops over integers, on every instruction set, number of threads and batch.

mod network;

use proptest::prelude::*;

use self::network::{Network, Random};
use super::{Int8Conv, Quantization};
use crate::Features;
use crate::nn::{Arithmetic, Builder, Input, Precision, Program, SlidingWindow, Team};
use crate::{Normalization, NormalizeKernel};

/// Each arithmetic for bytes that this CPU has.
fn arithmetics() -> Vec<Arithmetic> {
    Features::supported()
        .filter_map(|features| Arithmetic::new(Precision::Int8, features))
        .collect()
}

fn run(
    program: &Program,
    threads: usize,
    images: usize,
    input: Input<'_>,
    classes: usize,
) -> Vec<u32> {
    let mut output = vec![f32::NAN; images * classes];
    let mut memory = program.memory();
    Team::new(threads).lead(threads, |lead| {
        program.run(&mut memory, lead, images, &[input], &mut [&mut output]);
    });
    output.into_iter().map(f32::to_bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn networks_give_the_bits_of_nested_loops(seed: u64, images in 1usize..4, threads in 1usize..3) {
        let network = Network::new(seed);
        let random = &mut Random(seed ^ 0x5555 | 1);
        let count = network.image.iter().product::<usize>();
        let input: Vec<f32> = (0..images * count)
            .map(|_| (random.below(2000) as f32 - 1000.0) * 0.01)
            .collect();
        let expected: Vec<u32> = input
            .chunks(count)
            .flat_map(|image| network.evaluate(image))
            .map(f32::to_bits)
            .collect();
        for arithmetic in arithmetics() {
            for capacity in [1, 3] {
                let program = network.program(arithmetic, capacity, None);
                let classes = network.classes.outputs;
                let got = run(&program, threads, images, Input::F32(&input), classes);
                prop_assert!(got == expected, "{arithmetic:?}, batch {capacity}: other bits");
            }
        }
    }

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn bytes_of_images_give_the_bits_of_their_normalized_values(seed: u64, images in 1usize..3) {
        let mut network = Network::new(seed);
        network.from_images = true;
        let [_, height, width] = network.image;
        let random = &mut Random(seed ^ 0x3333 | 1);
        let bytes: Vec<u8> = (0..images * 3 * height * width).map(|_| random.next() as u8).collect();
        let recipes = [(0.485_f32, 0.229_f32), (0.456, 0.224), (0.406, 0.225)];
        let mut values = Vec::new();
        for image in bytes.chunks(3 * height * width) {
            for (channel, (mean, std)) in recipes.into_iter().enumerate() {
                for row in image.chunks(3 * width) {
                    let plane = &row[channel * width..][..width];
                    values.extend(plane.iter().map(|&x| (f32::from(x) / 255.0 - mean) / std));
                }
            }
        }
        for arithmetic in arithmetics() {
            let kernel = NormalizeKernel::new(arithmetic.features().isa).unwrap();
            let normalization = recipes.map(|(mean, std)| Normalization::new(kernel, 1.0, mean, std));
            let program = network.program(arithmetic, 2, Some(normalization));
            prop_assert!(program.takes_bytes(0));
            let classes = network.classes.outputs;
            let of_values = run(&program, 1, images, Input::F32(&values), classes);
            prop_assert_eq!(run(&program, 2, images, Input::Bytes(&bytes), classes), of_values);
        }
    }
}

#[test]
fn the_algorithm_of_a_3_by_3_window_is_the_one_that_pays() {
    let moving = SlidingWindow {
        kernel: [3, 3],
        stride: [1, 1],
        pad_before: [1, 1],
        output: [4, 4],
    };
    let one = Quantization {
        scale: 1.0,
        zero: 3,
    };
    for arithmetic in arithmetics() {
        let mut b = Builder::new(arithmetic, vec![[64, 4, 4]], 1, 1);
        let image = b.int8_enter("image", 0, one, 1);
        let (weights, scales, bias) = (vec![127; 64 * 64 * 9], vec![1e-3; 64], vec![0; 64]);
        let layer = Int8Conv {
            moving,
            groups: 1,
            outputs: 64,
            weights: &weights,
            scales: &scales,
            bias: &bias,
            residual: None,
            relu: false,
            most: f32::INFINITY,
            output: Some(one),
            border: 0,
        };
        b.int8_conv("conv", image, &layer).unwrap();
        let kinds: Vec<String> = (b.finish().profile().into_iter())
            .map(|step| step.kind)
            .filter(|kind| kind.starts_with("conv"))
            .collect();
        let expected = match arithmetic.features().int8 {
            None => "conv 3×3/1 winograd int8",
            Some(_) => "conv 3×3/1 int8",
        };
        assert_eq!(kinds, [expected], "{arithmetic:?}");
    }
}

#[test]
fn sums_that_are_not_exact_are_refused() {
    let Some(arithmetic) = arithmetics().pop() else {
        return;
    };
    let moving = SlidingWindow {
        kernel: [1, 1],
        stride: [1, 1],
        pad_before: [0, 0],
        output: [4, 4],
    };
    let one = Quantization {
        scale: 1.0,
        zero: 0,
    };
    let layer = |bias: &'static [i32], scales: &'static [f32]| Int8Conv {
        moving,
        groups: 1,
        outputs: 1,
        weights: &[1, 1, 1],
        scales,
        bias,
        residual: None,
        relu: false,
        most: f32::INFINITY,
        output: Some(one),
        border: 0,
    };
    let mut b = Builder::new(arithmetic, vec![[3, 4, 4]], 1, 1);
    let image = b.int8_enter("image", 0, one, 0);
    let mut refusal = |bias, scales| match b.int8_conv("conv", image, &layer(bias, scales)) {
        Ok(_) => None,
        Err(refusal) => Some(refusal.0),
    };
    assert_eq!(refusal(&[0], &[1.0]), None);
    let large = refusal(&[i32::MAX], &[1.0]).unwrap();
    assert!(large.contains("too large to be exact"), "{large}");
    let large = refusal(&[0], &[1e9]).unwrap();
    assert!(large.contains("output 0 reach 765, times 1e9"), "{large}");
    assert_eq!(
        refusal(&[0, 1], &[1.0]).unwrap(),
        "its weights do not fit its channels"
    );
}

#[test]
fn mean_of_single_values_is_they() {
    let Some(arithmetic) = arithmetics().pop() else {
        return;
    };
    let [fine, coarse] = [(0.25, 7), (0.5, 0)].map(|(scale, zero)| Quantization { scale, zero });
    let mut b = Builder::new(arithmetic, vec![[3, 2, 2]], 2, 1);
    let image = b.int8_enter("image", 0, fine, 0);
    let mean = b.int8_global_mean("mean", image, fine).unwrap();
    let again = b.int8_global_mean("again", mean, fine).unwrap();
    assert_eq!(mean, again);
    let other = b.int8_global_mean("other", mean, coarse).unwrap();
    b.leave("out", other);
    let program = b.finish();
    let images: Vec<f32> = [[2.0; 12], [8.0; 12]].concat();
    let got = run(&program, 1, 2, Input::F32(&images), 3);
    let got: Vec<f32> = got.into_iter().map(f32::from_bits).collect();
    assert_eq!(got, [2.0, 2.0, 2.0, 8.0, 8.0, 8.0]);
}
