//! Values of bytes as lines of `f32` and back: where a network has layers on numbers between those on bytes.
//!
//! Called by the program's steps. A line of 64 bytes is four lines of 16 numbers, each of a plane of its own; tasks are
//! some rows of a block of bytes. Channels beyond the last may hold anything: what reads them has weights of zero
//! there.

use super::requantize::Quantization;
use crate::nn::layout::line::{Line, View};
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Rows that a task converts.
const ROWS: usize = 14;

/// Lines of numbers for a line of bytes.
const PARTS: usize = 4;

/// A conversion between a value's bytes and its numbers: the same pixels, with a border of its own in each form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineConversion {
    pub(crate) vectorized: Vectorized,
    /// What the bytes mean.
    pub(crate) quantization: Quantization,
    /// Whether images are neighbours in a row.
    pub(crate) row: bool,
}

impl LineConversion {
    /// Converts bytes to numbers, but for the border.
    ///
    /// # Safety
    /// Both views hold `images` images of the same size and channels, `input` of bytes and `output` of `f32`; nobody
    /// else uses the output or writes the input; they do not overlap.
    pub(crate) unsafe fn dequantize(
        &self,
        lead: &Lead<'_>,
        input: View,
        output: View,
        images: usize,
    ) {
        let (width, quantization) = (input.plane.width, self.quantization);
        for_each_row(lead, [input, output], (images, input.blocks), &|[
            image,
            block,
            row,
        ]| {
            // SAFETY: a row of a block of the input.
            let from = unsafe {
                let line = input.line(image, block, row, 0).cast::<[u8; 64]>();
                std::slice::from_raw_parts(line.cast_const(), width)
            };
            for part in 0..PARTS.min(output.blocks - PARTS * block) {
                // SAFETY: a row of a block of the output, which no other task has.
                let to = unsafe {
                    let line = output.line(image, PARTS * block + part, row, 0);
                    std::slice::from_raw_parts_mut(line.cast::<[f32; 16]>(), width)
                };
                self.vectorized.run(Dequantize {
                    quantization,
                    from,
                    part,
                    to,
                });
            }
        });
    }

    /// Converts numbers to bytes, but for the border.
    ///
    /// # Safety
    /// Both views hold `images` images of the same size and channels, `input` of `f32` and `output` of bytes; nobody
    /// else uses the output or writes the input; they do not overlap.
    pub(crate) unsafe fn quantize(
        &self,
        lead: &Lead<'_>,
        input: View,
        output: View,
        images: usize,
    ) {
        let (width, quantization) = (input.plane.width, self.quantization);
        for_each_row(lead, [input, output], (images, output.blocks), &|[
            image,
            block,
            row,
        ]| {
            // SAFETY: a row of a block of the output, which no other task has.
            let to = unsafe {
                let line = output.line(image, block, row, 0).cast::<[u8; 64]>();
                std::slice::from_raw_parts_mut(line, width)
            };
            for part in 0..PARTS {
                let from = match PARTS * block + part < input.blocks {
                    // SAFETY: a row of a block of the input.
                    true => unsafe {
                        let line = input.line(image, PARTS * block + part, row, 0);
                        let line = line.cast::<[f32; 16]>().cast_const();
                        std::slice::from_raw_parts(line, width)
                    },
                    false => &[],
                };
                self.vectorized.run(Quantize {
                    quantization,
                    from,
                    part,
                    to,
                });
            }
        });
    }
}

const _: () = assert!(size_of::<Line>() == size_of::<[u8; 64]>());
const _: () = assert!(size_of::<Line>() == size_of::<[f32; 16]>());

/// Calls `convert` with each image, block of bytes and row; no two calls at a time have the same.
///
/// # Panics
/// If the two forms differ in size.
fn for_each_row(
    lead: &Lead<'_>,
    [input, output]: [View; 2],
    (images, blocks): (usize, usize),
    convert: &(dyn Fn([usize; 3]) + Sync),
) {
    let plane = input.plane.with_border(0);
    let same = plane == output.plane.with_border(0);
    assert!(same, "a conversion keeps the size");
    let chunks = plane.height.div_ceil(ROWS);
    lead.for_each(images * blocks * chunks, &|task| {
        let (block, first) = (task / chunks % blocks, task % chunks * ROWS);
        let image = task / chunks / blocks;
        for row in first..(first + ROWS).min(plane.height) {
            convert([image, block, row]);
        }
    });
}

struct Dequantize<'a> {
    quantization: Quantization,
    from: &'a [[u8; 64]],
    /// Which 16 of a line's 64 channels, 0 to 3.
    part: usize,
    to: &'a mut [[f32; 16]],
}

impl Task for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (from, to) in self.from.iter().zip(self.to) {
            let (from, _) = from[16 * self.part..].as_chunks::<16>();
            *to = from[0].map(|byte| self.quantization.dequantize(byte));
        }
    }
}

struct Quantize<'a> {
    quantization: Quantization,
    /// Lines of numbers; empty where the value has no such channels.
    from: &'a [[f32; 16]],
    /// Which 16 of a line's 64 channels, 0 to 3.
    part: usize,
    to: &'a mut [[u8; 64]],
}

impl Task for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Quantize {
            quantization, part, ..
        } = self;
        if self.from.is_empty() {
            for to in self.to {
                to[16 * part..][..16].fill(quantization.zero);
            }
            return;
        }
        for (from, to) in self.from.iter().zip(self.to) {
            let bytes = from.map(|number| quantization.quantize(number));
            to[16 * part..][..16].copy_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;
    use crate::nn::Team;
    use crate::nn::layout::line::Plane;
    use crate::nn::layout::store::Store;
    use crate::nn::testing::{Value, random};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn numbers_become_the_bytes_of_the_formula_and_back(
            channels in 1..150_usize, size in [1..20_usize, 1..20], borders in [0..3_usize, 0..3], images in 1..3_usize,
            threads in 1..3_usize, zero: u8, seed: u64,
        ) {
            let quantization = Quantization { scale: 0.013, zero };
            let [height, width] = size;
            let planes = borders.map(|border| Plane { height, width, border });
            let numbers = random(seed, images * channels * height * width);
            let bound = |x: f32| quantization.dequantize(quantization.quantize(x));
            let expected: Vec<f32> = numbers.iter().map(|x| bound(*x)).collect();
            let mut floats = Value::of(Store::F32, channels, planes[0], &numbers);
            let mut again = Value::new(Store::F32, images, channels, planes[0]);
            let lines = images * channels.div_ceil(64) * planes[1].lines();
            let mut memory = vec![Line::ZERO; lines];
            let bytes = View { start: memory.as_mut_ptr(), blocks: channels.div_ceil(64), plane: planes[1] };
            for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512] {
                let Some(vectorized) = Vectorized::new(isa) else { continue };
                let conversion = LineConversion { vectorized, quantization, row: false };
                let (from, to) = (floats.view(), again.view());
                // SAFETY: values of these shapes that are only used here.
                Team::new(threads).lead(threads, |lead| unsafe {
                    conversion.quantize(lead, from, bytes, images);
                    conversion.dequantize(lead, bytes, to, images);
                });
                prop_assert_eq!(&again.numbers(), &expected);
            }
        }
    }
}
