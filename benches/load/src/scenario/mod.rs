//! What is done to the server, one file a scenario.

mod actors;
mod burst;
mod drain;
mod fair;
mod huge;
mod idle;
mod leave;
mod memory;
mod overload;
mod quota;
mod retry;
mod slow;
mod soak;

use std::time::Duration;

use crate::args::{Args, USAGE};
use crate::http::{Client, Request};
use crate::load::{Summary, closed_loop};

/// Runs the scenario of this name; whether every bound was kept.
///
/// # Errors
/// If there is none of this name, or it cannot run.
pub(crate) async fn run(args: &Args) -> Result<bool, String> {
    match args.scenario.as_str() {
        "overload" => overload::run(args).await,
        "burst" => burst::run(args).await,
        "fair" => fair::run(args).await,
        "huge" => huge::run(args).await,
        "leave" => leave::run(args).await,
        "retry" => retry::run(args).await,
        "idle" => idle::run(args).await,
        "drain" => drain::run(args).await,
        "memory" => memory::run(args).await,
        "quota" => quota::run(args).await,
        "slow" => slow::run(args).await,
        "soak" => soak::run(args).await,
        other => Err(format!("there is no scenario {other:?}\n\n{USAGE}")),
    }
}

/// Connections that keep both the decoders and the workers busy, but do not fill the queue.
const BUSY: usize = 48;

/// Answers per second when there is always work: the peak of goodput. The first fifth of the time is warm-up.
async fn capacity(
    client: &Client,
    length: Duration,
    request: impl Fn(u64) -> Request + Send + Sync + 'static,
) -> Result<Summary, String> {
    let outcomes = closed_loop(client, BUSY, length, request).await;
    let seconds = length.as_secs_f64();
    let summary = Summary::of(&outcomes, seconds / 5.0, seconds);
    match summary.goodput > 0.0 {
        true => Ok(summary),
        false => Err(format!("nothing is answered: {}", summary.others())),
    }
}
