//! Where the values of a program lie in a worker's memory.
//!
//! Called by the builder when all steps are known.

use super::line::Plane;
use super::program::{Step, Work};
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

impl Placed {
    /// Whether both have the same lines for the same pixels.
    fn is_laid_out_as(&self, other: &Placed) -> bool {
        (self.blocks, self.plane, self.store, self.row)
            == (other.blocks, other.plane, other.store, other.row)
    }
}

/// The value in whose place a convolution writes its result: the one that it adds, if nobody reads that any more. Each
/// pixel of it is read just before the result is stored there, so that the line is in the cache, and the footprint is
/// smaller by a whole value (ResNet-50's 56×56 planes in bfloat16: a tenth of the time).
fn overwritten(
    steps: &[Step],
    values: &[Placed],
    lives: &[(usize, usize)],
    value: usize,
) -> Option<usize> {
    let (index, step) = steps
        .iter()
        .enumerate()
        .find(|(_, s)| s.writes == Some(value))?;
    let [input, residual] = step.reads[..] else {
        return None;
    };
    let convolves = match &step.work {
        Work::Conv(_) | Work::Winograd(_) => true,
        Work::Int8(work) => work.convolves(),
        _ => false,
    };
    let fits = convolves
        && input != residual
        && lives[residual].1 == index
        && values[residual].place == values[value].place
        && values[residual].is_laid_out_as(&values[value]);
    fits.then_some(residual)
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
    let over: Vec<Option<usize>> = (0..values.len())
        .map(|value| overwritten(steps, values, &lives, value))
        .collect();
    let mut end = 0;
    for place in [Place::Image, Place::Batch] {
        let start = end;
        // First and last step, first and last line.
        let mut taken: Vec<(usize, usize, usize, usize)> = Vec::new();
        for index in 0..values.len() {
            let (written, read) = lives[index];
            if values[index].place != place {
                continue;
            }
            let at = over[index].map(|residual| values[residual].line);
            let value = &mut values[index];
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
            let mut line = at.unwrap_or(start);
            if at.is_none() {
                taken.sort_unstable_by_key(|t| t.2);
                for &(from, to, first, last) in &taken {
                    if from <= read && written <= to && first < line + lines && line < last {
                        line = last;
                    }
                }
            }
            taken.push((written, read, line, line + lines));
            value.line = line;
            end = end.max(line + lines);
        }
    }
    end
}
