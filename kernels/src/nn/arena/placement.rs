//! Where the values of a program lie in a worker's memory.
//!
//! Called by the builder when all steps are known.

use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;

/// Which values a step touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// The values that the step reads, by number.
    pub(crate) reads: &'a [usize],
    /// The value that the step writes, by number; none if its result leaves the network.
    pub(crate) writes: Option<usize>,
    /// Whether the step reads each pixel of its second input just before it writes that pixel's result.
    pub(crate) in_place: bool,
}

/// For how many images a value has memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Memory for one image at a time.
    Image,
    /// Memory for all images of a batch.
    Batch,
}

/// A value, and the memory that it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocation {
    pub(crate) channels: usize,
    pub(crate) blocks: usize,
    pub(crate) plane: Plane,
    pub(crate) store: Store,
    /// Whether the images of a batch are the neighbouring pixels of its one plane.
    pub(crate) row: bool,
    pub(crate) scope: Scope,
    /// The value's first line in the worker's memory.
    pub(crate) line: usize,
}

impl Allocation {
    /// Whether both have the same lines for the same pixels.
    fn is_laid_out_as(&self, other: &Allocation) -> bool {
        (self.blocks, self.plane, self.store, self.row)
            == (other.blocks, other.plane, other.store, other.row)
    }
}

/// The value in whose place a convolution writes its result: the one that it adds, if nobody reads that any more. Each
/// pixel of it is read just before the result is stored there, so that the line is in the cache, and the footprint is
/// smaller by a whole value (ResNet-50's 56×56 planes in bfloat16: a tenth of the time).
fn overwritten(
    steps: &[Access<'_>],
    values: &[Allocation],
    lives: &[(usize, usize)],
    value: usize,
) -> Option<usize> {
    let (index, step) = steps
        .iter()
        .enumerate()
        .find(|(_, s)| s.writes == Some(value))?;
    let &[input, residual] = step.reads else {
        return None;
    };
    let fits = step.in_place
        && input != residual
        && lives[residual].1 == index
        && values[residual].scope == values[value].scope
        && values[residual].is_laid_out_as(&values[value]);
    fits.then_some(residual)
}

/// Puts values that are alive at the same time side by side, others over each other; returns the lines needed.
pub(crate) fn allocate(
    steps: &[Access<'_>],
    values: &mut [Allocation],
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
        value.scope = match *read < batch_from {
            true => Scope::Image,
            false => Scope::Batch,
        };
    }
    let over: Vec<Option<usize>> = (0..values.len())
        .map(|value| overwritten(steps, values, &lives, value))
        .collect();
    let mut end = 0;
    for scope in [Scope::Image, Scope::Batch] {
        let start = end;
        // Of each value that has a place: its first and last step, its first line, and the line behind its last.
        let mut taken: Vec<(usize, usize, usize, usize)> = Vec::new();
        for index in 0..values.len() {
            let (written, read) = lives[index];
            if values[index].scope != scope {
                continue;
            }
            let at = over[index].map(|residual| values[residual].line);
            let value = &mut values[index];
            // Image by image, the first steps run again while values of the batch wait to be read.
            let written = if written < batch_from && scope == Scope::Batch {
                0
            } else {
                written
            };
            let images = match (scope, value.row) {
                (Scope::Batch, false) => capacity,
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
