//! What a network answers to the probe images, and how long it takes: what a precision is chosen by.
//!
//! Called by `precision`. A time is that of the CPU, on one thread, the least of a few runs: whatever else a machine does,
//! the same precision is chosen at each start.

use std::time::Duration;

use super::caught::catch;
use super::{EngineError, EngineOptions, LoadError, Model};
use crate::tensor::Image;
use kernels::nn::{Arithmetic, Precision, Team};
use kernels::peak;

/// How much time of the CPU an image is run again for, if one run takes less: what takes a few milliseconds varies by as
/// much as precisions differ. A start waits for it.
const ENOUGH: Duration = Duration::from_millis(20);

/// A network's run over the probe images.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trial {
    pub(super) answers: Vec<Vec<f32>>,
    /// The least CPU time that one image took, on one thread.
    pub(super) time: Duration,
}

impl Trial {
    /// Runs a model over images: the first on one thread alone, for its time, the others one after another on as many
    /// threads of the team as an inference may have. An image's answer is the same bits either way.
    ///
    /// # Errors
    /// [`LoadError::BadGraph`] if an image fails.
    pub(super) fn of<M: Model>(
        model: &M,
        images: &[Image],
        team: &Team,
    ) -> Result<Trial, LoadError> {
        catch(|| {
            let mut engine = model.spawn().map_err(|e| refuse(&e))?;
            let mut run = |image: &Image| {
                let answer = engine.run(std::slice::from_ref(image));
                answer.map(|mut answers| answers.remove(0))
            };
            let (first, others) = images.split_at(1);
            // First of all, so that the memory is there when the time is taken.
            let others: Result<Vec<_>, _> = others.iter().map(&mut run).collect();
            let others = others.map_err(|e| refuse(&e))?;
            let timed = team.alone(|| -> Result<_, EngineError> {
                let (begin, mut least, mut answers) = (cpu_time(), Duration::MAX, Vec::new());
                while cpu_time() - begin < ENOUGH {
                    let start = cpu_time();
                    answers = vec![run(&first[0])?];
                    least = least.min(cpu_time() - start);
                }
                Ok((answers, least))
            });
            let (mut answers, time) = timed.map_err(|e| refuse(&e))?;
            answers.extend(others);
            Ok(Trial { answers, time })
        })
    }
}

/// CPU time of this thread: it stands still while the system runs others.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn refuse(error: &EngineError) -> LoadError {
    LoadError::BadGraph(format!("a probe image fails: {error}"))
}

/// How many times as many products a second this CPU makes in bfloat16 as in `f32`, each in registers alone: 16 with
/// Intel's matrix unit, 2 with AVX512-BF16 on AMD's Zen 4, 0.5 with the same instructions on Intel's cores. None where
/// it has no instructions for one of them.
pub(super) fn bf16_rate(options: &EngineOptions) -> Option<f64> {
    let [bf16, f32] =
        [Precision::Bf16, Precision::F32].map(|p| Arithmetic::new(p, options.features));
    let (bf16, f32) = (bf16?, f32?);
    let rates: Option<Vec<[f64; 2]>> = (0..5).map(|_| Some([rate(bf16)?, rate(f32)?])).collect();
    let best = |i: usize| rates.iter().flatten().map(|r| r[i]).fold(0.0, f64::max);
    rates.as_ref().map(|_| best(0) / best(1))
}

/// Operations a second of one thread.
fn rate(arithmetic: Arithmetic) -> Option<f64> {
    let start = cpu_time();
    let operations = peak::spin(arithmetic, 4000)?;
    Some(operations as f64 / (cpu_time() - start).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_known_where_bfloat16_is_multiplied() {
        let options = EngineOptions::default();
        match (bf16_rate(&options), options.features.bf16) {
            (Some(rate), Some(_)) => assert!((0.1..100.0).contains(&rate), "{rate}"),
            (None, None) => {}
            (rate, unit) => panic!("{rate:?} with {unit:?}"),
        }
    }
}
