//! Weights in the order in which the micro-kernels read them.
//!
//! A panel is one or two vectors of 16 outputs; its weights are the K-blocks in the order of the sum, each 16 lines a
//! vector. Groups narrower than a block of channels are joined until they fill one, with zeros between what does not
//! belong together.

use super::conv::ConvShape;
use super::line::{Line, Plane};
use super::tile::KBlock;
use super::{Arithmetic, Precision};

/// Groups are joined as long as the products with zeros are at most so many times the others.
const MAX_JOINED: usize = 16;

/// A few neighbouring vectors of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panel {
    /// First vector of 16 outputs.
    pub(super) first: usize,
    /// Vectors of 16 outputs: 1 or 2.
    pub(super) vectors: usize,
    /// First block of the input that its group sees, counted in planes.
    pub(super) input: usize,
    /// Lines before its weights.
    pub(super) weights: usize,
}

/// A convolution's weights in panels.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) panels: Vec<Panel>,
    pub(super) lines: Box<[Line]>,
    /// One line a vector of outputs.
    pub(super) bias: Box<[Line]>,
    /// Planes of the input of all groups.
    pub(super) input_blocks: usize,
    /// Blocks of input channels that a panel sees.
    blocks: usize,
    precision: Precision,
    /// Vectors of outputs of the panels.
    vectors: usize,
}

impl Packed {
    /// Packs `weights`, `[outputs, inputs / groups, height, width]`, for panels of at most `vectors`.
    ///
    /// None if groups are so narrow that most products would be with zeros.
    pub(super) fn new(
        arithmetic: Arithmetic,
        vectors: usize,
        shape: ConvShape,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Packed> {
        let lanes = arithmetic.lanes();
        let narrow = [shape.inputs / shape.groups, shape.outputs / shape.groups];
        let joined = match shape.groups {
            1 => 1,
            groups => (1..=groups.min(MAX_JOINED)).find(|m| {
                groups % m == 0 && (narrow[0] * m) % lanes == 0 && (narrow[1] * m) % lanes == 0
            })?,
        };
        let groups = shape.groups / joined;
        let [inputs, outputs] = narrow.map(|n| n * joined);
        let blocks = inputs.div_ceil(lanes);
        let out_vectors = (outputs.div_ceil(lanes) * lanes / 16) * groups;
        // Panels end where groups do; in bfloat16 two vectors make a line, so there all panels have two.
        let vectors = match (outputs / 16) % vectors {
            0 => vectors,
            _ if groups == 1 && lanes == 32 => 2,
            _ if groups == 1 => vectors,
            _ => 1,
        };
        let window = shape.kernel[0] * shape.kernel[1];
        let planes = arithmetic.planes();
        let mut panels = Vec::new();
        let mut used = 0;
        let per_group = out_vectors / groups;
        for group in 0..groups {
            let mut first = group * per_group;
            while first < (group + 1) * per_group {
                let vectors = vectors.min((group + 1) * per_group - first);
                panels.push(Panel {
                    first,
                    vectors,
                    input: group * blocks * planes,
                    weights: used,
                });
                used += blocks * window * 16 * vectors * planes;
                first += vectors;
            }
        }
        let mut packed = Packed {
            panels,
            lines: vec![Line::ZERO; used].into_boxed_slice(),
            bias: vec![Line::ZERO; out_vectors].into_boxed_slice(),
            input_blocks: groups * blocks * planes,
            blocks,
            precision: arithmetic.precision(),
            vectors,
        };
        for (i, b) in bias.iter().enumerate() {
            packed.bias[i / 16].0[i % 16] = *b;
        }
        packed.fill(weights, narrow, [inputs, outputs], window);
        Some(packed)
    }

    fn fill(&mut self, weights: &[f32], narrow: [usize; 2], joined: [usize; 2], window: usize) {
        let [group_inputs, group_outputs] = narrow;
        let [inputs, outputs] = joined;
        let lanes = if self.precision == Precision::F32 {
            16
        } else {
            32
        };
        for panel in 0..self.panels.len() {
            let panel = self.panels[panel];
            for v in 0..panel.vectors {
                for lane in 0..16 {
                    let output = (panel.first + v) * 16 + lane;
                    let within = output % outputs.next_multiple_of(lanes);
                    if within >= outputs {
                        continue;
                    }
                    // The narrow group's inputs are a part of the joined one's.
                    let start = within / group_outputs * group_inputs;
                    let row = &weights[output * group_inputs * window..][..group_inputs * window];
                    debug_assert!(start + group_inputs <= inputs);
                    for (i, taps) in row.chunks_exact(window).enumerate() {
                        let channel = start + i;
                        for (tap, w) in taps.iter().enumerate() {
                            let block = channel / lanes * window + tap;
                            self.put(&panel, block, channel % lanes, v, lane, *w);
                        }
                    }
                }
            }
        }
    }

    /// Stores the weight of input `k` of a K-block for output `lane` of vector `v`.
    #[inline]
    fn put(&mut self, panel: &Panel, block: usize, k: usize, v: usize, lane: usize, weight: f32) {
        let vectors = panel.vectors;
        match self.precision {
            Precision::F32 => {
                let line = panel.weights + (block * 16 + k) * vectors + v;
                self.lines[line].0[lane] = weight;
            }
            Precision::Bf16 => {
                let line = panel.weights + (block * 16 + k / 2) * vectors + v;
                put_half(&mut self.lines[line], lane, k % 2, round_to_bf16(weight));
            }
            Precision::Bf16x3 => {
                let line = panel.weights + (block * 32 + k / 2) * vectors + v;
                let high = round_to_bf16(weight);
                let low = round_to_bf16(weight - bf16_to_f32(high));
                put_half(&mut self.lines[line], lane, k % 2, high);
                put_half(&mut self.lines[line + 16 * vectors], lane, k % 2, low);
            }
        }
    }

    /// The sum's K-blocks for panels of `vectors`: for each block of channels all positions of the window.
    pub(super) fn k_blocks(&self, kernel: [usize; 2], input: Plane, vectors: usize) -> Vec<KBlock> {
        let lines = (16 * vectors) as u32;
        let mut list = Vec::new();
        for block in 0..self.blocks {
            for row in 0..kernel[0] {
                for column in 0..kernel[1] {
                    let within = row * input.pitch() + column;
                    let a = |plane: usize| (plane * input.lines() + within) as u32;
                    let n = (block * kernel[0] * kernel[1] + row * kernel[1] + column) as u32;
                    match self.precision {
                        Precision::F32 | Precision::Bf16 => list.push(KBlock {
                            a: a(block),
                            b: n * lines,
                        }),
                        // high · high, low · high, high · low
                        Precision::Bf16x3 => {
                            list.extend([(0, 0), (1, 0), (0, 1)].map(|(a_part, b_part)| KBlock {
                                a: a(2 * block + a_part),
                                b: (2 * n + b_part) * lines,
                            }))
                        }
                    }
                }
            }
        }
        list
    }
}

/// Puts a bfloat16 into the lower (0) or upper (1) half of a lane.
#[inline]
fn put_half(line: &mut Line, lane: usize, half: usize, value: u16) {
    let bits = line.0[lane].to_bits() | u32::from(value) << (16 * half);
    line.0[lane] = f32::from_bits(bits);
}

/// The nearest bfloat16, ties to even; the value is finite.
#[must_use]
#[inline]
pub(super) fn round_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let odd = bits >> 16 & 1;
    (bits.wrapping_add(0x7fff + odd) >> 16) as u16
}

/// A bfloat16 as `f32`, exactly.
#[must_use]
#[inline]
pub(super) fn bf16_to_f32(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}
