//! The windows of an image with few channels, copied into lines, so that they are an input like any other.
//!
//! Called by the first convolution. A line of one pixel holds 16 (or 32) neighbours of the sum over kernel rows ×
//! kernel columns × channels, in this order: with the channels of an image interleaved, a kernel row is one run of
//! numbers, and few of a line's numbers are padding. Otherwise three channels would take a line for each position of
//! the window.

mod copy;

use std::ops::Range;

use self::copy::{AsIs, Cell, Copy, Read, Spread};
use crate::nn::layout::input::Input;
use crate::nn::layout::line::Line;
use crate::nn::layout::store::Store;
use crate::{Normalization, Vectorized};

/// Most channels of an image.
pub(crate) const MAX_CHANNELS: usize = 4;

/// An image, and the window that moves over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PatchShape {
    /// Channels, rows and columns of the image.
    pub(crate) image: [usize; 3],
    /// Height and width of the window.
    pub(crate) kernel: [usize; 2],
    /// Distance of windows in rows and columns.
    pub(crate) stride: [usize; 2],
    /// Rows of zeros above, columns of zeros to the left.
    pub(crate) pad: [usize; 2],
    /// Columns of the output.
    pub(crate) columns: usize,
}

/// How windows become lines.
#[derive(Debug, Clone)]
pub(crate) struct Patches {
    shape: PatchShape,
    store: Store,
    vectorized: Vectorized,
    /// The pieces that each line is copied from.
    lines: Vec<Vec<Piece>>,
    /// What the bytes of an image mean, by channel.
    normalization: Option<[Normalization; 3]>,
}

/// The part of a line that comes from one kernel row.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The piece's first lane; the pieces of a line are in order.
    first: usize,
    row: usize,
    /// Numbers from the kernel row's first to that in lane 0; negative where lane 0 lies before the row.
    offset: isize,
}

impl Patches {
    /// None if the image has more than [`MAX_CHANNELS`].
    pub(crate) fn new(vectorized: Vectorized, store: Store, shape: PatchShape) -> Option<Patches> {
        if shape.image[0] > MAX_CHANNELS {
            return None;
        }
        let (lanes, run) = (lanes(store), shape.kernel[1] * shape.image[0]);
        let total = shape.kernel[0] * run;
        let line = |line: usize| {
            let (start, end) = (line * lanes, (line * lanes + lanes).min(total));
            let rows = start / run..end.div_ceil(run);
            rows.map(|row| Piece {
                first: (row * run).saturating_sub(start),
                row,
                offset: start as isize - (row * run) as isize,
            })
            .collect()
        };
        Some(Patches {
            shape,
            store,
            vectorized,
            lines: (0..total.div_ceil(lanes)).map(line).collect(),
            normalization: None,
        })
    }

    /// Takes images of bytes too, if they have three channels.
    pub(crate) fn normalizing(mut self, normalization: [Normalization; 3]) -> Patches {
        self.normalization = (self.shape.image[0] == 3).then_some(normalization);
        self
    }

    /// Whether images may be bytes.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.normalization.is_some()
    }

    /// Numbers of a window: what a 1×1 convolution would call its input channels.
    pub(crate) fn numbers(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1] * self.shape.image[0]
    }

    /// Lines of one pixel, the low halves of [`Store::Split`] included.
    pub(crate) fn lines(&self) -> usize {
        self.lines.len() * self.store.planes_per_block()
    }

    /// Reorders `weights` from `[outputs, channels, height, width]` to the order of the lines,
    /// `[outputs, height, width, channels]`.
    pub(crate) fn order(&self, weights: &[f32]) -> Vec<f32> {
        let (channels, positions) = (self.shape.image[0], self.numbers() / self.shape.image[0]);
        let ordered = |output: &[f32]| {
            (0..self.numbers())
                .map(|k| output[k % channels * positions + k / channels])
                .collect::<Vec<_>>()
        };
        weights
            .chunks_exact(self.numbers())
            .flat_map(ordered)
            .collect()
    }

    /// Numbers of a kernel row, which are neighbours in the interleaved image.
    pub(crate) fn row_numbers(&self) -> usize {
        self.shape.kernel[1] * self.shape.image[0]
    }

    /// Numbers from one window to the next in the interleaved image.
    pub(crate) fn distance(&self) -> usize {
        self.shape.stride[1] * self.shape.image[0]
    }

    /// Lines from one interleaved row to the next.
    pub(crate) fn pitch_lines(&self) -> usize {
        self.pitch() / lanes(self.store)
    }

    /// Lines from the beginning of a band to the first window of row `row`.
    pub(crate) fn row_line(&self, row: usize) -> usize {
        1 + row * self.shape.stride[0] * self.pitch_lines()
    }

    /// Rows of the image under `rows` rows of windows.
    fn image_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.shape.stride[0] + self.shape.kernel[0]
    }

    /// Numbers from one interleaved row to the next, which are whole lines: a pixel is all its channels.
    fn pitch(&self) -> usize {
        let windows = (self.shape.columns - 1) * self.shape.stride[1] + self.shape.kernel[1];
        let pixels = windows.max(self.shape.pad[1] + self.shape.image[2]);
        (pixels * self.shape.image[0]).next_multiple_of(lanes(self.store))
    }

    /// Lines of memory for the interleaved image under `rows` rows of windows.
    pub(crate) fn band_lines(&self, rows: usize) -> usize {
        // A piece's line may begin before the first row and end behind the last.
        (self.image_rows(rows) * self.pitch_lines() + 2) * self.store.planes_per_block()
    }

    /// Interleaves what lies under `rows` rows of windows of an image, with zeros around and in the line behind; bytes
    /// are normalized first. The band may be one for more rows.
    ///
    /// # Panics
    /// If the image is of another size, or of bytes without a normalization.
    pub(crate) fn interleave(&self, image: Input<'_>, rows: Range<usize>, band: &mut [Line]) {
        let [channels, height, width] = self.shape.image;
        assert_eq!(image.len(), channels * height * width, "values of an image");
        assert!(band.len() >= self.band_lines(rows.len()), "lines of a band");
        match self.store {
            Store::F32 => self.spread::<f32, 16>(image, rows, band),
            Store::Bf16 | Store::Split => self.spread::<u16, 32>(image, rows, band),
            Store::U8 => unreachable!("bytes are interleaved in `int8`"),
        }
    }

    fn spread<T: Cell<N>, const N: usize>(
        &self,
        image: Input<'_>,
        rows: Range<usize>,
        band: &mut [Line],
    ) {
        let [channels, height, width] = self.shape.image;
        match image {
            Input::F32(image) => {
                let step = [height * width, width];
                match channels {
                    1 => self.spread_as::<_, _, T, N, 1>(image, step, [AsIs; 1], rows, band),
                    2 => self.spread_as::<_, _, T, N, 2>(image, step, [AsIs; 2], rows, band),
                    3 => self.spread_as::<_, _, T, N, 3>(image, step, [AsIs; 3], rows, band),
                    _ => self.spread_as::<_, _, T, N, 4>(image, step, [AsIs; 4], rows, band),
                }
            }
            Input::Bytes(image) => {
                let normalization = self.normalization.as_ref();
                let normalization = normalization.expect("bytes come where they are taken");
                let step = [width, 3 * width];
                match normalization.each_ref().map(Normalization::steps) {
                    [Some(a), Some(b), Some(c)] => {
                        self.spread_as::<_, _, T, N, 3>(image, step, [a, b, c], rows, band);
                    }
                    _ => {
                        let tables = normalization.each_ref().map(Normalization::table);
                        self.spread_as::<_, _, T, N, 3>(image, step, tables, rows, band);
                    }
                }
            }
        }
    }

    fn spread_as<V, R, T, const N: usize, const C: usize>(
        &self,
        image: &[V],
        step: [usize; 2],
        read: [R; C],
        rows: Range<usize>,
        band: &mut [Line],
    ) where
        V: std::marker::Copy,
        R: Read<V>,
        T: Cell<N>,
    {
        let planes = self.store.planes_per_block();
        let lines = band.len() / planes;
        for (plane, band) in band.chunks_exact_mut(lines).enumerate() {
            self.vectorized.run(Spread::<V, R, T, N, C> {
                image,
                step,
                read,
                size: [self.shape.image[1], self.shape.image[2]],
                first: (rows.start * self.shape.stride[0]) as isize - self.shape.pad[0] as isize,
                rows: self.image_rows(rows.len()),
                left: self.shape.pad[1],
                pitch: self.pitch(),
                plane,
                to: &mut T::of_mut(band)[N..],
            });
        }
    }

    /// Writes the windows of `columns` of row `row` of a band to `to`, `[line][pixel]`, lines `pitch` apart.
    pub(crate) fn pack(
        &self,
        band: &[Line],
        row: usize,
        columns: Range<usize>,
        to: &mut [Line],
        pitch: usize,
    ) {
        assert!(columns.end <= self.shape.columns && columns.len() <= pitch);
        match self.store {
            Store::F32 => self.copy::<f32, 16>(band, row, columns, to, pitch),
            Store::Bf16 | Store::Split => self.copy::<u16, 32>(band, row, columns, to, pitch),
            Store::U8 => unreachable!("bytes are interleaved in `int8`"),
        }
    }

    fn copy<T: Cell<N>, const N: usize>(
        &self,
        band: &[Line],
        row: usize,
        columns: Range<usize>,
        to: &mut [Line],
        pitch: usize,
    ) {
        let planes = self.store.planes_per_block();
        let step = self.shape.stride[1] * self.shape.image[0];
        let start = N + row * self.shape.stride[0] * self.pitch() + columns.start * step;
        for (plane, band) in band.chunks_exact(band.len() / planes).enumerate() {
            for (line, pieces) in self.lines.iter().enumerate() {
                let last = self.numbers() - line * N;
                self.vectorized.run(Copy::<T, N> {
                    pieces,
                    row: self.pitch(),
                    valid: last.min(N),
                    from: T::of(band),
                    start,
                    step,
                    to: &mut to[(line * planes + plane) * pitch..][..columns.len()],
                });
            }
        }
    }
}

/// Numbers of a line.
fn lanes(store: Store) -> usize {
    16 * store.vectors_per_block()
}
