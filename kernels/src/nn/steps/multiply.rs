//! Products of two values, of which the second may have one number a channel: the gate of squeeze-and-excite.
//!
//! Called by the program's steps; tasks are blocks of channels of an image.

use super::block::{Block, bounded, for_each_block};
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// `relu?(value * factor + addend)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Multiply {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How all values are stored.
    pub(crate) store: Store,
    /// Where the factors are.
    pub(crate) factor: Factor,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
}

/// Where the factors of a product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    /// One for each number of the value, in a value of the same shape.
    Each,
    /// One for each channel, in a value with a single pixel for each image.
    Channel,
    /// One for each channel, in a value whose images lie side by side in one row.
    ChannelInRow,
}

impl Multiply {
    /// Computes `output` from a value, factors and what is added, if anything is; but for its border.
    ///
    /// # Safety
    /// All views hold `images` images, value, addend and output of the same size, the factors of that or of single
    /// pixels, as `self.factor` says; nobody else uses the output or writes the others; the output overlaps with none.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        reads: [View; 2],
        addend: Option<View>,
        output: View,
        images: usize,
    ) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe {
            with_format!(
                self.store,
                multiply(self, lead, reads, addend, output, images)
            )
        }
    }
}

/// # Safety
/// The conditions of [`Multiply::run`] hold.
unsafe fn multiply<const H: usize, F: Format<H>>(
    step: &Multiply,
    lead: &Lead<'_>,
    [value, factor]: [View; 2],
    addend: Option<View>,
    output: View,
    images: usize,
) {
    let block = |image, group, to: &mut [Line]| {
        // SAFETY: inside of the values.
        let read = |view, image| unsafe { Block::<H, F>::new(view, image, group) };
        let factors = match step.factor {
            Factor::Each => Factors::Each(read(factor, image)),
            Factor::Channel => Factors::One(read(factor, image).pixel(0, 0)),
            Factor::ChannelInRow => Factors::One(read(factor, 0).pixel(0, image)),
        };
        step.vectorized.run(MultiplyTask {
            value: read(value, image),
            factors,
            addend: addend.map(|addend| read(addend, image)),
            to,
            plane: output.plane,
            relu: step.relu,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

enum Factors<'a, const H: usize, F> {
    Each(Block<'a, H, F>),
    One([Lanes; H]),
}

struct MultiplyTask<'a, const H: usize, F> {
    value: Block<'a, H, F>,
    factors: Factors<'a, H, F>,
    addend: Option<Block<'a, H, F>>,
    to: &'a mut [Line],
    plane: Plane,
    relu: bool,
}

impl<const H: usize, F: Format<H>> Task for MultiplyTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plane = self.plane;
        for row in 0..plane.height {
            for column in 0..plane.width {
                let mut values = self.value.pixel(row, column);
                let factors = match &self.factors {
                    Factors::Each(block) => block.pixel(row, column),
                    Factors::One(factors) => *factors,
                };
                let terms = factors.as_flattened();
                for (value, factor) in values.as_flattened_mut().iter_mut().zip(terms) {
                    *value *= factor;
                }
                if let Some(addend) = &self.addend {
                    let addends = addend.pixel(row, column);
                    let addends = addends.as_flattened();
                    for (value, addend) in values.as_flattened_mut().iter_mut().zip(addends) {
                        *value += addend;
                    }
                }
                let values = bounded(values, self.relu, f32::INFINITY);
                F::store(self.to, plane.lines(), plane.at(row, column), values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::testing::{STORES, Value, lead, random, rounded, vectorized};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn products_are_the_naive_ones(
            store in prop::sample::select(&STORES[..]), images in 1usize..3, channels in 1usize..70,
            height in 1usize..6, width in 1usize..6, borders in [0usize..3, 0usize..3, 0usize..3], relu: bool,
            factor in prop::sample::select(vec![Factor::Each, Factor::Channel, Factor::ChannelInRow]), adds: bool,
            seed: u64,
        ) {
            let area = height * width;
            let count = images * channels * area;
            let numbers = [random(seed, count), random(seed ^ 1, count)];
            let per_image = if factor == Factor::Each { area } else { 1 };
            let factors = random(seed ^ 2, images * channels * per_image);
            let plane = |border| Plane { height, width, border };
            let single = Plane { height: 1, width: 1, border: 0 };
            let mut value = Value::of(store, channels, plane(borders[0]), &numbers[0]);
            let mut addend = Value::of(store, channels, plane(borders[1]), &numbers[1]);
            let mut by = match factor {
                Factor::Each => Value::of(store, channels, plane(1), &factors),
                Factor::Channel => Value::of(store, channels, single, &factors),
                Factor::ChannelInRow => {
                    let row = Plane { height: 1, width: images, border: 0 };
                    // [channels, images] in place of [images, channels].
                    let of = |i: usize| factors[i % images * channels + i / images];
                    let turned: Vec<f32> = (0..factors.len()).map(of).collect();
                    Value::of(store, channels, row, &turned)
                }
            };
            let mut output = Value::new(store, images, channels, plane(borders[2]));
            let step = Multiply { vectorized: vectorized(), store, factor, relu };
            let (from, to) = ([value.view(), by.view()], output.view());
            let added = adds.then(|| addend.view());
            // SAFETY: values that are only used here.
            lead(|lead| unsafe { step.run(lead, from, added, to, images) });
            let expected: Vec<f32> = numbers[0].iter().enumerate().map(|(i, &x)| {
                let factor = factors[if per_image == 1 { i / area } else { i }];
                let product = rounded(store, x) * rounded(store, factor);
                let sum = if adds { product + rounded(store, numbers[1][i]) } else { product };
                rounded(store, if relu && sum <= 0.0 { 0.0 } else { sum })
            }).collect();
            prop_assert_eq!(output.numbers(), expected);
        }
    }
}
