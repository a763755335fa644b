//! Where values enter and leave the layout of lines.
//!
//! Called by the program for the inputs and outputs of a network.

use std::marker::PhantomData;

use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Images `[channels, height, width]` of `f32` on one side, lines on the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How the lines are stored.
    pub(crate) store: Store,
    /// Channels of an image.
    pub(crate) channels: usize,
}

impl Conversion {
    /// Stores `images`, `[images, channels, height, width]`, as lines; channels beyond the last are zeros. The border
    /// is left alone.
    ///
    /// # Panics
    /// If the slice is not whole images, or `output` has too few blocks.
    ///
    /// # Safety
    /// `output` holds as many images, and nobody else uses it.
    pub(crate) unsafe fn enter(&self, lead: &Lead<'_>, images: &[f32], output: View) {
        // SAFETY: the caller promises an output of as many images to itself.
        unsafe { with_format!(self.store, enter(self, lead, images, output)) }
    }

    /// Writes the images of `input` to `images`, `[images, channels, height, width]`.
    ///
    /// # Panics
    /// If the slice is not whole images, or `input` has too few blocks.
    ///
    /// # Safety
    /// `input` holds as many images, and nobody writes to it.
    pub(crate) unsafe fn leave(&self, input: View, images: &mut [f32]) {
        // SAFETY: the caller promises an input of as many images that nobody writes to.
        unsafe { with_format!(self.store, leave(self, input, images)) }
    }

    /// Stores `images`, `[images, channels]`, as neighbours in the first row of image 0: the layout of
    /// [`GlobalMean`](crate::nn::steps::pool::GlobalMean).
    ///
    /// # Panics
    /// If the slice is not whole images, or `output` has too few blocks or columns.
    ///
    /// # Safety
    /// `output` holds an image, and nobody else uses it.
    pub(crate) unsafe fn enter_row(&self, images: &[f32], output: View) {
        // SAFETY: the caller promises an output of one image to itself.
        unsafe { with_format!(self.store, enter_row(self, images, output)) }
    }

    /// Writes the neighbours in the first row of image 0 to `images`, `[images, channels]`.
    ///
    /// # Panics
    /// If the slice is not whole images, or `input` has too few blocks or columns.
    ///
    /// # Safety
    /// `input` holds an image, and nobody writes to it.
    pub(crate) unsafe fn leave_row(&self, input: View, images: &mut [f32]) {
        // SAFETY: the caller promises an input of one image that nobody writes to.
        unsafe { with_format!(self.store, leave_row(self, input, images)) }
    }
}

impl Conversion {
    /// Blocks of `H` × 16 channels, after a check of the sizes.
    fn groups<const H: usize, F: Format<H>>(
        &self,
        values: usize,
        pixels: usize,
        view: View,
    ) -> usize {
        let groups = self.channels.div_ceil(16 * H);
        assert!(
            groups * F::BLOCKS <= view.blocks,
            "too few blocks for the channels"
        );
        assert!(
            values.is_multiple_of(self.channels * pixels),
            "the images are not whole"
        );
        groups
    }
}

/// # Safety
/// The conditions of [`Conversion::enter`] hold.
unsafe fn enter<const H: usize, F: Format<H>>(
    conversion: &Conversion,
    lead: &Lead<'_>,
    images: &[f32],
    output: View,
) {
    let plane = output.plane;
    let pixels = plane.height * plane.width;
    let groups = conversion.groups::<H, F>(images.len(), pixels, output);
    let count = images.len() / (conversion.channels * pixels);
    lead.for_each(count * groups, &|task| {
        let (image, group) = (task / groups, task % groups);
        // SAFETY: inside of the value; each task has its own blocks.
        let to = unsafe { output.blocks_mut(image, group * F::BLOCKS, F::BLOCKS) };
        let first = group * 16 * H;
        let last = (first + 16 * H).min(conversion.channels);
        let channels = image * conversion.channels;
        conversion.vectorized.run(EnterTask::<H, F> {
            channels: &images[(channels + first) * pixels..(channels + last) * pixels],
            to,
            plane,
            format: PhantomData,
        });
    });
}

/// Stores some channels of an image, at most a block's, as lines.
struct EnterTask<'a, const H: usize, F> {
    channels: &'a [f32],
    to: &'a mut [Line],
    plane: Plane,
    format: PhantomData<F>,
}

impl<const H: usize, F: Format<H>> Task for EnterTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plane = self.plane;
        let pixels = plane.height * plane.width;
        for pixel in 0..pixels {
            let values = gather::<H, F>(&self.channels[pixel..], pixels);
            let at = plane.at(pixel / plane.width, pixel % plane.width);
            F::store(self.to, plane.lines(), at, values);
        }
    }
}

/// # Safety
/// The conditions of [`Conversion::leave`] hold.
unsafe fn leave<const H: usize, F: Format<H>>(
    conversion: &Conversion,
    input: View,
    images: &mut [f32],
) {
    let plane = input.plane;
    let pixels = plane.height * plane.width;
    conversion.groups::<H, F>(images.len(), pixels, input);
    let images = images.chunks_exact_mut(conversion.channels * pixels);
    for (image, channels) in images.enumerate() {
        for (group, channels) in channels.chunks_mut(16 * H * pixels).enumerate() {
            // SAFETY: inside of the value.
            let from = unsafe { input.blocks(image, group * F::BLOCKS, F::BLOCKS) };
            for pixel in 0..pixels {
                let at = plane.at(pixel / plane.width, pixel % plane.width);
                let values = F::load(from, plane.lines(), at);
                scatter::<H, F>(values, &mut channels[pixel..], pixels);
            }
        }
    }
}

/// # Safety
/// The conditions of [`Conversion::enter_row`] hold.
unsafe fn enter_row<const H: usize, F: Format<H>>(
    conversion: &Conversion,
    images: &[f32],
    output: View,
) {
    conversion.groups::<H, F>(images.len(), 1, output);
    let plane = output.plane;
    for (image, channels) in images.chunks_exact(conversion.channels).enumerate() {
        assert!(image < plane.width, "a column for each image");
        for (group, channels) in channels.chunks(16 * H).enumerate() {
            // SAFETY: inside of the value.
            let to = unsafe { output.blocks_mut(0, group * F::BLOCKS, F::BLOCKS) };
            let values = gather::<H, F>(channels, 1);
            F::store(to, plane.lines(), plane.at(0, image), values);
        }
    }
}

/// # Safety
/// The conditions of [`Conversion::leave_row`] hold.
unsafe fn leave_row<const H: usize, F: Format<H>>(
    conversion: &Conversion,
    input: View,
    images: &mut [f32],
) {
    conversion.groups::<H, F>(images.len(), 1, input);
    let plane = input.plane;
    for (image, channels) in images.chunks_exact_mut(conversion.channels).enumerate() {
        assert!(image < plane.width, "a column for each image");
        for (group, channels) in channels.chunks_mut(16 * H).enumerate() {
            // SAFETY: inside of the value.
            let from = unsafe { input.blocks(0, group * F::BLOCKS, F::BLOCKS) };
            let values = F::load(from, plane.lines(), plane.at(0, image));
            scatter::<H, F>(values, channels, 1);
        }
    }
}

/// One pixel of a block from channels that are `pixels` apart, zeros beyond the last.
#[inline(always)]
fn gather<const H: usize, F: Format<H>>(channels: &[f32], pixels: usize) -> [Lanes; H] {
    std::array::from_fn(|half| {
        std::array::from_fn(|lane| {
            let at = F::channel(half, lane) * pixels;
            channels.get(at).copied().unwrap_or(0.0)
        })
    })
}

/// Writes one pixel of a block to channels that are `pixels` apart; lanes beyond the last channel are dropped.
#[inline(always)]
fn scatter<const H: usize, F: Format<H>>(values: [Lanes; H], channels: &mut [f32], pixels: usize) {
    for (half, lanes) in values.into_iter().enumerate() {
        for (lane, value) in lanes.into_iter().enumerate() {
            if let Some(channel) = channels.get_mut(F::channel(half, lane) * pixels) {
                *channel = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::testing::{STORES, Value, blocks, lead, random, rounded, vectorized};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_enters_leaves_rounded(
            store in prop::sample::select(&STORES[..]), images in 1usize..4, channels in 1usize..70,
            height in 1usize..6, width in 1usize..6, border in 0usize..3, seed: u64,
        ) {
            let plane = Plane { height, width, border };
            let numbers = random(seed, images * channels * height * width);
            let mut value = Value::of(store, channels, plane, &numbers);
            let expected: Vec<f32> = numbers.iter().map(|&x| rounded(store, x)).collect();
            prop_assert_eq!(value.numbers(), expected);
            let bits = value.bits();
            prop_assert!(bits.iter().all(|&b| !f32::from_bits(b).is_nan()), "all lines are written");
            let filled = images * channels * height * width;
            let halves = match store { Store::F32 => 1, Store::Bf16 => 2, Store::Split => 4, Store::U8 => unreachable!() };
            let zeros = bits.iter().map(|&b| if halves == 1 {
                usize::from(b == 0)
            } else {
                usize::from(b & 0xffff == 0) + usize::from(b >> 16 == 0)
            });
            let parts = if halves == 4 { 2 } else { 1 };
            let all = bits.len() * if halves == 1 { 1 } else { 2 };
            prop_assert!(zeros.sum::<usize>() >= all - parts * filled, "the rest is zeros");
        }

        #[test]
        fn rows_of_images_enter_and_leave(
            store in prop::sample::select(&STORES[..]), images in 1usize..9, channels in 1usize..70,
            spare in 0usize..3, seed: u64,
        ) {
            let conversion = Conversion { vectorized: vectorized(), store, channels };
            let plane = Plane { height: 1, width: images + spare, border: 0 };
            let numbers = random(seed, images * channels);
            let mut value = Value::new(store, 1, channels, plane);
            let view = value.view();
            let mut left = vec![0.0; numbers.len()];
            // SAFETY: a value that is only used here.
            unsafe {
                conversion.enter_row(&numbers, view);
                conversion.leave_row(view, &mut left);
            }
            let expected: Vec<f32> = numbers.iter().map(|&x| rounded(store, x)).collect();
            prop_assert_eq!(left, expected);
        }
    }

    #[test]
    #[should_panic(expected = "the images are not whole")]
    fn half_an_image_does_not_enter() {
        let plane = Plane {
            height: 2,
            width: 2,
            border: 0,
        };
        let mut value = Value::new(Store::F32, 1, 16, plane);
        assert_eq!(blocks(Store::F32, 16), 1);
        let conversion = Conversion {
            vectorized: vectorized(),
            store: Store::F32,
            channels: 16,
        };
        let view = value.view();
        // SAFETY: a value that is only used here.
        lead(|lead| unsafe { conversion.enter(lead, &[0.0; 32], view) });
    }
}
