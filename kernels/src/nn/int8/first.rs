//! The first convolution: from an image's numbers or bytes of few channels, as they come.
//!
//! Called by the program's steps instead of a conversion of the input and a convolution. Each task quantizes some rows
//! of the image, with its channels interleaved, so that a kernel row is one run of bytes: a block of the sum, read
//! where it lies.

use std::ops::Range;

use super::pack::{Order, Packed, QuantizedWeights, Start};
use super::pixels::{Part, Pixels};
use super::requantize::{Finish, Quantization};
use super::tile::{KBlock, Target};
use crate::Normalization;
use crate::nn::arena::scratch::{Scratch, share};
use crate::nn::arithmetic::Arithmetic;
use crate::nn::conv::patches::MAX_CHANNELS;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layer::Unsupported;
use crate::nn::layout::input::Input;
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// Rows of the output that a task computes.
const ROWS: usize = 8;

/// Pixels of a row that are quantized together.
const PART: usize = 64;

/// Bytes behind a row of the image that a block may reach over.
const REACH: usize = 64;

/// A convolution of images ready to run.
#[derive(Debug)]
pub(crate) struct FirstConv {
    vectorized: Vectorized,
    weights: Packed,
    /// The K-blocks of the sum, a single list for all panels.
    sums: Vec<Vec<KBlock>>,
    shape: ConvShape,
    about: ConvUse,
    quantization: Quantization,
    finish: Finish,
    /// The pixels of one row of the output, and the kernels that compute them.
    pixels: Pixels,
    /// By channel, what each byte of an image is stored as; none if images may not be bytes.
    tables: Option<Box<[[u8; 256]; 3]>>,
}

/// The order of weights in which each kernel row is a block, its columns with their channels side by side.
struct ByRows {
    channels: usize,
    kernel: [usize; 2],
}

impl Order for ByRows {
    fn start(&self, _output: usize) -> Start {
        Start { group: 0, panel: 0 }
    }

    #[inline]
    fn position(&self, _start: Start, channel: usize, tap: usize) -> (usize, usize) {
        let (row, column) = (tap / self.kernel[1], tap % self.kernel[1]);
        (row, column * self.channels + channel)
    }

    fn blocks(&self) -> usize {
        self.kernel[0]
    }
}

impl FirstConv {
    /// Packs the weights; `quantization` is that of the image.
    ///
    /// # Errors
    /// [`Unsupported`]: groups, more than [`MAX_CHANNELS`], a kernel row of more than 64 numbers, sums too large to be
    /// exact.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
        (quantization, finish): (Quantization, Finish),
    ) -> Result<FirstConv, Unsupported> {
        let run = shape.inputs * shape.kernel[1];
        let few = shape.inputs <= MAX_CHANNELS && run <= 64;
        if shape.groups != 1 || !few {
            return Err(Unsupported("no kernel reads it from images".into()));
        }
        let order = ByRows {
            channels: shape.inputs,
            kernel: shape.kernel,
        };
        let weights = Packed::new(source, &order)?;
        let distance = shape.stride[1] * shape.inputs;
        let pixels = Pixels::of_row(arithmetic, source.kind, about.output.width, distance)
            .ok_or_else(|| Unsupported("no kernel for bytes on this CPU".into()))?;
        let mut first = FirstConv {
            vectorized: arithmetic.vectorized(),
            weights,
            sums: Vec::new(),
            shape,
            about,
            quantization,
            finish,
            pixels,
            tables: None,
        };
        let block = |row: usize| KBlock {
            a: (row * first.pitch()) as u32,
            quads: run.div_ceil(4) as u32,
        };
        first.sums = vec![(0..shape.kernel[0]).map(block).collect()];
        if Pixels::wants_pairs(arithmetic) {
            first.weights = first.weights.paired(first.vectorized, &first.sums);
        }
        Ok(first)
    }

    /// Takes images of bytes too, if they have three channels.
    pub(crate) fn normalizing(mut self, normalization: &[Normalization; 3]) -> FirstConv {
        if self.shape.inputs == 3 {
            let tables = [0, 1, 2].map(|channel| {
                let table: &[f32; 256] = normalization[channel].table();
                table.map(|value| self.quantization.quantize(value))
            });
            self.tables = Some(Box::new(tables));
        }
        self
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Whether images may be bytes.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.tables.is_some()
    }

    /// Columns of a row of the interleaved image, zeros included.
    fn columns(&self) -> usize {
        let reach = (self.about.output.width - 1) * self.shape.stride[1] + self.shape.kernel[1];
        reach.max(self.about.input.width + self.shape.pad[1])
    }

    /// Bytes from one row of the interleaved image to the next.
    fn pitch(&self) -> usize {
        (self.columns() * self.shape.inputs + REACH).next_multiple_of(64)
    }

    /// Rows of the image under `rows` rows of the output.
    fn band_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.shape.stride[0] + self.shape.kernel[0]
    }

    fn slot_lines(&self) -> usize {
        self.band_rows(ROWS) * self.pitch() / size_of::<Line>()
    }

    /// Lines of scratch memory that `run` uses for `threads` threads.
    pub(crate) fn scratch_lines(&self, threads: usize) -> usize {
        threads * self.slot_lines()
    }

    /// Computes some images.
    ///
    /// # Panics
    /// If `images` is not whole images, or is bytes where `takes_bytes` is false.
    ///
    /// # Safety
    /// The output has the geometry given to `new`, its memory lives, holds as many images, and nobody else uses it or
    /// the scratch memory meanwhile, which is large enough.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        images: Input<'_>,
        output: View,
        scratch: &Scratch,
    ) {
        let image = self.shape.inputs * self.about.input.height * self.about.input.width;
        assert!(
            images.len().is_multiple_of(image),
            "the images are not whole"
        );
        let height = self.about.output.height;
        let bands = height.div_ceil(ROWS);
        scratch.for_each(lead, images.len() / image * bands, &|slot, task| {
            let (n, band) = (task / bands, task % bands);
            // SAFETY: the slot's part of the scratch memory, which no other task uses now; any bytes are lines.
            let memory = unsafe {
                let start = scratch.start.add(slot * self.slot_lines()).cast::<u8>();
                std::slice::from_raw_parts_mut(start, self.slot_lines() * size_of::<Line>())
            };
            let rows = share(height, band, bands);
            self.vectorized.run(Interleave {
                first: self,
                values: images.part(n * image..(n + 1) * image),
                rows: rows.clone(),
                band: memory,
            });
            for row in rows.clone() {
                let within = (row - rows.start) * self.shape.stride[0] * self.pitch();
                // SAFETY: the caller promises an output of the geometry given to `new`; no other task has these rows.
                unsafe { self.row(&memory[within..], n, row, output) };
            }
        });
    }

    /// # Safety
    /// The conditions of `run` hold, and nobody else uses this row of the output.
    unsafe fn row(&self, band: &[u8], image: usize, row: usize, output: View) {
        let part = Part {
            units: 0..self.pixels.units(None),
            row: None,
        };
        for index in 0..self.weights.panels {
            let panel = self.weights.panel(index, &self.sums, &self.finish, 0);
            // SAFETY: inside of the band, which goes on behind its last row's last pixel, and of the output.
            unsafe {
                let line = output.line(image, index / 2, row, 0).cast::<u8>();
                let target = Target {
                    a: band.as_ptr(),
                    out: line.add(index % 2 * 32),
                    out_stride: 0,
                    residual: std::ptr::null(),
                };
                self.pixels.run(&panel, target, &part);
            }
        }
    }
}

#[inline(always)]
fn interleave<const CHANNELS: usize>(from: &[[u8; PART]; MAX_CHANNELS], to: &mut [u8]) {
    for (i, pixel) in to.chunks_exact_mut(CHANNELS).enumerate() {
        for (channel, byte) in pixel.iter_mut().enumerate() {
            *byte = from[channel][i];
        }
    }
}

/// Quantizes the rows of an image under some rows of the output.
struct Interleave<'a> {
    first: &'a FirstConv,
    values: Input<'a>,
    rows: Range<usize>,
    band: &'a mut [u8],
}

impl Task for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let first = self.first;
        let (channels, pitch) = (first.shape.inputs, first.pitch());
        let Plane { height, width, .. } = first.about.input;
        let start = first.shape.pad[1] * channels;
        let top = self.rows.start * first.shape.stride[0];
        for (i, to) in (self.band.chunks_exact_mut(pitch))
            .enumerate()
            .take(first.band_rows(self.rows.len()))
        {
            let row = (top + i).wrapping_sub(first.shape.pad[0]);
            if row >= height {
                to.fill(first.quantization.zero);
                continue;
            }
            let (before, rest) = to.split_at_mut(start);
            let (inside, after) = rest.split_at_mut(width * channels);
            before.fill(first.quantization.zero);
            after.fill(first.quantization.zero);
            match (self.values, &first.tables) {
                (Input::F32(values), _) => {
                    let plane =
                        |channel: usize| &values[(channel * height + row) * width..][..width];
                    for (part, to) in inside.chunks_mut(PART * channels).enumerate() {
                        let mut bytes = [[0; PART]; MAX_CHANNELS];
                        for (channel, bytes) in bytes[..channels].iter_mut().enumerate() {
                            let from = &plane(channel)[part * PART..];
                            for (byte, value) in bytes.iter_mut().zip(from) {
                                *byte = first.quantization.quantize(*value);
                            }
                        }
                        // With a number of channels that the compiler knows, interleaving is one loop of stores.
                        match channels {
                            3 => interleave::<3>(&bytes, to),
                            1 => interleave::<1>(&bytes, to),
                            2 => interleave::<2>(&bytes, to),
                            _ => interleave::<MAX_CHANNELS>(&bytes, to),
                        }
                    }
                }
                (Input::Bytes(values), Some(tables)) => {
                    let row = &values[row * 3 * width..][..3 * width];
                    let (r, rest) = row.split_at(width);
                    let (g, b) = rest.split_at(width);
                    for (i, pixel) in inside.chunks_exact_mut(3).enumerate() {
                        pixel[0] = tables[0][usize::from(r[i])];
                        pixel[1] = tables[1][usize::from(g[i])];
                        pixel[2] = tables[2][usize::from(b[i])];
                    }
                }
                (Input::Bytes(_), None) => panic!("the images are not taken as bytes"),
            }
        }
    }
}
