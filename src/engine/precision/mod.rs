//! Which precision a network is computed in: that of a quantized file, the one asked for, or the fastest that passes a
//! self-check at load.
//!
//! Called by `tract`. Never keeps a model in a precision that gives other answers than f32 unless somebody asked.

use super::agreement::Agreement;
use super::import::Network;
use super::probes;
use super::trial::{Trial, bf16_rate};
use super::{ColorValues, EngineOptions, EngineSpec, LoadError, Lowering, Model, TractModel};
use crate::tensor::Image;
use kernels::nn::{Arithmetic, Precision};

/// Makes a network's plan in the precision that `options` ask for; where they leave it open, in bfloat16 if the CPU has
/// an instruction for it and the network then answers as in f32 in less time, else in f32.
///
/// # Errors
/// [`LoadError`]: the network cannot be served, or the precision asked for has no instructions here.
pub(super) fn load(
    network: Network,
    colors: &ColorValues,
    options: &EngineOptions,
) -> Result<TractModel, LoadError> {
    if network.is_quantized() {
        return load_quantized(network, colors, options);
    }
    if options.precision == Some(Precision::Int8) {
        return Err(LoadError::NotQuantized);
    }
    let mut network = Some(network);
    let make = |precision, again| {
        let network = match again {
            Again::Perhaps => network.clone(), // its weights are shared
            Again::Never => network.take(),
        };
        let network = network.expect("nothing is made after the last");
        network.finish(precision, colors, options)
    };
    let bench = Bench {
        bf16_rate: || bf16_rate(options),
        run: |model: &TractModel, images: &[Image]| Trial::of(model, images, &options.team),
    };
    let (mut model, mut choice) = choose(options, colors, make, &bench)?;
    model.answers = std::mem::take(&mut choice.answers);
    choice.note_in(&mut model.spec);
    Ok(model)
}

/// Makes the plan of a network whose file says how values are stored as bytes. That is its precision: there is nothing
/// to choose. In f32, for comparison, tract computes all of it.
fn load_quantized(
    network: Network,
    colors: &ColorValues,
    options: &EngineOptions,
) -> Result<TractModel, LoadError> {
    let int8 = Arithmetic::new(Precision::Int8, options.features);
    let precision = match (options.precision, int8) {
        (None | Some(Precision::Int8), Some(_)) => Precision::Int8,
        (Some(Precision::F32), _) | (None, None) => Precision::F32,
        (Some(Precision::Int8), None) => {
            return Err(LoadError::NoInstructions {
                precision: Precision::Int8.name(),
                needed: "AVX2",
                best: options.features.name(),
            });
        }
        (Some(other), _) => return Err(LoadError::Quantized(other.name())),
    };
    let mut model = network.finish(precision, colors, options)?;
    let choice = match int8 {
        Some(arithmetic) if model.computes(Precision::Int8) => Choice {
            precision,
            reason: int8_reason(&model.layers_on_numbers()),
            instructions: arithmetic.instructions(),
            answers: Vec::new(),
        },
        _ => Choice {
            precision: Precision::F32,
            reason: "f32: the file is quantized, tract computes all that is on bytes".into(),
            instructions: "tract",
            answers: Vec::new(),
        },
    };
    choice.note_in(&mut model.spec);
    Ok(model)
}

/// Layers on numbers that are named; of the others their number is said.
const NAMED_LAYERS: usize = 4;

/// Why a network is computed on bytes, and what of it is not.
fn int8_reason(on_numbers: &[&str]) -> String {
    let mut reason = "int8: the file is quantized".to_owned();
    if !on_numbers.is_empty() {
        let named = on_numbers.len().min(NAMED_LAYERS);
        reason += "; in f32: ";
        reason += &on_numbers[..named].join(", ");
        let others = on_numbers.len() - named;
        if others > 0 {
            reason += &format!(" and {others} more");
        }
    }
    reason
}

/// Share of the time of `f32` below which `auto` takes bfloat16. What gains less may as well be exact, and where the two
/// are alike, chance should not choose between them at each start.
const TIME_BOUND: f64 = 0.95;

/// Whether another model may be made of the same network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Perhaps,
    Never,
}

/// A precision, and the reason for it.
#[derive(Debug, PartialEq)]
struct Choice {
    precision: Precision,
    reason: String,
    instructions: &'static str,
    /// The network's answers to [`probes::images`], where they had to be known.
    answers: Vec<Vec<f32>>,
}

impl Choice {
    fn note_in(self, spec: &mut EngineSpec) {
        spec.precision = self.precision;
        spec.precision_reason = self.reason;
        spec.instructions = self.instructions.to_owned();
        if spec.lowering.steps > 0 {
            spec.runtime += " with operators of resnet";
        }
    }
}

/// The measurements by which a precision is chosen.
struct Bench<R, T> {
    /// Measures bfloat16 against `f32`, as [`bf16_rate`].
    bf16_rate: R,
    /// Runs a model over the probe images.
    run: T,
}

/// Makes a model by `make` in the precision that fits; at most one at a time is held.
fn choose<M: Model>(
    options: &EngineOptions,
    colors: &ColorValues,
    mut make: impl FnMut(Precision, Again) -> Result<M, LoadError>,
    bench: &Bench<impl Fn() -> Option<f64>, impl Fn(&M, &[Image]) -> Result<Trial, LoadError>>,
) -> Result<(M, Choice), LoadError> {
    let arithmetic = |precision| Arithmetic::new(precision, options.features);
    let choice = |model: &M, precision, reason: String| {
        let Lowering { steps, .. } = model.spec().lowering;
        match arithmetic(precision) {
            Some(arithmetic) if steps > 0 => Choice {
                precision,
                reason,
                instructions: arithmetic.instructions(),
                answers: Vec::new(),
            },
            _ => Choice {
                precision: Precision::F32,
                reason: "f32: tract computes all of it".into(),
                instructions: "tract",
                answers: Vec::new(),
            },
        }
    };
    if let Some(precision) = options.precision {
        if precision != Precision::F32 && arithmetic(precision).is_none() {
            return Err(LoadError::NoInstructions {
                precision: precision.name(),
                needed: "AVX512-BF16 or AMX",
                best: options.features.name(),
            });
        }
        let model = make(precision, Again::Never)?;
        let choice = choice(
            &model,
            precision,
            format!("{}: asked for", precision.name()),
        );
        return Ok((model, choice));
    }
    let Some(bf16) = arithmetic(Precision::Bf16) else {
        let model = make(Precision::F32, Again::Never)?;
        let reason = format!("f32: {} has no bf16", options.features.name());
        let choice = choice(&model, Precision::F32, reason);
        return Ok((model, choice));
    };

    if let Some(rate) = (bench.bf16_rate)().filter(|&rate| rate < 1.0) {
        let model = make(Precision::F32, Again::Never)?;
        let unit = bf16.instructions();
        let reason = format!("f32: {unit} multiplies at {rate:.2} times its rate here");
        let choice = choice(&model, Precision::F32, reason);
        return Ok((model, choice));
    }

    let exact = make(Precision::F32, Again::Perhaps)?;
    if exact.spec().lowering.steps == 0 {
        let choice = choice(&exact, Precision::F32, String::new());
        return Ok((exact, choice));
    }
    let images = probes::images(exact.spec().size, colors);
    let expected = (bench.run)(&exact, &images)?;
    drop(exact); // its packed weights are as large as those that follow
    let fast = make(Precision::Bf16, Again::Perhaps)?;
    let got = (bench.run)(&fast, &images)?;
    let agreement = Agreement::of(&expected.answers, &got.answers);
    let share = got.time.as_secs_f64() / expected.time.as_secs_f64().max(f64::MIN_POSITIVE);
    let unit = bf16.instructions();
    let figures = format!("{agreement}, {share:.2} of the time of f32, {unit}");
    if agreement.is_close() && share < TIME_BOUND {
        let choice = Choice {
            answers: got.answers,
            ..choice(&fast, Precision::Bf16, format!("bf16: {figures}"))
        };
        return Ok((fast, choice));
    }
    drop(fast);
    let exact = make(Precision::F32, Again::Never)?;
    let reason = format!("f32, because of bf16: {figures}");
    let choice = Choice {
        answers: expected.answers,
        ..choice(&exact, Precision::F32, reason)
    };
    Ok((exact, choice))
}

#[cfg(test)]
mod tests;
