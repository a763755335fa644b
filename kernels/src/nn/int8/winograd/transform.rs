//! The transforms of bytes: tiles of the input to words at all positions, and sums at all positions to bytes.

use core::arch::x86_64::*;
use std::ops::{Add, Range, Sub};

use super::Chunk;
use crate::nn::conv::winograd::scheme::F2;
use crate::nn::conv::winograd::transform::Grid;
use crate::nn::int8::avx2::{finish, load};
use crate::nn::int8::tile::{Kind, PLAIN, Panel, RESIDUAL, SUM, Target};
use crate::nn::layout::line::View;

/// 16 channels as words of 16 bits.
#[derive(Clone, Copy)]
struct Words(__m256i);

impl Add for Words {
    type Output = Words;

    #[inline(always)]
    fn add(self, other: Words) -> Words {
        // SAFETY: whoever makes one has AVX2.
        Words(unsafe { _mm256_add_epi16(self.0, other.0) })
    }
}

impl Sub for Words {
    type Output = Words;

    #[inline(always)]
    fn sub(self, other: Words) -> Words {
        // SAFETY: whoever makes one has AVX2.
        Words(unsafe { _mm256_sub_epi16(self.0, other.0) })
    }
}

/// 8 sums of 32 bits.
#[derive(Clone, Copy)]
struct Sums(__m256i);

impl Add for Sums {
    type Output = Sums;

    #[inline(always)]
    fn add(self, other: Sums) -> Sums {
        // SAFETY: whoever makes one has AVX2.
        Sums(unsafe { _mm256_add_epi32(self.0, other.0) })
    }
}

impl Sub for Sums {
    type Output = Sums;

    #[inline(always)]
    fn sub(self, other: Sums) -> Sums {
        // SAFETY: whoever makes one has AVX2.
        Sums(unsafe { _mm256_sub_epi32(self.0, other.0) })
    }
}

/// Input tiles of a block to words at all positions.
pub(super) struct Forward {
    pub(super) grid: Grid<4, 2>,
    pub(super) chunk: Chunk,
    /// The chunk's tiles to transform.
    pub(super) tiles: Range<usize>,
    pub(super) block: usize,
    /// The input, with a border of one pixel at least.
    pub(super) input: View,
}

impl Forward {
    /// Transforms the tiles.
    ///
    /// # Safety
    /// The CPU has AVX2; the input holds the images of the tiles, the chunk's memory is there, and nobody else uses
    /// this block of these tiles in it.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn run(self) {
        let (chunk, plane) = (self.chunk, self.input.plane);
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(chunk.first + tile);
            // The border's last row or column stands for those behind it: no output that is stored sees them.
            let (mut rows, mut columns) = ([0; 4], [0; 4]);
            for i in 0..4 {
                rows[i] = ((row + i).min(plane.height + 1) + plane.border - 1) * plane.pitch();
                columns[i] = (column + i).min(plane.width + 1) + plane.border - 1;
            }
            // SAFETY: inside of the value and of the chunk's memory.
            let (from, to) = unsafe {
                let at = 2 * (self.block * chunk.room + tile);
                (self.input.plane_start(image, self.block), chunk.v.add(at))
            };
            for quarter in 0..4 {
                let mut halfway = [[Words(_mm256_setzero_si256()); 4]; 4];
                for x in 0..4 {
                    let mut d = [Words(_mm256_setzero_si256()); 4];
                    for y in 0..4 {
                        // SAFETY: 16 bytes of a pixel of the plane or of its border.
                        let bytes = unsafe {
                            let line = from.add(rows[y] + columns[x]);
                            _mm_load_si128(line.cast::<__m128i>().add(quarter))
                        };
                        d[y] = Words(_mm256_cvtepu8_epi16(bytes));
                    }
                    let d = F2::forward(d);
                    for y in 0..4 {
                        halfway[y][x] = d[y];
                    }
                }
                for (y, row) in halfway.into_iter().enumerate() {
                    for (x, words) in F2::forward(row).into_iter().enumerate() {
                        // SAFETY: a quarter of the two lines of this position.
                        unsafe {
                            let to = to.add((4 * y + x) * chunk.v_pitch);
                            _mm256_store_si256(to.cast::<__m256i>().add(quarter), words.0);
                        }
                    }
                }
            }
        }
    }
}

/// Sums of a panel at all positions to the bytes of tiles.
pub(super) struct Inverse<'a> {
    pub(super) grid: Grid<4, 2>,
    pub(super) chunk: Chunk,
    /// The chunk's tiles to transform.
    pub(super) tiles: Range<usize>,
    /// The panel's number.
    pub(super) number: usize,
    /// What the panel's sums begin with and are multiplied by, and how they become bytes.
    pub(super) panel: Panel<'a>,
    pub(super) residual: Option<View>,
    pub(super) output: View,
}

impl Inverse<'_> {
    /// Stores the tiles.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA; the sums are complete, the residual and the output have the grid's pixels, and nobody
    /// else uses the panel's bytes of these tiles.
    pub(super) unsafe fn run(self, kind: Kind) {
        // SAFETY: the caller promises AVX2 and FMA, complete sums, and the panel's bytes of these tiles to itself.
        unsafe {
            match kind {
                Kind::Residual => self.of_kind::<RESIDUAL>(),
                Kind::Sum => self.of_kind::<SUM>(),
                Kind::Plain => self.of_kind::<PLAIN>(),
                Kind::Float => unreachable!("`Winograd::fits` declines it"),
            }
        }
    }

    /// # Safety
    /// The conditions of `run` hold.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn of_kind<const KIND: u8>(self) {
        let (chunk, plane) = (self.chunk, self.output.plane);
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(chunk.first + tile);
            let at = 2 * (self.number * chunk.room + tile);
            for half in 0..2 {
                // Sums by row and column of the tile's outputs, and by vector.
                let mut sums = [[[_mm256_setzero_si256(); 2]; 2]; 2];
                for vector in 0..2 {
                    let mut halfway = [[Sums(_mm256_setzero_si256()); 4]; 2];
                    let [upper, lower] = &mut halfway;
                    for (x, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
                        let mut m = [Sums(_mm256_setzero_si256()); 4];
                        for (y, m) in m.iter_mut().enumerate() {
                            let line = (4 * y + x) * chunk.m_pitch + at + half;
                            // SAFETY: inside of the chunk's memory.
                            *m = Sums(unsafe { load(chunk.m.add(line), vector) });
                        }
                        [*upper, *lower] = F2::inverse(m);
                    }
                    // SAFETY: a panel has two lines.
                    let offset = unsafe { load(self.panel.offset.add(vector), half) };
                    for (row, sums) in halfway.into_iter().zip(&mut sums) {
                        for (sum, to) in F2::inverse(row).into_iter().zip(sums) {
                            let sum = _mm256_srai_epi32::<2>(sum.0);
                            to[vector] = _mm256_add_epi32(sum, offset);
                        }
                    }
                }
                for (dy, sums) in sums.into_iter().enumerate() {
                    for (dx, sums) in sums.into_iter().enumerate() {
                        if row + dy >= plane.height || column + dx >= plane.width {
                            continue;
                        }
                        let bytes = |view: View| {
                            // SAFETY: half of a line of a pixel of the plane.
                            unsafe {
                                let line = view.line(image, self.number / 2, row + dy, column + dx);
                                line.cast::<u8>().add(32 * (self.number % 2))
                            }
                        };
                        let target = Target {
                            a: std::ptr::null(),
                            out: bytes(self.output),
                            out_stride: 0,
                            residual: self.residual.map_or(std::ptr::null(), |r| bytes(r)),
                        };
                        // SAFETY: the caller promises the residual's and the output's pixels, and the panel's lines.
                        unsafe { finish::<KIND>(&self.panel, target, half, 0, sums) };
                    }
                }
            }
        }
    }
}
