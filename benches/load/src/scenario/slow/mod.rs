//! Peers that are slow, or send far too much of nothing: slow heads, bodies and readers, one-byte chunks, header
//! floods.
//!
//! Each case is one row: how its connections ended, after how long, what they took. A photo classified beside each case
//! must be answered as always.

mod cases;

use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::cases::{Case, DEADLINE, cases};
use crate::args::Args;
use crate::http::{Client, Connection};
use crate::process;
use crate::report::Report;
use crate::server::{Server, knows_flag};

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let deadline = format!("{DEADLINE}s");
    let mut flags = vec!["--header-timeout", &deadline, "--body-timeout", &deadline];
    let writes_have_a_deadline = knows_flag(args, "--write-timeout").await;
    if writes_have_a_deadline {
        flags.extend(["--write-timeout", &deadline]);
    } else {
        report.say("SKIPPED slow reader: the server has no --write-timeout");
    }
    let server = Server::start(args, &flags).await?;
    // Of another address than the slow ones, whose share of the places may be used up.
    let client = Client::from(server.address, IpAddr::from([127, 0, 0, 2]));
    let mut rows = Vec::new();
    for case in cases(writes_have_a_deadline) {
        rows.push(run_case(&server, &client, Arc::new(case), &mut report).await);
    }
    for (name, flags) in [
        ("slowhttptest -H", vec!["-H", "-i", "1"]),
        ("slowhttptest -B", vec!["-B", "-i", "1", "-s", "8192"]),
        (
            "slowhttptest -X",
            vec![
                "-X", "-r", "100", "-w", "10", "-y", "20", "-n", "5", "-z", "32",
            ],
        ),
    ] {
        match slowhttptest(&server, &client, &flags).await {
            Ok((row, kept)) => {
                let mut cells = vec![name.to_owned()];
                cells.extend(row);
                rows.push(cells);
                report.bound(
                    format!("photos are answered beside {name}"),
                    if kept { "yes" } else { "no" },
                    kept,
                );
            }
            Err(e) => report.say(&format!("SKIPPED {name}: {e}")),
        }
    }
    report.table(
        "cases",
        &[
            "case",
            "connections",
            "longest s",
            "RSS more MiB",
            "CPU s",
            "photo ms",
            "ends",
        ],
        &rows,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}

async fn run_case(
    server: &Server,
    client: &Client,
    case: Arc<Case>,
    report: &mut Report,
) -> Vec<String> {
    let (before, cpu) = (process::sample(server.pid), process::cpu(server.pid));
    let mut tasks = JoinSet::new();
    for _ in 0..case.connections {
        tasks.spawn(connection(server.address, Arc::clone(&case)));
    }
    let (mut ends, mut peak, mut photos, mut wrong) = (Vec::new(), before.rss_kib, Vec::new(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            end = tasks.join_next() => match end {
                Some(end) => ends.extend(end),
                None => break,
            },
            _ = tick.tick() => {
                peak = peak.max(process::sample(server.pid).rss_kib);
                let start = Instant::now();
                match client.send(&server.golden).await {
                    Ok(answer) if server.is_golden(&answer.body) => photos.push(start.elapsed().as_secs_f64() * 1e3),
                    _ => wrong += 1,
                }
            }
        }
    }
    let cpu = process::cpu(server.pid) - cpu;
    // What the photos beside it cost is not the case's.
    let more = (peak - before.rss_kib) >> 10;
    let longest = ends.iter().map(|e| e.1).fold(0.0, f64::max);
    let mut kinds: Vec<&str> = ends.iter().map(|e| e.0.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let allowed = kinds.iter().all(|k| case.ends.contains(k));
    let named: Vec<_> = kinds
        .iter()
        .map(|k| if k.is_empty() { "closed" } else { k })
        .collect();
    let named = named.join(", ");
    report.bound(
        format!(
            "{}: ends as documented, within {} s",
            case.name,
            case.within.as_secs()
        ),
        format!("{named}; {longest:.1} s"),
        allowed && longest <= case.within.as_secs_f64(),
    );
    report.bound(
        format!(
            "{}: at most {} MiB, {} s of CPU beside the photos'",
            case.name, case.memory_mib, case.cpu_seconds
        ),
        format!("{more} MiB, {:.2} s", cpu.http),
        more <= case.memory_mib && cpu.http <= case.cpu_seconds,
    );
    report.bound(
        format!("{}: photos are answered as always", case.name),
        format!("{wrong} not"),
        wrong == 0,
    );
    vec![
        case.name.into(),
        case.connections.to_string(),
        format!("{longest:.1}"),
        more.to_string(),
        format!("{:.2}", cpu.http),
        format!("{:.0}", crate::stats::quantile(&photos, 0.99)),
        named,
    ]
}

/// The status that one connection gets, and how long the server bears with it, in seconds.
async fn connection(address: std::net::SocketAddr, case: Arc<Case>) -> (String, f64) {
    let start = Instant::now();
    let Ok(mut connection) = Connection::open(address, None).await else {
        return ("no connection".into(), 0.0);
    };
    let (mut reader, mut writer) = connection.stream().split();
    let write = async {
        writer.write_all(&case.head).await?;
        for _ in 0..case.times {
            writer.write_all(&case.rest).await?;
            if !case.pause.is_zero() {
                sleep(case.pause).await;
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let read = async {
        let mut answer = Vec::new();
        if !case.reads {
            std::future::pending::<()>().await;
        }
        let _ = reader.read_to_end(&mut answer).await; // a reset after an answer is an end too
        answer
    };
    let limit = case.within + Duration::from_secs(10);
    let answer = timeout(limit, async {
        tokio::pin!(write, read);
        let mut failed = false;
        loop {
            tokio::select! {
                answer = &mut read => return answer,
                // Whoever reads sees the end there; whoever does not, sees it here.
                _ = &mut write, if !failed => {
                    failed = true;
                    if !case.reads {
                        return Vec::new();
                    }
                }
            }
        }
    })
    .await;
    let end = match answer {
        Ok(answer) => String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned(),
        Err(_) => "never".into(),
    };
    (end, start.elapsed().as_secs_f64())
}

/// Debian's tool, for a quarter of a minute with 500 connections: cells of the table, and whether photos were answered.
async fn slowhttptest(
    server: &Server,
    client: &Client,
    flags: &[&str],
) -> Result<(Vec<String>, bool), String> {
    let (before, cpu) = (process::sample(server.pid), process::cpu(server.pid));
    let url = format!("http://{}/classify", server.address);
    let mut child = Command::new("slowhttptest")
        .args(flags)
        .args(["-c", "500", "-l", "15", "-p", "3", "-t", "POST", "-u", &url])
        .args(if flags[0] == "-X" {
            ["-r", "100"]
        } else {
            ["-r", "500"]
        })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("cannot start slowhttptest: {e}"))?;
    let start = Instant::now();
    let (mut photos, mut wrong, mut peak) = (Vec::new(), 0, 0);
    while child.try_wait().ok().flatten().is_none() && start.elapsed() < Duration::from_secs(40) {
        let asked = Instant::now();
        match client.send(&server.golden).await {
            Ok(a) if server.is_golden(&a.body) => photos.push(asked.elapsed().as_secs_f64() * 1e3),
            _ => wrong += 1,
        }
        peak = peak.max(process::sample(server.pid).rss_kib);
        sleep(Duration::from_millis(200)).await;
    }
    let cpu = process::cpu(server.pid) - cpu;
    let more = peak.saturating_sub(before.rss_kib) >> 10;
    let cells = vec![
        "500".into(),
        format!("{:.1}", start.elapsed().as_secs_f64()),
        more.to_string(),
        format!("{:.2}", cpu.http),
        format!("{:.0}", crate::stats::quantile(&photos, 0.99)),
        String::new(),
    ];
    Ok((cells, wrong == 0 && !photos.is_empty() && more <= 64))
}
