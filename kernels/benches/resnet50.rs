//! The layers of ResNet-50 with made-up weights, without a model file: milliseconds an image, by precision and batch.
//!
//! `cargo bench -p resnet-kernels --bench resnet50 -- [--precision f32,bf16x3,bf16,int8] [--batch 1,4,8] [--threads 1]
//! [--rounds 5] [--layers]`. A round runs every case once, so that a machine that gets slower meets all alike; a figure
//! is the sum over the layers of the least that a layer took. That is less than a run takes, and repeats better.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use std::time::{Duration, Instant};

use kernels::Features;
use kernels::nn::{
    Arithmetic, Builder, ConvLayer, Input, Int8Conv, Int8Own, Int8Residual, Pooling, Precision,
    Program, Quantization, SlidingWindow, Team, Value,
};

/// How long a case runs in a round.
const SLICE: Duration = Duration::from_millis(700);

struct Case {
    precision: Precision,
    batch: usize,
    program: Program,
    /// By step: the least nanoseconds an image.
    least: Vec<f64>,
}

fn main() {
    let option = |name: &str, default: &str| {
        let mut args = std::env::args().skip_while(|a| a != name);
        args.nth(1).unwrap_or_else(|| default.to_owned())
    };
    let has = |name: &str| std::env::args().any(|a| a == name);
    let threads: usize = option("--threads", "1").parse().unwrap();
    let rounds: usize = option("--rounds", "5").parse().unwrap();
    let mut cases = Vec::new();
    for name in option("--precision", "f32,bf16x3,bf16,int8").split(',') {
        let precision = Precision::ALL.into_iter().find(|p| p.name() == name);
        let precision = precision.expect("a precision");
        let Some(arithmetic) = Arithmetic::new(precision, Features::detect()) else {
            println!("{name}: SKIPPED, this CPU does not compute it");
            continue;
        };
        for batch in option("--batch", "1,4,8").split(',') {
            let batch = batch.parse().unwrap();
            cases.push(Case {
                precision,
                batch,
                program: resnet50(arithmetic, batch, threads),
                least: Vec::new(),
            });
        }
    }
    let team = Team::new(threads);
    for _ in 0..rounds {
        for case in &mut cases {
            case.run(&team, threads);
        }
    }
    for case in &cases {
        let total: f64 = case.least.iter().sum();
        println!(
            "{} batch {} threads {threads}: {:.3} ms an image, {:.1} images/s",
            case.precision.name(),
            case.batch,
            total / 1e6,
            1e9 / total
        );
    }
    if has("--layers") {
        print!("{:<28}", "layer");
        for case in &cases {
            print!(" {:>6} b{}", case.precision.name(), case.batch);
        }
        println!();
        for (i, step) in cases[0].program.profile().iter().enumerate() {
            print!("{:<28}", step.name);
            for case in &cases {
                print!(" {:>9.3}", case.least[i] / 1e6);
            }
            println!();
        }
    }
}

impl Case {
    fn run(&mut self, team: &Team, threads: usize) {
        let mut memory = self.program.memory();
        let images = noise(1, self.batch * 3 * 224 * 224);
        let mut out = vec![0.0; self.batch * 1000];
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed() < SLICE || runs < 3 {
            self.program.set_profiling(runs > 0);
            team.lead(threads, |lead| {
                self.program.run(
                    &mut memory,
                    lead,
                    self.batch,
                    &[Input::F32(&images)],
                    &mut [&mut out],
                );
            });
            runs += 1;
            if runs == 1 {
                continue;
            }
            let profile = self.program.profile();
            self.least.resize(profile.len(), f64::INFINITY);
            for (least, step) in self.least.iter_mut().zip(profile) {
                *least = least.min(step.nanoseconds as f64 / step.images as f64);
            }
        }
        std::hint::black_box(out);
    }
}

/// Numbers between -1 and 1, the same each time.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A convolution of the network: a square window over square planes.
#[derive(Clone, Copy)]
struct Conv {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    /// Of the output.
    side: usize,
    /// Zeros around the output.
    border: usize,
    residual: Option<Value>,
    relu: bool,
}

/// What bytes mean everywhere behind a ReLU, and where there is none.
const POSITIVE: Quantization = Quantization {
    scale: 0.03,
    zero: 0,
};
const SIGNED: Quantization = Quantization {
    scale: 0.05,
    zero: 128,
};

/// The same with weights and values of 8 bits.
fn add_int8(
    builder: &mut Builder,
    name: &str,
    from: Option<Value>,
    (conv, weights, bias): (Conv, &[f32], &[f32]),
    moving: SlidingWindow,
) -> Value {
    let outputs = conv.channels[1];
    let each = weights.len() / outputs;
    let largest = |w: &[f32]| w.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let scales: Vec<f32> = weights.chunks(each).map(|w| largest(w) / 127.0).collect();
    let weights: Vec<i8> = weights
        .iter()
        .enumerate()
        .map(|(i, w)| (w / scales[i / each]).round() as i8)
        .collect();
    let input = if from.is_none() { SIGNED } else { POSITIVE };
    let bias: Vec<i32> = (bias.iter().zip(&scales))
        .map(|(b, scale)| (b / (input.scale * scale)) as i32)
        .collect();
    let meaning = if conv.relu { POSITIVE } else { SIGNED };
    let layer = Int8Conv {
        moving,
        groups: 1,
        outputs,
        weights: &weights,
        scales: &scales,
        bias: &bias,
        residual: conv.residual.map(|value| Int8Residual {
            value,
            own: Some(Int8Own {
                quantization: SIGNED,
                relu: false,
            }),
        }),
        relu: conv.relu,
        most: f32::INFINITY,
        output: Some(meaning),
        border: conv.border,
    };
    match from {
        Some(from) => builder.int8_conv(name, from, &layer).unwrap(),
        None => builder.int8_first_conv(name, 0, SIGNED, &layer).unwrap(),
    }
}

fn add(builder: &mut Builder, name: &str, from: Option<Value>, conv: Conv) -> Value {
    let [inputs, outputs] = conv.channels;
    let seed = (name.bytes()).fold(7_u64, |seed, b| seed.wrapping_mul(31) + u64::from(b));
    let fan_in = inputs * conv.kernel * conv.kernel;
    let scale = (6.0 / fan_in as f32).sqrt() * if conv.residual.is_some() { 0.3 } else { 1.0 };
    // Many small and few large ones, as trained weights are: how long 8 bits take without VNNI depends on it.
    let mut weights = vec![0.0; outputs * fan_in];
    for i in 0..4 {
        let noise = noise(seed + 7919 * i, outputs * fan_in);
        for (weight, noise) in weights.iter_mut().zip(noise) {
            *weight += 0.5 * noise;
        }
    }
    weights.iter_mut().for_each(|w| *w *= w.abs() * scale);
    let bias = noise(seed + 1, outputs);
    let moving = SlidingWindow {
        kernel: [conv.kernel; 2],
        stride: [conv.stride; 2],
        pad_before: [conv.kernel / 2; 2],
        output: [conv.side; 2],
    };
    if builder.arithmetic().precision() == Precision::Int8 {
        return add_int8(builder, name, from, (conv, &weights, &bias), moving);
    }
    let layer = ConvLayer {
        moving,
        groups: 1,
        outputs,
        weights: &weights,
        bias: &bias,
        residual: conv.residual,
        relu: conv.relu,
        most: f32::INFINITY,
        border: conv.border,
        exact: outputs == 1000,
    };
    match from {
        Some(from) => builder.conv(name, from, &layer).unwrap(),
        None => builder.first_conv(name, 0, &layer).unwrap(),
    }
}

/// The network as the server builds it: planes of up to 14×14 for all images of a batch at once.
fn resnet50(arithmetic: Arithmetic, batch: usize, threads: usize) -> Program {
    let mut builder = Builder::new(arithmetic, vec![[3, 224, 224]], batch, threads);
    let plain = Conv {
        channels: [3, 64],
        kernel: 7,
        stride: 2,
        side: 112,
        border: 0,
        residual: None,
        relu: true,
    };
    let stem = add(&mut builder, "conv1", None, plain);
    let window = SlidingWindow {
        kernel: [3; 2],
        stride: [2; 2],
        pad_before: [1; 2],
        output: [56; 2],
    };
    let int8 = arithmetic.precision() == Precision::Int8;
    let pooled = match int8 {
        true => builder.int8_max_pool("maxpool", stem, window, 0),
        false => builder.pool("maxpool", stem, Pooling::Max, window, 0),
    };
    let (mut value, mut inputs, mut side) = (pooled.unwrap(), 64, 56);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let narrow = Conv {
                channels: [inputs, width],
                kernel: 1,
                stride: 1,
                side,
                border: 1,
                ..plain
            };
            let a = add(&mut builder, &name("conv1"), Some(value), narrow);
            side /= stride;
            if stage == 2 {
                builder.begin_batch();
            }
            let window = Conv {
                channels: [width, width],
                kernel: 3,
                stride,
                side,
                ..plain
            };
            let b = add(&mut builder, &name("conv2"), Some(a), window);
            let skip = match block {
                0 => {
                    let skip = Conv {
                        channels: [inputs, 4 * width],
                        kernel: 1,
                        relu: false,
                        ..window
                    };
                    add(&mut builder, &name("downsample"), Some(value), skip)
                }
                _ => value,
            };
            let wide = Conv {
                channels: [width, 4 * width],
                kernel: 1,
                stride: 1,
                side,
                residual: Some(skip),
                ..plain
            };
            value = add(&mut builder, &name("conv3"), Some(b), wide);
            inputs = 4 * width;
        }
    }
    let mean = match int8 {
        true => builder
            .int8_global_mean("avgpool", value, POSITIVE)
            .unwrap(),
        false => builder.global_mean("avgpool", value),
    };
    let last = Conv {
        channels: [2048, 1000],
        kernel: 1,
        stride: 1,
        side: 1,
        relu: false,
        ..plain
    };
    let logits = add(&mut builder, "fc", Some(mean), last);
    builder.leave("out", logits);
    builder.finish()
}
