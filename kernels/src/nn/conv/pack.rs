//! Weights in the order in which the micro-kernels read them.
//!
//! A panel is one or two vectors of 16 outputs; its weights are the K-blocks in the order of the sum, each 16 lines a
//! vector. A panel of a convolution in groups sees the blocks of input channels that its own groups lie in, with zeros
//! between what does not belong together.

use std::ops::Range;

use super::shape::ConvShape;
use crate::nn::arena::memory::Lines;
use crate::nn::arithmetic::{Arithmetic, Precision};
use crate::nn::layout::format::round;
use crate::nn::layout::line::{Line, Plane};
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::KBlock;

/// Fewer weights than this are packed by one thread: starting another takes as long.
const PARALLEL_WEIGHTS: usize = 100_000;

/// Most products that a convolution in groups may make for each one that it needs, those with zeros included.
const MOST_PRODUCTS: usize = 32;

/// One or two neighbouring vectors of outputs, and where their inputs and weights begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panel {
    /// First vector of 16 outputs.
    pub(crate) first: usize,
    /// Vectors of 16 outputs: 1 or 2.
    pub(crate) vectors: usize,
    /// First block of the input that the panel's groups see, counted in planes.
    pub(crate) input: usize,
    /// Blocks of input channels that the panel's groups see.
    pub(crate) blocks: usize,
    /// Lines before the panel's weights in [`Packed::lines`].
    pub(crate) weights: usize,
}

/// A convolution's weights in panels.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) panels: Vec<Panel>,
    pub(crate) lines: Lines,
    /// The bias, one line for each vector of 16 outputs.
    pub(crate) bias: Box<[Line]>,
    /// Planes of the input of all groups.
    pub(crate) input_blocks: usize,
    precision: Precision,
}

impl Packed {
    /// Packs `weights`, `[outputs, inputs / groups, height, width]`, for panels of at most the kernel's vectors.
    ///
    /// None if groups are so narrow that most products would be with zeros.
    pub(crate) fn new(
        kernel: MicroKernels,
        shape: ConvShape,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Packed> {
        let arithmetic = kernel.arithmetic;
        let lanes = arithmetic.lanes();
        let group = [shape.inputs / shape.groups, shape.outputs / shape.groups];
        let spans = spans(kernel, shape);
        let blocks = spans.iter().map(|span| span.blocks.len()).max()?;
        if shape.groups > 1 && blocks * lanes > MOST_PRODUCTS * group[0] {
            return None;
        }
        let window = shape.kernel[0] * shape.kernel[1];
        let planes = arithmetic.planes();
        let mut used = 0;
        let panels = spans.iter().map(|span| {
            let (vectors, blocks) = (span.vectors.len(), span.blocks.len());
            let weights = used;
            used += blocks * window * 16 * vectors * planes;
            Panel {
                first: span.vectors.start,
                vectors,
                input: span.blocks.start * planes,
                blocks,
                weights,
            }
        });
        let panels: Vec<Panel> = panels.collect();
        let out_vectors = panels.last().map_or(0, |panel| panel.first + panel.vectors);
        let mut packed = Packed {
            panels,
            lines: Lines::zeros(used),
            bias: vec![Line::ZERO; out_vectors].into_boxed_slice(),
            input_blocks: shape.inputs.div_ceil(lanes) * planes,
            precision: arithmetic.precision(),
        };
        for (i, b) in bias.iter().enumerate() {
            packed.bias[i / 16].f32_mut()[i % 16] = *b;
        }
        packed.fill(
            ConvWeights {
                weights,
                group,
                window,
            },
            arithmetic,
        );
        Some(packed)
    }

    /// Fills the panels, a part on each CPU.
    fn fill(&mut self, source: ConvWeights<'_>, arithmetic: Arithmetic) {
        let threads = match source.weights.len() < PARALLEL_WEIGHTS {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let each = self.panels.len().div_ceil(threads).max(1);
        let mut rest = &mut self.lines[..];
        let mut used = 0;
        std::thread::scope(|scope| {
            for panels in self.panels.chunks(each) {
                let end = panels.last().map_or(used, |last| {
                    last.weights + source.lines_of(last, arithmetic)
                });
                let (part, behind) = std::mem::take(&mut rest).split_at_mut(end - used);
                (rest, used) = (behind, end);
                let mut fill = move || source.fill(panels, part, arithmetic);
                match threads {
                    1 => fill(),
                    _ => drop(scope.spawn(fill)),
                }
            }
        });
    }

    /// The sum's K-blocks for panels of `vectors`: for each block of channels all positions of the window. A panel that
    /// sees fewer blocks than others has as many [fewer](Packed::k_len), from the same first one on.
    pub(crate) fn k_blocks(&self, kernel: [usize; 2], input: Plane, vectors: usize) -> Vec<KBlock> {
        let planes = match self.precision {
            Precision::F32 | Precision::Bf16 | Precision::Int8 => 1,
            Precision::Bf16x3 => 2,
        };
        let [rows, columns] = kernel;
        let most = self.panels.iter().map(|panel| panel.blocks).max();
        let starts = (0..most.unwrap_or(0)).flat_map(|block| {
            (0..rows).flat_map(move |row| {
                (0..columns).map(move |column| {
                    (block * planes * input.lines() + row * input.pitch() + column) as u32
                })
            })
        });
        self.sum(starts, input.lines() as u32, vectors)
    }

    /// How many K-blocks a panel's sum has, with a window of so many positions.
    pub(crate) fn k_len(&self, panel: &Panel, window: usize) -> usize {
        let products = match self.precision {
            Precision::F32 | Precision::Bf16 | Precision::Int8 => 1,
            Precision::Bf16x3 => 3,
        };
        panel.blocks * window * products
    }

    /// The sum's K-blocks for panels of `vectors`, whose weights lie in the order of the blocks, from where each begins
    /// in the input: lines from `Tile::a`. The low halves of `Store::Split` lie `plane` lines further.
    pub(crate) fn sum(
        &self,
        starts: impl Iterator<Item = u32>,
        plane: u32,
        vectors: usize,
    ) -> Vec<KBlock> {
        let lines = 16 * vectors as u32;
        let mut list = Vec::new();
        for (n, a) in starts.enumerate() {
            let n = n as u32;
            match self.precision {
                Precision::F32 | Precision::Bf16 => list.push(KBlock { a, b: n * lines }),
                Precision::Int8 => unreachable!("bytes are packed in `int8`"),
                // low · high, high · high, high · low: each has an operand of the one before
                Precision::Bf16x3 => {
                    list.extend([(1, 0), (0, 0), (0, 1)].map(|(a_part, b_part)| KBlock {
                        a: a + a_part * plane,
                        b: (2 * n + b_part) * lines,
                    }))
                }
            }
        }
        list
    }
}

/// Neighbouring vectors of 16 outputs, and the blocks of input channels that they see.
#[derive(Debug)]
struct Span {
    vectors: Range<usize>,
    blocks: Range<usize>,
}

impl Span {
    fn with(&self, next: &Span) -> Span {
        Span {
            vectors: self.vectors.start..next.vectors.end,
            blocks: self.blocks.start..self.blocks.end.max(next.blocks.end),
        }
    }
}

/// All outputs in spans of as many vectors as the kernel takes, but none that sees more blocks of the input than some
/// block of outputs does alone.
fn spans(kernel: MicroKernels, shape: ConvShape) -> Vec<Span> {
    let lanes = kernel.arithmetic.lanes();
    let [group_inputs, group_outputs] = [shape.inputs, shape.outputs].map(|n| n / shape.groups);
    // Outputs that are stored together, in one block.
    let unit = kernel.output_lanes();
    let alone = |first: usize| {
        let last = (first + unit).min(shape.outputs) - 1;
        let (from, to) = (first / group_outputs, last / group_outputs + 1);
        Span {
            vectors: first / 16..(first + unit) / 16,
            blocks: from * group_inputs / lanes..(to * group_inputs).div_ceil(lanes),
        }
    };
    let units: Vec<Span> = (0..shape.outputs).step_by(unit).map(alone).collect();
    let most = units.iter().map(|unit| unit.blocks.len()).max();
    let mut spans: Vec<Span> = Vec::new();
    for unit in units {
        let joined = spans.last().map(|span| span.with(&unit));
        match (joined, spans.last_mut()) {
            (Some(joined), Some(span))
                if joined.vectors.len() <= kernel.vectors && Some(joined.blocks.len()) <= most =>
            {
                *span = joined;
            }
            _ => spans.push(unit),
        }
    }
    spans
}

/// Weights before packing, `[outputs, inputs of a group, window]`.
#[derive(Clone, Copy)]
struct ConvWeights<'a> {
    weights: &'a [f32],
    /// Inputs and outputs of a group.
    group: [usize; 2],
    /// Positions of the window.
    window: usize,
}

impl ConvWeights<'_> {
    /// Lines of a panel's weights.
    fn lines_of(self, panel: &Panel, arithmetic: Arithmetic) -> usize {
        panel.blocks * self.window * 16 * panel.vectors * arithmetic.planes()
    }

    /// Fills `lines`, which are those of `panels`.
    fn fill(self, panels: &[Panel], lines: &mut [Line], arithmetic: Arithmetic) {
        let (lanes, window) = (arithmetic.lanes(), self.window);
        let [group_inputs, group_outputs] = self.group;
        let total = self.weights.len() / (group_inputs * window);
        let mut rest = lines;
        for panel in panels {
            let (lines, behind) =
                std::mem::take(&mut rest).split_at_mut(self.lines_of(panel, arithmetic));
            rest = behind;
            for v in 0..panel.vectors {
                // Of each lane: where its weights begin, and the first of the inputs that its group sees.
                let rows: [(usize, usize); 16] = std::array::from_fn(|lane| {
                    let output = (panel.first + v) * 16 + lane;
                    match output < total {
                        true => (
                            output * group_inputs * window,
                            output / group_outputs * group_inputs,
                        ),
                        false => (0, usize::MAX / 2),
                    }
                });
                let before = panel.input / arithmetic.planes() * lanes;
                for channel in 0..panel.blocks * lanes {
                    for tap in 0..window {
                        let values = rows.map(|(row, first)| {
                            let i = (before + channel).wrapping_sub(first);
                            match i < group_inputs {
                                true => self.weights[row + i * window + tap],
                                false => 0.0,
                            }
                        });
                        let block = channel / lanes * window + tap;
                        let at = (block, channel % lanes, v, panel.vectors);
                        put(lines, at, values, arithmetic.precision());
                    }
                }
            }
        }
    }
}

/// Stores the weights of input `k` of a K-block for the outputs of vector `v` of `vectors`.
#[inline]
fn put(
    lines: &mut [Line],
    (block, k, v, vectors): (usize, usize, usize, usize),
    values: [f32; 16],
    precision: Precision,
) {
    match precision {
        Precision::F32 => lines[(block * 16 + k) * vectors + v] = Line::from_f32(values),
        Precision::Bf16 => {
            let line = &mut lines[(block * 16 + k / 2) * vectors + v];
            put_halves(line, k % 2, values.map(to_bf16));
        }
        Precision::Int8 => unreachable!("bytes are packed in `int8`"),
        Precision::Bf16x3 => {
            let line = (block * 32 + k / 2) * vectors + v;
            let high = values.map(to_bf16);
            let rest = |lane: usize| values[lane] - f32::from_bits(u32::from(high[lane]) << 16);
            let low = std::array::from_fn(|lane| to_bf16(rest(lane)));
            put_halves(&mut lines[line], k % 2, high);
            put_halves(&mut lines[line + 16 * vectors], k % 2, low);
        }
    }
}

/// The nearest bfloat16, ties to even.
#[inline]
fn to_bf16(value: f32) -> u16 {
    (round(value) >> 16) as u16
}

/// Puts bfloat16 into the lower (0) or upper (1) halves of a line's lanes.
#[inline]
fn put_halves(line: &mut Line, half: usize, values: [u16; 16]) {
    for (word, value) in line.words_mut().iter_mut().zip(values) {
        *word |= u32::from(value) << (16 * half);
    }
}
