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
    /// Every combination that has a name, each with all instructions of those before it.
    pub const LADDER: [Features; 5] = [
        Features::rung(Isa::Scalar, None),
        Features::rung(Isa::Avx2, None),
        Features::rung(Isa::Avx512, None),
        Features::rung(Isa::Avx512, Some(Bf16Unit::Avx512)),
        Features::rung(Isa::Avx512, Some(Bf16Unit::Amx)),
    ];

    const fn rung(isa: Isa, bf16: Option<Bf16Unit>) -> Features {
        Features { isa, bf16 }
    }

    /// Its name in lower case, as in flags, logs and tables: that of its last instruction set.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.bf16 {
            None => self.isa.name(),
            Some(unit) => unit.name(),
        }
    }

    /// The combination of that name, whether or not this CPU offers it.
    #[must_use]
    pub fn named(name: &str) -> Option<Features> {
        Features::LADDER.into_iter().find(|f| f.name() == name)
    }

    /// What this CPU offers of the ladder, the best last.
    pub fn supported() -> impl Iterator<Item = Features> {
        Features::LADDER.into_iter().filter(|f| f.is_supported())
    }

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
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bf16Unit::Avx512 => "avx512-bf16",
            Bf16Unit::Amx => "amx",
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_is_found_by_its_name() {
        for features in Features::LADDER {
            assert_eq!(Features::named(features.name()), Some(features));
        }
        assert_eq!(Features::named("avx"), None);
    }

    #[test]
    fn best_supported_rung_is_what_is_detected() {
        assert_eq!(Features::supported().last(), Some(Features::detect()));
        assert_eq!(Features::supported().next(), Features::named("scalar"));
    }
}
