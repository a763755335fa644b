//! What a network answers to the probe images, and how long it takes: what a precision is chosen by.
//!
//! Called by `precision`. A time is the least of a few runs that have the machine to themselves, so that other work
//! seldom decides.

use std::time::{Duration, Instant};

use super::caught::catch;
use super::{EngineError, EngineOptions, LoadError, Model};
use crate::tensor::Image;
use kernels::nn::{Arithmetic, Precision};
use kernels::peak;

/// How long the images of a network are run again for its time, if one pass took less: what takes a few milliseconds
/// varies by as much as precisions differ. A start waits for it.
const ENOUGH: Duration = Duration::from_millis(40);

/// A network's run over the probe images.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trial {
    pub(super) answers: Vec<Vec<f32>>,
    /// The least that one image took, on as many threads as an inference may have.
    pub(super) time: Duration,
}

impl Trial {
    /// Runs a model over images, one after another on as many threads as an inference may have: so the runs that tell
    /// its answers tell its time too.
    ///
    /// # Errors
    /// [`LoadError::BadGraph`] if an image fails.
    pub(super) fn of<M: Model>(model: &M, images: &[Image]) -> Result<Trial, LoadError> {
        catch(|| {
            let mut engine = model.spawn().map_err(|e| refuse(&e))?;
            let mut answers = Vec::with_capacity(images.len());
            let (begin, mut least) = (Instant::now(), Duration::MAX);
            loop {
                for image in images {
                    let start = Instant::now();
                    let answer = engine.run(std::slice::from_ref(image));
                    let took = start.elapsed();
                    let answer = answer.map_err(|e| refuse(&e))?.remove(0);
                    if !answers.is_empty() {
                        least = least.min(took); // the first run fetches memory
                    }
                    if answers.len() < images.len() {
                        answers.push(answer);
                    }
                }
                if begin.elapsed() >= ENOUGH {
                    return Ok(Trial {
                        answers,
                        time: least,
                    });
                }
            }
        })
    }
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

/// Operations a second.
fn rate(arithmetic: Arithmetic) -> Option<f64> {
    let start = Instant::now();
    let operations = peak::spin(arithmetic, 4000)?;
    Some(operations as f64 / start.elapsed().as_secs_f64())
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
