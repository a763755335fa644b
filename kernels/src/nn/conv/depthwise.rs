//! Depthwise convolution: each channel under a window of its own, lane by lane.
//!
//! Called by the program's steps. There is no sum over channels, so nothing to multiply by matrices: a line of 16 or 32
//! channels is multiplied with a line of weights for each position of the window. Sums are single precision whatever
//! the values are stored in, and are made in the order of the window's rows and columns.

use std::marker::PhantomData;

use super::shape::{ConvShape, ConvUse};
use crate::nn::arena::scratch::share;
use crate::nn::arithmetic::Arithmetic;
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Most rows of the output that a task computes.
const ROWS: usize = 8;

/// Pixels that are computed side by side. Their sums and one position's weights stay in registers, 16 channels in two
/// registers with AVX2 as well; the planes of ImageNet's networks are multiples of it.
const PIXELS: usize = 7;

/// A depthwise convolution ready to run between values of fixed geometry.
#[derive(Debug)]
pub(crate) struct Depthwise {
    vectorized: Vectorized,
    shape: ConvShape,
    about: ConvUse,
    /// For each vector of 16 channels the bias, then the weights at each position of the window.
    weights: Vec<Lanes>,
}

impl Depthwise {
    /// `weights` are `[channels, 1, height, width]`. None if the convolution is not depthwise, or adds a value.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Depthwise> {
        let channels = shape.outputs;
        let fits = shape.groups == channels
            && shape.inputs == channels
            && about.residual.is_none()
            && !about.across_images
            && about.store == arithmetic.store();
        if !fits || channels == 1 {
            return None;
        }
        let taps = shape.kernel[0] * shape.kernel[1];
        let packed = with_format!(about.store, pack(channels, taps, weights, bias));
        Some(Depthwise {
            vectorized: arithmetic.vectorized(),
            shape,
            about,
            weights: packed,
        })
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.weights)
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output or writes the input meanwhile; they do not overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        // SAFETY: the caller promises views of the geometry given to `new`, and the output to itself.
        unsafe { with_format!(self.about.store, run(self, lead, input, output, images)) }
    }
}

/// The lines of each vector of channels, in the order of the format's blocks and halves.
fn pack<const H: usize, F: Format<H>>(
    channels: usize,
    taps: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<Lanes> {
    let mut packed = Vec::new();
    for group in 0..channels.div_ceil(16 * H) {
        for half in 0..H {
            let lanes = |value: &dyn Fn(usize) -> f32| {
                std::array::from_fn(|lane| {
                    let channel = group * 16 * H + F::channel(half, lane);
                    if channel < channels {
                        value(channel)
                    } else {
                        0.0
                    }
                })
            };
            packed.push(lanes(&|channel| bias[channel]));
            for tap in 0..taps {
                packed.push(lanes(&|channel| weights[channel * taps + tap]));
            }
        }
    }
    packed
}

/// # Safety
/// The conditions of [`Depthwise::run`] hold.
unsafe fn run<const H: usize, F: Format<H>>(
    conv: &Depthwise,
    lead: &Lead<'_>,
    input: View,
    output: View,
    images: usize,
) {
    let groups = output.blocks / F::BLOCKS;
    let height = output.plane.height;
    let parts = height.div_ceil(ROWS);
    let lines = conv.weights.len() / groups;
    lead.for_each(images * groups * parts, &|task| {
        let (image, rest) = (task / (groups * parts), task % (groups * parts));
        let (group, part) = (rest / parts, rest % parts);
        for row in share(height, part, parts) {
            let first = conv.about.first_line(conv.shape, row, 0);
            // SAFETY: inside of the values: the border is as wide as the windows reach. No other task has this row of
            // this block.
            let (from, to) = unsafe {
                (
                    input.plane_start(image, group * F::BLOCKS).add(first),
                    output.line(image, group * F::BLOCKS, row, 0),
                )
            };
            let row = Row::<H, F> {
                weights: &conv.weights[group * lines..][..lines],
                kernel: conv.shape.kernel,
                stride: conv.shape.stride[1],
                from,
                from_plane: input.plane,
                to,
                to_plane: output.plane,
                bounds: conv.about.relu.then_some(conv.about.most),
                format: PhantomData,
            };
            conv.vectorized.run(row);
        }
    });
}

/// One row of the output of one block. Only [`run`] makes it, with addresses inside of the values.
struct Row<'a, const H: usize, F> {
    weights: &'a [Lanes],
    kernel: [usize; 2],
    stride: usize,
    /// The first line under the first window.
    from: *const Line,
    from_plane: Plane,
    /// The output's line of the row's first pixel.
    to: *mut Line,
    to_plane: Plane,
    bounds: Option<f32>,
    format: PhantomData<F>,
}

impl<const H: usize, F: Format<H>> Task for Row<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.kernel {
            [3, 3] => self.pixels::<3, 3>(),
            [5, 5] => self.pixels::<5, 5>(),
            _ => self.pixels::<0, 0>(),
        }
    }
}

impl<const H: usize, F: Format<H>> Row<'_, H, F> {
    /// Computes the row with a window of `HEIGHT` × `WIDTH`; zeros stand for any size.
    #[inline(always)]
    fn pixels<const HEIGHT: usize, const WIDTH: usize>(&self) {
        let [height, width] = match HEIGHT {
            0 => self.kernel,
            _ => [HEIGHT, WIDTH],
        };
        let window = Window {
            height,
            width,
            each: 1 + height * width,
        };
        let columns = self.to_plane.width;
        let tiles = columns / PIXELS;
        for tile in 0..tiles {
            self.tile::<PIXELS>(window, tile * PIXELS);
        }
        for column in tiles * PIXELS..columns {
            self.tile::<1>(window, column);
        }
    }

    /// Computes `PIXELS` neighbouring pixels from `column` on: each line of weights is read once for all of them.
    #[inline(always)]
    fn tile<const PIXELS: usize>(&self, window: Window, column: usize) {
        let Window {
            height,
            width,
            each,
        } = window;
        let (pitch, lines) = (self.from_plane.pitch(), self.from_plane.lines());
        let bias: [Lanes; H] = std::array::from_fn(|half| self.weights[half * each]);
        let mut sums = [bias; PIXELS];
        for y in 0..height {
            for x in 0..width {
                let tap = 1 + y * width + x;
                let weights: [Lanes; H] =
                    std::array::from_fn(|half| self.weights[half * each + tap]);
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: a line under the window, which `run` has found inside of the value.
                    let values = unsafe {
                        let line = (self.from).add(y * pitch + (column + pixel) * self.stride + x);
                        F::read(line, lines)
                    };
                    for half in 0..H {
                        for lane in 0..16 {
                            sums[half][lane] =
                                values[half][lane].mul_add(weights[half][lane], sums[half][lane]);
                        }
                    }
                }
            }
        }
        for (pixel, mut sums) in sums.into_iter().enumerate() {
            if let Some(most) = self.bounds {
                for value in sums.as_flattened_mut() {
                    *value = if *value > 0.0 { *value } else { 0.0 };
                    *value = if *value < most { *value } else { most };
                }
            }
            // SAFETY: a pixel of the row, which no other task has.
            unsafe { F::write(self.to.add(column + pixel), self.to_plane.lines(), sums) };
        }
    }
}

/// The size of a window, and in `each` the lines of weights of a vector of channels: its bias and its positions.
#[derive(Clone, Copy)]
struct Window {
    height: usize,
    width: usize,
    each: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Features;
    use crate::nn::testing::{Value, random, rounded};
    use crate::nn::{Precision, Team};

    fn arithmetics() -> Vec<Arithmetic> {
        let of = |precision| Arithmetic::new(precision, Features::detect());
        Precision::FLOATS.into_iter().filter_map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn depthwise_is_the_naive_one_for_all_windows(
            arithmetic in prop::sample::select(arithmetics()), images in 1..3_usize, threads in 1..3_usize,
            channels in 2..70_usize, size in [4..20_usize, 4..20_usize], kernel in [1..6_usize, 1..6_usize],
            stride in [1..4_usize, 1..4_usize], pads in [0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize],
            relu: bool, seed: u64,
        ) {
            let before = [0, 1].map(|d| pads[d].min(kernel[d] - 1));
            let after = [0, 1].map(|d| pads[2 + d].min(kernel[d] - 1));
            let output = [0, 1].map(|d| {
                (size[d] + before[d] + after[d]).saturating_sub(kernel[d]) / stride[d] + 1
            });
            prop_assume!((0..2).all(|d| size[d] + before[d] + after[d] >= kernel[d]));
            let plane = |[height, width]: [usize; 2], border| Plane { height, width, border };
            let store = arithmetic.store();
            let shape = ConvShape { outputs: channels, inputs: channels, groups: channels, kernel, stride, pad: before };
            let about = ConvUse {
                input: plane(size, 4), output: plane(output, 1), residual: None, relu, most: 0.5, store,
                across_images: false,
            };
            let taps = kernel[0] * kernel[1];
            let (weights, bias) = (random(seed, channels * taps), random(seed ^ 1, channels));
            let values = random(seed ^ 2, images * channels * size[0] * size[1]);
            let conv = Depthwise::new(arithmetic, shape, about, &weights, &bias).unwrap();
            let mut from = Value::of(store, channels, about.input, &values);
            let mut to = Value::new(store, images, channels, about.output);
            let (read, write) = (from.view(), to.view());
            // SAFETY: values of these shapes that are only used here.
            Team::new(threads).lead(threads, |lead| unsafe { conv.run(lead, read, write, images) });
            let from = from.numbers();
            for (i, got) in to.numbers().into_iter().enumerate() {
                let (column, row) = (i % output[1], i / output[1] % output[0]);
                let plane = i / output[1] / output[0];
                let mut sum = bias[plane % channels];
                for tap in 0..taps {
                    let y = (row * stride[0] + tap / kernel[1]).wrapping_sub(before[0]);
                    let x = (column * stride[1] + tap % kernel[1]).wrapping_sub(before[1]);
                    let inside = y < size[0] && x < size[1];
                    let value = if inside { from[(plane * size[0] + y) * size[1] + x] } else { 0.0 };
                    sum = value.mul_add(weights[plane % channels * taps + tap], sum);
                }
                let expected = rounded(store, if relu { sum.clamp(0.0, 0.5) } else { sum });
                prop_assert!((got - expected).abs() <= 1e-6 * expected.abs().max(1e-3), "{got} is not {expected}");
            }
        }
    }
}
