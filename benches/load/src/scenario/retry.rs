//! O8: a thousand clients at once that come again when `Retry-After` says so: all are served, and they do not come in
//! one herd again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::photos::Mix;
use crate::report::Report;
use crate::server::Server;

/// Clients, each of which wants one answer.
const CLIENTS: usize = 1000;

/// Longest until all have it: this many times what the capacity allows, and a few seconds, as waits are whole seconds.
const LONGEST: (f64, f64) = (2.0, 5.0);

/// Most of the refused that come again within the same tenth of a second.
const HERD: f64 = 0.5;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Arc::new(Mix::load(args)?);
    let client = Client::new(server.address);
    let clients = args.count.unwrap_or(CLIENTS);
    let photos = Arc::clone(&mix);
    let full = capacity(&client, args.seconds_or(10.0), move |n| {
        photos.pick_small(n)
    })
    .await?;
    server.settle().await;

    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for i in 0..clients {
        let (client, photo) = (client.clone(), mix.pick_small(i as u64));
        tasks.spawn(async move {
            let (mut attempts, mut waits) = (Vec::new(), Vec::new());
            loop {
                attempts.push(start.elapsed().as_secs_f64());
                let answer = client.send(&photo).await;
                let wait = match &answer {
                    Ok(answer) if answer.status == 503 => answer
                        .header("retry-after")
                        .and_then(|v| v.parse::<f64>().ok()),
                    _ => None,
                };
                let (Some(wait), true) = (wait, attempts.len() < 100) else {
                    let end = match answer {
                        Ok(answer) => format!("{} {}", answer.status, answer.code()),
                        Err(e) => e.to_string(),
                    };
                    return (end, start.elapsed().as_secs_f64(), attempts, waits);
                };
                waits.push(wait);
                sleep(Duration::from_secs_f64(wait)).await;
            }
        });
    }
    let ended = tasks.join_all().await;
    let good = ended.iter().filter(|e| e.0.starts_with("200")).count();
    let bad = ended.iter().find(|e| !e.0.starts_with("200"));
    let bad = bad.map(|e| format!(", one: {}", e.0));
    let last = ended.iter().map(|e| e.1).fold(0.0, f64::max);
    let attempts: usize = ended.iter().map(|e| e.2.len()).sum();
    let mut waits: Vec<f64> = ended.iter().flat_map(|e| e.3.clone()).collect();
    waits.sort_by(f64::total_cmp);
    // Arrivals of each tenth of a second but those of the first attempt.
    let mut tenths = vec![0_usize; (last * 10.0) as usize + 1];
    for at in ended.iter().flat_map(|e| &e.2[1..]) {
        tenths[((at * 10.0) as usize).min((last * 10.0) as usize)] += 1;
    }
    let again = ended.iter().filter(|e| e.2.len() > 1).count();
    let herd = tenths.iter().max().copied().unwrap_or(0);
    let share = herd as f64 / again.max(1) as f64;
    let word = |at: usize| waits.get(at).map_or("-".into(), |w| format!("{w}"));
    report.table(
        "clients",
        &[
            "clients",
            "answered",
            "refused at first",
            "attempts",
            "last after s",
            "waits s",
            "most in 0.1 s",
        ],
        &[vec![
            clients.to_string(),
            good.to_string(),
            again.to_string(),
            attempts.to_string(),
            format!("{last:.1}"),
            format!("{} to {}", word(0), word(waits.len().saturating_sub(1))),
            herd.to_string(),
        ]],
    );
    report.bound(
        "all are answered",
        format!("{good} of {clients}{}", bad.unwrap_or_default()),
        good == clients,
    );
    let longest = clients as f64 / full.goodput * LONGEST.0 + LONGEST.1;
    report.bound(
        format!(
            "within {longest:.1} s, with a capacity of {:.1}/s",
            full.goodput
        ),
        format!("{last:.1} s"),
        last <= longest,
    );
    report.bound(
        format!("at most {HERD} of those refused come again in the same tenth of a second"),
        format!("{share:.2}"),
        share <= HERD || again < 20,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}
