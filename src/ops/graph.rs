//! A recognized part of a network in plain words: convolutions, pools, sums, in the order in which they run.
//!
//! Built by `engine::lower` from tract's typed model, simplified by fusion, consumed by `compile`. Shapes are those of
//! one image; the batch is whatever arrives. Layouts are ONNX's: images `[channels, height, width]`, kernels OIHW.

use super::weights::Weights;
use kernels::nn::{Activation, Quantization};

/// The value that node number `.0` computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Shape of one image's value: `[channels, height, width]`; a vector of features is `[features, 1, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels, or features.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Where a window moves over an image: kernel size, steps and the zeros around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Rows and columns from one output to the next.
    pub stride: [usize; 2],
    /// Rows above, columns to the left.
    pub pad_before: [usize; 2],
    /// Rows below, columns to the right.
    pub pad_after: [usize; 2],
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A value from outside: input number so-and-so of the graph.
    Input(usize),
    /// Convolution with dilation 1, then optionally a sum with another value, then optionally ReLU.
    Conv(Conv),
    /// `relu?(value * scale + shift)`, a factor and an addend for each channel, and then at most a bound.
    Affine {
        /// What it reads.
        input: ValueId,
        /// The factor of each channel.
        scale: Vec<f32>,
        /// The addend of each channel.
        shift: Vec<f32>,
        /// Whether negative results become zero.
        relu: bool,
        /// The bound to which larger results are cut after the ReLU; infinity for none.
        most: f32,
    },
    /// `relu?(a + b)` of two values of the same shape.
    Add {
        /// What it reads.
        inputs: [ValueId; 2],
        /// Whether negative results become zero.
        relu: bool,
    },
    /// A function of each number by itself, other than a bound.
    Activation {
        /// What it reads.
        input: ValueId,
        /// The function.
        activation: Activation,
    },
    /// `relu?(value * factor + addend)`; the factor has the value's shape, or is `[channels, 1, 1]`.
    Mul {
        /// The value and the factor.
        inputs: [ValueId; 2],
        /// A value of the same shape to add.
        addend: Option<ValueId>,
        /// Whether negative results become zero.
        relu: bool,
    },
    /// The channels of several values of the same height and width, one after the other.
    Concat {
        /// What it reads.
        inputs: Vec<ValueId>,
    },
    /// The largest value under a window; what lies outside of the image does not count.
    MaxPool {
        /// What it reads.
        input: ValueId,
        /// The window that moves over the input.
        window: Window,
    },
    /// The mean of the values under a window.
    AvgPool {
        /// What it reads.
        input: ValueId,
        /// The window that moves over the input.
        window: Window,
        /// Whether zeros outside of the image count as values.
        count_include_pad: bool,
    },
    /// The mean of each channel: `[channels, 1, 1]`.
    GlobalAvgPool {
        /// What it reads.
        input: ValueId,
    },
    /// Numbers become bytes.
    Quantize {
        /// What it reads.
        input: ValueId,
        /// What the bytes mean.
        quantization: Quantization,
    },
    /// Bytes become numbers.
    Dequantize {
        /// What it reads.
        input: ValueId,
        /// What the bytes mean.
        quantization: Quantization,
    },
}

/// A convolution with all that is fused into it. A fully connected layer is one of kernel 1×1 on `[features, 1, 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// What it reads.
    pub input: ValueId,
    /// Output channels.
    pub outputs: usize,
    /// Groups: outputs of group `g` see only inputs of group `g`.
    pub groups: usize,
    /// `[outputs, inputs / groups, kernel height, kernel width]`.
    pub weights: Weights,
    /// The addend of each output channel.
    pub bias: Vec<f32>,
    /// The window that moves over the input.
    pub window: Window,
    /// A value of the output's shape to add before the ReLU.
    pub residual: Option<ValueId>,
    /// Whether negative results become zero.
    pub relu: bool,
    /// The bound to which larger results are cut; infinity for none, as wherever `relu` is not set.
    pub most: f32,
}

/// One step, with a name for reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The name of the ONNX node it starts with.
    pub name: String,
    /// What it computes, from values of earlier nodes only.
    pub op: Op,
    /// Shape of its value.
    pub shape: Shape,
}

impl Node {
    /// The values that it reads.
    #[must_use]
    pub fn reads(&self) -> Vec<ValueId> {
        match &self.op {
            Op::Input(_) => vec![],
            Op::Conv(conv) => std::iter::once(conv.input).chain(conv.residual).collect(),
            Op::Add { inputs, .. } => inputs.to_vec(),
            Op::Mul { inputs, addend, .. } => inputs.iter().copied().chain(*addend).collect(),
            Op::Concat { inputs } => inputs.clone(),
            Op::Affine { input, .. }
            | Op::Activation { input, .. }
            | Op::MaxPool { input, .. }
            | Op::AvgPool { input, .. }
            | Op::GlobalAvgPool { input }
            | Op::Quantize { input, .. }
            | Op::Dequantize { input, .. } => vec![*input],
        }
    }
}

/// The nodes, each after those that it reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// In an order in which they can run.
    pub nodes: Vec<Node>,
    /// What leaves the graph, in order.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// Whether bytes occur in it.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        let of_bytes = |n: &Node| matches!(n.op, Op::Quantize { .. } | Op::Dequantize { .. });
        self.nodes.iter().any(of_bytes)
    }
}
