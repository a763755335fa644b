//! Blocks to rows of RGB: inverse transform, upsampling and color conversion, for the region that is wanted.
//!
//! Fed by `decode` with blocks in the order of the file; keeps no more rows than two rows of MCUs.
//!
//! Source: libjpeg's `jdsample.c` ("fancy" upsampling: a triangle filter where a component has half the samples,
//! repetition elsewhere) and `jdcolor.c`, restated here with the same roundings; Pillow's `Convert.c` for CMYK.

use super::Kernels;
use super::frame::{Color, Component, Frame};
use super::idct;
use super::sequential::{Block, BlockSink};
use crate::preprocess::decode::{Region, RowSink};
use kernels::Task;
use kernels::color::ycc_to_rgb;

/// A component's samples: a ring of rows, columns of the wanted blocks only.
struct Plane {
    quant: [u16; 64],
    /// Samples of a block's side that the inverse transform gives: 8, or less for a reduced picture.
    block: usize,
    /// Width and height in samples, without padding.
    width: usize,
    height: usize,
    /// How many output pixels a sample spans.
    expand: (usize, usize),
    /// Whether the triangle filter is used along x and y.
    fancy: (bool, bool),
    /// Blocks that are wanted, across and down, as half-open ranges.
    columns: (usize, usize),
    rows: (usize, usize),
    stride: usize,
    ring: usize,
    data: Vec<u8>,
}

/// All components, and the output rows that have not been made yet.
pub(super) struct Planes {
    planes: Vec<Plane>,
    color: Color,
    region: Region,
    next_row: usize,
    lines: Vec<Vec<u8>>,
    sums: Vec<u16>,
    /// Rows that are ready, and how many bytes they are.
    out: Vec<u8>,
    filled: usize,
    kernels: Kernels,
}

impl Planes {
    /// Prepares for a region of the picture reduced to `size`/8 of its sides, `size` being 8, 4, 2 or 1.
    pub(super) fn new(
        frame: &Frame,
        color: Color,
        region: Region,
        size: usize,
        kernels: Kernels,
    ) -> Planes {
        let plane = |c: &Component| Plane::new(frame, c, region, size);
        Planes {
            planes: frame.components.iter().map(plane).collect(),
            color,
            region,
            next_row: region.top as usize,
            lines: vec![Vec::new(); frame.components.len()],
            sums: Vec::new(),
            out: Vec::new(),
            filled: 0,
            kernels,
        }
    }

    /// How many rows of MCUs of these heights in blocks must be decoded for the region's last row.
    pub(super) fn needed_mcu_rows(&self, parts: &[(usize, usize, usize)]) -> usize {
        let rows = |&(component, _, rows): &(usize, usize, usize)| {
            self.planes[component].rows.1.div_ceil(rows)
        };
        parts.iter().map(rows).max().unwrap_or(0)
    }

    /// The wanted columns of a row of blocks.
    pub(super) fn wanted_columns(&self, component: usize, y: usize) -> std::ops::Range<usize> {
        let plane = &self.planes[component];
        if (plane.rows.0..plane.rows.1).contains(&y) {
            plane.columns.0..plane.columns.1
        } else {
            0..0
        }
    }

    /// Makes the rows that are left, all blocks having been put.
    pub(super) fn emit_rest(&mut self, sink: &mut RowSink<'_>) {
        // As many rows of blocks as no picture has.
        self.emit(|_| usize::from(u16::MAX), sink);
    }

    /// Makes the output rows for which `decoded` rows of blocks a component are enough, and hands them over.
    pub(super) fn emit(&mut self, decoded: impl Fn(usize) -> usize, sink: &mut RowSink<'_>) {
        let end = (self.region.top + self.region.height) as usize;
        self.filled = 0;
        while self.next_row < end
            && self
                .planes
                .iter()
                .enumerate()
                .all(|(i, p)| p.last_row_for(self.next_row) < decoded(i) * p.block)
        {
            self.kernels.loops.run(MakeRow(self));
            self.next_row += 1;
        }
        if self.filled > 0 {
            sink(&self.out[..self.filled]);
        }
    }

    #[inline(always)]
    fn make_row(&mut self, y: usize) {
        let (left, width) = (self.region.left as usize, self.region.width as usize);
        for (plane, line) in self.planes.iter().zip(&mut self.lines) {
            plane.line(y, left, width, &mut self.sums, line);
        }
        let start = self.filled;
        self.filled += width * 3;
        if self.out.len() < self.filled {
            self.out.resize(self.filled, 0);
        }
        let out = self.out[start..self.filled].as_chunks_mut::<3>().0;
        match (self.color, &self.lines[..]) {
            (Color::Grey, [grey, ..]) => {
                for (out, &v) in out.iter_mut().zip(grey) {
                    *out = [v; 3];
                }
            }
            (Color::Rgb, [red, green, blue, ..]) => {
                for (((out, &r), &g), &b) in out.iter_mut().zip(red).zip(green).zip(blue) {
                    *out = [r, g, b];
                }
            }
            (Color::YCbCr, [luma, cb, cr, ..]) => {
                let color = self.kernels.color;
                color.ycc_to_rgb(luma, cb, cr, out.as_flattened_mut());
            }
            (Color::Cmyk, [c, m, y, k]) => {
                for ((((out, &c), &m), &y), &k) in out.iter_mut().zip(c).zip(m).zip(y).zip(k) {
                    *out = [ink(c, k), ink(m, k), ink(y, k)];
                }
            }
            (Color::Ycck, [luma, cb, cr, k]) => {
                for ((((out, &y), &cb), &cr), &k) in out.iter_mut().zip(luma).zip(cb).zip(cr).zip(k)
                {
                    *out = ycc_to_rgb(y, cb, cr).map(|v| ink(255 - v, k));
                }
            }
            _ => unreachable!("a color has as many components as the frame it was told from"),
        }
    }
}

struct MakeRow<'a>(&'a mut Planes);

impl Task for MakeRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.make_row(self.0.next_row);
    }
}

impl BlockSink for Planes {
    #[inline(always)]
    fn wants(&self, component: usize, x: usize, y: usize) -> bool {
        let plane = &self.planes[component];
        (plane.columns.0..plane.columns.1).contains(&x) && (plane.rows.0..plane.rows.1).contains(&y)
    }

    #[inline(always)]
    fn put(&mut self, component: usize, x: usize, y: usize, block: &Block, last: usize) {
        let plane = &mut self.planes[component];
        let size = plane.block;
        let row = y * size % plane.ring;
        let at = row * plane.stride + (x - plane.columns.0) * size;
        idct::inverse(
            self.kernels.idct,
            size,
            block,
            last,
            &plane.quant,
            &mut plane.data[at..],
            plane.stride,
        );
    }
}

impl Plane {
    fn new(frame: &Frame, c: &Component, region: Region, size: usize) -> Plane {
        // As libjpeg: a subsampled component is rather reduced less than upsampled afterwards.
        let mut block = size;
        while block < 8
            && (frame.max_h * size).is_multiple_of(c.h * block * 2)
            && (frame.max_v * size).is_multiple_of(c.v * block * 2)
        {
            block *= 2;
        }
        let width = (frame.width * c.h * block).div_ceil(frame.max_h * 8);
        let height = (frame.height * c.v * block).div_ceil(frame.max_v * 8);
        let expand = (
            frame.max_h * size / (c.h * block),
            frame.max_v * size / (c.v * block),
        );
        let fancy = match expand {
            _ if size == 1 => (false, false),
            (2, 1) => (width > 2, false),
            (1, 2) => (false, true),
            (2, 2) => (width > 2, width > 2),
            _ => (false, false),
        };
        let blocks = |first: u32, count: u32, expand: usize, fancy: bool, side: usize| {
            let around = usize::from(fancy);
            let last = (first + count - 1) as usize / expand + around;
            let first = (first as usize / expand).saturating_sub(around);
            (first / block, last.min(side - 1) / block + 1)
        };
        let columns = blocks(region.left, region.width, expand.0, fancy.0, width);
        let rows = blocks(region.top, region.height, expand.1, fancy.1, height);
        let stride = (columns.1 - columns.0) * block;
        // Two rows of MCUs: the one being decoded, and the one whose last rows still wait for it.
        let ring = 2 * c.v * block;
        Plane {
            quant: c.quant.unwrap_or([0; 64]),
            block,
            width,
            height,
            expand,
            fancy,
            columns,
            rows,
            stride,
            ring,
            data: vec![0; ring * stride],
        }
    }

    /// The two sample rows that an output row lies between, the nearer first.
    fn rows_for(&self, y: usize) -> (usize, usize) {
        let near = y / self.expand.1;
        let far = match (self.fancy.1, y % 2) {
            (false, _) => near,
            (true, 0) => near.saturating_sub(1),
            (true, _) => (near + 1).min(self.height - 1),
        };
        (near, far)
    }

    fn last_row_for(&self, y: usize) -> usize {
        let (near, far) = self.rows_for(y);
        near.max(far)
    }

    fn row(&self, y: usize) -> &[u8] {
        let at = y % self.ring * self.stride;
        &self.data[at..at + self.stride]
    }

    /// One output row's samples of this component, upsampled, columns `left..left + width`.
    #[inline(always)]
    fn line(&self, y: usize, left: usize, width: usize, sums: &mut Vec<u16>, out: &mut Vec<u8>) {
        let (near, far) = self.rows_for(y);
        let (near, far) = (self.row(near), self.row(far));
        let origin = self.columns.0 * self.block;
        out.clear();
        match (self.expand, self.fancy) {
            ((1, 1), _) => out.extend_from_slice(&near[left - origin..][..width]),
            (_, (true, vertical)) => {
                let (first, last) = (left / 2, (left + width - 1) / 2);
                // One more on each side; at the picture's edge the outermost is its own neighbour.
                let from = first.saturating_sub(1) - origin;
                let to = (last + 1).min(self.width - 1) - origin;
                sums.clear();
                let weigh = |(&n, &f): (&u8, &u8)| {
                    if vertical {
                        3 * u16::from(n) + u16::from(f)
                    } else {
                        u16::from(n)
                    }
                };
                if first == 0 {
                    sums.push(weigh((&near[from], &far[from])));
                }
                sums.extend(near[from..=to].iter().zip(&far[from..=to]).map(weigh));
                if last + 1 == self.width {
                    sums.push(weigh((&near[to], &far[to])));
                }
                let (even, odd, shift) = if vertical { (8, 7, 4) } else { (1, 2, 2) };
                out.resize((last - first + 1) * 2, 0);
                for (pair, s) in out.as_chunks_mut::<2>().0.iter_mut().zip(sums.windows(3)) {
                    *pair = [
                        ((3 * s[1] + s[0] + even) >> shift) as u8,
                        ((3 * s[1] + s[2] + odd) >> shift) as u8,
                    ];
                }
                out.drain(..left - first * 2);
                out.truncate(width);
            }
            ((1, _), (false, true)) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                let columns = left - origin..left - origin + width;
                let weigh =
                    |(&n, &f): (&u8, &u8)| ((3 * u16::from(n) + u16::from(f) + bias) >> 2) as u8;
                out.extend(near[columns.clone()].iter().zip(&far[columns]).map(weigh));
            }
            ((repeat, _), _) => {
                out.extend((left..left + width).map(|x| near[x / repeat - origin]));
            }
        }
    }
}

/// Light that an inverted ink and inverted black, as Adobe stores them, let through.
#[inline(always)]
fn ink(inverted: u8, black: u8) -> u8 {
    // Pillow: nk - MULDIV255(ink, nk), the division by 255 rounded to the nearest.
    let product = u32::from(255 - inverted) * u32::from(black) + 128;
    black - (((product >> 8) + product) >> 8) as u8
}
