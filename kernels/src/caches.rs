//! The sizes of a core's own caches, as the CPU tells them.

/// Bytes of the caches that a core has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caches {
    /// Bytes of the first-level data cache.
    pub l1d: usize,
    /// Bytes of the second-level cache.
    pub l2: usize,
}

impl Caches {
    /// The smallest caches of CPUs that have the vectors we use; also assumed where CPUID tells nothing.
    pub const SMALL: Caches = Caches {
        l1d: 32 << 10,
        l2: 256 << 10,
    };

    /// The caches of this CPU as CPUID tells them, or [`Caches::SMALL`].
    #[must_use]
    pub fn detect() -> Caches {
        #[cfg(target_arch = "x86_64")]
        for leaf in [INTEL_LEAF, AMD_LEAF] {
            if let Some(caches) = of_leaf(leaf) {
                return caches;
            }
        }
        Caches::SMALL
    }
}

/// CPUID leaf "Deterministic cache parameters". Source: Intel's Software Developer's Manual, volume 2, CPUID.
#[cfg(target_arch = "x86_64")]
const INTEL_LEAF: u32 = 4;

/// CPUID leaf "Cache topology information", of the same form. Source: AMD's Architecture Programmer's Manual, volume 3,
/// appendix E.
#[cfg(target_arch = "x86_64")]
const AMD_LEAF: u32 = 0x8000_001d;

/// The caches that CPUID leaf `leaf` lists; none if the CPU has no such leaf, or the leaf lacks one of the two levels.
#[cfg(target_arch = "x86_64")]
fn of_leaf(leaf: u32) -> Option<Caches> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    let highest = __cpuid(leaf & 0x8000_0000).eax;
    if highest < leaf {
        return None;
    }
    let (mut l1d, mut l2) = (None, None);
    for index in 0..16 {
        let entry = __cpuid_count(leaf, index);
        let (kind, level) = (entry.eax & 0x1f, entry.eax >> 5 & 7);
        let field =
            |bits: u32, from: u32, width: u32| (bits >> from & ((1 << width) - 1)) as usize + 1;
        // Ways × partitions × bytes of a line × sets; each is stored less one.
        let bytes = field(entry.ebx, 22, 10)
            * field(entry.ebx, 12, 10)
            * field(entry.ebx, 0, 12)
            * (entry.ecx as usize + 1);
        match (kind, level) {
            (0, _) => break,
            (1 | 3, 1) => l1d = Some(bytes),
            (1 | 3, 2) => l2 = Some(bytes),
            _ => {}
        }
    }
    Some(Caches { l1d: l1d?, l2: l2? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_of_sizes_that_exist() {
        let Caches { l1d, l2 } = Caches::detect();
        assert!((16 << 10..=256 << 10).contains(&l1d), "{l1d}");
        assert!((128 << 10..=64 << 20).contains(&l2), "{l2}");
    }

    /// Compares with the sizes in sysfs, where the system has them.
    #[test]
    fn caches_are_those_that_the_system_tells() {
        let read = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/{name}/size");
            let text = std::fs::read_to_string(path).ok()?;
            let kib: usize = text.trim().strip_suffix('K')?.parse().ok()?;
            Some(kib << 10)
        };
        match (read("index0"), read("index2")) {
            (Some(l1d), Some(l2)) => assert_eq!(Caches::detect(), Caches { l1d, l2 }),
            _ => println!("SKIPPED: the system does not tell"),
        }
    }
}
