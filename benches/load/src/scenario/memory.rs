//! M1: all that takes memory at once: large progressive JPEGs, idle connections, half-sent bodies, overload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::capacity;
use crate::args::Args;
use crate::http::{Client, Connection};
use crate::load::{Summary, closed_loop, open_loop};
use crate::photos::{Mix, Picture, Scans, post};
use crate::process;
use crate::report::Report;
use crate::server::Server;

/// Connections that send nothing, and those that send all of a large body but its end.
const IDLE: usize = 4000;
const HALF_SENT: usize = 64;

/// Clients with progressive JPEGs of 36 megapixels at full color resolution: each takes 6 bytes a pixel to decode.
const PROGRESSIVE: usize = 16;

/// Small photos, as a multiple of the capacity.
const LOAD: f64 = 2.0;

/// Most resident memory, in MiB, of a server that does not tell its bound.
const BOUND_MIB: u64 = 1536;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Arc::new(Mix::load(args)?);
    let picture = Picture::read(&args.fixtures.join("photos/espresso.png"))?;
    let large = post(picture.jpeg(7200, 5000, Scans::Progressive));
    let client = Client::new(server.address);
    let length = args.seconds_or(60.0);
    let photos = Arc::clone(&mix);
    let full = capacity(&client, Duration::from_secs(5), move |n| {
        photos.pick_small(n)
    })
    .await?;

    let mut held = Vec::new();
    for i in 0..IDLE + HALF_SENT {
        // Of several clients: one alone gets no more than its part of the memory for bodies.
        let from = IpAddr::from([127, 0, 0, 2 + (i % 8) as u8]);
        let connection = Connection::open(server.address, Some(from)).await;
        let mut connection = connection.map_err(|e| format!("connection {i}: {e}"))?;
        if i >= IDLE {
            let _ = connection.stream().write_all(large.head()).await;
            let half = large.body().len() - 1;
            // The server stops reading when its memory for bodies is full.
            let body = connection.stream().write_all(&large.body()[..half]);
            let _ = tokio::time::timeout(Duration::from_millis(100), body).await;
        }
        held.push(connection);
    }
    let progressive = {
        let large = large.clone();
        closed_loop(&client, PROGRESSIVE, length, move |_| large.clone())
    };
    let flood = open_loop(
        &client,
        full.goodput * LOAD,
        length,
        |_| None,
        |n| mix.pick(n),
    );
    let (progressive, flood) = tokio::join!(progressive, flood);
    let seconds = length.as_secs_f64();
    let peak = process::sample(server.pid).peak_kib >> 10;
    let named = [
        ("progressive, 36 MP", &progressive),
        ("small and medium", &flood),
    ];
    let rows: Vec<_> = named
        .iter()
        .map(|(name, outcomes)| {
            let s = Summary::of(outcomes, 0.0, seconds);
            vec![
                (*name).into(),
                format!("{:.1}", s.offered),
                format!("{:.1}", s.goodput),
                format!("{:.0}", s.good_ms[1]),
                s.others(),
            ]
        })
        .collect();
    report.table(
        "load",
        &["load", "offered/s", "good/s", "p99 ms", "not 200"],
        &rows,
    );
    drop(held);
    let told = server.memory_bound();
    let bound = told.map_or(BOUND_MIB, |b| b >> 20);
    let by = if told.is_some() {
        "the server's own bound"
    } else {
        "of a server that tells none"
    };
    report.bound(
        format!("peak RSS is at most {bound} MiB, {by}"),
        format!("{peak} MiB"),
        peak <= bound,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}
