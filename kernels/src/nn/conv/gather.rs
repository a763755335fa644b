//! The pixels that a 1×1 convolution with a stride sees, copied side by side.
//!
//! Called by the program before such a convolution where that pays: the micro-kernel then reads neighbours, in calls
//! that go on from row to row, and of the input only the lines that count pass through the cache.

use crate::nn::layout::line::View;
use crate::nn::team::Lead;

/// Pixels of the output up to which copying pays. With 28×28 and more it costs as much as it saves; with 14×14 the
/// convolution is a quarter faster in bfloat16, with 7×7 a third (ResNet-50's downsampling, Intel core with 2 MiB of
/// L2).
const MOST_PIXELS: usize = 14 * 14;

/// Distances in rows and columns of the pixels that are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gather {
    pub(crate) stride: [usize; 2],
}

impl Gather {
    /// Whether a 1×1 convolution with that stride and output is better computed from copied pixels, or only so.
    pub(crate) fn pays(stride: [usize; 2], output: [usize; 2]) -> bool {
        match stride {
            [1, 1] => false,
            [2, 2] => output[0] * output[1] <= MOST_PIXELS,
            _ => true,
        }
    }

    /// Copies `images` images; the output has no border.
    ///
    /// # Safety
    /// Both live and hold as many images of as many blocks, the input has a pixel for each of the output's, and nobody
    /// else uses the output meanwhile.
    pub(crate) unsafe fn run(self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        let [down, right] = self.stride;
        lead.for_each(images * output.blocks, &|task| {
            let (image, block) = (task / output.blocks, task % output.blocks);
            for row in 0..output.plane.height {
                // SAFETY: pixels of both by the caller's promise; no other task has this block of this image.
                unsafe {
                    let from = input.line(image, block, row * down, 0);
                    let to = output.line(image, block, row, 0);
                    for column in 0..output.plane.width {
                        *to.add(column) = *from.add(column * right);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layout::line::Plane;
    use crate::nn::testing::{STORES, Value, lead, random};

    #[test]
    fn pixels_at_each_stride_are_copied() {
        let from = Plane {
            height: 7,
            width: 9,
            border: 1,
        };
        for stride in [[2, 2], [3, 4], [7, 1]] {
            let [height, width] = [7_usize.div_ceil(stride[0]), 9_usize.div_ceil(stride[1])];
            let numbers = random(7, 2 * 20 * 7 * 9);
            for store in STORES {
                let mut input = Value::of(store, 20, from, &numbers);
                let plane = Plane {
                    height,
                    width,
                    border: 0,
                };
                let mut output = Value::new(store, 2, 20, plane);
                let (read, write) = (input.view(), output.view());
                // SAFETY: values that are only used here.
                lead(|lead| unsafe { Gather { stride }.run(lead, read, write, 2) });
                let (all, got) = (input.numbers(), output.numbers());
                for (i, value) in got.iter().enumerate() {
                    let (column, row, plane) = (i % width, i / width % height, i / width / height);
                    let at = (plane * 7 + row * stride[0]) * 9 + column * stride[1];
                    assert_eq!(value.to_bits(), all[at].to_bits());
                }
            }
        }
    }
}
