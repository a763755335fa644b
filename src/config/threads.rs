//! How many CPUs this process may use, and how the thread pools share them.
//!
//! Called by `cli`. Reads the affinity mask and the cgroup quota; starts no thread.

use std::path::Path;

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
    /// Asks the system.
    #[must_use]
    pub fn detect() -> CpuBudget {
        let affinity = std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|s| parse_affinity(&s));
        let quota = std::fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|groups| lowest_quota(&groups, Path::new("/sys/fs/cgroup")));
        let system = std::thread::available_parallelism().map_or(1, usize::from);
        CpuBudget::new(affinity, quota, system)
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

/// The lowest CPU quota on the way from this process's cgroup to the root; cgroup v2 and v1.
fn lowest_quota(groups: &str, mount: &Path) -> Option<f64> {
    let mut lowest: Option<f64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, quota): (_, Quota) = match controllers {
            "" => (mount.to_owned(), quota_v2),
            list if list.split(',').any(|c| c == "cpu") => (mount.join(list), quota_v1),
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        for dir in group.ancestors() {
            if let Some(q) = quota(&root.join(dir)) {
                lowest = Some(lowest.map_or(q, |l| l.min(q)));
            }
        }
    }
    lowest
}

/// Reads the quota of one cgroup directory, in CPUs.
type Quota = fn(&Path) -> Option<f64>;

/// `cpu.max` holds quota and period; the word "max" in place of a quota means none.
fn quota_v2(dir: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// Quota and period are files of their own; a quota of -1 means none.
fn quota_v1(dir: &Path) -> Option<f64> {
    let read = |file: &str| {
        std::fs::read_to_string(dir.join(file))
            .ok()?
            .trim()
            .parse::<f64>()
            .ok()
    };
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    (quota > 0.0).then(|| quota / period)
}

/// Threads that share an inference unless more are asked for: each takes scratch memory in every worker.
const MOST_PER_WORKER: usize = 8;

/// Threads of each pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// tokio's, for sockets only.
    pub http: usize,
    /// Decode and resize.
    pub prep: usize,
    /// Inference; one engine each.
    pub engine: usize,
    /// Most that share one inference.
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

    #[test]
    fn quota_of_any_ancestor_counts() {
        let mount = tempfile::tempdir().expect("a directory");
        let group = mount.path().join("pod/container");
        std::fs::create_dir_all(&group).expect("writable");
        std::fs::write(group.join("cpu.max"), "max 100000\n").expect("writable");
        assert_eq!(lowest_quota("0::/pod/container\n", mount.path()), None);
        std::fs::write(mount.path().join("pod/cpu.max"), "150000 100000\n").expect("writable");
        assert_eq!(lowest_quota("0::/pod/container\n", mount.path()), Some(1.5));
    }

    #[test]
    fn version_1_quota_is_read() {
        let mount = tempfile::tempdir().expect("a directory");
        let group = mount.path().join("cpu,cpuacct/docker/x");
        std::fs::create_dir_all(&group).expect("writable");
        std::fs::write(group.join("cpu.cfs_quota_us"), "50000\n").expect("writable");
        std::fs::write(group.join("cpu.cfs_period_us"), "100000\n").expect("writable");
        assert_eq!(
            lowest_quota("4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n", mount.path()),
            Some(0.5)
        );
    }
}
