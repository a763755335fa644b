//! Steps on bytes that are no convolution: the largest under a window, the mean of a plane, the sum of two values.
//!
//! Called by the program's steps; tasks are blocks of channels of an image. Plain loops over the 64 bytes of a line,
//! compiled for each instruction set.

use std::ops::Range;

use super::requantize::{Finish, Own, Quantization, Residual};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::steps::pool::{PoolWindow, inside};
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// The bytes of a line.
type Bytes = [u8; 64];

/// Lines as bytes.
fn bytes(lines: &[Line]) -> &[Bytes] {
    // SAFETY: a line is 64 bytes, any of which are numbers.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len()) }
}

fn bytes_mut(lines: &mut [Line]) -> &mut [Bytes] {
    // SAFETY: a line is 64 bytes, any of which are numbers, and any bytes are a line.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len()) }
}

/// The largest byte under a window; those outside of the image do not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPool {
    pub(crate) vectorized: Vectorized,
    pub(crate) window: PoolWindow,
}

impl MaxPool {
    /// Computes `output`, but for its border.
    ///
    /// # Safety
    /// Both views hold `images` images; nobody else uses the output or writes the input; they do not overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        assert_eq!(input.blocks, output.blocks, "a pool keeps the channels");
        let chunks = output.plane.height.div_ceil(POOL_ROWS);
        lead.for_each(images * output.blocks * chunks, &|task| {
            let (plane, chunk) = (task / chunks, task % chunks);
            let (image, block) = (plane / output.blocks, plane % output.blocks);
            let rows = chunk * POOL_ROWS..((chunk + 1) * POOL_ROWS).min(output.plane.height);
            let width = output.plane.width;
            // SAFETY: inside of the values; each task has its own rows of the output.
            let (from, to) = unsafe {
                let first = output.line(image, block, rows.start, 0);
                let lines = (rows.len() - 1) * output.plane.pitch() + width;
                (
                    input.blocks(image, block, 1),
                    std::slice::from_raw_parts_mut(first, lines),
                )
            };
            self.vectorized.run(MaxTask {
                window: self.window,
                from: bytes(from),
                from_plane: input.plane,
                to: bytes_mut(to),
                pitch: output.plane.pitch(),
                width,
                rows,
            });
        });
    }
}

/// Rows of the output that a task computes.
const POOL_ROWS: usize = 14;

struct MaxTask<'a> {
    window: PoolWindow,
    from: &'a [Bytes],
    from_plane: Plane,
    /// The output's lines from the first of `rows` on.
    to: &'a mut [Bytes],
    pitch: usize,
    width: usize,
    rows: Range<usize>,
}

impl Task for MaxTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let PoolWindow {
            kernel,
            stride,
            pad_before: pad,
        } = self.window;
        let plane = self.from_plane;
        for row in self.rows.clone() {
            let (top, bottom) = inside(row * stride[0], pad[0], kernel[0], plane.height);
            let to = &mut self.to[(row - self.rows.start) * self.pitch..][..self.width];
            for (column, to) in to.iter_mut().enumerate() {
                let (left, right) = inside(column * stride[1], pad[1], kernel[1], plane.width);
                let mut best = [0; 64];
                for y in top..bottom {
                    let from = &self.from[plane.at(y, left)..][..right - left];
                    for line in from {
                        for (best, byte) in best.iter_mut().zip(line) {
                            *best = (*best).max(*byte);
                        }
                    }
                }
                *to = best;
            }
        }
    }
}

/// The mean of each channel of each image, in the output's steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GlobalMean {
    pub(crate) vectorized: Vectorized,
    pub(crate) from: Quantization,
    pub(crate) to: Quantization,
}

impl GlobalMean {
    /// Computes the pixels `(0, image)` of image 0 of `output`: images become neighbours in a row, as a fully connected
    /// layer wants them.
    ///
    /// # Safety
    /// The input holds `images` images, the output one that is at least `images` wide; nobody else uses the output or
    /// writes the input; they do not overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        assert_eq!(input.blocks, output.blocks, "a mean keeps the channels");
        assert!(images <= output.plane.width, "a column for each image");
        lead.for_each(output.blocks, &|block| {
            // SAFETY: inside of the value; each task has its own blocks.
            let to = bytes_mut(unsafe { output.blocks_mut(0, block, 1) });
            for image in 0..images {
                // SAFETY: inside of the value.
                let from = bytes(unsafe { input.blocks(image, block, 1) });
                let at = output.plane.at(0, image);
                to[at] = self.vectorized.run(MeanTask {
                    mean: *self,
                    from,
                    plane: input.plane,
                });
            }
        });
    }
}

struct MeanTask<'a> {
    mean: GlobalMean,
    from: &'a [Bytes],
    plane: Plane,
}

impl Task for MeanTask<'_> {
    type Output = Bytes;

    #[inline(always)]
    fn run(self) -> Bytes {
        let GlobalMean { from, to, .. } = self.mean;
        let count = self.plane.height * self.plane.width;
        let zeros = count as i32 * i32::from(from.zero);
        let factor = from.scale / (count as f32 * to.scale);
        let finish = Finish {
            zero: to.zero,
            low: 0,
            residual: None,
            own: None,
            bound: None,
        };
        let mut sums = [-zeros; 64];
        for row in 0..self.plane.height {
            for line in &self.from[self.plane.at(row, 0)..][..self.plane.width] {
                for (sum, byte) in sums.iter_mut().zip(line) {
                    *sum += i32::from(*byte);
                }
            }
        }
        let mut means = [0; 64];
        for (mean, sum) in means.iter_mut().zip(sums) {
            *mean = finish.store(sum as f32 * factor);
        }
        means
    }
}

/// Replaces each byte by a table: a function of single values that no convolution took over.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    pub(crate) table: Box<[u8; 256]>,
    /// Whether images are neighbours in a row.
    pub(crate) row: bool,
}

impl Map {
    /// Computes `output`, but for its border.
    ///
    /// # Safety
    /// Both views hold `images` images of the same size; nobody else uses the output or writes the input; they do not
    /// overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        lead.for_each(images * output.blocks, &|task| {
            let (image, block) = (task / output.blocks, task % output.blocks);
            // SAFETY: inside of the values; each task has its own blocks of the output.
            let (from, to) = unsafe {
                (
                    bytes(input.blocks(image, block, 1)),
                    bytes_mut(output.blocks_mut(image, block, 1)),
                )
            };
            for row in 0..output.plane.height {
                let from = &from[input.plane.at(row, 0)..][..output.plane.width];
                let to = &mut to[output.plane.at(row, 0)..][..output.plane.width];
                for (to, from) in to.as_flattened_mut().iter_mut().zip(from.as_flattened()) {
                    *to = self.table[usize::from(*from)];
                }
            }
        });
    }
}

/// `relu?(a + b)` in the output's steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Add {
    pub(crate) vectorized: Vectorized,
    /// How the first value counts, in steps of the output.
    pub(crate) own: Own,
    /// How the second value counts, in steps of the output.
    pub(crate) residual: Residual,
    pub(crate) zero: u8,
    pub(crate) low: u8,
    /// The first value's zero.
    pub(crate) own_zero: u8,
    /// Whether images are neighbours in a row.
    pub(crate) row: bool,
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
        lead.for_each(images * output.blocks, &|task| {
            let (image, block) = (task / output.blocks, task % output.blocks);
            // SAFETY: inside of the values; each task has its own blocks of the output.
            let (from, to) = unsafe {
                (
                    inputs.map(|view| bytes(view.blocks(image, block, 1))),
                    bytes_mut(output.blocks_mut(image, block, 1)),
                )
            };
            self.vectorized.run(AddTask {
                add: *self,
                from,
                from_planes: inputs.map(|view| view.plane),
                to,
                plane: output.plane,
            });
        });
    }
}

struct AddTask<'a> {
    add: Add,
    from: [&'a [Bytes]; 2],
    from_planes: [Plane; 2],
    to: &'a mut [Bytes],
    plane: Plane,
}

impl Task for AddTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let finish = Finish {
            zero: self.add.zero,
            low: self.add.low,
            residual: None,
            own: None,
            bound: None,
        };
        for row in 0..self.plane.height {
            for column in 0..self.plane.width {
                let [a, b] =
                    [0, 1].map(|i: usize| &self.from[i][self.from_planes[i].at(row, column)]);
                let to = &mut self.to[self.plane.at(row, column)];
                for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                    let own = f32::from(i16::from(*a) - i16::from(self.add.own_zero));
                    let sum = self.add.own.add(own, self.add.residual.of(*b));
                    *to = finish.store(sum);
                }
            }
        }
    }
}
