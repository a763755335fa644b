//! O3: two addresses, one of which floods: the other hardly notices.

use std::net::IpAddr;
use std::sync::Arc;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::load::{Summary, open_loop};
use crate::photos::Mix;
use crate::report::Report;
use crate::server::Server;

/// What the modest client sends, as a share of the capacity, and how much more the other does.
const MODEST: f64 = 0.1;
const TIMES: f64 = 20.0;

/// The modest client's p99 under flood: this many times that alone, or this many milliseconds more. Alone it has an
/// idle machine, of which a few milliseconds are a poor measure.
const SLOWER: (f64, f64) = (2.0, 100.0);

/// Most of the modest client's requests that are not answered with 200.
const REFUSED: f64 = 0.01;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Arc::new(Mix::load(args)?);
    let modest = Client::from(server.address, IpAddr::from([127, 0, 0, 2]));
    let flood = Client::from(server.address, IpAddr::from([127, 0, 0, 3]));
    let length = args.seconds_or(15.0);
    let photos = Arc::clone(&mix);
    let full = capacity(&flood, length, move |n| photos.pick_small(n)).await?;
    let rate = full.goodput * MODEST;

    let load = async |client: &Client, rate| {
        open_loop(client, rate, length, |_| None, |n| mix.pick_small(n)).await
    };
    let alone = load(&modest, rate).await;
    let (beside, flooding) = tokio::join!(load(&modest, rate), load(&flood, rate * TIMES));
    // The first fifth of the flood fills the queue.
    let (from, to) = (length.as_secs_f64() / 5.0, length.as_secs_f64());
    let named = [
        ("alone", &alone),
        ("beside the flood", &beside),
        ("the flood", &flooding),
    ];
    let summaries = named.map(|(name, o)| (name, Summary::of(o, from, to)));
    let rows: Vec<_> = summaries
        .iter()
        .map(|(name, s)| {
            vec![
                (*name).into(),
                format!("{:.1}", s.offered),
                format!("{:.1}", s.goodput),
                format!("{:.0}", s.good_ms[0]),
                format!("{:.0}", s.good_ms[1]),
                s.refused.to_string(),
                s.others(),
            ]
        })
        .collect();
    report.table(
        "clients",
        &[
            "client",
            "offered/s",
            "good/s",
            "p50 ms",
            "p99 ms",
            "refused",
            "not 200",
        ],
        &rows,
    );
    let [(_, alone), (_, beside), (_, flooding)] = &summaries;
    let allowed = (alone.good_ms[1] * SLOWER.0).max(alone.good_ms[1] + SLOWER.1);
    report.bound(
        format!("p99 of the modest client beside the flood is at most {allowed:.0} ms"),
        format!("{:.0} ms", beside.good_ms[1]),
        beside.good_ms[1] <= allowed,
    );
    let refused = (beside.refused + beside.failed) as f64 / (beside.offered * (to - from));
    report.bound(
        format!("at most {REFUSED} of its requests are refused"),
        format!("{refused:.3}"),
        refused <= REFUSED,
    );
    let total = (beside.goodput + flooding.goodput) / full.goodput;
    report.bound(
        "both together get at least 0.9 of the capacity",
        format!("{total:.3}"),
        total >= 0.9,
    );
    report.after(&server, &[&modest, &flood]).await;
    Ok(report.finish())
}
