//! What the cgroup allows this process: CPUs and memory; cgroup v2 and v1.
//!
//! Asked by `threads` and `memory`. The lowest limit on the way from the process's group to the root counts, as the
//! kernel enforces each of them.

use std::path::Path;

/// Reads the limit of one cgroup directory.
type Limit<T> = fn(&Path) -> Option<T>;

/// CPUs of the quota, if there is one; may be a fraction.
pub(super) fn cpu_quota() -> Option<f64> {
    let (groups, mount) = here()?;
    lowest(&groups, mount, "cpu", (cpu_v2, cpu_v1))
}

/// Bytes of memory that the group may use, if there is a limit.
pub(super) fn memory_limit() -> Option<u64> {
    let (groups, mount) = here()?;
    lowest(&groups, mount, "memory", (memory_v2, memory_v1))
}

fn here() -> Option<(String, &'static Path)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    Some((groups, Path::new("/sys/fs/cgroup")))
}

/// The lowest limit of the group and its ancestors; `limits` are those of v2 and of v1's `controller`.
fn lowest<T: PartialOrd>(
    groups: &str,
    mount: &Path,
    controller: &str,
    limits: (Limit<T>, Limit<T>),
) -> Option<T> {
    let mut lowest: Option<T> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, limit) = match controllers {
            "" => (mount.to_owned(), limits.0),
            list if list.split(',').any(|c| c == controller) => (mount.join(list), limits.1),
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        for dir in group.ancestors() {
            let Some(limit) = limit(&root.join(dir)) else {
                continue;
            };
            if lowest.as_ref().is_none_or(|lowest| limit < *lowest) {
                lowest = Some(limit);
            }
        }
    }
    lowest
}

/// `cpu.max` holds quota and period; the word "max" in place of a quota means none.
fn cpu_v2(dir: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// Quota and period are files of their own; a quota of -1 means none.
fn cpu_v1(dir: &Path) -> Option<f64> {
    let read = |file: &str| number::<f64>(&dir.join(file));
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    (quota > 0.0).then(|| quota / period)
}

/// `memory.max`; the word "max" means none.
fn memory_v2(dir: &Path) -> Option<u64> {
    number(&dir.join("memory.max"))
}

/// More than any machine has: v1 writes the largest multiple of a page for "none".
const NO_LIMIT_V1: u64 = 1 << 60;

fn memory_v1(dir: &Path) -> Option<u64> {
    number(&dir.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT_V1)
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hierarchy with these files.
    fn mount(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            std::fs::write(path, text).expect("writable");
        }
        mount
    }

    const V2: &str = "0::/pod/container\n";

    #[test]
    fn limit_of_any_ancestor_counts() {
        let none = mount(&[
            ("pod/container/cpu.max", "max 100000\n"),
            ("memory.max", "max\n"),
        ]);
        assert_eq!(lowest(V2, none.path(), "cpu", (cpu_v2, cpu_v1)), None);
        assert_eq!(
            lowest(V2, none.path(), "memory", (memory_v2, memory_v1)),
            None
        );
        let both = mount(&[
            ("pod/container/cpu.max", "400000 100000\n"),
            ("pod/cpu.max", "150000 100000\n"),
            ("pod/container/memory.max", "268435456\n"),
            ("pod/memory.max", "1073741824\n"),
        ]);
        assert_eq!(lowest(V2, both.path(), "cpu", (cpu_v2, cpu_v1)), Some(1.5));
        let memory = lowest(V2, both.path(), "memory", (memory_v2, memory_v1));
        assert_eq!(memory, Some(256 << 20));
    }

    #[test]
    fn version_1_is_read() {
        let groups = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n";
        let mount = mount(&[
            ("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("memory/docker/x/memory.limit_in_bytes", "536870912\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let cpu = lowest(groups, mount.path(), "cpu", (cpu_v2, cpu_v1));
        assert_eq!(cpu, Some(0.5));
        let memory = lowest(groups, mount.path(), "memory", (memory_v2, memory_v1));
        assert_eq!(memory, Some(512 << 20));
    }
}
