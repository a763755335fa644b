//! Winograd against the direct sum in double precision, and that a tile's bits depend on nothing else.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::Features;
use crate::nn::Team;
use crate::nn::layout::line::Plane;
use crate::nn::testing::{Value, random, rounded};
use crate::{Isa, features::Bf16Unit};

/// One convolution with all that it reads.
#[derive(Debug, Clone)]
struct Case {
    size: TileSize,
    arithmetic: Arithmetic,
    products: Precision,
    images: usize,
    inputs: usize,
    outputs: usize,
    height: usize,
    width: usize,
    /// Borders of the input, the residual and the output.
    borders: [usize; 3],
    residual: bool,
    relu: bool,
    /// Whether the direct sum's weights are rounded to bfloat16.
    rounded_weights: bool,
    seed: u64,
}

/// An upper bound that some results reach.
const MOST: f32 = 1.5;

impl Case {
    fn plane(&self, border: usize) -> Plane {
        Plane {
            height: self.height,
            width: self.width,
            border,
        }
    }

    fn weights(&self) -> Vec<f32> {
        random(self.seed ^ 1, self.outputs * self.inputs * 9)
    }

    fn bias(&self) -> Vec<f32> {
        random(self.seed ^ 2, self.outputs)
    }

    /// Input and residual, as they are stored.
    fn values(&self) -> [Vec<f32>; 2] {
        let pixels = self.images * self.height * self.width;
        let values = |seed, channels| {
            let values = random(self.seed ^ seed, pixels * channels);
            let store = self.arithmetic.store();
            values.iter().map(|x| rounded(store, *x)).collect()
        };
        [values(3, self.inputs), values(4, self.outputs)]
    }

    fn winograd(&self) -> Winograd {
        let shape = ConvShape {
            outputs: self.outputs,
            inputs: self.inputs,
            groups: 1,
            kernel: [3, 3],
            stride: [1, 1],
            pad: [1, 1],
        };
        let about = ConvUse {
            input: self.plane(self.borders[0]),
            output: self.plane(self.borders[2]),
            residual: self.residual.then(|| self.plane(self.borders[1])),
            relu: self.relu,
            most: MOST,
            store: self.arithmetic.store(),
            across_images: false,
        };
        let (weights, bias) = (self.weights(), self.bias());
        Winograd::new(
            self.arithmetic,
            self.products,
            self.size,
            shape,
            about,
            &weights,
            &bias,
        )
        .unwrap()
    }

    /// Runs on `images` of the values' images.
    fn run(&self, winograd: &Winograd, images: Range<usize>, threads: usize) -> Vec<f32> {
        let pixels = self.height * self.width;
        let [input, residual] = self.values();
        let of = |values: &[f32], channels: usize, border| {
            let image = channels * pixels;
            let values = &values[images.start * image..images.end * image];
            Value::of(
                self.arithmetic.store(),
                channels,
                self.plane(border),
                values,
            )
        };
        let mut input = of(&input, self.inputs, self.borders[0]);
        let mut residual = self
            .residual
            .then(|| of(&residual, self.outputs, self.borders[1]));
        let plane = self.plane(self.borders[2]);
        let mut output = Value::new(self.arithmetic.store(), images.len(), self.outputs, plane);
        let mut memory =
            vec![Line::from_f32([f32::NAN; 16]); winograd.scratch_lines(images.len(), threads)];
        let scratch = Scratch {
            start: memory.as_mut_ptr(),
            threads,
        };
        let (from, to) = (input.view(), output.view());
        let add = residual.as_mut().map(Value::view);
        // SAFETY: values and memory that are only used here.
        Team::new(threads).lead(threads, |lead| unsafe {
            winograd.run(lead, from, add, to, images.len(), &scratch);
        });
        output.numbers()
    }

    /// The direct sum, in double precision.
    fn exact(&self) -> Vec<f64> {
        let (height, width) = (self.height as isize, self.width as isize);
        let ([input, residual], weights, bias) = (self.values(), self.weights(), self.bias());
        let mut out = Vec::with_capacity(residual.len());
        for image in 0..self.images {
            for (output, bias) in bias.iter().enumerate() {
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let mut sum = f64::from(*bias);
                    for channel in 0..self.inputs {
                        for (ky, kx) in (0..9).map(|k| (k / 3, k % 3)) {
                            let (y, x) = (y + ky - 1, x + kx - 1);
                            if (0..height).contains(&y) && (0..width).contains(&x) {
                                let plane = (image * self.inputs + channel) as isize * height;
                                let value = input[((plane + y) * width + x) as usize];
                                let at = (output * self.inputs + channel) as isize * 9;
                                let weight = weights[(at + ky * 3 + kx) as usize];
                                let weight = match self.rounded_weights {
                                    true => rounded(Store::Bf16, weight),
                                    false => weight,
                                };
                                sum += f64::from(value) * f64::from(weight);
                            }
                        }
                    }
                    if self.residual {
                        sum += f64::from(residual[out.len()]);
                    }
                    out.push(if self.relu {
                        sum.clamp(0.0, f64::from(MOST))
                    } else {
                        sum
                    });
                }
            }
        }
        out
    }
}

/// Each arithmetic that this CPU has a micro-kernel for, with each precision of products.
fn arithmetics() -> Vec<(Arithmetic, Precision)> {
    let vectors = |f: &Features| f.bf16 != Some(Bf16Unit::Amx);
    Features::supported()
        .filter(vectors)
        .flat_map(|features| Precision::FLOATS.map(|p| Arithmetic::new(p, features)))
        .flatten()
        .flat_map(|arithmetic| {
            let narrow = arithmetic.store() == Store::Bf16;
            let narrow = narrow.then_some((arithmetic, Precision::Bf16));
            std::iter::once((arithmetic, Precision::F32)).chain(narrow)
        })
        .collect()
}

fn single(isa: Isa) -> Arithmetic {
    Arithmetic::new(Precision::F32, Features::vectors(isa)).unwrap()
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..40, 1usize..70, 1usize..12, 1usize..12);
    (
        prop::sample::select(vec![TileSize::F2, TileSize::F4]),
        prop::sample::select(arithmetics()),
        sizes,
        [0usize..3, 0usize..3, 0usize..3],
        any::<[bool; 2]>(),
        any::<u64>(),
    )
        .prop_map(
            |(size, (arithmetic, products), sizes, borders, [residual, relu], seed)| Case {
                size,
                arithmetic,
                products,
                images: sizes.0,
                inputs: sizes.1,
                outputs: sizes.2,
                height: sizes.3,
                width: sizes.4,
                borders,
                residual,
                relu,
                rounded_weights: false,
                seed,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn winograd_is_the_direct_sum_for_all_tails(case in cases()) {
        let output = case.run(&case.winograd(), 0..case.images, 1);
        let exact = case.exact();
        // The sum of so many products of numbers near 1 is about the root of that; a wrong one is off by as much.
        // bfloat16 is off by 0.0016 of a number on average. F(2×2) adds nine products of transformed numbers, of about
        // 3 each, so that its sum for one input is off by 3 × 0.0016 × √9 = 0.014 on average; products of normal
        // numbers have long tails, and the largest error of thousands of sums is 12 times that. F(4×4) amplifies most.
        let each = match (case.products, case.size) {
            (Precision::F32, _) => 2e-5,
            (_, TileSize::F2) => 12.0 * 0.014 / 4.0,
            (_, TileSize::F4) => 0.15,
        };
        let bound = each * (1.0 + (9.0 * case.inputs as f64).sqrt());
        // A bound of the format's rounding error, relative to the number.
        let rounding = match case.arithmetic.store() {
            Store::F32 => 0.0,
            Store::Bf16 => 1.0 / 256.0,
            Store::Split => 1.0 / 65536.0,
            Store::U8 => unreachable!("no case is of bytes"),
        };
        for (output, exact) in output.iter().zip(&exact) {
            let bound = bound + rounding * exact.abs();
            prop_assert!((f64::from(*output) - exact).abs() <= bound, "{output} is not {exact}");
        }
    }

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn bits_depend_neither_on_batch_nor_on_chunks_nor_on_threads(
        case in cases(), threads in 1usize..5, bytes in 1usize..100_000, tiles in 1usize..20,
    ) {
        let mut winograd = case.winograd();
        let alone: Vec<f32> = (0..case.images)
            .flat_map(|image| case.run(&winograd, image..image + 1, 1))
            .collect();
        winograd.chunk = (bytes, tiles);
        let together = case.run(&winograd, 0..case.images, threads);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&alone), bits(&together));
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
fn error_stays_near_that_of_single_precision() {
    for (size, inputs, bound) in [
        (TileSize::F2, 64, 1.5e-6),
        (TileSize::F4, 64, 2.5e-6),
        (TileSize::F2, 512, 3e-6),
        (TileSize::F4, 512, 5e-6),
    ] {
        let case = Case {
            size,
            arithmetic: single(Isa::detect()),
            products: Precision::F32,
            images: 1,
            inputs,
            outputs: 16,
            height: 14,
            width: 14,
            borders: [1, 0, 0],
            residual: false,
            relu: false,
            rounded_weights: false,
            seed: 7,
        };
        let (output, exact) = (case.run(&case.winograd(), 0..1, 1), case.exact());
        let largest = exact.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let error = output
            .iter()
            .zip(&exact)
            .fold(0.0, |m: f64, (y, x)| m.max((f64::from(*y) - x).abs()));
        println!("{size:?}, {inputs} channels: {:.1e}", error / largest);
        assert!(
            error / largest < bound,
            "{size:?}, {inputs} channels: {}",
            error / largest
        );
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
fn other_convolutions_are_refused() {
    let arithmetic = single(Isa::Avx2);
    let plane = |border| Plane {
        height: 8,
        width: 8,
        border,
    };
    let about = ConvUse {
        input: plane(1),
        output: plane(0),
        residual: None,
        relu: false,
        most: f32::INFINITY,
        store: Store::F32,
        across_images: false,
    };
    let shape = ConvShape {
        outputs: 16,
        inputs: 16,
        groups: 1,
        kernel: [3, 3],
        stride: [1, 1],
        pad: [1, 1],
    };
    let made_of = |products, shape, about| {
        Winograd::new(
            arithmetic,
            products,
            TileSize::F4,
            shape,
            about,
            &[0.0; 2304],
            &[0.0; 16],
        )
        .is_some()
    };
    let made = |shape, about| made_of(Precision::F32, shape, about);
    assert!(made(shape, about));
    assert!(!made_of(Precision::Bf16, shape, about));
    assert!(!made_of(Precision::Bf16x3, shape, about));
    assert!(!made(
        ConvShape {
            stride: [2, 2],
            ..shape
        },
        about
    ));
    assert!(!made(ConvShape { groups: 2, ..shape }, about));
    assert!(!made(
        ConvShape {
            pad: [0, 0],
            ..shape
        },
        about
    ));
    assert!(!made(
        ConvShape {
            kernel: [1, 9],
            ..shape
        },
        about
    ));
    let store = Store::Bf16;
    assert!(!made(shape, ConvUse { store, ..about }));
}

#[test]
fn products_of_bfloat16_lose_little_more_than_rounded_weights() {
    let features = Features {
        isa: Isa::Avx512,
        bf16: Some(Bf16Unit::Avx512),
        int8: None,
    };
    let Some(arithmetic) = Arithmetic::new(Precision::Bf16, features) else {
        return;
    };
    for inputs in [64, 512] {
        let mut case = Case {
            size: TileSize::F2,
            arithmetic,
            products: Precision::Bf16,
            images: 1,
            inputs,
            outputs: 32,
            height: 14,
            width: 14,
            borders: [1, 0, 0],
            residual: false,
            relu: false,
            rounded_weights: false,
            seed: 7,
        };
        let (output, exact) = (case.run(&case.winograd(), 0..1, 1), case.exact());
        case.rounded_weights = true;
        let direct = case.exact();
        let rounding = |x: &f64| f64::from(rounded(Store::Bf16, *x as f32));
        let error = |values: &mut dyn Iterator<Item = f64>| {
            let squares = values.zip(&exact).map(|(y, x)| (y - x).powi(2));
            (squares.sum::<f64>() / exact.iter().map(|x| x * x).sum::<f64>()).sqrt()
        };
        let winograd = error(&mut output.iter().map(|y| f64::from(*y)));
        let direct = error(&mut direct.iter().map(rounding));
        println!("{inputs} channels: {winograd:.1e}, the direct sum {direct:.1e}");
        assert!(winograd < 2.2 * direct, "{inputs} channels: {winograd:.1e}");
    }
}
