//! Winograd against the direct sum in double precision, and that a tile's bits depend on nothing else.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::kernels::nn::line::Plane;
use crate::kernels::nn::testing::{Value, random};
use crate::kernels::nn::{Features, Team};
use crate::kernels::{Isa, nn};

/// One convolution with all that it reads.
#[derive(Debug, Clone)]
struct Case {
    size: TileSize,
    isa: Isa,
    images: usize,
    inputs: usize,
    outputs: usize,
    height: usize,
    width: usize,
    /// Of the input, the residual and the output.
    borders: [usize; 3],
    residual: bool,
    relu: bool,
    seed: u64,
}

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

    fn values(&self) -> [Vec<f32>; 2] {
        let pixels = self.images * self.height * self.width;
        [
            random(self.seed ^ 3, pixels * self.inputs),
            random(self.seed ^ 4, pixels * self.outputs),
        ]
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
            store: Store::F32,
            across_images: false,
        };
        let features = Features {
            isa: self.isa,
            bf16: None,
        };
        let arithmetic = Arithmetic::new(Precision::F32, features).unwrap();
        let (weights, bias) = (self.weights(), self.bias());
        Winograd::new(arithmetic, self.size, shape, about, &weights, &bias).unwrap()
    }

    /// Runs on `images` of the values' images.
    fn run(&self, winograd: &Winograd, images: Range<usize>, threads: usize) -> Vec<f32> {
        let pixels = self.height * self.width;
        let [input, residual] = self.values();
        let of = |values: &[f32], channels: usize, border| {
            let image = channels * pixels;
            let values = &values[images.start * image..images.end * image];
            Value::of(Store::F32, channels, self.plane(border), values)
        };
        let mut input = of(&input, self.inputs, self.borders[0]);
        let mut residual = self
            .residual
            .then(|| of(&residual, self.outputs, self.borders[1]));
        let plane = self.plane(self.borders[2]);
        let mut output = Value::new(Store::F32, images.len(), self.outputs, plane);
        let mut memory = vec![Line([f32::NAN; 16]); winograd.scratch_lines(images.len(), threads)];
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
                                sum += f64::from(value) * f64::from(weight);
                            }
                        }
                    }
                    if self.residual {
                        sum += f64::from(residual[out.len()]);
                    }
                    out.push(if self.relu { sum.max(0.0) } else { sum });
                }
            }
        }
        out
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let isas: Vec<Isa> = [Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|isa| isa.is_supported())
        .collect();
    let sizes = (1usize..4, 1usize..40, 1usize..70, 1usize..12, 1usize..12);
    (
        prop::sample::select(vec![TileSize::F2, TileSize::F4]),
        prop::sample::select(isas),
        sizes,
        [0usize..3, 0usize..3, 0usize..3],
        any::<[bool; 2]>(),
        any::<u64>(),
    )
        .prop_map(|(size, isa, sizes, borders, [residual, relu], seed)| Case {
            size,
            isa,
            images: sizes.0,
            inputs: sizes.1,
            outputs: sizes.2,
            height: sizes.3,
            width: sizes.4,
            borders,
            residual,
            relu,
            seed,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
    fn winograd_is_the_direct_sum_for_all_tails(case in cases()) {
        let output = case.run(&case.winograd(), 0..case.images, 1);
        let exact = case.exact();
        // The sum of so many products of numbers near 1 is about the root of that; a wrong one is off by about 1.
        let bound = 2e-5 * (1.0 + (9.0 * case.inputs as f64).sqrt());
        for (output, exact) in output.iter().zip(&exact) {
            prop_assert!((f64::from(*output) - exact).abs() < bound, "{output} is not {exact}");
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
            isa: Isa::detect(),
            images: 1,
            inputs,
            outputs: 16,
            height: 14,
            width: 14,
            borders: [1, 0, 0],
            residual: false,
            relu: false,
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
    let features = Features {
        isa: Isa::Avx2,
        bf16: None,
    };
    let arithmetic = Arithmetic::new(nn::Precision::F32, features).unwrap();
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
    let made = |shape, about| {
        Winograd::new(
            arithmetic,
            TileSize::F4,
            shape,
            about,
            &[0.0; 2304],
            &[0.0; 16],
        )
        .is_some()
    };
    assert!(made(shape, about));
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
