//! 8-bit weights in the order in which the micro-kernels read them, and what the sums begin with.
//!
//! A panel is 32 outputs; its weights are the blocks of the sum one after the other, each 16 quads times two vectors,
//! or are in [pairs](super::pairs).

use std::ops::Range;

use super::pairs::{Half, PairedWeights};
use super::requantize::{Finish, LARGEST_SUM};
use super::tile::{BLOCK_LINES, KBlock, Kind, PANEL, Panel, lane};
use crate::nn::arena::memory::Lines;
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::Line;
use crate::vectorize::Vectorized;

/// Fewer weights than this are packed by one thread: starting another takes as long.
const PARALLEL_WEIGHTS: usize = 200_000;

/// Weights before packing, with the bias, the factors and the input's zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuantizedWeights<'a> {
    /// `[outputs, inputs of a group, positions of the window]`.
    pub(crate) weights: &'a [i8],
    /// Inputs of a group.
    pub(crate) inputs: usize,
    /// Positions of the window.
    pub(crate) window: usize,
    /// The bias, one for each output, in the steps of the sum of products: the input's scale times the weights'.
    pub(crate) bias: &'a [i32],
    /// What sums are multiplied by, one for each output.
    pub(crate) factor: &'a [f32],
    /// The byte of the input that means zero.
    pub(crate) zero: u8,
    pub(crate) kind: Kind,
}

/// The first channels of an output's group, and of what its panel reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) group: usize,
    pub(crate) panel: usize,
}

/// Where a weight goes: the block of the sum, and the byte in it.
pub(crate) trait Order: Sync {
    /// Where an output's channels begin.
    fn start(&self, output: usize) -> Start;

    /// The block and the byte for input channel `channel`, counted from `start.group`, at position `tap` of the window.
    fn position(&self, start: Start, channel: usize, tap: usize) -> (usize, usize);

    /// The most blocks of any panel's sum.
    fn blocks(&self) -> usize;
}

/// The order by blocks of channels, each at all positions of the window. A block is what the groups of a panel see of a
/// line of 64 channels, with weights of zero where an output's group does not see a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByChannels {
    /// Input and output channels of a group.
    pub(crate) group: [usize; 2],
    /// Output channels of all groups.
    pub(crate) outputs: usize,
    /// Positions of the window.
    pub(crate) window: usize,
    /// What the first channel that a panel reads is a multiple of.
    pub(crate) align: usize,
}

impl ByChannels {
    /// The channels that a panel reads; beyond the last output, those of the last group.
    pub(crate) fn channels(&self, panel: usize) -> Range<usize> {
        let [inputs, outputs] = self.group;
        let last = self.outputs - 1;
        let [first, end] =
            [panel * PANEL, panel * PANEL + PANEL - 1].map(|o| o.min(last) / outputs);
        first * inputs / self.align * self.align..(end + 1) * inputs
    }

    /// The channels that a panel reads of each line of 64.
    pub(crate) fn of_lines(&self, panel: usize) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.channels(panel);
        let lines = start / 64..end.div_ceil(64);
        lines.map(move |line| start.max(64 * line)..end.min(64 * line + 64))
    }
}

impl Order for ByChannels {
    fn start(&self, output: usize) -> Start {
        let [inputs, outputs] = self.group;
        Start {
            group: output / outputs * inputs,
            panel: self.channels(output / PANEL).start,
        }
    }

    #[inline]
    fn position(&self, start: Start, channel: usize, tap: usize) -> (usize, usize) {
        let channel = start.group + channel;
        let line = channel / 64;
        let block = line - start.panel / 64;
        let byte = channel - start.panel.max(64 * line);
        (block * self.window + tap, byte)
    }

    fn blocks(&self) -> usize {
        let panels = 0..self.outputs.div_ceil(PANEL);
        let most = panels.map(|panel| self.of_lines(panel).count()).max();
        most.unwrap_or(0) * self.window
    }
}

/// Weights as the kernels want them.
#[derive(Debug)]
enum Weights {
    /// `[panel][block][quad][vector]`.
    Whole(Lines),
    Paired(PairedWeights),
}

/// Weights in panels.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The number of panels, two for each block of 64 outputs.
    pub(crate) panels: usize,
    /// The most blocks of any panel's sum.
    pub(crate) blocks: usize,
    weights: Weights,
    /// What sums begin with and what they are multiplied by, two lines a panel.
    offsets: Box<[Line]>,
    factors: Box<[Line]>,
}

impl Packed {
    /// # Errors
    /// [`Unsupported`] if a sum could be larger than what is converted exactly.
    pub(crate) fn new(
        source: &QuantizedWeights<'_>,
        order: &impl Order,
    ) -> Result<Packed, Unsupported> {
        let panels = source.bias.len().div_ceil(64) * 2;
        let blocks = order.blocks();
        let [offsets, factors] = heads(source, panels)?;
        let mut packed = Packed {
            panels,
            blocks,
            weights: Weights::Whole(Lines::zeros(0)),
            offsets,
            factors,
        };
        packed.weights = Weights::Whole(packed.fill(source, order));
        Ok(packed)
    }

    /// Packs all panels, a part of them on each CPU.
    fn fill(&self, source: &QuantizedWeights<'_>, order: &impl Order) -> Lines {
        let mut whole = Lines::zeros(self.panels * self.blocks * BLOCK_LINES);
        let threads = threads(source.weights.len());
        let lines = self.blocks * BLOCK_LINES;
        let each = self.panels.div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (i, part) in whole.chunks_mut(each * lines).enumerate() {
                let mut fill = move || {
                    for (panel, lines) in part.chunks_mut(lines).enumerate() {
                        fill_panel(source, order, i * each + panel, lines);
                    }
                };
                match threads {
                    1 => fill(),
                    _ => drop(scope.spawn(fill)),
                }
            }
        });
        whole
    }

    /// The weights in pairs, for kernels that want them so; `sums` has the sum of each panel, or a single one.
    pub(crate) fn paired(mut self, vectorized: Vectorized, sums: &[Vec<KBlock>]) -> Packed {
        if let Weights::Whole(lines) = &self.weights {
            let panels = lines.chunks_exact(self.blocks * BLOCK_LINES).enumerate();
            let panels: Vec<_> = panels
                .map(|(panel, lines)| (sum_of(sums, panel), lines))
                .collect();
            let threads = threads(size_of_val(&**lines));
            self.weights = Weights::Paired(PairedWeights::new(vectorized, threads, &panels));
        }
        self
    }

    /// Bytes of all weights.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Whole(lines) => size_of_val(&**lines),
            Weights::Paired(paired) => paired.bytes(),
        }
    }

    /// A panel; `sums` has the sum of each, or a single one.
    pub(crate) fn panel<'a>(
        &'a self,
        panel: usize,
        sums: &'a [Vec<KBlock>],
        finish: &'a Finish,
        ahead: usize,
    ) -> Panel<'a> {
        let (k, b, halves) = match &self.weights {
            Weights::Paired(paired) => {
                let halves = [0, 1].map(|half| paired.half(panel, half));
                (&[][..], std::ptr::null(), halves)
            }
            Weights::Whole(lines) => {
                let b = &raw const lines[panel * self.blocks * BLOCK_LINES];
                (sum_of(sums, panel), b, [Half::NONE; 2])
            }
        };
        Panel {
            half: 0,
            k,
            halves,
            b,
            offset: &raw const self.offsets[2 * panel],
            factor: &raw const self.factors[2 * panel],
            finish,
            ahead,
        }
    }
}

/// Two lines for each panel of what its sums begin with, and of what they are multiplied by.
///
/// # Errors
/// [`Unsupported`] if a sum could be larger than what is converted exactly.
pub(super) fn heads(
    source: &QuantizedWeights<'_>,
    panels: usize,
) -> Result<[Box<[Line]>; 2], Unsupported> {
    let each = source.inputs * source.window;
    let mut offsets = vec![Line::ZERO; 2 * panels].into_boxed_slice();
    let mut factors = offsets.clone();
    for (output, weights) in source.weights.chunks_exact(each).enumerate() {
        let (vector, n) = lane(output % PANEL, source.kind);
        let line = output / PANEL * 2 + vector;
        offsets[line].words_mut()[n] = offset(source, output, weights)? as u32;
        factors[line].f32_mut()[n] = source.factor[output];
    }
    Ok([offsets, factors])
}

/// The number of threads that pack this many weights.
pub(super) fn threads(weights: usize) -> usize {
    match weights < PARALLEL_WEIGHTS {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// A panel's sum; `sums` has one for each panel, or a single one for all.
fn sum_of(sums: &[Vec<KBlock>], panel: usize) -> &[KBlock] {
    sums.get(panel).unwrap_or(&sums[0])
}

/// What an output's sum begins with: the bias, less the products of the input's zero.
///
/// # Errors
/// [`Unsupported`] if a sum could be larger than what is converted exactly.
pub(super) fn offset(
    source: &QuantizedWeights<'_>,
    output: usize,
    weights: &[i8],
) -> Result<i32, Unsupported> {
    let (mut negative, mut positive) = (0_i64, 0_i64);
    for weight in weights {
        let weight = i64::from(*weight);
        negative += weight.min(0);
        positive += weight.max(0);
    }
    let offset = i64::from(source.bias[output]) - i64::from(source.zero) * (negative + positive);
    let range = [offset + 255 * negative, offset + 255 * positive];
    let factor = source.factor[output];
    let fits = |sum: i64| {
        i32::try_from(sum).is_ok()
            && (sum as f64 * f64::from(factor)).abs() < f64::from(LARGEST_SUM)
    };
    if !range.into_iter().all(fits) || i32::try_from(offset).is_err() {
        let most = range[0].abs().max(range[1].abs());
        return Err(Unsupported(format!(
            "sums of output {output} reach {most}, times {factor:e}: too large to be exact"
        )));
    }
    Ok(offset as i32)
}

fn fill_panel(source: &QuantizedWeights<'_>, order: &impl Order, panel: usize, lines: &mut [Line]) {
    // SAFETY: a line is 64 bytes, any of which are numbers, and the slice is borrowed for this.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<i8>(), size_of_val(lines))
    };
    let each = source.inputs * source.window;
    let outputs = panel * PANEL..(panel * PANEL + PANEL).min(source.bias.len());
    for output in outputs {
        let (vector, n) = lane(output % PANEL, source.kind);
        let start = order.start(output);
        let weights = &source.weights[output * each..][..each];
        for (channel, taps) in weights.chunks_exact(source.window).enumerate() {
            for (tap, weight) in taps.iter().enumerate() {
                let (block, byte) = order.position(start, channel, tap);
                let line = block * BLOCK_LINES + byte / 4 * 2 + vector;
                bytes[line * 64 + n * 4 + byte % 4] = *weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_weight_lies_at_the_byte_that_its_panel_reads(
            group in [1..70_usize, 1..70_usize], groups in 1..12_usize, window in 1..4_usize,
            align in prop::sample::select(vec![4_usize, 64]),
        ) {
            let outputs = group[1] * groups;
            let order = ByChannels { group, outputs, window, align };
            for output in 0..outputs {
                let lines: Vec<_> = order.of_lines(output / PANEL).collect();
                prop_assert!(lines.len() * window <= order.blocks());
                prop_assert!(lines.iter().all(|line| line.start % align == 0 && line.len() <= 64));
                for channel in 0..group[0] {
                    for tap in 0..window {
                        let (block, byte) = order.position(order.start(output), channel, tap);
                        let line = &lines[block / window];
                        prop_assert_eq!(block % window, tap);
                        prop_assert!(byte < line.len());
                        prop_assert_eq!(line.start + byte, output / group[1] * group[0] + channel);
                    }
                }
            }
        }
    }
}
