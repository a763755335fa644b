//! The real binary as a child process: started on a free port, asked how it is, stopped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::http::{Client, Request};
use crate::process::{self, Sample};

/// A running server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Its process.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its log, as JSON lines.
    pub(crate) log: PathBuf,
    /// A photo whose answer must never change.
    pub(crate) golden: Request,
    golden_answer: Vec<u8>,
    /// As it was before any load.
    pub(crate) base: Sample,
}

/// How the server was found after a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// `/livez` answered 200.
    pub(crate) live: bool,
    /// The golden photo got the same answer, byte for byte.
    pub(crate) golden: bool,
    /// Memory, descriptors and threads.
    pub(crate) sample: Sample,
}

impl Server {
    /// Starts the binary with these further arguments and waits until it is ready and has answered once.
    ///
    /// # Errors
    /// If it does not get ready within a minute; with the end of its log.
    pub(crate) async fn start(args: &Args, more: &[&str]) -> Result<Server, String> {
        let command = match &args.server_cpus {
            None => Command::new(&args.server),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(&args.server);
                command
            }
        };
        Server::start_by(command, args, more).await
    }

    /// The same by another command, to which the arguments of the server are given.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(crate) async fn start_by(
        mut command: Command,
        args: &Args,
        more: &[&str],
    ) -> Result<Server, String> {
        static LOGS: AtomicU32 = AtomicU32::new(0);
        let number = LOGS.fetch_add(1, Ordering::Relaxed);
        let log =
            std::env::temp_dir().join(format!("resnet-load-{}-{number}.log", std::process::id()));
        let file = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RESNET_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--port", "0", "--log-format", "json"]);
        // The smallest answer shows what the service costs around it.
        let model = args.model.as_deref().unwrap_or("resnet18-tiny");
        command.env("RESNET_MODEL", model);
        let mut child = command
            .args(more)
            .args(&args.rest)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", args.server.display()))?;
        let pid = child.id().unwrap_or(0);
        let started = Instant::now();
        let address = loop {
            if let Some(address) = line_with(&log, "address").and_then(|l| {
                l["address"]
                    .as_str()?
                    .trim_start_matches("http://")
                    .parse()
                    .ok()
            }) {
                break address;
            }
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || started.elapsed() > Duration::from_secs(60) {
                let text = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("the server does not get ready: {text}"));
            }
            sleep(Duration::from_millis(10)).await;
        };
        let golden = Request::post(
            "/classify?top_k=10",
            "",
            fs::read(args.fixtures.join("photos/espresso.png"))
                .map_err(|e| format!("photos/espresso.png: {e}"))?,
        );
        let answer = Client::new(address).send(&golden).await;
        let answer = answer.map_err(|e| format!("the first photo: {e}"))?;
        if answer.status != 200 {
            return Err(format!(
                "the first photo: {} {}",
                answer.status,
                answer.code()
            ));
        }
        Ok(Server {
            child,
            pid,
            address,
            log,
            golden,
            golden_answer: answer.body,
            base: process::sample(pid),
        })
    }

    /// Whether the answer to the golden photo is what it was at first.
    pub(crate) fn is_golden(&self, body: &[u8]) -> bool {
        body == self.golden_answer
    }

    /// Looks after it: alive, the golden answer, resources. A server that is still busy gets a few attempts.
    pub(crate) async fn health(&self) -> Health {
        let ask = |request: Request| async move {
            for _ in 0..20 {
                let client = Client::new(self.address);
                match timeout(Duration::from_secs(30), client.send(&request)).await {
                    Ok(Ok(answer)) if answer.status == 503 => {
                        sleep(Duration::from_millis(500)).await;
                    }
                    Ok(Ok(answer)) => return Some(answer),
                    _ => return None,
                }
            }
            None
        };
        let live = ask(Request::get("/livez")).await;
        let golden = ask(self.golden.clone()).await;
        Health {
            live: live.is_some_and(|a| a.status == 200),
            golden: golden.is_some_and(|a| self.is_golden(&a.body)),
            sample: process::sample(self.pid),
        }
    }

    /// Waits until no request is being handled, at most half a minute: no load begins in the rest of another.
    pub(crate) async fn settle(&self) {
        for _ in 0..60 {
            sleep(Duration::from_millis(500)).await;
            // The scrape counts itself.
            if self.metric("resnet_requests_in_flight", "").await <= 1.0 {
                return;
            }
        }
    }

    /// The sum of a counter over those of its series that have this text among their labels.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let answer = Client::new(self.address)
            .send(&Request::get("/metrics"))
            .await;
        let Ok(answer) = answer else { return f64::NAN };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        text.lines()
            .filter(|l| {
                l.strip_prefix(name)
                    .is_some_and(|r| r.starts_with(['{', ' ']))
            })
            .filter(|l| l.contains(label))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Sends a signal by name, as `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid.to_string()])
            .status();
        let _ = sent.await; // a process that is gone is found out by waiting for it
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it has not ended within this time.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, String> {
        match timeout(within, self.child.wait()).await {
            Ok(status) => status.map_err(|e| e.to_string()),
            Err(_) => Err(format!(
                "it still runs {} s after its signal",
                within.as_secs()
            )),
        }
    }

    /// The most memory that the server says it takes, in bytes; `None` if it does not say.
    pub(crate) fn memory_bound(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.log).ok()?;
        let mut lines = text
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        lines.find_map(|l| l.get("memory_bound_bytes")?.as_u64())
    }

    /// Lines of the log at this level, but those of single requests.
    pub(crate) fn complaints(&self, level: &str) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let level = format!("\"level\":\"{level}\"");
        text.lines()
            .filter(|l| l.contains(&level))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}

/// The first line of a log that has this field.
pub(crate) fn line_with(log: &Path, field: &str) -> Option<Value> {
    let text = fs::read_to_string(log).ok()?;
    let mut lines = text
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    lines.find(|l| l.get(field).is_some())
}

/// Whether the server's `serve` knows a flag.
pub(crate) async fn knows_flag(args: &Args, flag: &str) -> bool {
    let help = Command::new(&args.server)
        .args(["serve", "--help"])
        .output()
        .await;
    help.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(flag))
}
