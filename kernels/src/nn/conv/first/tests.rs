//! The first convolution against nested loops, and bytes against their normalized values.

use proptest::prelude::*;

use super::*;
use crate::Features;
use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;
use crate::nn::testing::{Value, random, rounded};
use crate::nn::{Precision, Team, flush_denormals};
use crate::{Isa, NormalizeKernel};

/// All arithmetics of this CPU.
fn arithmetics() -> Vec<Arithmetic> {
    let features = Features::detect();
    let avx2 = Features::vectors(Isa::Avx2);
    let all = Precision::FLOATS.map(|precision| Arithmetic::new(precision, features));
    let all = all
        .into_iter()
        .chain([Arithmetic::new(Precision::F32, avx2)]);
    all.flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn first_convolution_is_the_naive_one_for_all_windows(
        arithmetic in prop::sample::select(arithmetics()), images in 1usize..3, threads in 1usize..4,
        channels in 1usize..=4, outputs in 1usize..70, size in [8usize..30, 8usize..30],
        kernel in [1usize..8, 1usize..8], stride in [1usize..4, 1usize..4],
        pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4], border in 0usize..3, relu: bool, seed: u64,
    ) {
        let before = [0, 1].map(|d| pads[d].min(kernel[d] - 1));
        let after = [0, 1].map(|d| pads[2 + d].min(kernel[d] - 1));
        let [rows, columns] =
            [0, 1].map(|d| (size[d] + before[d] + after[d] - kernel[d]) / stride[d] + 1);
        let store = arithmetic.store();
        let plane = Plane { height: rows, width: columns, border };
        let shape = ConvShape { outputs, inputs: channels, groups: 1, kernel, stride, pad: before };
        let about = ConvUse {
            input: Plane { height: size[0], width: size[1], border: 0 },
            output: plane,
            residual: None,
            relu,
                most: f32::INFINITY,
            store,
            across_images: false,
        };
        let numbers = channels * kernel[0] * kernel[1];
        let (weights, bias) = (random(seed ^ 1, outputs * numbers), random(seed ^ 2, outputs));
        let values = random(seed, images * channels * size[0] * size[1]);
        let conv = FirstConv::new(arithmetic, shape, about, &weights, &bias).unwrap();
        let mut output = Value::new(store, images, outputs, plane);
        let mut memory = vec![Line::from_f32([f32::NAN; 16]); conv.scratch_lines(threads)];
        let scratch = Scratch { start: memory.as_mut_ptr(), threads };
        let to = output.view();
        // SAFETY: a value and memory that are only used here.
        Team::new(threads).lead(threads, |lead| unsafe {
            conv.run(lead, Input::F32(&values), to, &scratch);
        });
        // Of each rounded product one part in 2⁸, 2¹⁶ or less is lost, and so of the result.
        let loss = match store { Store::F32 => 1e-6, Store::Bf16 => 4e-3, Store::Split => 3e-5, Store::U8 => unreachable!() };
        for (i, result) in output.numbers().into_iter().enumerate() {
            let (column, row) = (i % columns, i / columns % rows);
            let (n, image) = (i / columns / rows % outputs, i / columns / rows / outputs);
            let (mut sum, mut magnitude) = (f64::from(bias[n]), f64::from(bias[n].abs()));
            for k in 0..numbers {
                let (c, ky, kx) = (k / (kernel[0] * kernel[1]), k / kernel[1] % kernel[0], k % kernel[1]);
                let (y, x) = ((row * stride[0] + ky).wrapping_sub(before[0]),
                    (column * stride[1] + kx).wrapping_sub(before[1]));
                if y < size[0] && x < size[1] {
                    let value = values[((image * channels + c) * size[0] + y) * size[1] + x];
                    let weight = weights[n * numbers + k];
                    let product = f64::from(rounded(store, value)) * f64::from(rounded(store, weight));
                    sum += product;
                    magnitude += product.abs();
                }
            }
            let exact = if relu { sum.max(0.0) } else { sum };
            let bound = loss * (exact.abs() + if store == Store::Bf16 { 1e-3 } else { 1.0 } * magnitude);
            prop_assert!((f64::from(result) - exact).abs() <= bound, "{result} is not {exact}");
        }
    }
}

/// Means and standard deviations: ImageNet's, and some that need tables, with denormal numbers in them.
const MEAN_STD: [(f32, f32); 6] = [
    (0.485, 0.229),
    (0.456, 0.224),
    (0.406, 0.225),
    (0.0, 1.0),
    (1e-39, 1e-38),
    (0.5, 1e38),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn bytes_give_the_bits_of_their_normalized_values(
        arithmetic in prop::sample::select(arithmetics()), images in 1usize..3, threads in 1usize..3,
        outputs in 1usize..40, size in [1usize..40, 1usize..40], kernel in 1usize..8, stride in 1usize..4,
        pad in 0usize..4, recipes in [0usize..6, 0usize..6, 0usize..6], seed: u64,
    ) {
        let kernel = kernel.min(size[0]).min(size[1]);
        let pad = pad.min(kernel - 1);
        let [height, width] = size;
        let [rows, columns] = size.map(|s| (s + 2 * pad - kernel) / stride + 1);
        let store = arithmetic.store();
        let plane = Plane { height: rows, width: columns, border: 0 };
        let shape = ConvShape {
            outputs,
            inputs: 3,
            groups: 1,
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad: [pad; 2],
        };
        let about = ConvUse {
            input: Plane { height, width, border: 0 },
            output: plane,
            residual: None,
            relu: false,
            most: f32::INFINITY,
            store,
            across_images: false,
        };
        let weights = random(seed ^ 1, outputs * 3 * kernel * kernel);
        let isa = arithmetic.features().isa;
        let normalization = recipes.map(|r| {
            let (mean, std) = MEAN_STD[r];
            Normalization::new(NormalizeKernel::new(isa).unwrap(), 1.0, mean, std)
        });
        let bytes: Vec<u8> = random(seed, images * 3 * height * width)
            .into_iter()
            .map(|x| x.to_bits() as u8)
            .collect();
        let mut values = Vec::new();
        for image in bytes.chunks(3 * height * width) {
            for (channel, (mean, std)) in recipes.map(|r| MEAN_STD[r]).into_iter().enumerate() {
                for row in image.chunks(3 * width) {
                    let plane = &row[channel * width..][..width];
                    values.extend(plane.iter().map(|&x| (f32::from(x) / 255.0 - mean) / std));
                }
            }
        }
        let conv = FirstConv::new(arithmetic, shape, about, &weights, &vec![0.5; outputs]).unwrap();
        prop_assert!(!conv.takes_bytes());
        let conv = conv.normalizing(normalization);
        prop_assert!(conv.takes_bytes());
        let run = |input: Input<'_>| {
            let mut output = Value::new(store, images, outputs, plane);
            let mut memory = vec![Line::from_f32([f32::NAN; 16]); conv.scratch_lines(threads)];
            let scratch = Scratch { start: memory.as_mut_ptr(), threads };
            let to = output.view();
            let _flush = flush_denormals();
            // SAFETY: a value and memory that are only used here.
            Team::new(threads).lead(threads, |lead| unsafe { conv.run(lead, input, to, &scratch) });
            output.numbers().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let numbers = run(Input::F32(&values));
        prop_assert!(!numbers.is_empty());
        prop_assert_eq!(run(Input::Bytes(&bytes)), numbers);
    }
}

#[test]
fn five_channels_are_refused() {
    let Some(arithmetic) = arithmetics().pop() else {
        return;
    };
    let plane = Plane {
        height: 8,
        width: 8,
        border: 0,
    };
    let shape = |inputs| ConvShape {
        outputs: 16,
        inputs,
        groups: 1,
        kernel: [1, 1],
        stride: [1, 1],
        pad: [0, 0],
    };
    let about = ConvUse {
        input: plane,
        output: plane,
        residual: None,
        relu: false,
        most: f32::INFINITY,
        store: arithmetic.store(),
        across_images: false,
    };
    let new = |inputs| {
        FirstConv::new(
            arithmetic,
            shape(inputs),
            about,
            &vec![0.0; 16 * inputs],
            &[0.0; 16],
        )
    };
    assert!(new(4).is_some() && new(5).is_none());
}
