//! What Linux tells about a process: memory, file descriptors, threads, CPU time.

use std::fs;

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

/// Whether the process handles SIGHUP instead of dying of it.
pub(crate) fn handles_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|m| m & 1 == 1) // signal 1
}
