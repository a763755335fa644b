//! What the process uses, in the names that Prometheus' client libraries have for it.
//!
//! Read from `/proc` at each scrape. The `prometheus` crate's own collector counts CPU time in whole seconds, so that a
//! rate over a minute is off by a sixtieth of a CPU.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

/// Units of the times in `/proc/self/stat` a second, on every architecture that Linux runs on; source: `proc(5)`,
/// `USER_HZ`.
const TICKS: f64 = 100.0;

/// The instruments; they hold what the last scrape has read, of which there is one at a time.
pub(super) struct Process {
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start: Gauge,
}

impl Process {
    /// The instruments, all at zero.
    pub(super) fn new() -> Process {
        let gauge = |name, help| Gauge::with_opts(Opts::new(name, help)).expect("a valid name");
        Process {
            cpu: Counter::with_opts(Opts::new(
                "process_cpu_seconds_total",
                "User and system CPU time, in seconds.",
            ))
            .expect("a valid name"),
            resident: gauge("process_resident_memory_bytes", "Resident memory."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory."),
            open_fds: gauge("process_open_fds", "Open file descriptors."),
            max_fds: gauge("process_max_fds", "Limit of open file descriptors."),
            threads: gauge("process_threads", "Threads."),
            start: gauge(
                "process_start_time_seconds",
                "Start time, in seconds since 1970.",
            ),
        }
    }

    /// Reads what there is; what cannot be read keeps its value.
    fn read(&self) {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        if let Some(Times { cpu, started }) = Times::parse(&text("/proc/self/stat")) {
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            let stat = text("/proc/stat");
            let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
            if let Some(boot) = boot.and_then(|boot| boot.trim().parse::<f64>().ok()) {
                self.start.set(boot + started);
            }
        }
        for (gauge, name, factor) in [
            (&self.resident, "VmRSS:", 1024.0),
            (&self.virtual_memory, "VmSize:", 1024.0),
            (&self.threads, "Threads:", 1.0),
        ] {
            if let Some(value) = super::status_field(name) {
                gauge.set(value as f64 * factor);
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of the open files is this directory.
            self.open_fds.set(files.count().saturating_sub(1) as f64);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_fds
            .set(limit.map_or(f64::INFINITY, |limit| limit as f64));
    }

    fn instruments(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_memory,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start,
        ]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.instruments()
            .into_iter()
            .flat_map(|i| i.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.instruments()
            .into_iter()
            .flat_map(|i| i.collect())
            .collect()
    }
}

/// Seconds of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Times {
    /// User and system time.
    cpu: f64,
    /// From the system's start to the process's.
    started: f64,
}

impl Times {
    /// The program's name is in parentheses and may hold anything, so fields count from the last one.
    fn parse(stat: &str) -> Option<Times> {
        let (_, fields) = stat.rsplit_once(')')?;
        // Behind the name, field 3 of the manual is the first.
        let mut fields = fields.split_whitespace().map(str::parse::<f64>);
        let user = fields.nth(14 - 3)?.ok()?;
        let system = fields.next()?.ok()?;
        let started = fields.nth(22 - 16)?.ok()?;
        Some(Times {
            cpu: (user + system) / TICKS,
            started: started / TICKS,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) 9 (b) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 8 0 123456 1000000 500 18446744073709551615";
        let want = Times {
            cpu: 1.75,
            started: 1234.56,
        };
        assert_eq!(Times::parse(stat), Some(want));
        for cut in ["", "42 (a", "42 (a) S 1 2 3"] {
            assert_eq!(Times::parse(cut), None);
        }
    }

    #[test]
    fn process_has_used_what_it_has() {
        let process = Process::new();
        process.read();
        assert!(process.resident.get() > 1e6);
        assert!(process.virtual_memory.get() >= process.resident.get());
        assert!(process.open_fds.get() >= 3.0);
        assert!(process.max_fds.get() >= process.open_fds.get());
        assert!(process.threads.get() >= 1.0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let age = now.as_secs_f64() - process.start.get();
        assert!((-2.0..86_400.0).contains(&age), "{age} s old");
        let before = process.cpu.get();
        while process.cpu.get() == before {
            process.read(); // which takes CPU time
        }
        let used = process.cpu.get() - before;
        assert!(used > 0.0 && used < 1.0, "{used}: hundredths, not seconds");
    }
}
