//! A precision, and the instructions of this CPU that compute it.

use crate::caches::Caches;
use crate::features::{Bf16Unit, Features, Int8Unit};
use crate::nn::layout::store::Store;
use crate::{Isa, Vectorized};

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
    /// The precisions that any network can be computed in, the most exact first.
    pub const FLOATS: [Precision; 3] = [Precision::F32, Precision::Bf16x3, Precision::Bf16];

    /// All precisions.
    pub const ALL: [Precision; 4] = [
        Precision::F32,
        Precision::Bf16x3,
        Precision::Bf16,
        Precision::Int8,
    ];

    /// The precision's name, as in flags and logs.
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
    pub(crate) fn store(self) -> Store {
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
            Precision::F32 | Precision::Int8 => features.isa >= Isa::Avx2,
            Precision::Bf16 | Precision::Bf16x3 => features.bf16.is_some(),
        };
        (has && features.is_supported()).then(|| Arithmetic {
            precision,
            features,
            caches: Caches::detect(),
        })
    }

    /// The same instructions and caches with another precision, which the instructions compute as well.
    pub(crate) fn with_precision(self, precision: Precision) -> Arithmetic {
        Arithmetic { precision, ..self }
    }

    /// This arithmetic planned for other caches than this CPU's. Results have the same bits.
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

    /// The unit that multiplies. Of bytes it only tells whether tiles do; [`int8`](super::int8) chooses among the
    /// vectors.
    pub(crate) fn unit(self) -> Unit {
        match (self.precision, self.features.bf16) {
            (Precision::Int8, _) if self.features.int8 == Some(Int8Unit::Amx) => Unit::Amx,
            (Precision::F32 | Precision::Int8, _) | (_, None) => match self.features.isa {
                Isa::Avx512 => Unit::Avx512,
                _ => Unit::Avx2,
            },
            (_, Some(Bf16Unit::Avx512)) => Unit::Avx512Bf16,
            (_, Some(Bf16Unit::Amx)) => Unit::Amx,
        }
    }

    /// The right to run plain loops with the best vectors.
    pub(crate) fn vectorized(self) -> Vectorized {
        Vectorized::new(self.features.isa)
            .expect("an arithmetic exists only where the CPU has its instructions")
    }

    /// How values inside of a network are stored.
    pub(crate) fn store(self) -> Store {
        self.precision.store()
    }

    /// Channels of a block.
    pub(crate) fn lanes(self) -> usize {
        self.store().lanes()
    }

    /// Planes of a block.
    pub(crate) fn planes(self) -> usize {
        self.store().planes_per_block()
    }

    /// The instructions that multiply, for people: "avx512", "amx".
    #[must_use]
    pub fn instructions(self) -> &'static str {
        match (self.precision, self.features.bf16) {
            (Precision::Int8, _) => match self.features.int8 {
                None => Isa::Avx2.name(),
                Some(unit) => unit.name(),
            },
            (Precision::F32, _) | (_, None) => self.features.isa.name(),
            (_, Some(unit)) => unit.name(),
        }
    }
}

/// The instructions that a micro-kernel multiplies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Avx2,
    Avx512,
    Avx512Bf16,
    Amx,
}
