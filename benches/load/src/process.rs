//! What Linux tells about a process: memory, file descriptors, threads, CPU time; and which CPUs it may use.

use std::fs;
use std::process::Command;

/// One look at a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Resident memory, in KiB.
    pub(crate) rss_kib: u64,
    /// The most resident memory so far, in KiB.
    pub(crate) peak_kib: u64,
    /// Open file descriptors.
    pub(crate) fds: u64,
    /// Threads.
    pub(crate) threads: u64,
}

/// CPU time so far, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Of all threads that still run.
    pub(crate) all: f64,
    /// Of those named `http-N` or, in a runtime of tokio's, `http`.
    pub(crate) http: f64,
}

impl std::ops::Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu {
            all: self.all - earlier.all,
            http: self.http - earlier.http,
        }
    }
}

/// Memory, descriptors and threads; zeros if the process is gone.
pub(crate) fn sample(pid: u32) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        let word = line.and_then(|l| l.split_whitespace().next());
        word.and_then(|w| w.parse().ok()).unwrap_or(0)
    };
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |dir| dir.count() as u64);
    Sample {
        rss_kib: value("VmRSS:"),
        peak_kib: value("VmHWM:"),
        fds,
        threads: value("Threads:"),
    }
}

/// CPU time by thread, in the nanoseconds of the scheduler.
pub(crate) fn cpu(pid: u32) -> Cpu {
    let mut cpu = Cpu::default();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return cpu;
    };
    for task in tasks.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns: f64 = stat
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0.0);
        cpu.all += ns / 1e9;
        if name.starts_with("http") {
            cpu.http += ns / 1e9;
        }
    }
    cpu
}

/// Binds this process to the last of its CPUs and gives the list of the others, as `taskset` takes it.
///
/// # Errors
/// If there is only one, or no `taskset`.
pub(crate) fn move_to_last_cpu() -> Result<String, String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    let mut cpus = cpus(list.unwrap_or_default());
    let last = cpus.pop().filter(|_| !cpus.is_empty());
    let last = last.ok_or("--apart needs two CPUs")?;
    let own = std::process::id().to_string();
    let moved = Command::new("taskset")
        .args(["-cp", &last.to_string(), &own])
        .output();
    match moved {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(e) => return Err(format!("taskset: {e}")),
    }
    let words: Vec<String> = cpus.iter().map(u32::to_string).collect();
    Ok(words.join(","))
}

/// The numbers of a list as `0-2,5`.
fn cpus(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let parts = list.trim().split(',').filter_map(range);
    parts.flatten().collect()
}

/// Whether the process handles SIGHUP instead of dying of it.
pub(crate) fn handles_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|m| m & 1 == 1) // signal 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_cpus_is_read() {
        assert_eq!(cpus("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(cpus("3"), [3]);
        assert!(cpus("").is_empty());
    }
}
