//! T1: ten thousand connections that send nothing: small, no hindrance to others, closed in time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::args::Args;
use crate::http::{Client, Connection, Failure};
use crate::load::{Summary, open_loop};
use crate::photos::{Mix, scatter};
use crate::process;
use crate::report::Report;
use crate::server::Server;

/// Connections, over this many addresses.
const CONNECTIONS: usize = 10_000;
const ADDRESSES: u8 = 8;

/// Most memory of all of them, in MiB: 16 KiB each.
const MEMORY_MIB: u64 = 160;

/// How long the server lets a connection be silent, and how late one may be closed after that.
const IDLE_TIMEOUT: &str = "20s";
const IDLE_SECONDS: f64 = 20.0;
const LATE: f64 = 5.0;

/// A steady load beside them, in photos a second, and how much slower it may be: so many times, or milliseconds more.
const BESIDE: f64 = 20.0;
const SLOWER: (f64, f64) = (1.2, 50.0);

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &["--idle-timeout", IDLE_TIMEOUT]).await?;
    let mix = Mix::load(args)?;
    let client = Client::new(server.address);
    let count = args.count.unwrap_or(CONNECTIONS);
    let length = args.seconds_or(10.0);
    let load = async || open_loop(&client, BESIDE, length, |_| None, |n| mix.pick_small(n)).await;
    let alone = Summary::of(&load().await, 0.0, length.as_secs_f64());
    let base = process::sample(server.pid);

    let start = Instant::now();
    let mut idle = JoinSet::new();
    for i in 0..count {
        let mut connection = connect(server.address, i).await.map_err(|e| {
            format!("connection {i} of {count}: {e}; is the file limit above {count}?")
        })?;
        let opened = start.elapsed().as_secs_f64();
        idle.spawn(async move {
            let mut byte = [0];
            let end = timeout(
                Duration::from_secs_f64(IDLE_SECONDS + 60.0),
                connection.stream().read(&mut byte),
            )
            .await;
            end.map(|_| start.elapsed().as_secs_f64() - opened)
        });
    }
    let opened = start.elapsed().as_secs_f64();
    // The server takes connections from the backlog one by one.
    let taken = async {
        while process::sample(server.pid).fds < base.fds + count as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let taken = timeout(Duration::from_secs_f64(IDLE_SECONDS / 2.0), taken).await;
    let full = process::sample(server.pid);
    let beside = Summary::of(&load().await, 0.0, length.as_secs_f64());
    let ages: Vec<f64> = idle.join_all().await.into_iter().flatten().collect();
    let oldest = ages.iter().copied().fold(0.0, f64::max);

    let more = full.rss_kib.saturating_sub(base.rss_kib);
    report.table(
        "idle",
        &[
            "connections",
            "opened in s",
            "RSS before MiB",
            "with them",
            "KiB each",
            "fds",
            "closed",
            "after s at most",
        ],
        &[vec![
            count.to_string(),
            format!("{opened:.1}"),
            (base.rss_kib >> 10).to_string(),
            (full.rss_kib >> 10).to_string(),
            format!("{:.1}", more as f64 / count as f64),
            full.fds.to_string(),
            ages.len().to_string(),
            format!("{oldest:.1}"),
        ]],
    );
    let words = |s: &Summary| format!("p50 {:.0} ms, p99 {:.0} ms", s.good_ms[0], s.good_ms[1]);
    report.say(&format!(
        "photos alone: {}; beside them: {}",
        words(&alone),
        words(&beside)
    ));
    report.value("alone", alone.json());
    report.value("beside", beside.json());
    report.bound(
        "all are accepted",
        format!("{} fds", full.fds),
        taken.is_ok(),
    );
    report.bound(
        format!("they take at most {MEMORY_MIB} MiB"),
        format!("{} MiB", more >> 10),
        more >> 10 <= MEMORY_MIB,
    );
    let allowed = (alone.good_ms[1] * SLOWER.0).max(alone.good_ms[1] + SLOWER.1);
    let bad = beside.refused + beside.failed;
    report.bound(
        format!("photos beside them are all answered, with a p99 of at most {allowed:.0} ms"),
        format!("{bad} not, {:.0} ms", beside.good_ms[1]),
        bad == 0 && beside.good_ms[1] <= allowed,
    );
    report.bound(
        format!("all are closed within {:.0} s", IDLE_SECONDS + LATE),
        format!("{} of {count}, the last after {oldest:.1} s", ages.len()),
        ages.len() == count && oldest <= IDLE_SECONDS + LATE,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}

/// A connection from one of several addresses.
async fn connect(to: SocketAddr, i: usize) -> Result<Connection, Failure> {
    let last = (scatter(i as u64) % u64::from(ADDRESSES)) as u8 + 2;
    Connection::open(to, Some(IpAddr::from([127, 0, 0, last]))).await
}
