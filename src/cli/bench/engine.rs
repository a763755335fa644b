//! `resnet bench engine`: images per second and the latency of a batch, of the network alone.
//!
//! Each worker is a thread with an engine of its own, as in `serve`; what they share is the weights and the team.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::profile::{Profile, peak};
use crate::cli::args::{ModelArgs, arithmetic};
use crate::cli::output::print;
use crate::config::{ArithmeticConfig, parse_timeout, whole_number};
use crate::engine::{EngineError, EngineOptions, Model};
use crate::registry;
use crate::table::Table;
use crate::tensor::{Crop, Image, Size, Tensor};
use kernels::Caches;
use kernels::nn::Arithmetic;

/// Batches that each worker runs before the clock starts: the first makes its buffers, the second finds them.
const WARM_UP: usize = 2;

/// The flags of `resnet bench engine`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every worker runs one batch after the other. A batch's latency is the time of its run; images per second are all \
workers' together. benches/peers/ compares them with other runtimes'.

Example:
  resnet bench engine --model resnet50 --batch 8 --workers 2 --profile")]
pub(crate) struct EngineBenchArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Images of one run
    #[arg(long, default_value_t = 1, value_parser = whole_number::<usize>(1, 256), value_name = "N")]
    batch: usize,

    /// Workers, each running batches of its own
    #[arg(long, default_value_t = 1, value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    workers: usize,

    /// Threads that share one run, the worker's own included
    #[arg(long, default_value_t = 1, value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    threads: usize,

    /// What the images are: f32, as other runtimes take them, or u8, as `serve` feeds a network that normalizes itself
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    input: InputType,

    #[command(flatten)]
    arithmetic: ArithmeticConfig,

    /// How long to measure, after a warm-up
    #[arg(long, default_value = "5s", value_parser = parse_timeout, value_name = "TIME")]
    seconds: Duration,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Measure each step of ours too, and tell its share of the time and of what one core can multiply at most
    #[arg(long)]
    profile: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum InputType {
    /// Normalized tensors
    F32,
    /// Bytes of a crop
    U8,
}

impl InputType {
    fn name(self) -> &'static str {
        match self {
            InputType::F32 => "f32",
            InputType::U8 => "u8",
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    input: &'static str,
    batch: usize,
    workers: usize,
    threads: usize,
    precision: &'static str,
    precision_reason: &'a str,
    instructions: &'a str,
    seconds: f64,
    images: usize,
    images_per_second: f64,
    latency_ms: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// Percentiles of the time of a batch, in milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// Measures and prints.
///
/// # Errors
/// If the model cannot be loaded or run, or standard output fails.
pub(super) fn run(args: &EngineBenchArgs) -> anyhow::Result<()> {
    let reference = args.model.one_reference("bench engine")?;
    let options = EngineOptions {
        threads_per_worker: args.threads,
        max_batch: args.batch,
        ..arithmetic::options(args.arithmetic, args.workers * args.threads)?
    };
    let loaded = registry::load(&reference, &options)?;
    let spec = loaded.model.spec();
    if matches!(args.input, InputType::U8) && !spec.takes_bytes {
        bail!(
            "{} takes no bytes: its first convolution is not ours",
            loaded.name
        );
    }
    let peak = match args.profile {
        true => Arithmetic::new(spec.precision, options.features).and_then(peak),
        false => None,
    };
    let workers = measure(&*loaded.model, args)?;
    let mut latencies: Vec<f64> = workers.iter().flatten().copied().collect();
    let seconds = workers.iter().map(|w| w.iter().sum());
    let seconds: f64 = seconds.fold(0.0, f64::max);
    let rate = |w: &Vec<f64>| (w.len() * args.batch) as f64 / w.iter().sum::<f64>();
    let profile = || {
        let busy = latencies.iter().sum::<f64>();
        let images = latencies.len() * args.batch;
        let seconds = busy / images as f64;
        let steps = loaded.model.profile();
        Profile::new(&steps, seconds, peak, args.threads, Caches::detect())
    };
    let profile = args.profile.then(profile);
    let report = Report {
        model: &loaded.name,
        input: args.input.name(),
        batch: args.batch,
        workers: args.workers,
        threads: args.threads,
        precision: spec.precision.name(),
        precision_reason: &spec.precision_reason,
        instructions: &spec.instructions,
        seconds,
        images: latencies.len() * args.batch,
        images_per_second: workers.iter().map(rate).sum(),
        latency_ms: Latency::of(&mut latencies),
        profile,
    };
    print(&match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => report.text(),
    })
}

/// Seconds of each batch, by worker; every worker has at least one.
fn measure(model: &dyn Model, args: &EngineBenchArgs) -> anyhow::Result<Vec<Vec<f64>>> {
    let images = images(args.input, args.batch, model.spec().size);
    std::thread::scope(|scope| {
        let (tell_warm, warm) = channel::<()>();
        let mut workers = Vec::with_capacity(args.workers);
        for i in 0..args.workers {
            let (tell_start, start) = channel();
            let (images, tell_warm) = (&images, tell_warm.clone());
            let work = move || worker(model, images, args.seconds, tell_warm, &start);
            let thread = std::thread::Builder::new()
                .name(format!("engine-{i}"))
                .spawn_scoped(scope, work)
                .context("cannot start a worker")?;
            workers.push((thread, tell_start));
        }
        drop(tell_warm);
        // Each worker hangs up when it is warm, or has failed.
        let _ = warm.recv();
        model.set_profiling(args.profile);
        for (_, tell_start) in &workers {
            let _ = tell_start.send(()); // one that has failed says why when it is joined
        }
        let times = workers.into_iter().map(|(thread, _)| {
            let times = thread.join().ok().context("a worker panicked")?;
            Ok(times?)
        });
        times.collect()
    })
}

/// Warms up, says so by dropping `warm`, and runs batches from the signal to start on; where none comes, none.
fn worker(
    model: &dyn Model,
    images: &[Image],
    time: Duration,
    warm: Sender<()>,
    start: &Receiver<()>,
) -> Result<Vec<f64>, EngineError> {
    let mut engine = model.spawn()?;
    for _ in 0..WARM_UP {
        engine.run(images)?;
    }
    drop(warm);
    if start.recv().is_err() {
        return Ok(Vec::new()); // another could not be started
    }
    // From the end of one to the end of the next, so that nothing in between is left out.
    let begin = Instant::now();
    let mut last = begin;
    let mut times = Vec::new();
    while times.is_empty() || last - begin < time {
        engine.run(images)?;
        let now = Instant::now();
        times.push((now - last).as_secs_f64());
        last = now;
    }
    Ok(times)
}

/// Chance within the range of pixels, by a multiplicative generator: the same in every run.
fn images(input: InputType, count: usize, size: Size) -> Vec<Image> {
    let mut state = 1_u64;
    let mut pixel = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 40) as u32
    };
    let mut image = |_| match input {
        InputType::F32 => {
            let normalized = |pixel: u32| pixel as f32 / (1 << 24) as f32 * 4.6 - 2.0;
            let data = (0..size.values()).map(|_| normalized(pixel())).collect();
            Image::from(Tensor::new(size.shape().to_vec(), data))
        }
        InputType::U8 => {
            let bytes = (0..size.values()).map(|_| (pixel() >> 16) as u8).collect();
            Crop::new(size, bytes).into()
        }
    };
    (0..count).map(&mut image).collect()
}

impl Latency {
    fn of(seconds: &mut [f64]) -> Latency {
        seconds.sort_unstable_by(f64::total_cmp);
        // nearest rank: the smallest time that so many percent of the batches did not exceed
        let rank = |percent: usize| (seconds.len() * percent).div_ceil(100).max(1) - 1;
        let at = |percent| seconds[rank(percent)] * 1000.0;
        Latency {
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }
}

impl Report<'_> {
    fn text(&self) -> String {
        let Latency { p50, p90, p99 } = self.latency_ms;
        let mut table = Table::of_pairs(14);
        let mut row = |key: &str, value: String| table.row([key, &value]);
        row("model", self.model.into());
        row(
            "run",
            format!(
                "batch {}, {} workers, {} threads each, {} input",
                self.batch, self.workers, self.threads, self.input
            ),
        );
        row("precision", self.precision_reason.into());
        row("instructions", self.instructions.into());
        row("images/s", format!("{:.2}", self.images_per_second));
        row(
            "batch",
            format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms"),
        );
        row(
            "measured",
            format!("{} images in {:.2} s", self.images, self.seconds),
        );
        match &self.profile {
            Some(profile) => format!("{table}\n{}", profile.text()),
            None => table.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut seconds: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let Latency { p50, p90, p99 } = Latency::of(&mut seconds);
        assert_eq!([p50, p90, p99], [100_000.0, 180_000.0, 198_000.0]);
        let Latency { p50, p99, .. } = Latency::of(&mut [0.5]);
        assert_eq!([p50, p99], [500.0, 500.0]);
    }
}
