//! Pools: the largest or the mean value under a window, and the mean of a whole plane.
//!
//! Called by the program's steps; tasks are blocks of channels, so each result is computed by one thread in one order.

use std::marker::PhantomData;
use std::ops::Range;

use super::block::for_each_block;
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Where a window moves; rows first, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolWindow {
    /// Height and width.
    pub(crate) kernel: [usize; 2],
    /// Pixels from one window to the next, down and to the right.
    pub(crate) stride: [usize; 2],
    /// What the first window covers above and to the left of the image.
    pub(crate) pad_before: [usize; 2],
}

/// What becomes of the values under a window. Those outside of the image are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolKind {
    /// The largest value.
    Max,
    /// The sum of the values divided by their number.
    Mean,
    /// The sum of the values divided by the window's area.
    MeanWithPad,
}

/// A pool with a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How input and output are stored.
    pub(crate) store: Store,
    /// What is computed.
    pub(crate) kind: PoolKind,
    /// Where windows lie.
    pub(crate) window: PoolWindow,
}

impl Pool {
    /// Computes `output`, but for its border, from the same number of blocks of `input`.
    ///
    /// # Safety
    /// Both views hold `images` images; nobody else uses the output or writes the input; they do not overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, pool(self, lead, input, output, images)) }
    }
}

/// # Safety
/// The conditions of [`Pool::run`] hold.
unsafe fn pool<const H: usize, F: Format<H>>(
    pool: &Pool,
    lead: &Lead<'_>,
    input: View,
    output: View,
    images: usize,
) {
    assert_eq!(input.blocks, output.blocks, "a pool keeps the channels");
    let block = |image, group: usize, to: &mut [Line]| {
        pool.vectorized.run(PoolTask::<H, F> {
            kind: pool.kind,
            window: pool.window,
            // SAFETY: inside of the value.
            from: unsafe { input.blocks(image, group * F::BLOCKS, F::BLOCKS) },
            from_plane: input.plane,
            to,
            to_plane: output.plane,
            format: PhantomData,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

/// Pools one block of one image.
struct PoolTask<'a, const H: usize, F> {
    kind: PoolKind,
    window: PoolWindow,
    from: &'a [Line],
    from_plane: Plane,
    to: &'a mut [Line],
    to_plane: Plane,
    format: PhantomData<F>,
}

/// The part of a window at `start - pad` that lies inside of `0..size`.
#[inline(always)]
pub(crate) fn inside(start: usize, pad: usize, kernel: usize, size: usize) -> (usize, usize) {
    let end = (start + kernel).saturating_sub(pad).min(size);
    (start.saturating_sub(pad).min(end), end)
}

impl<const H: usize, F: Format<H>> Task for PoolTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let to_lines = self.to_plane.lines();
        let PoolWindow {
            kernel,
            stride,
            pad_before: pad,
        } = self.window;
        for row in 0..self.to_plane.height {
            let (top, bottom) = inside(row * stride[0], pad[0], kernel[0], self.from_plane.height);
            for column in 0..self.to_plane.width {
                let (left, right) =
                    inside(column * stride[1], pad[1], kernel[1], self.from_plane.width);
                let window = Window {
                    from: self.from,
                    plane: self.from_plane,
                    rows: top..bottom,
                    columns: left..right,
                };
                let values = match self.kind {
                    PoolKind::Max => window.fold::<H, F>([[f32::NEG_INFINITY; 16]; H], max),
                    PoolKind::Mean => {
                        let count = (bottom - top) * (right - left);
                        divide(window.fold::<H, F>([[0.0; 16]; H], add), count)
                    }
                    PoolKind::MeanWithPad => {
                        let sum = window.fold::<H, F>([[0.0; 16]; H], add);
                        divide(sum, kernel[0] * kernel[1])
                    }
                };
                F::store(self.to, to_lines, self.to_plane.at(row, column), values);
            }
        }
    }
}

/// Some pixels of a block.
struct Window<'a> {
    from: &'a [Line],
    plane: Plane,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Window<'_> {
    /// Folds the window's pixels by `step`. Loops, since iterators of two dimensions keep their state in memory.
    #[inline(always)]
    fn fold<const H: usize, F: Format<H>>(
        self,
        mut state: [Lanes; H],
        step: impl Fn([Lanes; H], [Lanes; H]) -> [Lanes; H],
    ) -> [Lanes; H] {
        let lines = self.plane.lines();
        for row in self.rows {
            let first = self.plane.at(row, 0);
            for column in self.columns.clone() {
                state = step(state, F::load(self.from, lines, first + column));
            }
        }
        state
    }
}

#[inline(always)]
fn max<const H: usize>(mut best: [Lanes; H], values: [Lanes; H]) -> [Lanes; H] {
    for (best, values) in best.iter_mut().zip(values) {
        for (best, value) in best.iter_mut().zip(values) {
            *best = if value > *best { value } else { *best };
        }
    }
    best
}

#[inline(always)]
fn add<const H: usize>(mut sum: [Lanes; H], values: [Lanes; H]) -> [Lanes; H] {
    for (sum, values) in sum.iter_mut().zip(values) {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    }
    sum
}

#[inline(always)]
fn divide<const H: usize>(sum: [Lanes; H], count: usize) -> [Lanes; H] {
    sum.map(|lanes| lanes.map(|sum| sum / count as f32))
}

/// The mean of each channel of each image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GlobalMean {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How input and output are stored.
    pub(crate) store: Store,
    /// Whether images become neighbours in a row, as a fully connected layer of a batch wants them.
    pub(crate) in_row: bool,
}

impl GlobalMean {
    /// Computes the pixels `(0, image)` of image 0 of `output`, if `in_row`, or the only pixel of each image.
    ///
    /// # Safety
    /// The input holds `images` images, the output as many of one pixel, or one that is at least `images` wide; nobody
    /// else uses the output or writes the input; they do not overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, global_mean(self, lead, input, output, images)) }
    }
}

/// # Safety
/// The conditions of [`GlobalMean::run`] hold.
unsafe fn global_mean<const H: usize, F: Format<H>>(
    mean: &GlobalMean,
    lead: &Lead<'_>,
    input: View,
    output: View,
    images: usize,
) {
    assert_eq!(input.blocks, output.blocks, "a mean keeps the channels");
    assert!(
        !mean.in_row || images <= output.plane.width,
        "a column for each image"
    );
    lead.for_each(output.blocks / F::BLOCKS, &|task| {
        let block = task * F::BLOCKS;
        for image in 0..images {
            let (at, column) = if mean.in_row { (0, image) } else { (image, 0) };
            // SAFETY: inside of the value; each task has its own blocks.
            let to = unsafe { output.blocks_mut(at, block, F::BLOCKS) };
            // SAFETY: inside of the value.
            let from = unsafe { input.blocks(image, block, F::BLOCKS) };
            let sum = SumTask::<H, F>(from, input.plane, PhantomData);
            let values = divide(
                mean.vectorized.run(sum),
                input.plane.height * input.plane.width,
            );
            F::store(to, output.plane.lines(), output.plane.at(0, column), values);
        }
    });
}

/// The sum of a block's pixels.
struct SumTask<'a, const H: usize, F>(&'a [Line], Plane, PhantomData<F>);

impl<const H: usize, F: Format<H>> Task for SumTask<'_, H, F> {
    type Output = [Lanes; H];

    #[inline(always)]
    fn run(self) -> [Lanes; H] {
        let SumTask(from, plane, _) = self;
        let all = Window {
            from,
            plane,
            rows: 0..plane.height,
            columns: 0..plane.width,
        };
        all.fold::<H, F>([[0.0; 16]; H], add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;
    use crate::nn::testing::{STORES, Value, lead, random, rounded, vectorized};

    /// One plane `[height, width]` pooled into `[rows, columns]`, in the kernel's order.
    fn naive(
        kind: PoolKind,
        window: PoolWindow,
        plane: &[f32],
        [height, width]: [usize; 2],
        [rows, columns]: [usize; 2],
    ) -> Vec<f32> {
        let mut out = Vec::new();
        for row in 0..rows as isize {
            for column in 0..columns as isize {
                let (mut best, mut sum, mut count) = (f32::NEG_INFINITY, 0.0, 0);
                for ky in 0..window.kernel[0] as isize {
                    for kx in 0..window.kernel[1] as isize {
                        let y =
                            row * window.stride[0] as isize - window.pad_before[0] as isize + ky;
                        let x =
                            column * window.stride[1] as isize - window.pad_before[1] as isize + kx;
                        if y >= 0 && x >= 0 && y < height as isize && x < width as isize {
                            let value = plane[y as usize * width + x as usize];
                            best = best.max(value);
                            sum += value;
                            count += 1;
                        }
                    }
                }
                out.push(match kind {
                    PoolKind::Max => best,
                    PoolKind::Mean => sum / count as f32,
                    PoolKind::MeanWithPad => sum / (window.kernel[0] * window.kernel[1]) as f32,
                });
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn pools_are_the_naive_ones_for_all_windows(
            store in prop::sample::select(&STORES[..]),
            kind in prop::sample::select(&[PoolKind::Max, PoolKind::Mean, PoolKind::MeanWithPad][..]),
            images in 1usize..3, channels in 1usize..50, size in [5usize..12, 5usize..12],
            kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4],
            pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4], borders in [0usize..3, 0usize..3], seed: u64,
        ) {
            let [height, width] = size;
            let before = [pads[0].min(kernel[0] - 1), pads[1].min(kernel[1] - 1)];
            let after = [pads[2].min(kernel[0] - 1), pads[3].min(kernel[1] - 1)];
            let rows = [0, 1].map(|d| (size[d] + before[d] + after[d] - kernel[d]) / stride[d] + 1);
            let window = PoolWindow { kernel, stride, pad_before: before };
            let numbers = random(seed, images * channels * height * width);
            let plane = Plane { height, width, border: borders[0] };
            let mut input = Value::of(store, channels, plane, &numbers);
            let plane = Plane { height: rows[0], width: rows[1], border: borders[1] };
            let mut output = Value::new(store, images, channels, plane);
            let pool = Pool { vectorized: vectorized(), store, kind, window };
            let (from, to) = (input.view(), output.view());
            // SAFETY: two values that are only used here.
            lead(|lead| unsafe { pool.run(lead, from, to, images) });
            let stored: Vec<f32> = numbers.iter().map(|&x| rounded(store, x)).collect();
            let expected: Vec<f32> = stored
                .chunks(height * width)
                .flat_map(|plane| naive(kind, window, plane, size, rows))
                .map(|x| rounded(store, x))
                .collect();
            prop_assert_eq!(output.numbers(), expected);
            for isa in Isa::ALL.into_iter().filter(|i| i.is_supported()) {
                let mut other = Value::new(store, images, channels, plane);
                let to = other.view();
                let pool = Pool { vectorized: Vectorized::new(isa).unwrap(), ..pool };
                // SAFETY: two values that are only used here.
                lead(|lead| unsafe { pool.run(lead, from, to, images) });
                prop_assert!(other.bits() == output.bits(), "{isa:?}");
            }
        }

        #[test]
        fn global_mean_puts_images_side_by_side_or_keeps_them_apart(
            store in prop::sample::select(&STORES[..]), images in 1usize..5, spare in 0usize..3, in_row: bool,
            channels in 1usize..50, height in 1usize..9, width in 1usize..9, border in 0usize..3, seed: u64,
        ) {
            let numbers = random(seed, images * channels * height * width);
            let mut input = Value::of(store, channels, Plane { height, width, border }, &numbers);
            let row = Plane { height: 1, width: if in_row { images + spare } else { 1 }, border: 0 };
            let mut output = Value::new(store, if in_row { 1 } else { images }, channels, row);
            let mean = GlobalMean { vectorized: vectorized(), store, in_row };
            let (from, to) = (input.view(), output.view());
            // SAFETY: two values that are only used here.
            lead(|lead| unsafe { mean.run(lead, from, to, images) });
            let means = output.numbers();
            for (i, plane) in numbers.chunks(height * width).enumerate() {
                let (image, channel) = (i / channels, i % channels);
                let sum = plane.iter().fold(0.0, |sum, &x| sum + rounded(store, x));
                let expected = rounded(store, sum / plane.len() as f32);
                let at = if in_row { channel * row.width + image } else { i };
                prop_assert_eq!(means[at], expected);
            }
        }
    }
}
