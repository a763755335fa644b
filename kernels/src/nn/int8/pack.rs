//! 8-bit weights in the order in which the micro-kernels read them, and what the sums begin with.
//!
//! A panel is 32 outputs; its weights are the blocks of the sum one after the other, each 16 quads times two vectors.

use super::requantize::LARGEST_SUM;
use super::tile::{BLOCK_LINES, Kind, PANEL, lane};
use crate::nn::arena::memory::Lines;
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::Line;

/// Fewer weights than this are packed by one thread: starting another takes as long.
const PARALLEL_WEIGHTS: usize = 200_000;

/// Weights as they come, with what belongs to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuantizedWeights<'a> {
    /// `[outputs, inputs, positions of the window]`.
    pub(crate) weights: &'a [i8],
    pub(crate) inputs: usize,
    /// Positions of the window.
    pub(crate) window: usize,
    /// One an output, added to the sum of products as that is: in steps of the input's scale times the weights'.
    pub(crate) bias: &'a [i32],
    /// One an output: what sums are multiplied by.
    pub(crate) factor: &'a [f32],
    /// The byte of the input that means zero.
    pub(crate) zero: u8,
    pub(crate) kind: Kind,
}

/// Where a weight goes: the block of the sum, and the byte in it.
pub(crate) trait Order: Sync {
    /// For input channel `channel` at position `tap` of the window.
    fn position(&self, channel: usize, tap: usize) -> (usize, usize);

    /// How many blocks there are.
    fn blocks(&self) -> usize;
}

/// Blocks of 64 channels, each at all positions of the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByChannels {
    pub(crate) inputs: usize,
    pub(crate) window: usize,
}

impl Order for ByChannels {
    #[inline]
    fn position(&self, channel: usize, tap: usize) -> (usize, usize) {
        (channel / 64 * self.window + tap, channel % 64)
    }

    fn blocks(&self) -> usize {
        self.inputs.div_ceil(64) * self.window
    }
}

/// Weights in panels.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Panels, a whole number of blocks of outputs.
    pub(crate) panels: usize,
    /// Blocks of the sum.
    pub(crate) blocks: usize,
    lines: Lines,
    /// Two lines a panel.
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
        let outputs = source.bias.len();
        let each = source.inputs * source.window;
        let panels = outputs.div_ceil(64) * 2;
        let blocks = order.blocks();
        let mut packed = Packed {
            panels,
            blocks,
            lines: Lines::zeros(panels * blocks * BLOCK_LINES),
            offsets: vec![Line::ZERO; 2 * panels].into_boxed_slice(),
            factors: vec![Line::ZERO; 2 * panels].into_boxed_slice(),
        };
        for (output, weights) in source.weights.chunks_exact(each).enumerate() {
            let offset = offset(source, output, weights)?;
            let (vector, n) = lane(output % PANEL, source.kind);
            let line = output / PANEL * 2 + vector;
            packed.offsets[line].words_mut()[n] = offset as u32;
            packed.factors[line].f32_mut()[n] = source.factor[output];
        }
        packed.fill(source, order);
        Ok(packed)
    }

    /// Fills the panels, a part on each CPU.
    fn fill(&mut self, source: &QuantizedWeights<'_>, order: &impl Order) {
        let threads = match source.weights.len() < PARALLEL_WEIGHTS {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let lines = self.blocks * BLOCK_LINES;
        let each = self.panels.div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (i, part) in self.lines.chunks_mut(each * lines).enumerate() {
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
    }

    /// Bytes of a panel's weights.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.blocks * BLOCK_LINES * size_of::<Line>()
    }

    /// Bytes of all weights.
    pub(crate) fn bytes(&self) -> usize {
        self.panels * self.panel_bytes()
    }

    /// The addresses of a panel's weights, of what its sums begin with and are multiplied by.
    pub(crate) fn panel(&self, panel: usize) -> [*const Line; 3] {
        [
            &raw const self.lines[panel * self.blocks * BLOCK_LINES],
            &raw const self.offsets[2 * panel],
            &raw const self.factors[2 * panel],
        ]
    }
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
        let weights = &source.weights[output * each..][..each];
        for (channel, taps) in weights.chunks_exact(source.window).enumerate() {
            for (tap, weight) in taps.iter().enumerate() {
                let (block, byte) = order.position(channel, tap);
                let line = block * BLOCK_LINES + byte / 4 * 2 + vector;
                bytes[line * 64 + n * 4 + byte % 4] = *weight;
            }
        }
    }
}
