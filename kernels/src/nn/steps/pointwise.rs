//! Steps that look at one pixel at a time and that no convolution took over: a factor and an addend, a sum of two.
//!
//! Called by the program's steps; tasks are blocks of channels of an image.

use super::block::{Block, bounded, by_channel, for_each_block};
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// `relu?(value * scale + shift)`, the sum by a fused multiply-add.
#[derive(Debug, Clone)]
pub(crate) struct Affine {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How input and output are stored.
    pub(crate) store: Store,
    /// The factors, one for each channel.
    pub(crate) scale: Vec<f32>,
    /// The addends, one for each channel.
    pub(crate) shift: Vec<f32>,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
    /// Upper bound of the results, with or without `relu`; infinity for none.
    pub(crate) most: f32,
}

impl Affine {
    /// Computes `output`, but for its border. Channels beyond the last become zeros.
    ///
    /// # Safety
    /// Both views hold `images` images of the same size; nobody else uses the output or writes the input; they do not
    /// overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, affine(self, lead, input, output, images)) }
    }
}

/// `relu?(a + b)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Add {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How inputs and output are stored.
    pub(crate) store: Store,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
    /// Upper bound of the results, with or without `relu`; infinity for none.
    pub(crate) most: f32,
}

impl Add {
    /// Computes `output`, but for its border.
    ///
    /// # Safety
    /// All views hold `images` images of the same size; nobody else uses the output or writes the inputs; the output
    /// overlaps with none of them.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        inputs: [View; 2],
        output: View,
        images: usize,
    ) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, add(self, lead, inputs, output, images)) }
    }
}

/// # Safety
/// The conditions of [`Affine::run`] hold.
unsafe fn affine<const H: usize, F: Format<H>>(
    affine: &Affine,
    lead: &Lead<'_>,
    input: View,
    output: View,
    images: usize,
) {
    let block = |image, group, to: &mut [Line]| {
        let numbers = |values: &[f32]| {
            let value = |channel: usize| values.get(channel).copied().unwrap_or(0.0);
            by_channel::<H, F>(group, value)
        };
        affine.vectorized.run(AffineTask {
            // SAFETY: inside of the value.
            from: unsafe { Block::<H, F>::new(input, image, group) },
            to,
            plane: output.plane,
            scale: numbers(&affine.scale),
            shift: numbers(&affine.shift),
            relu: affine.relu,
            most: affine.most,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

/// # Safety
/// The conditions of [`Add::run`] hold.
unsafe fn add<const H: usize, F: Format<H>>(
    add: &Add,
    lead: &Lead<'_>,
    inputs: [View; 2],
    output: View,
    images: usize,
) {
    let block = |image, group, to: &mut [Line]| {
        // SAFETY: inside of the values.
        let [a, b] = inputs.map(|view| unsafe { Block::<H, F>::new(view, image, group) });
        add.vectorized.run(AddTask {
            a,
            b,
            to,
            plane: output.plane,
            relu: add.relu,
            most: add.most,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

struct AffineTask<'a, const H: usize, F> {
    from: Block<'a, H, F>,
    to: &'a mut [Line],
    plane: Plane,
    scale: [Lanes; H],
    shift: [Lanes; H],
    relu: bool,
    most: f32,
}

impl<const H: usize, F: Format<H>> Task for AffineTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plane = self.plane;
        for row in 0..plane.height {
            for column in 0..plane.width {
                let mut values = self.from.pixel(row, column);
                let terms = self
                    .scale
                    .as_flattened()
                    .iter()
                    .zip(self.shift.as_flattened());
                for (value, (scale, shift)) in values.as_flattened_mut().iter_mut().zip(terms) {
                    *value = value.mul_add(*scale, *shift);
                }
                let values = bounded(values, self.relu, self.most);
                F::store(self.to, plane.lines(), plane.at(row, column), values);
            }
        }
    }
}

struct AddTask<'a, const H: usize, F> {
    a: Block<'a, H, F>,
    b: Block<'a, H, F>,
    to: &'a mut [Line],
    plane: Plane,
    relu: bool,
    most: f32,
}

impl<const H: usize, F: Format<H>> Task for AddTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plane = self.plane;
        for row in 0..plane.height {
            for column in 0..plane.width {
                let (mut values, other) = (self.a.pixel(row, column), self.b.pixel(row, column));
                let others = other.as_flattened();
                for (value, other) in values.as_flattened_mut().iter_mut().zip(others) {
                    *value += other;
                }
                let values = bounded(values, self.relu, self.most);
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
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn affine_is_the_naive_one(
            store in prop::sample::select(&STORES[..]), images in 1usize..3, channels in 1usize..70,
            height in 1usize..6, width in 1usize..6, borders in [0usize..3, 0usize..3], relu: bool, seed: u64,
        ) {
            let numbers = random(seed, images * channels * height * width);
            let mut input = Value::of(store, channels, Plane { height, width, border: borders[0] }, &numbers);
            let mut output = Value::new(store, images, channels, Plane { height, width, border: borders[1] });
            let (scale, shift) = (random(seed ^ 1, channels), random(seed ^ 2, channels));
            let affine = Affine { vectorized: vectorized(), store, scale, shift, relu, most: 0.5 };
            let (from, to) = (input.view(), output.view());
            // SAFETY: two values that are only used here.
            lead(|lead| unsafe { affine.run(lead, from, to, images) });
            let expected: Vec<f32> = numbers.iter().enumerate().map(|(i, &x)| {
                let channel = i / (height * width) % channels;
                let y = rounded(store, x).mul_add(affine.scale[channel], affine.shift[channel]);
                rounded(store, if relu { y.max(0.0) } else { y }.min(0.5))
            }).collect();
            prop_assert_eq!(output.numbers(), expected);
        }

        #[test]
        fn sums_are_the_naive_ones(
            store in prop::sample::select(&STORES[..]), images in 1usize..3, channels in 1usize..70,
            height in 1usize..6, width in 1usize..6, borders in [0usize..3, 0usize..3, 0usize..3], relu: bool,
            seed: u64,
        ) {
            let count = images * channels * height * width;
            let numbers = [random(seed, count), random(seed ^ 1, count)];
            let plane = |border| Plane { height, width, border };
            let mut a = Value::of(store, channels, plane(borders[0]), &numbers[0]);
            let mut b = Value::of(store, channels, plane(borders[1]), &numbers[1]);
            let mut output = Value::new(store, images, channels, plane(borders[2]));
            let add = Add { vectorized: vectorized(), store, relu, most: f32::INFINITY };
            let (from, to) = ([a.view(), b.view()], output.view());
            // SAFETY: three values that are only used here.
            lead(|lead| unsafe { add.run(lead, from, to, images) });
            let expected: Vec<f32> = numbers[0].iter().zip(&numbers[1]).map(|(&a, &b)| {
                let sum = rounded(store, a) + rounded(store, b);
                rounded(store, if relu { sum.max(0.0) } else { sum })
            }).collect();
            prop_assert_eq!(output.numbers(), expected);
        }
    }
}
