//! The time of each step of ours as a table, beside what the machine could do at most.
//!
//! Called by `bench engine --profile`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use kernels::nn::{Arithmetic, StepProfile};
use kernels::peak;

/// Where the time of an image went.
#[derive(Debug, Serialize)]
pub(super) struct Profile {
    /// Most billions of operations a second of one worker's threads; none where nothing measures it.
    peak_gflops: Option<f64>,
    /// Milliseconds of an image that no step accounts for: tract's operators, copies, the program's own work.
    rest_ms: f64,
    steps: Vec<StepReport>,
}

#[derive(Debug, Serialize)]
struct StepReport {
    name: String,
    kind: String,
    /// Of one image.
    ms: f64,
    /// By the operations of the direct algorithm, so that one with fewer may exceed the peak.
    gflops: f64,
    /// Of the whole time.
    share_of_time: f64,
    share_of_peak: Option<f64>,
}

/// Most billions of operations a second of one core, by what this core does when nothing but registers is involved.
pub(super) fn peak_gflops(arithmetic: Arithmetic) -> Option<f64> {
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
    best
}

impl Profile {
    /// `seconds` is the whole time of an image, `peak_gflops` what the threads of one worker can do.
    pub(super) fn new(steps: &[StepProfile], seconds: f64, peak_gflops: Option<f64>) -> Profile {
        let report = |step: &StepProfile| {
            let image_seconds = step.nanoseconds as f64 / 1e9 / step.images.max(1) as f64;
            let gflops = match image_seconds > 0.0 {
                true => step.flops as f64 / 1e9 / image_seconds,
                false => 0.0,
            };
            StepReport {
                name: step.name.clone(),
                kind: step.kind.clone(),
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
            rest_ms: (seconds * 1e3 - in_steps).max(0.0),
            steps,
        }
    }

    pub(super) fn text(&self) -> String {
        if self.steps.is_empty() {
            return "no operator of this model is ours, so there is nothing to profile\n".into();
        }
        let width =
            |of: fn(&StepReport) -> &str| self.steps.iter().map(|s| of(s).chars().count()).max();
        let name_width = width(|s| &s.name).unwrap_or(0).max("step".len());
        let kind_width = width(|s| &s.kind).unwrap_or(0).max("kind".len());
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let mut text = String::new();
        let mut line = |name: &str, kind: &str, columns: [String; 4]| {
            let [ms, gflops, time, peak] = columns;
            // Writing into a string does not fail.
            let _ = writeln!(
                text,
                "{name:<name_width$}  {kind:<kind_width$}  {ms:>9}  {gflops:>8}  {time:>6}  {peak:>6}"
            );
        };
        line(
            "step",
            "kind",
            ["ms/image", "GFLOP/s", "time", "peak"].map(str::to_owned),
        );
        for step in &self.steps {
            let peak = step.share_of_peak.map_or_else(|| "?".into(), percent);
            let gflops = format!("{:.1}", step.gflops);
            let columns = [
                format!("{:.3}", step.ms),
                gflops,
                percent(step.share_of_time),
                peak,
            ];
            line(&step.name, &step.kind, columns);
        }
        let total = self.rest_ms + self.steps.iter().map(|s| s.ms).sum::<f64>();
        let rest = [
            format!("{:.3}", self.rest_ms),
            String::new(),
            percent(self.rest_ms / total),
            String::new(),
        ];
        line("the rest", "", rest);
        text += &match self.peak_gflops {
            Some(peak) => format!(
                "peak of a worker's threads: {peak:.1} GFLOP/s, by a loop in registers on one core\n"
            ),
            None => "the peak of these instructions is not measured\n".into(),
        };
        text
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
            flops,
            images: 10,
            nanoseconds: milliseconds * 1_000_000,
        };
        // 10 images: 2 ms and 1 ms of 4 ms each
        let steps = [
            step("conv1", 100_000_000, 20),
            step("conv2", 20_000_000, 10),
        ];
        let profile = Profile::new(&steps, 0.004, Some(100.0));
        let text = profile.text();
        let row = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|l| l.starts_with(name)).expect(name);
            line.split_whitespace().skip(1).collect()
        };
        assert_eq!(row("conv1")[2..], ["2.000", "50.0", "50.0%", "50.0%"]);
        assert_eq!(row("conv2")[2..], ["1.000", "20.0", "25.0%", "20.0%"]);
        assert_eq!(row("the rest"), ["rest", "1.000", "25.0%"]);
        assert!(text.contains("100.0 GFLOP/s"), "{text}");
    }

    #[test]
    fn step_that_never_ran_divides_by_nothing() {
        let step = StepProfile {
            name: "conv1".into(),
            kind: "conv".into(),
            flops: 1,
            images: 0,
            nanoseconds: 0,
        };
        let profile = Profile::new(&[step], 0.001, None);
        assert_eq!((profile.steps[0].gflops, profile.rest_ms), (0.0, 1.0));
        assert!(
            Profile::new(&[], 0.001, None)
                .text()
                .contains("nothing to profile")
        );
    }
}
