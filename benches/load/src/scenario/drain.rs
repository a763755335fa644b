//! L1: SIGTERM under load, again and again: no request that was taken is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::http::{Connection, Failure, Request};
use crate::photos::{Mix, scatter};
use crate::report::Report;
use crate::server::Server;

/// Starts and stops.
const RUNS: usize = 50;

/// Half of the connections are kept, the others are new with every request.
const CONNECTIONS: usize = 64;

/// Longest from the signal to the end.
const LONGEST: Duration = Duration::from_secs(25);

/// How one client fared.
#[derive(Debug, Default)]
struct Fared {
    answered: usize,
    /// Requests that were sent on a connection and have no whole answer of 200.
    lost: Vec<String>,
}

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let mix = Arc::new(Mix::load(args)?);
    let runs = args.count.unwrap_or(RUNS);
    let (mut answered, mut lost, mut codes, mut slowest) = (0, Vec::new(), Vec::new(), 0.0_f64);
    for run in 0..runs {
        let mut server = Server::start(args, &[]).await?;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for i in 0..CONNECTIONS {
            let (mix, stopped) = (Arc::clone(&mix), Arc::clone(&stopped));
            clients.spawn(client(server.address, i, mix, stopped));
        }
        // The signal comes at another moment of the load each time.
        sleep(Duration::from_millis(300 + scatter(run as u64) % 500)).await;
        let signaled = Instant::now();
        server.signal("TERM").await;
        let status = server.ended(LONGEST).await;
        slowest = slowest.max(signaled.elapsed().as_secs_f64());
        stopped.store(true, Ordering::Relaxed);
        codes.push(status.as_ref().map_or(None, |s| s.code()));
        for fared in clients.join_all().await {
            answered += fared.answered;
            lost.extend(fared.lost);
        }
    }
    let clean = codes.iter().filter(|c| **c == Some(0)).count();
    report.table(
        "runs",
        &["runs", "exit code 0", "answered", "lost", "slowest end s"],
        &[vec![
            runs.to_string(),
            clean.to_string(),
            answered.to_string(),
            lost.len().to_string(),
            format!("{slowest:.2}"),
        ]],
    );
    report.bound(
        "no request is lost",
        format!(
            "{} {}",
            lost.len(),
            lost.first().cloned().unwrap_or_default()
        ),
        lost.is_empty(),
    );
    report.bound(
        "every run ends with 0",
        format!("{clean} of {runs}"),
        clean == runs,
    );
    report.bound(
        format!("within {} s", LONGEST.as_secs()),
        format!("{slowest:.2} s"),
        slowest <= LONGEST.as_secs_f64(),
    );
    Ok(report.finish())
}

/// Asks until nobody listens. Even clients keep their connection.
async fn client(
    address: std::net::SocketAddr,
    i: usize,
    mix: Arc<Mix>,
    stopped: Arc<AtomicBool>,
) -> Fared {
    let mut fared = Fared::default();
    let mut kept: Option<Connection> = None;
    let mut n = i as u64;
    while !stopped.load(Ordering::Relaxed) {
        n += CONNECTIONS as u64;
        let photo = match n % 5 {
            0 => Request::get("/livez"),
            _ => mix.pick_small(n),
        };
        let (mut connection, reused) = match kept.take() {
            Some(connection) => (connection, true),
            None => match Connection::open(address, None).await {
                Ok(connection) => (connection, false),
                Err(_) => return fared, // nobody listens any more
            },
        };
        match connection.ask(&photo).await {
            Ok((answer, keep)) if answer.status == 200 => {
                fared.answered += 1;
                kept = (keep && i.is_multiple_of(2)).then_some(connection);
            }
            Ok((answer, _)) => fared
                .lost
                .push(format!("{} {}", answer.status, answer.code())),
            Err(e @ Failure::Unanswered(_)) if reused => fared.lost.push(format!("kept: {e}")),
            Err(e) => fared.lost.push(format!("new: {e}")),
        }
    }
    fared
}
