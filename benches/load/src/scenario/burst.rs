//! O2: half of the capacity, then ten times that for five seconds: afterwards all is as before, and soon.

use std::time::Duration;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::load::{Outcome, Summary, open_loop};
use crate::photos::Mix;
use crate::report::Report;
use crate::server::Server;
use crate::stats::quantile;

/// Length of the burst and what it is as a multiple of the base.
const BURST: Duration = Duration::from_secs(5);
const TIMES: f64 = 10.0;

/// Longest way back, in seconds.
const RECOVERY: f64 = 2.0;

/// How the latency of a second must be to count as before: this many times the base's p99, and at least so many
/// milliseconds, since the base's may be a few.
const AS_BEFORE: (f64, f64) = (1.5, 100.0);

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Mix::load(args)?;
    let client = Client::new(server.address);
    let small = crate::photos::small(args)?;
    let pick = move |n: u64| small[n as usize % small.len()].clone();
    let full = capacity(&client, args.seconds_or(10.0), pick).await?;
    let base = full.goodput * 0.5;
    report.say(&format!(
        "capacity {:.1}/s, base {base:.1}/s, burst {:.1}/s",
        full.goodput,
        base * TIMES
    ));

    let length = args.seconds_or(10.0);
    let load = async |rate: f64, length| {
        open_loop(&client, rate, length, |_| None, |n| mix.pick_small(n)).await
    };
    let before = load(base, length).await;
    // The base goes on during the burst and after it, on its own schedule.
    let (during, burst) = tokio::join!(load(base, BURST + length * 2), load(base * TIMES, BURST));
    let seconds = BURST.as_secs_f64();
    let p99 = Summary::of(&before, 0.0, length.as_secs_f64()).good_ms[1];
    let allowed = (p99 * AS_BEFORE.0).max(AS_BEFORE.1);

    let mut rows = vec![
        row("before", &before, 0.0, length.as_secs_f64()),
        row("burst", &burst, 0.0, seconds),
    ];
    // The first half-second from which on four in a row are as before; later ones are no longer the burst's.
    let (mut recovery, mut in_a_row) = (f64::INFINITY, 0);
    for half in 0..(length.as_secs_f64() * 4.0) as usize {
        let from = seconds + half as f64 / 2.0;
        let of_half: Vec<f64> = during
            .iter()
            .filter(|o| (from..from + 0.5).contains(&o.due))
            .map(|o| match o.status {
                200 => o.latency_ms(),
                _ => f64::INFINITY,
            })
            .collect();
        match quantile(&of_half, 0.9) <= allowed {
            true => in_a_row += 1,
            false => in_a_row = 0,
        }
        if in_a_row == 4 && recovery.is_infinite() {
            recovery = from - 1.5 - seconds;
        }
        if half < 6 {
            rows.push(row(
                &format!("+{:.1} s", from - seconds),
                &during,
                from,
                from + 0.5,
            ));
        }
    }
    report.table(
        "phases",
        &[
            "phase",
            "offered/s",
            "good/s",
            "p50 ms",
            "p99 ms",
            "refused",
            "not 200",
        ],
        &rows,
    );
    report.bound(
        format!(
            "{RECOVERY} s after the burst nine of ten are answered within {allowed:.0} ms again"
        ),
        format!("{recovery:.1} s"),
        recovery <= RECOVERY,
    );
    let failed = Summary::of(&burst, 0.0, seconds).failed
        + Summary::of(&during, 0.0, during.len() as f64).failed;
    report.bound(
        "every request is answered with 200 or a refusal",
        format!("{failed} failed"),
        failed == 0,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}

fn row(name: &str, outcomes: &[Outcome], from: f64, to: f64) -> Vec<String> {
    let s = Summary::of(outcomes, from, to);
    vec![
        name.into(),
        format!("{:.1}", s.offered),
        format!("{:.1}", s.goodput),
        format!("{:.0}", s.good_ms[0]),
        format!("{:.0}", s.good_ms[1]),
        s.refused.to_string(),
        s.others(),
    ]
}
