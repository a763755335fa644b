//! How many CPUs this process may use, and how the thread pools share them.
//!
//! Called by `cli`. Reads the affinity mask and the cgroup quota; starts no thread.

use super::cgroup;

/// The CPUs this process may use, and which limit decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuBudget {
    /// Whole CPUs to plan for, at least 1.
    pub cpus: usize,
    /// CPUs in the affinity mask, where the system tells.
    pub affinity: Option<usize>,
    /// CPUs that the cgroup's quota allows, where there is one; may be a fraction.
    pub quota: Option<f64>,
}

impl CpuBudget {
    /// Asks the system for both limits.
    #[must_use]
    pub fn detect() -> CpuBudget {
        let affinity = std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|s| parse_affinity(&s));
        let system = std::thread::available_parallelism().map_or(1, usize::from);
        CpuBudget::new(affinity, cgroup::cpu_quota(), system)
    }

    /// The lower of affinity and quota; a fraction of a CPU is rounded down, but never to zero: threads beyond the
    /// quota would only be throttled.
    fn new(affinity: Option<usize>, quota: Option<f64>, system: usize) -> CpuBudget {
        let by_quota = quota.map_or(usize::MAX, |q| q as usize);
        let cpus = affinity.unwrap_or(system).min(by_quota).max(1);
        CpuBudget {
            cpus,
            affinity,
            quota,
        }
    }

    /// The reason for `cpus`, in words.
    #[must_use]
    pub fn reason(&self) -> String {
        let affinity = self
            .affinity
            .map_or_else(|| "affinity unknown".into(), |n| format!("affinity {n}"));
        let quota = self
            .quota
            .map_or_else(|| "no cgroup quota".into(), |q| format!("cgroup quota {q}"));
        format!("{affinity}, {quota}")
    }
}

/// Counts the CPUs of `Cpus_allowed_list: 0-3,8`.
fn parse_affinity(status: &str) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?
        .trim();
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(last.parse::<usize>().ok()? - first.parse::<usize>().ok()? + 1)
        })
        .sum()
}

/// Threads that share an inference unless more are asked for: each takes scratch memory in every worker.
const MOST_PER_WORKER: usize = 8;

/// Threads of each pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// tokio's threads, for sockets only.
    pub http: usize,
    /// Threads that decode and resize.
    pub prep: usize,
    /// Threads that run inferences; one engine each.
    pub engine: usize,
    /// Most threads that share one inference.
    pub per_worker: usize,
}

impl ThreadPlan {
    /// One engine and one prep thread a CPU; the scheduler shares the CPU between the two. Sockets need little.
    /// A lone inference may take all CPUs, up to eight.
    #[must_use]
    pub fn for_cpus(cpus: usize) -> ThreadPlan {
        ThreadPlan {
            http: if cpus < 8 { 1 } else { 2 },
            prep: cpus,
            engine: cpus,
            per_worker: cpus.min(MOST_PER_WORKER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_lists_are_counted() {
        assert_eq!(
            parse_affinity("Name:\tx\nCpus_allowed_list:\t0-3,8\n"),
            Some(5)
        );
        assert_eq!(parse_affinity("Cpus_allowed_list:\t1\n"), Some(1));
        assert_eq!(parse_affinity("Cpus_allowed_list:\tx\n"), None);
    }

    #[test]
    fn lower_limit_decides_and_never_zero() {
        assert_eq!(CpuBudget::new(Some(4), Some(1.5), 8).cpus, 1);
        assert_eq!(CpuBudget::new(Some(4), Some(0.5), 8).cpus, 1);
        assert_eq!(CpuBudget::new(Some(4), Some(16.0), 8).cpus, 4);
        assert_eq!(CpuBudget::new(None, None, 8).cpus, 8);
    }
}
