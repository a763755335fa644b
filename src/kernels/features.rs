//! What this CPU can multiply with: the vector instruction set, and the unit for bfloat16 if there is one.

use super::Isa;

/// Instructions that multiply bfloat16 and accumulate in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bf16Unit {
    /// `vdpbf16ps` on 512-bit vectors.
    Avx512,
    /// Tiles: `tdpbf16ps` on 16 × 16 results.
    Amx,
}

/// The best of each kind, or less if somebody asked for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features {
    /// Vectors.
    pub isa: Isa,
    /// The unit for bfloat16.
    pub bf16: Option<Bf16Unit>,
}

impl Features {
    /// The best that this CPU and its operating system offer.
    #[must_use]
    pub fn detect() -> Features {
        Features {
            isa: Isa::detect(),
            bf16: [Bf16Unit::Amx, Bf16Unit::Avx512]
                .into_iter()
                .find(|unit| unit.is_supported()),
        }
    }

    /// Whether this CPU offers all of it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.isa.is_supported() && self.bf16.is_none_or(Bf16Unit::is_supported)
    }
}

impl Bf16Unit {
    /// Whether this CPU offers it, and for tiles whether the system lets this process use them.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Bf16Unit::Avx512 => {
                Isa::Avx512.is_supported() && is_x86_feature_detected!("avx512bf16")
            }
            _ => false,
        }
    }
}
