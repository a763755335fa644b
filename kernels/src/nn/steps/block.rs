//! A block of an image's channels: what the steps of single pixels read, and the task that each of them is.

use std::marker::PhantomData;

use crate::nn::layout::format::{Format, Lanes};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::team::Lead;

/// `H` × 16 channels of an image, to read.
pub(super) struct Block<'a, const H: usize, F> {
    lines: &'a [Line],
    plane: Plane,
    format: PhantomData<F>,
}

impl<const H: usize, F: Format<H>> Block<'_, H, F> {
    /// # Safety
    /// The block is inside of the value, and nobody writes to it as long as the result lives.
    pub(super) unsafe fn new(view: View, image: usize, group: usize) -> Self {
        Block {
            // SAFETY: the caller promises that the block is inside of the value and nobody writes to it.
            lines: unsafe { view.blocks(image, group * F::BLOCKS, F::BLOCKS) },
            plane: view.plane,
            format: PhantomData,
        }
    }

    #[inline(always)]
    pub(super) fn pixel(&self, row: usize, column: usize) -> [Lanes; H] {
        F::load(self.lines, self.plane.lines(), self.plane.at(row, column))
    }
}

/// Makes each block of each image of the output a task: what computes it gets the image, the block's number and its
/// lines.
///
/// # Safety
/// The output holds `images` images, and nobody else uses it.
pub(super) unsafe fn for_each_block<const H: usize, F: Format<H>>(
    lead: &Lead<'_>,
    output: View,
    images: usize,
    compute: impl Fn(usize, usize, &mut [Line]) + Sync,
) {
    let groups = output.blocks / F::BLOCKS;
    lead.for_each(images * groups, &|task| {
        let (image, group) = (task / groups, task % groups);
        // SAFETY: inside of the output, of which each task has its own blocks.
        let to = unsafe { output.blocks_mut(image, group * F::BLOCKS, F::BLOCKS) };
        compute(image, group, to);
    });
}

/// What `value` gives for each channel of a block, in the order of its lanes.
pub(super) fn by_channel<const H: usize, F: Format<H>>(
    group: usize,
    value: impl Fn(usize) -> f32,
) -> [Lanes; H] {
    std::array::from_fn(|half| {
        std::array::from_fn(|lane| value(group * 16 * H + F::channel(half, lane)))
    })
}

#[inline(always)]
pub(super) fn bounded<const H: usize>(mut values: [Lanes; H], relu: bool, most: f32) -> [Lanes; H] {
    if relu {
        for value in values.as_flattened_mut() {
            *value = if *value > 0.0 { *value } else { 0.0 };
        }
    }
    if most < f32::INFINITY {
        for value in values.as_flattened_mut() {
            *value = if *value < most { *value } else { most };
        }
    }
    values
}
