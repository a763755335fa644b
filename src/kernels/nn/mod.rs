//! Neural network layers: values in lines of 64 bytes, a micro-kernel that multiplies them, and the steps around it.
//!
//! # Layout
//! A [`Line`] holds one pixel's values of one block of channels: 16 `f32`, or 32 bfloat16. A value of one image is
//! `[block][row][column]` lines; pixels of a block are neighbours, so the micro-kernel reads them at constant distances
//! without packing, and 64-byte lines never split a cache line. Channels beyond the last are zeros.

#![allow(dead_code, reason = "filled in step by step")]

mod line;
mod scalar;
mod team;
mod tile;

pub use self::line::{Line, Plane};
pub use self::team::{Lead, Team};
use super::features::Features;

/// How values are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE single precision throughout.
    F32,
    /// Each value as the sum of two bfloat16, products of three terms: nearly single precision.
    Bf16x3,
    /// bfloat16 values, single precision sums.
    Bf16,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16x3, Precision::Bf16];

    /// Its name, as in flags and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16 => "bf16",
        }
    }
}

/// A precision together with the instructions that compute it; exists only where this CPU has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    precision: Precision,
    features: Features,
}

impl Arithmetic {
    /// `precision` with the best of `features`; none if they lack an instruction for it, or this CPU lacks them.
    #[must_use]
    pub fn new(precision: Precision, features: Features) -> Option<Arithmetic> {
        let has = match precision {
            Precision::F32 => features.isa >= super::Isa::Avx2,
            Precision::Bf16 | Precision::Bf16x3 => features.bf16.is_some(),
        };
        (has && features.is_supported()).then_some(Arithmetic {
            precision,
            features,
        })
    }

    /// How values are stored and multiplied.
    #[must_use]
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// The instructions that may be used.
    #[must_use]
    pub fn features(self) -> Features {
        self.features
    }

    /// The instructions that multiply, for people: "avx512", "amx".
    #[must_use]
    pub fn instructions(self) -> &'static str {
        match (self.precision, self.features.bf16) {
            (Precision::F32, _) | (_, None) => self.features.isa.name(),
            (_, Some(unit)) => unit.name(),
        }
    }
}

/// Steps that compute a network, with their weights; shared by all workers.
#[derive(Debug)]
pub struct Program {}

impl Program {
    /// One worker's memory, for batches of up to `images`.
    #[must_use]
    pub fn memory(&self, images: usize) -> Memory {
        let _ = images;
        Memory {}
    }

    /// Computes the network for `images` images: input number `i` of the graph from `inputs[i]`, output number `o` into
    /// `outputs[o]`; both `[images, channels, height, width]` and contiguous. An image's output bits depend on that
    /// image alone. A batch larger than the memory is for is computed in parts.
    ///
    /// # Panics
    /// If a slice has not the length that the shapes demand.
    pub fn run(
        &self,
        memory: &mut Memory,
        lead: &Lead<'_>,
        images: usize,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) {
        let _ = (memory, lead, images, inputs, outputs);
    }

    /// Measures every step from now on, or no longer.
    pub fn set_profiling(&self, on: bool) {
        let _ = on;
    }

    /// What was measured, a step a row.
    #[must_use]
    pub fn profile(&self) -> Vec<StepProfile> {
        Vec::new()
    }
}

/// One worker's memory for a program: intermediate values of as many images as a batch holds.
#[derive(Debug)]
pub struct Memory {}

/// A step, and what it did while profiling was on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProfile {
    /// The node's name.
    pub name: String,
    /// The algorithm, as "conv 3×3/1 winograd".
    pub kind: String,
    /// Multiplications and additions of the direct algorithm for one image.
    pub flops: u64,
    /// Images computed.
    pub images: u64,
    /// Time spent, in nanoseconds.
    pub nanoseconds: u64,
}
