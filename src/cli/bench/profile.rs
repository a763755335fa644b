//! The time of each step of ours as a table, beside what the machine could do at most.
//!
//! Called by `bench engine --profile`.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::table::{Column, Table};
use kernels::nn::{Arithmetic, StepProfile};
use kernels::{Caches, peak};

/// Where the time of an image went.
#[derive(Debug, Serialize)]
pub(super) struct Profile {
    /// Most billions of operations a second of one worker's threads; none where nothing measures it.
    peak_gflops: Option<f64>,
    /// Billions of cycles a second, right after that was measured; none where nothing measures it.
    clock_ghz: Option<f64>,
    /// Milliseconds of an image that no step accounts for: tract's operators, copies, the program's own work.
    rest_ms: f64,
    steps: Vec<StepReport>,
}

#[derive(Debug, Serialize)]
struct StepReport {
    name: String,
    kind: String,
    /// How the work is ordered and cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    plan: String,
    weights_bytes: usize,
    /// The smallest of a core's own caches that holds them, or "beyond".
    weights_from: &'static str,
    /// Bytes of values that the step reads and writes for one image.
    values_bytes: usize,
    /// Time of the step for one image, in milliseconds.
    ms: f64,
    /// By the operations of the direct algorithm, so that one with fewer may exceed the peak.
    gflops: f64,
    /// The step's share of the whole time.
    share_of_time: f64,
    share_of_peak: Option<f64>,
}

/// The speed of one core when nothing but registers is involved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peak {
    /// Billions of operations a second.
    pub(super) gflops: f64,
    /// Billions of cycles a second, right afterwards.
    pub(super) clock_ghz: Option<f64>,
}

/// Measures the peak; none where no loop is written for these instructions.
pub(super) fn peak(arithmetic: Arithmetic) -> Option<Peak> {
    // Longer than a change of the clock rate takes, short enough not to be noticed.
    const SPIN: Duration = Duration::from_millis(30);
    let mut best: Option<f64> = None;
    let begin = Instant::now();
    while begin.elapsed() < 3 * SPIN {
        let start = Instant::now();
        let operations = peak::spin(arithmetic, 200_000)?;
        let rate = operations as f64 / start.elapsed().as_secs_f64() / 1e9;
        best = Some(best.map_or(rate, |b| b.max(rate)));
    }
    let start = Instant::now();
    let clock =
        peak::chain(10_000).map(|cycles| cycles as f64 / start.elapsed().as_secs_f64() / 1e9);
    best.map(|gflops| Peak {
        gflops,
        clock_ghz: clock,
    })
}

impl Profile {
    /// `seconds` is the whole time of an image, `peak` what each of a worker's `threads` can do.
    pub(super) fn new(
        steps: &[StepProfile],
        seconds: f64,
        peak: Option<Peak>,
        threads: usize,
        caches: Caches,
    ) -> Profile {
        let peak_gflops = peak.map(|peak| peak.gflops * threads as f64);
        let weights_from = |bytes: usize| match bytes {
            0 => "",
            _ if bytes <= caches.l1d => "L1",
            _ if bytes <= caches.l2 => "L2",
            _ => "beyond",
        };
        let report = |step: &StepProfile| {
            let image_seconds = step.nanoseconds as f64 / 1e9 / step.images.max(1) as f64;
            let gflops = match image_seconds > 0.0 {
                true => step.flops as f64 / 1e9 / image_seconds,
                false => 0.0,
            };
            StepReport {
                name: step.name.clone(),
                kind: step.kind.clone(),
                plan: step.plan.clone(),
                weights_bytes: step.weights,
                weights_from: weights_from(step.weights),
                values_bytes: step.values,
                ms: image_seconds * 1e3,
                gflops,
                share_of_time: image_seconds / seconds,
                share_of_peak: peak_gflops.map(|peak| gflops / peak),
            }
        };
        let steps: Vec<StepReport> = steps.iter().map(report).collect();
        let in_steps: f64 = steps.iter().map(|s| s.ms).sum();
        Profile {
            peak_gflops,
            clock_ghz: peak.and_then(|peak| peak.clock_ghz),
            rest_ms: (seconds * 1e3 - in_steps).max(0.0),
            steps,
        }
    }

    pub(super) fn text(&self) -> String {
        if self.steps.is_empty() {
            return "no operator of this model is ours, so there is nothing to profile\n".into();
        }
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let (left, right) = (Column::Left, Column::Right);
        let numbers = [9, 8, 6, 6, 7, 14].map(right);
        let mut table = Table::new(&[&[left(0); 2], &numbers[..], &[left(0)]].concat());
        table.row([
            "step", "kind", "ms/image", "GFLOP/s", "time", "peak", "values", "weights", "plan",
        ]);
        let kib = |bytes: usize| match bytes {
            0 => String::new(),
            _ => format!("{} KiB", bytes.div_ceil(1024)),
        };
        for step in &self.steps {
            let peak = step.share_of_peak.map_or_else(|| "?".into(), percent);
            table.row([
                &step.name,
                &step.kind,
                &format!("{:.3}", step.ms),
                &format!("{:.1}", step.gflops),
                &percent(step.share_of_time),
                &peak,
                &kib(step.values_bytes),
                format!("{} {}", kib(step.weights_bytes), step.weights_from).trim(),
                &step.plan,
            ]);
        }
        let total = self.rest_ms + self.steps.iter().map(|s| s.ms).sum::<f64>();
        let rest = format!("{:.3}", self.rest_ms);
        table.row(["the rest", "", &rest, "", &percent(self.rest_ms / total)]);
        let peak = match self.peak_gflops {
            Some(peak) => format!(
                "peak of a worker's threads: {peak:.1} GFLOP/s, by a loop in registers on one core{}\n",
                self.clock_ghz.map_or_else(String::new, |ghz| format!(
                    ", whose clock is {ghz:.2} GHz after it"
                )),
            ),
            None => "the peak of these instructions is not measured\n".into(),
        };
        format!("{table}{peak}weights: the smallest of a core's own caches that holds them\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole_time_and_of_the_peak() {
        let step = |name: &str, flops, milliseconds: u64| StepProfile {
            name: name.into(),
            kind: "conv 3×3/1".into(),
            plan: "by image, 1×16 tasks".into(),
            weights: 100 << 10,
            values: 3 << 10,
            flops,
            images: 10,
            nanoseconds: milliseconds * 1_000_000,
        };
        let peak = Peak {
            gflops: 50.0,
            clock_ghz: Some(2.5),
        };
        let caches = Caches {
            l1d: 48 << 10,
            l2: 2 << 20,
        };
        // 10 images: 2 ms and 1 ms of 4 ms each
        let steps = [
            step("conv1", 100_000_000, 20),
            step("conv2", 20_000_000, 10),
        ];
        let profile = Profile::new(&steps, 0.004, Some(peak), 2, caches);
        let text = profile.text();
        let row = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|l| l.starts_with(name)).expect(name);
            line.split_whitespace().skip(1).collect()
        };
        assert_eq!(row("conv1")[2..6], ["2.000", "50.0", "50.0%", "50.0%"]);
        assert_eq!(row("conv2")[2..6], ["1.000", "20.0", "25.0%", "20.0%"]);
        let rest = row("conv1")[6..].join(" ");
        assert_eq!(rest, "3 KiB 100 KiB L2 by image, 1×16 tasks");
        assert_eq!(row("the rest"), ["rest", "1.000", "25.0%"]);
        assert!(
            text.contains("100.0 GFLOP/s") && text.contains("2.50 GHz"),
            "{text}"
        );
    }

    #[test]
    fn step_that_never_ran_divides_by_nothing() {
        let step = StepProfile {
            name: "conv1".into(),
            kind: "conv".into(),
            flops: 1,
            ..StepProfile::default()
        };
        let none = Profile::new(&[], 0.001, None, 1, Caches::SMALL);
        let profile = Profile::new(&[step], 0.001, None, 1, Caches::SMALL);
        assert_eq!((profile.steps[0].gflops, profile.rest_ms), (0.0, 1.0));
        assert!(none.text().contains("nothing to profile"));
    }
}
