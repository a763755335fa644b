//! Where the values of a program lie in a worker's memory.
//!
//! Called by the builder when all steps are known.

use super::line::Plane;
use super::program::Step;
use super::tile::Store;

/// Whose memory a value takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// One image's at a time.
    Image,
    /// All images' of a batch.
    Batch,
}

/// A value and where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) channels: usize,
    pub(super) blocks: usize,
    pub(super) plane: Plane,
    pub(super) store: Store,
    /// Whether the images of a batch are the neighbouring pixels of its one plane.
    pub(super) row: bool,
    pub(super) place: Place,
    /// The first line.
    pub(super) line: usize,
}

/// Puts values that are alive at the same time side by side, others over each other; returns the lines needed.
pub(super) fn place(
    steps: &[Step],
    values: &mut [Placed],
    batch_from: usize,
    capacity: usize,
) -> usize {
    let lives: Vec<(usize, usize)> = (0..values.len())
        .map(|v| {
            let written = steps.iter().position(|s| s.writes == Some(v));
            let read = steps.iter().rposition(|s| s.reads.contains(&v));
            let written = written.unwrap_or(0);
            (written, read.unwrap_or(written))
        })
        .collect();
    for (value, (_, read)) in values.iter_mut().zip(&lives) {
        value.place = match *read < batch_from {
            true => Place::Image,
            false => Place::Batch,
        };
    }
    let mut end = 0;
    for place in [Place::Image, Place::Batch] {
        let start = end;
        // First and last step, first and last line.
        let mut taken: Vec<(usize, usize, usize, usize)> = Vec::new();
        for (value, &(written, read)) in values.iter_mut().zip(&lives) {
            if value.place != place {
                continue;
            }
            // Image by image, the first steps run again while values of the batch wait to be read.
            let written = if written < batch_from && place == Place::Batch {
                0
            } else {
                written
            };
            let images = match (place, value.row) {
                (Place::Batch, false) => capacity,
                _ => 1,
            };
            let lines = value.blocks * value.plane.lines() * images;
            let mut line = start;
            taken.sort_unstable_by_key(|t| t.2);
            for &(from, to, first, last) in &taken {
                if from <= read && written <= to && first < line + lines && line < last {
                    line = last;
                }
            }
            taken.push((written, read, line, line + lines));
            value.line = line;
            end = end.max(line + lines);
        }
    }
    end
}
