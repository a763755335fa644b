//! Neural network layers: values in lines of 64 bytes, a micro-kernel that multiplies them, and the steps around it.
//!
//! # Layout
//! A [`Line`] holds one pixel's values of one block of channels: 16 `f32`, 32 bfloat16, or 64 bytes. A value of one image is
//! `[block][row][column]` lines; pixels of a block are neighbours, so the micro-kernel reads them at constant distances
//! without packing, and 64-byte lines never split a cache line. Channels beyond the last are zeros.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod builder;
mod calls;
mod conv;
mod denormals;
mod depthwise;
mod edge;
mod first;
mod format;
mod gather;
mod input;
mod int8;
mod layer;
mod line;
mod memory;
mod pack;
mod patches;
mod pixels;
mod placement;
mod plan;
mod pointwise;
mod pool;
mod program;
mod runs;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod scalar;
#[cfg(test)]
mod scalar_bf16;
mod scratch;
mod team;
#[cfg(test)]
mod testing;
mod tile;
mod winograd;

pub use self::builder::Builder;
pub use self::denormals::{FlushDenormals, flush_denormals};
pub use self::input::Input;
pub use self::int8::{Int8Conv, Int8Residual, Quantization};
pub use self::layer::{ConvLayer, Moving, Pooling, Value};
pub use self::line::{Line, Plane};
pub use self::memory::Memory;
pub use self::program::Program;
pub use self::team::{Lead, Team};
use self::tile::Store;
use super::Vectorized;
use super::caches::Caches;
use super::features::{Bf16Unit, Features, Int8Unit};

/// How values are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE single precision throughout.
    F32,
    /// Each value as the sum of two bfloat16, products of three terms: nearly single precision.
    Bf16x3,
    /// bfloat16 values, single precision sums.
    Bf16,
    /// Bytes with a scale, exact sums: for networks whose file says what their bytes mean.
    Int8,
}

impl Precision {
    /// Those that any network can be computed in, the most exact first.
    pub const FLOATS: [Precision; 3] = [Precision::F32, Precision::Bf16x3, Precision::Bf16];

    /// All of them.
    pub const ALL: [Precision; 4] = [
        Precision::F32,
        Precision::Bf16x3,
        Precision::Bf16,
        Precision::Int8,
    ];

    /// Its name, as in flags and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }

    /// How values inside of a network are stored.
    fn store(self) -> Store {
        match self {
            Precision::F32 => Store::F32,
            Precision::Bf16 => Store::Bf16,
            Precision::Bf16x3 => Store::Split,
            Precision::Int8 => Store::U8,
        }
    }
}

/// A precision together with the instructions that compute it and the caches that they have; exists only where this CPU
/// has the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    precision: Precision,
    features: Features,
    caches: Caches,
}

impl Arithmetic {
    /// `precision` with the best of `features`; none if they lack an instruction for it, or this CPU lacks them.
    #[must_use]
    pub fn new(precision: Precision, features: Features) -> Option<Arithmetic> {
        let has = match precision {
            Precision::F32 | Precision::Int8 => features.isa >= super::Isa::Avx2,
            Precision::Bf16 | Precision::Bf16x3 => features.bf16.is_some(),
        };
        (has && features.is_supported()).then(|| Arithmetic {
            precision,
            features,
            caches: Caches::detect(),
        })
    }

    /// The same, planned for other caches than this CPU's. Results have the same bits.
    #[must_use]
    pub fn with_caches(self, caches: Caches) -> Arithmetic {
        Arithmetic { caches, ..self }
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

    /// The caches that work is planned for.
    #[must_use]
    pub fn caches(self) -> Caches {
        self.caches
    }

    /// What multiplies; of bytes, whether tiles do, the rest is chosen in [`int8`].
    fn unit(self) -> Unit {
        match (self.precision, self.features.bf16) {
            (Precision::Int8, _) if self.features.int8 == Some(Int8Unit::Amx) => Unit::Amx,
            (Precision::F32 | Precision::Int8, _) | (_, None) => match self.features.isa {
                super::Isa::Avx512 => Unit::Avx512,
                _ => Unit::Avx2,
            },
            (_, Some(Bf16Unit::Avx512)) => Unit::Avx512Bf16,
            (_, Some(Bf16Unit::Amx)) => Unit::Amx,
        }
    }

    /// The right to run plain loops with the best vectors.
    fn vectorized(self) -> Vectorized {
        Vectorized::new(self.features.isa)
            .expect("an arithmetic exists only where the CPU has its instructions")
    }

    /// How values inside of a network are stored.
    fn store(self) -> Store {
        self.precision.store()
    }

    /// Channels of a block.
    fn lanes(self) -> usize {
        16 * self.store().vectors_per_block()
    }

    /// Planes of a block.
    fn planes(self) -> usize {
        self.store().planes_per_block()
    }

    /// The instructions that multiply, for people: "avx512", "amx".
    #[must_use]
    pub fn instructions(self) -> &'static str {
        match (self.precision, self.features.bf16) {
            (Precision::Int8, _) => match self.features.int8 {
                None => super::Isa::Avx2.name(),
                Some(unit) => unit.name(),
            },
            (Precision::F32, _) | (_, None) => self.features.isa.name(),
            (_, Some(unit)) => unit.name(),
        }
    }
}

/// Why no step of ours computes a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Avx2,
    Avx512,
    Avx512Bf16,
    Amx,
}

/// Multiplies tiles in registers `rounds` times and tells how many multiplications and additions that were.
///
/// # Safety
/// The CPU has [`Bf16Unit::Amx`], and no other code uses tiles on this thread.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn spin_tiles(rounds: u64) -> u64 {
    // SAFETY: the caller's promise is the same.
    unsafe { amx::spin(rounds) }
}

/// The same with bytes.
///
/// # Safety
/// The CPU has [`Int8Unit::Amx`], and no other code uses tiles on this thread.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn spin_tiles_of_bytes(rounds: u64) -> u64 {
    // SAFETY: the caller's promise is the same.
    unsafe { amx::spin_bytes(rounds) }
}

/// A step, and what it did while profiling was on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepProfile {
    /// The node's name.
    pub name: String,
    /// The algorithm, as "conv 3×3/1 winograd".
    pub kind: String,
    /// How the work is ordered and cut, as "by image, 2×8 tasks, ahead"; empty where there is nothing to choose.
    pub plan: String,
    /// Bytes of weights, as they are stored.
    pub weights: usize,
    /// Bytes of one image's values that are read and written, as they are stored.
    pub values: usize,
    /// Multiplications and additions of the direct algorithm for one image.
    pub flops: u64,
    /// Images computed.
    pub images: u64,
    /// Time spent, in nanoseconds.
    pub nanoseconds: u64,
}
