//! What this CPU can multiply with: the vector instruction set, and the units for bfloat16 and for bytes if there are.

use super::Isa;

/// Instructions that multiply bfloat16 and accumulate in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bf16Unit {
    /// `vdpbf16ps` on 512-bit vectors.
    Avx512,
    /// Tiles: `tdpbf16ps` on 16 × 16 results.
    Amx,
}

/// Instructions that multiply bytes and accumulate in 32-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Int8Unit {
    /// `vpdpbusd` on 256-bit vectors, as CPUs without AVX-512 have it.
    AvxVnni,
    /// `vpdpbusd` on 512-bit vectors.
    Avx512Vnni,
    /// Tiles: `tdpbusd` on 16 × 16 results.
    Amx,
}

/// The instructions to compute with: the best of each kind that the CPU has, or fewer if somebody asked for fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features {
    /// The vector instruction set.
    pub isa: Isa,
    /// The unit for bfloat16.
    pub bf16: Option<Bf16Unit>,
    /// The unit for bytes; without one, vectors multiply them two at a time, or widen them.
    pub int8: Option<Int8Unit>,
}

impl Features {
    /// Every combination that has a name; vectors and units only ever grow from one to the next, AVX-VNNI apart, which
    /// some CPUs have in place of AVX-512.
    pub const LADDER: [Features; 7] = [
        Features::rung(Isa::Scalar, None, None),
        Features::rung(Isa::Avx2, None, None),
        Features::rung(Isa::Avx2, None, Some(Int8Unit::AvxVnni)),
        Features::rung(Isa::Avx512, None, None),
        Features::rung(Isa::Avx512, None, Some(Int8Unit::Avx512Vnni)),
        Features::rung(
            Isa::Avx512,
            Some(Bf16Unit::Avx512),
            Some(Int8Unit::Avx512Vnni),
        ),
        Features::rung(Isa::Avx512, Some(Bf16Unit::Amx), Some(Int8Unit::Amx)),
    ];

    const fn rung(isa: Isa, bf16: Option<Bf16Unit>, int8: Option<Int8Unit>) -> Features {
        Features { isa, bf16, int8 }
    }

    /// A vector instruction set without a unit for bfloat16 or bytes.
    #[must_use]
    pub const fn vectors(isa: Isa) -> Features {
        Features::rung(isa, None, None)
    }

    /// The name in lower case, as in flags, logs and tables: the bfloat16 unit's, else the byte unit's, else the
    /// vectors'.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.bf16, self.int8) {
            (None, None) => self.isa.name(),
            (None, Some(unit)) => unit.name(),
            (Some(unit), _) => unit.name(),
        }
    }

    /// The combination of that name, whether or not this CPU offers it.
    #[must_use]
    pub fn named(name: &str) -> Option<Features> {
        Features::LADDER.into_iter().find(|f| f.name() == name)
    }

    /// The combinations of [`Features::LADDER`] that this CPU supports, the best last.
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
            int8: [Int8Unit::Amx, Int8Unit::Avx512Vnni, Int8Unit::AvxVnni]
                .into_iter()
                .find(|unit| unit.is_supported()),
        }
    }

    /// Whether this CPU supports the vectors and each unit of the combination.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.isa.is_supported()
            && self.bf16.is_none_or(Bf16Unit::is_supported)
            && self.int8.is_none_or(Int8Unit::is_supported)
    }
}

impl Int8Unit {
    /// The unit's name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Int8Unit::AvxVnni => "avx-vnni",
            Int8Unit::Avx512Vnni => "avx512-vnni",
            Int8Unit::Amx => "amx",
        }
    }

    /// Whether this CPU has the unit, and for tiles whether the system lets this process use them.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Int8Unit::AvxVnni => Isa::Avx2.is_supported() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Int8Unit::Avx512Vnni => {
                Isa::Avx512.is_supported() && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Int8Unit::Amx => Isa::Avx512.is_supported() && tiles::multiply_bytes(),
            #[cfg(not(target_arch = "x86_64"))]
            Int8Unit::AvxVnni | Int8Unit::Avx512Vnni => false,
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            Int8Unit::Amx => false,
        }
    }
}

impl Bf16Unit {
    /// The unit's name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bf16Unit::Avx512 => "avx512-bf16",
            Bf16Unit::Amx => "amx",
        }
    }

    /// Whether this CPU has the unit, and for tiles whether the system lets this process use them.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Bf16Unit::Avx512 => {
                Isa::Avx512.is_supported() && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Bf16Unit::Amx => Bf16Unit::Avx512.is_supported() && tiles::are_permitted(),
            #[cfg(not(target_arch = "x86_64"))]
            Bf16Unit::Avx512 => false,
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            Bf16Unit::Amx => false,
        }
    }
}

/// Whether tiles may be used: a CPU that has them, a system that saves them, and its permission.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles {
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    /// Whether this process may use tiles; asks the system for permission once.
    ///
    /// Permission is the process's: threads of before and after have it, a new program after `exec` has not. The system
    /// refuses it if a thread has an alternate signal stack too small to save 8 KiB of tiles on, and such stacks from
    /// then on; those of the standard library are large enough. Source: Linux, `Documentation/arch/x86/xstate.rst`.
    pub(super) fn are_permitted() -> bool {
        static PERMITTED: OnceLock<bool> = OnceLock::new();
        // The order matters: each step may only be taken after the one before.
        *PERMITTED.get_or_init(|| cpu_has_them() && system_saves_them() && request() == 0)
    }

    /// Whether tiles may be used, and the CPU multiplies bytes with them.
    ///
    /// Source: Intel's Software Developer's Manual, `CPUID`: leaf 7, EDX, AMX-INT8.
    pub(super) fn multiply_bytes() -> bool {
        const AMX_INT8: u32 = 1 << 25;
        are_permitted() && __cpuid_count(7, 0).edx & AMX_INT8 != 0
    }

    /// Whether the CPU has tiles that multiply bfloat16, and `xgetbv` may be used. Source: Intel's Software Developer's
    /// Manual, `CPUID`: leaf 7, EDX, AMX-BF16 and AMX-TILE; leaf 1, ECX, OSXSAVE.
    fn cpu_has_them() -> bool {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        const OSXSAVE: u32 = 1 << 27;
        __cpuid(0).eax >= 7
            && __cpuid(1).ecx & OSXSAVE != 0
            && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
    }

    fn system_saves_them() -> bool {
        /// Components of the extended state: the tiles' configuration, their contents.
        const TILE_STATE: u64 = 1 << 17 | 1 << 18;
        // SAFETY: OSXSAVE says that `xgetbv` may be used.
        (unsafe { extended_state() }) & TILE_STATE == TILE_STATE
    }

    #[target_feature(enable = "xsave")]
    fn extended_state() -> u64 {
        // SAFETY: register 0 always exists.
        unsafe { _xgetbv(0) }
    }

    /// Asks for tiles by `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; returns zero, or a negative error
    /// number.
    fn request() -> i64 {
        const SYS_ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const XFEATURE_XTILEDATA: u64 = 18;
        let result;
        // SAFETY: the call reads and writes no memory of ours; the kernel overwrites rcx and r11 besides the result.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") SYS_ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn tiles_are_permitted_only_where_the_system_lists_them() {
            let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
            let listed = |flag| cpu.split_ascii_whitespace().any(|word| word == flag);
            assert_eq!(cpu_has_them(), listed("amx_tile") && listed("amx_bf16"));
            assert!(!are_permitted() || cpu_has_them() && system_saves_them());
        }

        #[test]
        fn a_system_without_tiles_refuses_them_with_an_error() {
            let result = request();
            if !cpu_has_them() {
                // EINVAL, ENOTSUPP where the kernel knows tiles but not this CPU.
                assert!(result < 0, "{result}");
            }
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
    fn instructions_that_no_test_can_run_here_are_named() {
        use std::io::Write as _;
        for features in Features::LADDER.into_iter().filter(|f| !f.is_supported()) {
            // past the test runner, which hides what a passing test prints
            let _ = writeln!(
                std::io::stderr().lock(),
                "SKIPPED the tests of all kernels for {}: this CPU has no such instructions",
                features.name()
            );
        }
    }

    #[test]
    fn best_supported_rung_is_what_is_detected() {
        assert_eq!(Features::supported().last(), Some(Features::detect()));
        assert_eq!(Features::supported().next(), Features::named("scalar"));
    }
}
