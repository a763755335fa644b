//! How the tiles of a batch are cut into chunks, and where a chunk's values lie between the phases.
//!
//! Called by `Winograd::run`, and when a network is built, for the memory that this takes.

use std::ops::Range;

use super::Winograd;
use crate::nn::arena::scratch::{Scratch, share};
use crate::nn::layout::line::Line;
use crate::nn::team::Lead;

/// Tiles of a chunk at least, for each chunk reads all weights from the third-level cache or memory: two calls of the
/// widest micro-kernel. Half as many are 5% slower with 256 channels and more.
pub(crate) const CHUNK_TILES: usize = 28;

/// Some of the batch's tiles, and where their values are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// Number of the first tile.
    pub(crate) first: usize,
    /// Number of tiles.
    pub(crate) tiles: usize,
    /// Lines from one block to the next.
    pub(crate) pitch: usize,
    /// Transformed inputs, `[position][block][tile]`.
    pub(crate) v: *mut Line,
    /// Lines from one position to the next in `v`.
    pub(crate) v_pitch: usize,
    /// Sums, `[position][block][tile]`.
    pub(crate) m: *mut Line,
    /// Lines from one position to the next in `m`.
    pub(crate) m_pitch: usize,
}

// SAFETY: plain addresses; each access through them states why it is sound.
unsafe impl Sync for Chunk {}

/// How the tiles of a batch are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Tiles of all images.
    total: usize,
    pub(crate) chunks: usize,
    /// Most tiles of a chunk.
    pub(crate) tiles: usize,
    /// Whether each thread has its own chunk, or all share the phases of one.
    pub(crate) private: bool,
}

/// Calls a task with each number below a count, on one thread or several.
pub(crate) type ForEach<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// The phases of a chunk: called with what runs the tasks of a phase, the number of threads that do, the chunk's tiles,
/// and the slot of memory that is its own.
pub(crate) type Phases<'a> = &'a (dyn Fn(ForEach<'_>, usize, Range<usize>, usize) + Sync);

/// What decides how tiles are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cutter {
    /// Tiles of an image.
    pub(crate) tiles: usize,
    /// Bytes of a tile's values between the phases.
    pub(crate) tile_bytes: usize,
    /// Most tiles of a micro-kernel's call.
    pub(crate) max_pixels: usize,
    /// Most bytes of a chunk, and the tiles that it may have whatever they take.
    pub(crate) chunk: (usize, usize),
}

impl Cutter {
    /// Cuts the tiles of `images` images into chunks for `threads` threads.
    pub(crate) fn cut(self, images: usize, threads: usize) -> Cut {
        let total = images * self.tiles;
        let fitting = self.chunk.0 / self.tile_bytes;
        let most = (fitting / self.max_pixels * self.max_pixels).max(self.chunk.1);
        let chunks = total.div_ceil(most);
        let private = threads == 1 || chunks >= 2 * threads;
        let chunks = if private {
            chunks.next_multiple_of(threads).min(total)
        } else {
            total.div_ceil(most * threads)
        };
        Cut {
            total,
            chunks,
            tiles: total.div_ceil(chunks),
            private,
        }
    }

    /// Lines of scratch memory for at most `images` images and `threads` threads; `lines` gives those of a chunk by its
    /// tiles.
    pub(crate) fn scratch_lines(
        self,
        images: usize,
        threads: usize,
        lines: impl Fn(usize) -> usize,
    ) -> usize {
        let lines = |images| {
            let cut = self.cut(images, threads);
            let slots = if cut.private { threads } else { 1 };
            slots * lines(cut.tiles)
        };
        (1..=images).map(lines).max().unwrap_or(0)
    }
}

impl Cut {
    /// Calls `phases` for each chunk.
    pub(crate) fn for_each(self, lead: &Lead<'_>, scratch: &Scratch, phases: Phases<'_>) {
        let tiles = |number| share(self.total, number, self.chunks);
        if self.private {
            scratch.for_each(lead, self.chunks, &|slot, number| {
                let alone = |tasks: usize, task: &(dyn Fn(usize) + Sync)| {
                    (0..tasks).for_each(task);
                };
                phases(&alone, 1, tiles(number), slot);
            });
        } else {
            for number in 0..self.chunks {
                let together =
                    |tasks: usize, task: &(dyn Fn(usize) + Sync)| lead.for_each(tasks, task);
                phases(&together, scratch.threads, tiles(number), 0);
            }
        }
    }
}

/// Parts that each of `units` units of a phase is cut into, at most `most`: enough tasks for threads to end together.
pub(crate) fn parts(threads: usize, units: usize, most: usize) -> usize {
    match threads {
        1 => 1,
        _ => (4 * threads).div_ceil(units).clamp(1, most),
    }
}

impl Winograd {
    /// Lines of scratch memory that `run` uses for at most `images` images and `threads` threads.
    pub(crate) fn scratch_lines(&self, images: usize, threads: usize) -> usize {
        let lines = |tiles| self.chunk_lines(tiles);
        self.cutter().scratch_lines(images, threads, lines)
    }

    /// Lines of the values of `tiles` tiles at one position, for inputs and sums. Odd, so that the positions of one
    /// tile do not all fall on the same few lines of the cache.
    pub(crate) fn pitches(&self, tiles: usize) -> [usize; 2] {
        [self.input_blocks, self.output_blocks].map(|blocks| (blocks * tiles) | 1)
    }

    /// Lines of the weights at one position; odd as [`Winograd::pitches`] are.
    pub(crate) fn weights_pitch(&self) -> usize {
        (self.output_blocks * self.input_blocks * 16) | 1
    }

    pub(crate) fn chunk_lines(&self, tiles: usize) -> usize {
        self.size.sizes().0 * self.pitches(tiles).iter().sum::<usize>()
    }

    pub(crate) fn tiles_of_image(&self) -> usize {
        let (_, side) = self.size.sizes();
        self.about.output.height.div_ceil(side) * self.about.output.width.div_ceil(side)
    }

    pub(crate) fn cutter(&self) -> Cutter {
        Cutter {
            tiles: self.tiles_of_image(),
            tile_bytes: self.chunk_lines(1) * size_of::<Line>(),
            max_pixels: self.max_pixels,
            chunk: self.chunk,
        }
    }

    pub(crate) fn cut(&self, images: usize, threads: usize) -> Cut {
        self.cutter().cut(images, threads)
    }
}
