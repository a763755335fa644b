//! The real binary as a process, and what it logs.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// What a process has logged, a JSON value a line. A line comes through a pipe, some time after what it tells of: wait
/// for it.
#[derive(Default)]
pub(crate) struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<Value>,
    /// The process has closed its end of the pipe.
    ended: bool,
}

impl Log {
    /// Reads a process's standard error to its end, on a thread of its own.
    fn of(stderr: impl Read + Send + 'static) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let reader = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                reader.state.lock().unwrap().lines.push(line);
                reader.changed.notify_all();
            }
            reader.state.lock().unwrap().ended = true;
            reader.changed.notify_all();
        });
        log
    }

    /// The first line that is wanted, once it is there.
    pub(crate) fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = |s: &LogState| s.lines.iter().find(|l| wanted(l)).cloned();
        let waiting = |s: &mut LogState| !s.ended && found(s).is_none();
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, waiting)
            .unwrap();
        found(&state).unwrap_or_else(|| panic!("no line in the log: {what}; {:?}", state.lines))
    }

    /// The first line whose message begins like this, once it is there.
    pub(crate) fn message(&self, start: &str) -> Value {
        self.line(start, |l| {
            let message = l["message"].as_str();
            message.is_some_and(|m| m.starts_with(start))
        })
    }

    /// What the process has logged until now.
    pub(crate) fn so_far(&self) -> Vec<Value> {
        self.state.lock().unwrap().lines.clone()
    }

    /// All that the process has logged, once it has ended.
    pub(crate) fn whole(&self) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |s| !s.ended)
            .unwrap();
        assert!(!timeout.timed_out(), "its log is open");
        state.lines.clone()
    }
}

/// The real binary with a clean environment, in which `resnet18-tiny` is the model where a test names none: the fastest.
pub(crate) fn resnet() -> Command {
    let mut command = preset();
    command.env("RESNET_MODEL", "resnet18-tiny");
    command
}

/// The real binary with a clean environment, in which the model that is served by default is.
pub(crate) fn preset() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resnet"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("RESNET_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// `resnet serve` on a free port, killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Process {
        Process::start_as(resnet(), args)
    }

    /// Starts it with variables and waits until it is ready.
    pub(crate) fn start_with_env(args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = resnet();
        command.envs(env.iter().copied());
        Process::start_as(command, args)
    }

    /// The same by a command that is prepared already.
    pub(crate) fn start_as(mut command: Command, args: &[&str]) -> Process {
        command
            .args(["serve", "--port", "0", "--log-format", "json"])
            .args(args);
        Process::wait_for(command)
    }

    /// Starts a command that logs JSON and waits until it says that it is ready.
    pub(crate) fn wait_for(mut command: Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let ready = log.line("it is ready", |l| l["address"].is_string());
        let (_, address) = ready["address"]
            .as_str()
            .unwrap()
            .split_once("://")
            .unwrap();
        let address = address.parse().unwrap();
        Process {
            child,
            address,
            log,
        }
    }

    /// The most memory it has held so far.
    pub(crate) fn peak_memory_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    /// The memory it holds now.
    pub(crate) fn memory_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mut lines = status.lines();
        let value = lines.find_map(|l| l.strip_prefix(name)).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The files it has open, connections among them.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.unwrap().count()
    }

    /// The CPU time it has used, in user and system mode; to a hundredth of a second, the kernel's `USER_HZ`.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(10 * ticks)
    }

    /// Sends a signal by name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
