//! M5: an hour of mixed load with faults. Nothing grows, nothing is lost, nothing fails but what must.
//!
//! No bound is on time: it runs beside other work. The server's log is kept at warnings, since an hour of requests
//! would fill a disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::actors::{self, Actor};
use crate::args::Args;
use crate::http::Client;
use crate::process;
use crate::report::Report;
use crate::server::{Health, Server};
use crate::stats::{Trend, trend};

/// Its length unless `--seconds` says otherwise.
const LENGTH: f64 = 3600.0;

/// The part of the time in which memory may still grow: each format's first image, buffers of connections.
const WARM_UP: f64 = 0.25;

/// Most growth of memory after that, in MiB an hour, beyond twice its own standard error. M2 allows 1 MiB for 100,000
/// requests, of which an hour has about one and a half.
const GROWTH: f64 = 2.0;

/// How long after a burst requests may still be refused: its rest, on a machine that does other work too.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What the actors tell.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests whose head was sent whole on a connection that the server has read: those it must have counted.
    pub(super) sent: u64,
    /// Answers by actor and status; 0 is no answer where one was due.
    pub(super) answers: BTreeMap<(&'static str, u16), u64>,
    /// What must not happen, first ones only.
    pub(super) wrong: Vec<String>,
    /// How much of that there was.
    pub(super) wrongs: u64,
    /// Bursts that go on, and when the last one ended.
    pub(super) bursts: u32,
    pub(super) burst_ended: Option<Instant>,
}

impl Tally {
    /// Notes an answer.
    pub(super) fn answered(&mut self, actor: &'static str, status: u16) {
        *self.answers.entry((actor, status)).or_default() += 1;
    }

    /// Whether a request that was sent then may be refused for want of time: a burst is on, or was a moment ago.
    pub(super) fn may_refuse(&self, sent: Instant) -> bool {
        let last = self.burst_ended.is_some_and(|end| sent < end + AFTERMATH);
        self.bursts > 0 || last
    }

    /// Notes what must not happen.
    pub(super) fn wrong(&mut self, what: String) {
        self.wrongs += 1;
        if self.wrong.len() < 10 {
            self.wrong.push(what);
        }
    }
}

/// What all actors share.
pub(super) type Shared = Arc<Mutex<Tally>>;

pub(super) fn note(shared: &Shared, what: impl FnOnce(&mut Tally)) {
    what(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
}

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let flags = [
        "--header-timeout",
        "10s",
        "--body-timeout",
        "5s",
        "--log-level",
        "resnet::access=error",
    ];
    let server = Arc::new(Server::start(args, &flags).await?);
    let length = args.seconds_or(LENGTH);
    let shared: Shared = Arc::default();
    // The requests that `start` has made itself.
    let counted = counted(&server).await;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for actor in actors::all(args)? {
        tasks.spawn(perform(
            actor,
            Arc::clone(&server),
            Arc::clone(&shared),
            start + length,
        ));
    }
    let hangups = process::handles_hangup(server.pid);
    let path = args.csv.clone().unwrap_or_else(|| "target/soak.csv".into());
    let mut csv = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
    writeln!(csv, "seconds,rss_kib,fds,threads,cpu_seconds,sent").map_err(wrong)?;
    let mut samples = Vec::new();
    let mut tick = interval(Duration::from_secs_f64(
        (length.as_secs_f64() / 360.0).clamp(1.0, 10.0),
    ));
    while start.elapsed() < length {
        tick.tick().await;
        let (now, sample) = (start.elapsed().as_secs_f64(), process::sample(server.pid));
        let mut sent = 0;
        note(&shared, |t| sent = t.sent);
        samples.push((now, sample));
        writeln!(
            csv,
            "{now:.0},{},{},{},{:.2},{sent}",
            sample.rss_kib,
            sample.fds,
            sample.threads,
            process::cpu(server.pid).all
        )
        .map_err(wrong)?;
        // About three times a minute: keys and certificates are read again.
        if hangups && samples.len() % 3 == 0 {
            server.signal("HUP").await;
        }
    }
    tasks.join_all().await;
    server.settle().await;
    let total = self::counted(&server).await - counted;

    let tally = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    let rows: Vec<_> = tally
        .answers
        .iter()
        .map(|((actor, status), n)| {
            let status = if *status == 0 {
                "left or closed".into()
            } else {
                status.to_string()
            };
            vec![(*actor).into(), status, n.to_string()]
        })
        .collect();
    report.table("answers", &["actor", "status", "number"], &rows);
    if !hangups {
        report.say("SKIPPED SIGHUP: the server does not handle it");
    }
    report.bound(
        "no answer is another than its actor's",
        format!("{} {}", tally.wrongs, tally.wrong.join("; ")),
        tally.wrongs == 0,
    );
    report.bound(
        "requests sent and requests counted are as many",
        format!("{} and {total}", tally.sent),
        total == tally.sent as f64,
    );
    let warm = length.as_secs_f64() * WARM_UP;
    let after = || samples.iter().filter(|(at, _)| *at >= warm);
    let points: Vec<_> = after()
        .map(|(at, s)| (at / 3600.0, s.rss_kib as f64 / 1024.0))
        .collect();
    let Trend { slope, error } = trend(&points);
    report.value("rss_mib_per_hour", slope);
    report.value("rss_error", error);
    report.bound(
        format!("memory grows at most {GROWTH} MiB an hour, within noise"),
        format!(
            "{slope:.1} ± {error:.1} MiB/h over {} samples",
            points.len()
        ),
        slope <= GROWTH + 2.0 * error,
    );
    let range = |of: &dyn Fn(&process::Sample) -> u64| {
        let values = after().map(|(_, s)| of(s));
        (values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
    };
    let threads = range(&|s| s.threads);
    report.bound(
        "the number of threads is constant",
        format!("{} to {}", threads.0, threads.1),
        threads.0 == threads.1,
    );
    let points: Vec<_> = after().map(|(at, s)| (at / 3600.0, s.fds as f64)).collect();
    let Trend { slope, error } = trend(&points);
    let fds = range(&|s| s.fds);
    report.bound(
        "file descriptors have no trend",
        format!("{slope:.1} ± {error:.1} an hour, {} to {}", fds.0, fds.1),
        slope <= 2.0 + 2.0 * error,
    );
    let rss = range(&|s| s.rss_kib >> 10);
    report.say(&format!(
        "RSS {} to {} MiB after warm-up; {} samples in {}",
        rss.0,
        rss.1,
        samples.len(),
        path.display()
    ));
    let Health { live, golden, .. } = server.health().await;
    report.value("live_and_golden", live && golden);
    report.after(&server, &[]).await;
    Ok(report.finish())
}

/// All requests that the server has counted, but its probes' own.
async fn counted(server: &Server) -> f64 {
    let all = server.metric("resnet_requests_total", "").await;
    let probes = server
        .metric("resnet_requests_total", "route=\"/metrics\"")
        .await;
    let live = server
        .metric("resnet_requests_total", "route=\"/livez\"")
        .await;
    all - probes - live
}

/// Lets an actor act at its pace until the end.
async fn perform(actor: Actor, server: Arc<Server>, shared: Shared, end: Instant) {
    let client = Client::new(server.address);
    let mut n = 0;
    while Instant::now() < end {
        sleep(actor.pause).await;
        actors::act(&actor, n, &server, &client, &shared).await;
        n += 1;
    }
    client.close();
}
