//! How much memory the process may come to hold before the kernel ends one: by its cgroup, and on this machine.
//!
//! Called by `cli`. Swap does not count: what is in it is as good as gone for a server that is to answer.

use super::cgroup;

/// The memory that there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRoom {
    /// The cgroup's limit, if it has one.
    pub cgroup: Option<u64>,
    /// The machine's memory, where the system tells.
    pub machine: Option<u64>,
}

/// The lower limit of the two, which is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The cgroup's limit.
    Cgroup(u64),
    /// The machine's memory.
    Machine(u64),
}

impl MemoryRoom {
    /// Asks the system for both.
    #[must_use]
    pub fn detect() -> MemoryRoom {
        let told = std::fs::read_to_string("/proc/meminfo").ok();
        MemoryRoom {
            cgroup: cgroup::memory_limit(),
            machine: told.and_then(|told| total(&told)),
        }
    }

    /// The limit that is met first, if any is known.
    #[must_use]
    pub fn limit(self) -> Option<MemoryLimit> {
        let cgroup = self.cgroup.map(MemoryLimit::Cgroup);
        let machine = self.machine.map(MemoryLimit::Machine);
        let limits = cgroup.into_iter().chain(machine);
        limits.min_by_key(|limit| limit.bytes())
    }
}

impl MemoryLimit {
    /// The limit in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            MemoryLimit::Cgroup(bytes) | MemoryLimit::Machine(bytes) => bytes,
        }
    }
}

/// `MemTotal` of `/proc/meminfo`, whose `kB` are KiB (`proc_meminfo(5)`).
fn total(meminfo: &str) -> Option<u64> {
    let line = { meminfo.lines() }.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_limit_is_met_first() {
        let limit = |cgroup, machine| MemoryRoom { cgroup, machine }.limit();
        assert_eq!(limit(None, None), None);
        assert_eq!(limit(Some(1), None), Some(MemoryLimit::Cgroup(1)));
        assert_eq!(limit(None, Some(2)), Some(MemoryLimit::Machine(2)));
        assert_eq!(limit(Some(1), Some(2)), Some(MemoryLimit::Cgroup(1)));
        // A limit that the machine cannot keep is none.
        assert_eq!(limit(Some(3), Some(2)), Some(MemoryLimit::Machine(2)));
        assert_eq!(limit(Some(2), Some(2)), Some(MemoryLimit::Cgroup(2)));
    }

    #[test]
    fn memory_of_the_machine_is_read() {
        let text = "MemTotal:        8125440 kB\nMemFree:          123456 kB\n";
        assert_eq!(total(text), Some(8_125_440 << 10));
        for other in ["", "MemTotal:\n", "MemTotal: x kB\n", "MemFree: 1 kB\n"] {
            assert_eq!(total(other), None, "{other}");
        }
        let machine = MemoryRoom::detect().machine;
        let is_known = machine.is_some_and(|bytes| bytes > 64 << 20);
        assert!(is_known || !cfg!(target_os = "linux"), "{machine:?}");
    }
}
