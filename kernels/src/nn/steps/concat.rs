//! Values side by side: the channels of one behind those of another.
//!
//! Called by the program's steps; tasks are blocks of channels of an image. Where a block of the output is a block of
//! an input, its lines are copied as they are; else its numbers are put together one by one.

use super::block::{Block, for_each_block};
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// The channels of several values, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Concat {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How all values are stored.
    pub(crate) store: Store,
    /// Channels of each input.
    pub(crate) channels: Vec<usize>,
}

/// Channels of one input that follow each other in a block of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    input: usize,
    /// The first of them, in the input.
    from: usize,
    /// The first of them, in the block.
    to: usize,
    count: usize,
}

impl Concat {
    /// Computes `output`, but for its border. Channels beyond the last become zeros.
    ///
    /// # Safety
    /// All views hold `images` images of the same size; nobody else uses the output or writes the inputs; the output
    /// overlaps with none of them.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, inputs: &[View], output: View, images: usize) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, concat(self, lead, inputs, output, images)) }
    }

    /// The runs of input channels that lie in `count` channels of the output from `first` on.
    fn runs(&self, first: usize, count: usize) -> Vec<Run> {
        let mut begin = 0;
        let mut runs = Vec::new();
        for (input, &channels) in self.channels.iter().enumerate() {
            let (from, end) = (first.max(begin), (first + count).min(begin + channels));
            if from < end {
                runs.push(Run {
                    input,
                    from: from - begin,
                    to: from - first,
                    count: end - from,
                });
            }
            begin += channels;
        }
        runs
    }
}

/// # Safety
/// The conditions of [`Concat::run`] hold.
unsafe fn concat<const H: usize, F: Format<H>>(
    step: &Concat,
    lead: &Lead<'_>,
    inputs: &[View],
    output: View,
    images: usize,
) {
    let size = 16 * H;
    let block = |image, group: usize, to: &mut [Line]| {
        let runs = step.runs(group * size, size);
        if let [run] = runs[..]
            && run.to == 0
            && run.from % size == 0
            && (run.count == size || run.from + run.count == step.channels[run.input])
        {
            let input = inputs[run.input];
            let block = run.from / size * F::BLOCKS;
            // SAFETY: inside of the value.
            let from = unsafe { input.blocks(image, block, F::BLOCKS) };
            copy(from, input, to, output, F::BLOCKS);
            return;
        }
        let parts = runs.iter().map(|run| {
            // The blocks of an input that its channels may lie in.
            let blocks = run.from / size..=(run.from + run.count - 1) / size;
            let blocks = blocks.map(|block| {
                // SAFETY: inside of the value.
                unsafe { Block::<H, F>::new(inputs[run.input], image, block) }
            });
            (*run, blocks.collect())
        });
        step.vectorized.run(ConcatTask {
            parts: parts.collect(),
            to,
            output,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

/// Copies the rows of `blocks` blocks of an image as they are.
fn copy(from: &[Line], input: View, to: &mut [Line], output: View, blocks: usize) {
    let (source, target) = (input.plane, output.plane);
    for block in 0..blocks {
        for row in 0..target.height {
            let read = block * source.lines() + source.at(row, 0);
            let write = block * target.lines() + target.at(row, 0);
            let width = target.width;
            to[write..write + width].copy_from_slice(&from[read..read + width]);
        }
    }
}

struct ConcatTask<'a, const H: usize, F> {
    parts: Vec<(Run, Vec<Block<'a, H, F>>)>,
    to: &'a mut [Line],
    output: View,
}

impl<const H: usize, F: Format<H>> Task for ConcatTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (plane, size) = (self.output.plane, 16 * H);
        for row in 0..plane.height {
            for column in 0..plane.width {
                let mut values: [Lanes; H] = [[0.0; 16]; H];
                for (run, blocks) in &self.parts {
                    for (b, block) in blocks.iter().enumerate() {
                        let numbers = block.pixel(row, column);
                        for (i, number) in numbers.as_flattened().iter().enumerate() {
                            // Where this channel of the input comes to lie in the output's block.
                            let channel = (run.from / size + b) * size + F::channel(i / 16, i % 16);
                            if (run.from..run.from + run.count).contains(&channel) {
                                let [half, lane] = place::<H, F>(channel - run.from + run.to);
                                values[half][lane] = *number;
                            }
                        }
                    }
                }
                F::store(self.to, plane.lines(), plane.at(row, column), values);
            }
        }
    }
}

/// The half and the lane of a channel, counted from a block's first: the inverse of [`Format::channel`].
#[inline(always)]
fn place<const H: usize, F: Format<H>>(channel: usize) -> [usize; 2] {
    let step = F::channel(0, 1);
    [channel % step, channel / step]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::layout::line::Plane;
    use crate::nn::testing::{STORES, Value, lead, random, rounded, vectorized};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn channels_follow_each_other(
            store in prop::sample::select(&STORES[..]), images in 1usize..3,
            channels in prop::collection::vec(prop::sample::select(vec![1usize, 3, 16, 24, 32, 48, 64, 70]), 1..5),
            height in 1usize..4, width in 1usize..4, border in 0usize..3, seed: u64,
        ) {
            let area = height * width;
            let parts: Vec<Vec<f32>> = channels.iter().zip(0..)
                .map(|(c, i)| random(seed ^ i, images * c * area)).collect();
            let plane = |border| Plane { height, width, border };
            let mut inputs: Vec<Value> = parts.iter().zip(&channels).enumerate()
                .map(|(i, (numbers, c))| Value::of(store, *c, plane(i % 2), numbers)).collect();
            let all = channels.iter().sum();
            let mut output = Value::new(store, images, all, plane(border));
            let step = Concat { vectorized: vectorized(), store, channels: channels.clone() };
            let (from, to) = (inputs.iter_mut().map(Value::view).collect::<Vec<_>>(), output.view());
            // SAFETY: values that are only used here.
            lead(|lead| unsafe { step.run(lead, &from, to, images) });
            let mut expected = Vec::new();
            for image in 0..images {
                for (numbers, c) in parts.iter().zip(&channels) {
                    expected.extend(numbers[image * c * area..][..c * area].iter().map(|x| rounded(store, *x)));
                }
            }
            prop_assert_eq!(output.numbers(), expected.clone());
            // As one value that was never in parts, channels beyond the last included; a pair of bfloat16 that has been
            // one number may come out as another pair.
            let whole = Value::of(store, all, plane(border), &expected);
            prop_assert!(store == Store::Split || whole.bits() == output.bits());
        }
    }
}
