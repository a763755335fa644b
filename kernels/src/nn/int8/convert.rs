//! Where numbers become bytes and bytes numbers.
//!
//! Called by the program for the inputs and outputs of a network.

use super::requantize::Quantization;
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Images `[channels, height, width]` of `f32` on one side, lines of bytes on the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion {
    pub(crate) vectorized: Vectorized,
    pub(crate) quantization: Quantization,
    /// Channels of an image.
    pub(crate) channels: usize,
    /// Whether images are neighbours in the first row of image 0.
    pub(crate) row: bool,
}

impl Conversion {
    /// Stores `images`, `[images, channels, height, width]`, as lines; channels beyond the last are zeros. The border
    /// is left alone.
    ///
    /// # Panics
    /// If the slice is not whole images, or `output` has too few blocks or columns.
    ///
    /// # Safety
    /// `output` holds as many images, and nobody else uses it.
    pub(crate) unsafe fn enter(&self, lead: &Lead<'_>, images: &[f32], output: View) {
        let plane = self.image_plane(output);
        let pixels = plane.height * plane.width;
        let groups = self.groups(images.len(), pixels, output);
        let count = images.len() / (self.channels * pixels);
        lead.for_each(count * groups, &|task| {
            let (image, block) = (task / groups, task % groups);
            let last = (64 * block + 64).min(self.channels);
            let first = image * self.channels;
            let channels = &images[(first + 64 * block) * pixels..(first + last) * pixels];
            for pixel in 0..pixels {
                let (row, column) = (pixel / plane.width, pixel % plane.width);
                // SAFETY: inside of the value; each task has its own block of an image.
                let line = unsafe { &mut *self.line(output, image, block, [row, column]) };
                self.vectorized.run(EnterTask {
                    quantization: self.quantization,
                    channels: &channels[pixel..],
                    pixels,
                    to: line,
                });
            }
        });
    }

    /// Writes the images of `input` to `images`, `[images, channels, height, width]`.
    ///
    /// # Panics
    /// If the slice is not whole images, or `input` has too few blocks or columns.
    ///
    /// # Safety
    /// `input` holds as many images, and nobody writes to it.
    pub(crate) unsafe fn leave(&self, input: View, images: &mut [f32]) {
        let plane = self.image_plane(input);
        let pixels = plane.height * plane.width;
        self.groups(images.len(), pixels, input);
        for (image, channels) in images.chunks_exact_mut(self.channels * pixels).enumerate() {
            // Line by line, so that each is read once; the numbers of 64 channels stay in the cache meanwhile.
            for (block, channels) in channels.chunks_mut(64 * pixels).enumerate() {
                for pixel in 0..pixels {
                    let at = [pixel / plane.width, pixel % plane.width];
                    // SAFETY: inside of the value.
                    let line = unsafe { &*self.line(input, image, block, at) };
                    let numbers = channels[pixel..].iter_mut().step_by(pixels);
                    for (to, byte) in numbers.zip(line) {
                        *to = self.quantization.dequantize(*byte);
                    }
                }
            }
        }
    }

    /// The geometry of one image.
    fn image_plane(&self, view: View) -> Plane {
        match self.row {
            true => Plane {
                height: 1,
                width: 1,
                border: 0,
            },
            false => view.plane,
        }
    }

    /// Blocks of channels, after a check of the sizes.
    fn groups(&self, values: usize, pixels: usize, view: View) -> usize {
        let groups = self.channels.div_ceil(64);
        assert!(groups <= view.blocks, "too few blocks for the channels");
        let size = self.channels * pixels;
        assert!(values.is_multiple_of(size), "the images are not whole");
        let columns = if self.row {
            view.plane.width
        } else {
            usize::MAX
        };
        assert!(values / size <= columns, "a column for each image");
        groups
    }

    /// A pixel's line of bytes.
    ///
    /// # Safety
    /// The pixel and the block are inside of the value.
    unsafe fn line(
        &self,
        view: View,
        image: usize,
        block: usize,
        [row, column]: [usize; 2],
    ) -> *mut [u8; 64] {
        let [image, row, column] = match self.row {
            true => [0, 0, image],
            false => [image, row, column],
        };
        // SAFETY: the caller promises that the line is inside of the value.
        unsafe { view.line(image, block, row, column).cast() }
    }
}

const _: () = assert!(size_of::<Line>() == size_of::<[u8; 64]>());

struct EnterTask<'a> {
    quantization: Quantization,
    /// The pixel's number of each channel, `pixels` apart.
    channels: &'a [f32],
    pixels: usize,
    to: &'a mut [u8; 64],
}

impl Task for EnterTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        *self.to = [self.quantization.zero; 64];
        let values = self.channels.iter().step_by(self.pixels);
        for (to, value) in self.to.iter_mut().zip(values) {
            *to = self.quantization.quantize(*value);
        }
    }
}
