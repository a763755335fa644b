//! O5: clients that leave before their answer cost little: their work never reaches the engine.

use std::sync::Arc;
use std::time::Duration;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::load::open_loop;
use crate::photos::Mix;
use crate::report::Report;
use crate::server::Server;

/// How long the impatient ones wait.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is offered, as a multiple of the capacity; every second request is an impatient client's.
const LOAD: f64 = 2.0;

/// Least share of the left work that is dropped before inference, and of the capacity that is answered.
const DROPPED: f64 = 0.9;
const GOODPUT: f64 = 0.9;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    let mut report = Report::new(args);
    let server = Server::start(args, &[]).await?;
    let mix = Arc::new(Mix::load(args)?);
    let client = Client::new(server.address);
    let length = args.seconds_or(20.0);
    let photos = Arc::clone(&mix);
    let full = capacity(&client, length / 2, move |n| photos.pick_small(n)).await?;

    server.settle().await;
    let images = server.metric("resnet_batch_size_sum", "").await;
    let canceled = server.metric("resnet_requests_canceled_total", "").await;
    let rate = full.goodput * LOAD;
    let patience = |n: u64| (n % 2 == 1).then_some(PATIENCE);
    let outcomes = open_loop(&client, rate, length, patience, |n| mix.pick_small(n)).await;
    server.settle().await;
    let images = server.metric("resnet_batch_size_sum", "").await - images;
    let canceled = server.metric("resnet_requests_canceled_total", "").await - canceled;

    let count = |keep: &dyn Fn(u16, &str) -> bool| {
        outcomes.iter().filter(|o| keep(o.status, &o.code)).count() as f64
    };
    let good = count(&|status, _| status == 200);
    let left = count(&|status, code| status == 0 && code.contains("left"));
    let refused = count(&|status, _| matches!(status, 503 | 504 | 429));
    let failed = outcomes.len() as f64 - good - left - refused;
    let wasted = (images - good).max(0.0);
    report.table(
        "requests",
        &["", "number"],
        &[
            vec!["sent".into(), outcomes.len().to_string()],
            vec!["answered with 200".into(), good.to_string()],
            vec!["refused".into(), refused.to_string()],
            vec!["left after 200 ms".into(), left.to_string()],
            vec![
                "images dropped before decoding or inference".into(),
                canceled.to_string(),
            ],
            vec!["images inferred for nobody".into(), wasted.to_string()],
        ],
    );
    let dropped = 1.0 - wasted / left.max(1.0);
    report.bound(
        format!("at least {DROPPED} of what was left is never inferred"),
        format!("{dropped:.3}"),
        dropped >= DROPPED,
    );
    let share = good / length.as_secs_f64() / full.goodput;
    report.bound(
        format!(
            "answers are at least {GOODPUT} of the capacity, {:.1}/s",
            full.goodput
        ),
        format!("{share:.3}"),
        share >= GOODPUT,
    );
    report.bound(
        "every other request is answered with 200 or a refusal",
        format!("{failed} failed"),
        failed == 0.0,
    );
    report.after(&server, &[&client]).await;
    Ok(report.finish())
}
