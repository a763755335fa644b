//! O4: photos of 45 megapixels among small ones: the small ones do not wait behind them.

use std::sync::Arc;
use std::time::Instant;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::load::{Outcome, Summary, open_loop};
use crate::photos::{Mix, Picture, Scans, post};
use crate::report::Report;
use crate::server::Server;

/// One of this many is huge.
const ONE_IN: u64 = 20;

/// What is offered, as a share of what the CPUs can do.
const LOAD: f64 = 0.5;

/// The small photos' p99 beside huge ones: this many times that without, or this many milliseconds more.
const SLOWER: (f64, f64) = (1.5, 100.0);

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Arc::new(Mix::load(args)?);
    let picture = Picture::read(&args.fixtures.join("photos/espresso.png"))?;
    let huge = post(picture.jpeg(8200, 5500, Scans::Baseline));
    let client = Client::new(server.address);
    let length = args.seconds_or(20.0);

    let photos = Arc::clone(&mix);
    let full = capacity(&client, length / 2, move |n| photos.pick_small(n)).await?;
    let huge_full = {
        let huge = huge.clone();
        let outcomes =
            crate::load::closed_loop(&client, 2, length / 2, move |_| huge.clone()).await;
        Summary::of(&outcomes, 0.0, length.as_secs_f64() / 2.0)
    };
    if huge_full.goodput == 0.0 {
        return Err(format!("no huge photo is answered: {}", huge_full.others()));
    }
    // Seconds of the whole machine that an average request costs.
    let share = 1.0 / ONE_IN as f64;
    let cost = (1.0 - share) / full.goodput + share / huge_full.goodput;
    let rate = LOAD / cost;
    report.say(&format!(
        "small {:.1}/s, huge {:.1}/s ({} bytes); offered are {rate:.1}/s",
        full.goodput,
        huge_full.goodput,
        huge.body().len()
    ));

    let started = Instant::now();
    let is_huge = |n: u64| n % ONE_IN == ONE_IN - 1;
    let without = open_loop(&client, rate, length, |_| None, |n| mix.pick_small(n)).await;
    let photo = |n| {
        if is_huge(n) {
            huge.clone()
        } else {
            mix.pick_small(n)
        }
    };
    let with = open_loop(&client, rate, length, |_| None, photo).await;
    report.value("seconds", started.elapsed().as_secs_f64());
    let number = |o: &Outcome| (o.due * rate).round() as u64;
    let (large, small): (Vec<Outcome>, Vec<Outcome>) =
        with.into_iter().partition(|o| is_huge(number(o)));
    let to = length.as_secs_f64();
    let named = [
        ("small alone", &without),
        ("small beside huge", &small),
        ("huge", &large),
    ];
    let summaries = named.map(|(name, o)| (name, Summary::of(o, 0.0, to)));
    let rows: Vec<_> = summaries
        .iter()
        .map(|(name, s)| {
            vec![
                (*name).into(),
                format!("{:.1}", s.offered),
                format!("{:.0}", s.good_ms[0]),
                format!("{:.0}", s.good_ms[1]),
                s.others(),
            ]
        })
        .collect();
    report.table(
        "photos",
        &["photos", "offered/s", "p50 ms", "p99 ms", "not 200"],
        &rows,
    );
    let [(_, alone), (_, beside), (_, large)] = &summaries;
    let allowed = (alone.good_ms[1] * SLOWER.0).max(alone.good_ms[1] + SLOWER.1);
    report.bound(
        format!("p99 of small photos beside huge ones is at most {allowed:.0} ms"),
        format!("{:.0} ms", beside.good_ms[1]),
        beside.good_ms[1] <= allowed,
    );
    let failed = beside.failed + large.failed;
    report.bound(
        "every request is answered with 200 or a refusal",
        format!("{failed} failed"),
        failed == 0,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}
