//! O1: arrivals at 0.5 to 4 times the capacity. What is accepted is answered in time, as much as ever, and a refusal is
//! cheap.

use std::sync::Arc;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::load::{Summary, open_loop};
use crate::photos::Mix;
use crate::process;
use crate::report::Report;
use crate::server::Server;

/// Arrivals, as multiples of the capacity. The last two are there for the price of a refusal: the more, the more of the
/// CPU time is theirs. They have small photos only, as the client's side of large ones would take the CPUs from the
/// server.
const LOADS: [f64; 7] = [0.5, 0.8, 1.0, 2.0, 4.0, 10.0, 30.0];

/// Least goodput from twice the capacity on, as a share of its peak.
const GOODPUT: f64 = 0.95;

/// Most CPU time of a refused request, in milliseconds.
const REFUSAL_MS: f64 = 1.0;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let length = args.seconds_or(20.0);
    let seconds = length.as_secs_f64();
    let mix = Arc::new(Mix::load(args)?);
    let client = Client::new(server.address);

    let photos = Arc::clone(&mix);
    let full = capacity(&client, length, move |n| photos.pick(n)).await?;
    let mut peak = full.goodput;
    report.say(&format!("capacity, closed loop: {peak:.1} answers/s"));
    server.settle().await;

    let (mut rows, mut summaries, mut refusal_ms) = (Vec::new(), Vec::new(), f64::NAN);
    // CPU seconds of an answer on http threads, by the first load, at which nothing is refused.
    let mut answer_cost = None;
    let loads = match args.loads.is_empty() {
        true => &LOADS[..],
        false => &args.loads,
    };
    for &load in loads {
        let rate = full.goodput * load;
        let (before, own) = (process::cpu(server.pid), process::cpu(std::process::id()));
        let photo = |n| {
            if load > 4.0 {
                mix.pick_small(n)
            } else {
                mix.pick(n)
            }
        };
        let outcomes = open_loop(&client, rate, length, |_| None, photo).await;
        let used = process::cpu(server.pid) - before;
        let own = process::cpu(std::process::id()) - own;
        // Without the first fifth, in which the queue fills.
        let summary = Summary::of(&outcomes, seconds / 5.0, seconds);
        let all = Summary::of(&outcomes, 0.0, seconds + 60.0);
        let answers = outcomes.iter().filter(|o| o.status == 200).count();
        let answers = answers as f64;
        let answer_cost = *answer_cost.get_or_insert(used.http / answers);
        // What the http threads do beyond the answers is the refusals' share.
        let price = (used.http - answer_cost * answers) / all.refused as f64 * 1e3;
        if all.refused > 1000 {
            refusal_ms = price.max(refusal_ms); // of a number and NaN the number
        }
        if load <= 4.0 {
            peak = peak.max(summary.goodput);
        }
        rows.push(vec![
            format!("{load}x"),
            format!("{:.1}", summary.offered),
            format!("{:.1}", summary.goodput),
            format!("{:.0}", summary.good_ms[0]),
            format!("{:.0}", summary.good_ms[1]),
            summary.refused.to_string(),
            format!("{:.1}", summary.refused_ms[0]),
            format!("{:.1}", summary.refused_ms[1]),
            if all.refused > 0 {
                format!("{price:.3}")
            } else {
                "-".into()
            },
            format!("{:.1}", used.all / seconds * 100.0),
            format!("{:.1}", own.all / seconds * 100.0),
            summary.others(),
        ]);
        summaries.push((load, summary));
        server.settle().await;
    }
    report.table(
        "loads",
        &[
            "load",
            "offered/s",
            "good/s",
            "p50 ms",
            "p99 ms",
            "refused",
            "p50 ms ",
            "p99 ms ",
            "CPU ms each",
            "server %",
            "client %",
            "not 200",
        ],
        &rows,
    );
    for (load, summary) in &summaries {
        if *load >= 2.0 && *load <= 4.0 {
            let share = summary.goodput / peak;
            report.bound(
                format!("goodput at {load}x is at least {GOODPUT} of the peak, {peak:.1}/s"),
                format!("{share:.3}"),
                share >= GOODPUT,
            );
        }
        let deadline = args.deadline.as_secs_f64() * 1e3;
        report.bound(
            format!("p99 of accepted at {load}x is below {deadline:.0} ms"),
            format!("{:.0}", summary.good_ms[1]),
            summary.good_ms[1] < deadline,
        );
        report.bound(
            format!("every request at {load}x is answered with 200 or a refusal"),
            format!("{} failed", summary.failed),
            summary.failed == 0,
        );
    }
    report.bound(
        format!("a refusal costs less than {REFUSAL_MS} ms of CPU"),
        format!("{refusal_ms:.3} ms"),
        refusal_ms < REFUSAL_MS,
    );
    report.value("capacity", full.json());
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}
