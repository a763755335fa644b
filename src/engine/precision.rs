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
        run: |model: &TractModel, images: &[Image]| Trial::of(model, images),
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
/// are alike, chance must not choose between them at each start.
const TIME_BOUND: f64 = 0.95;

/// Whether another may be made of the same network.
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
    /// To [`probes::images`], where they had to be known.
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

/// What precisions are measured by.
struct Bench<R, T> {
    /// As [`bf16_rate`].
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
mod tests {
    use std::cell::RefCell;
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::engine::{Engine, EngineError, OutputInfo};
    use crate::tensor::Size;
    use kernels::{Bf16Unit, Features, Isa};

    /// A network that answers the same to everything.
    struct Fixed {
        spec: EngineSpec,
        output: Vec<f32>,
    }

    struct FixedEngine(Vec<f32>);

    impl Model for Fixed {
        fn spec(&self) -> &EngineSpec {
            &self.spec
        }

        fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
            Ok(Box::new(FixedEngine(self.output.clone())))
        }
    }

    impl Engine for FixedEngine {
        fn run_for(
            &mut self,
            images: &[Image],
            _outputs: &[usize],
        ) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
            Ok(vec![vec![self.0.clone(); images.len()]])
        }
    }

    fn fixed(output: &[f32], steps: usize) -> Fixed {
        let lowering = Lowering {
            steps,
            ..Lowering::default()
        };
        Fixed {
            spec: EngineSpec {
                input_name: "input".into(),
                input_form: crate::engine::InputForm::default(),
                pixels: crate::engine::Pixels::default(),
                notes: Vec::new(),
                outputs: vec![OutputInfo {
                    name: "output".into(),
                    shape: vec![output.len()],
                }],
                features: None,
                output_reason: String::new(),
                ending: crate::engine::Ending::Linear,
                size: Size::square(4),
                plan_batch: None,
                takes_bytes: false,
                runtime: "tract".into(),
                lowering,
                precision: Precision::F32,
                precision_reason: String::new(),
                instructions: String::new(),
            },
            output: output.to_vec(),
        }
    }

    fn skipped() {
        let test = std::thread::current();
        let test = test.name().unwrap_or("?");
        // past the test runner, which hides what a passing test prints
        let text = format!("SKIPPED {test}: this CPU has no instructions for bfloat16\n");
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// How long both precisions take, and how fast their products are made.
    #[derive(Debug, Clone, Copy)]
    struct Speed {
        rate: f64,
        f32: u64,
        bf16: u64,
    }

    const TWICE_AS_FAST: Speed = Speed {
        rate: 2.0,
        f32: 20,
        bf16: 10,
    };

    /// A choice between networks that answer the same to everything, each in the time that it has.
    fn chosen(
        options: &EngineOptions,
        [exact, fast]: [&[f32]; 2],
        steps: usize,
        speed: Speed,
    ) -> (Result<Choice, LoadError>, Vec<Precision>) {
        let loads = RefCell::new(Vec::new());
        let make = |precision, _| {
            loads.borrow_mut().push(precision);
            Ok(match precision {
                Precision::F32 => fixed(exact, steps),
                _ => fixed(fast, steps),
            })
        };
        let bench = Bench {
            bf16_rate: || Some(speed.rate),
            run: |model: &Fixed, images: &[Image]| {
                let micros = match loads.borrow().last() {
                    Some(Precision::F32) => speed.f32,
                    _ => speed.bf16,
                };
                Ok(Trial {
                    time: Duration::from_micros(micros),
                    ..Trial::of(model, images)?
                })
            },
        };
        let choice = choose(options, &ColorValues::UNIT, make, &bench).map(|(_, choice)| choice);
        (choice, loads.into_inner())
    }

    /// The precision chosen by `auto` and what was loaded for it; none where this CPU has no bfloat16.
    fn auto(answers: [&[f32]; 2], steps: usize, speed: Speed) -> Option<(Choice, Vec<Precision>)> {
        let options = EngineOptions {
            precision: None,
            ..EngineOptions::default()
        };
        if options.features.bf16.is_none() {
            skipped();
            return None;
        }
        let (choice, loads) = chosen(&options, answers, steps, speed);
        Some((choice.expect("nothing fails"), loads))
    }

    #[test]
    fn auto_takes_bf16_only_where_it_takes_less_time() {
        let logits: &[f32] = &[1.0, 4.0, 2.0];
        for (f32, bf16, want) in [
            (20, 10, Precision::Bf16),
            (20, 18, Precision::Bf16),
            (20, 20, Precision::F32),
            (20, 30, Precision::F32),
        ] {
            let speed = Speed {
                rate: 2.0,
                f32,
                bf16,
            };
            let Some((choice, loads)) = auto([logits, logits], 5, speed) else {
                return;
            };
            assert_eq!(choice.precision, want, "{speed:?}: {}", choice.reason);
            assert_eq!(loads.last(), Some(&want));
            let share = format!("{:.2} of the time of f32", bf16 as f64 / f32 as f64);
            assert!(choice.reason.contains(&share), "{choice:?}");
        }
        let slow = Speed {
            rate: 0.5,
            ..TWICE_AS_FAST
        };
        let Some((choice, loads)) = auto([logits, logits], 5, slow) else {
            return;
        };
        assert_eq!(choice.precision, Precision::F32);
        assert_eq!(loads, [Precision::F32], "nothing is made in vain");
        assert!(choice.reason.contains("0.50 times its rate"), "{choice:?}");
    }

    #[test]
    fn auto_takes_bf16_only_where_it_answers_as_f32() {
        let logits = [1.0, 4.0, 2.0];
        for (fast, want) in [
            ([1.01, 3.99, 2.01], Precision::Bf16),
            ([1.0, 4.5, 2.0], Precision::F32), // 0.05 is exceeded
            ([4.0, 1.0, 2.0], Precision::F32), // another class
            ([1.0, f32::NAN, 2.0], Precision::F32),
            ([1.0, f32::INFINITY, 2.0], Precision::F32),
        ] {
            let Some((choice, loads)) = auto([&logits, &fast], 5, TWICE_AS_FAST) else {
                return;
            };
            assert_eq!(choice.precision, want, "{fast:?}: {}", choice.reason);
            assert_eq!(loads.last(), Some(&want));
            let figures = ["probe images keep their class", "(bound 0.05)"];
            assert!(
                figures.iter().all(|f| choice.reason.contains(f)),
                "{choice:?}"
            );
        }
    }

    #[test]
    fn probabilities_are_compared_as_they_are() {
        // A softmax over these would hide the difference.
        let Some((choice, _)) = auto([&[0.1, 0.9], &[0.16, 0.84]], 5, TWICE_AS_FAST) else {
            return;
        };
        assert_eq!(choice.precision, Precision::F32);
        assert!(choice.reason.contains("0.0600"), "{choice:?}");
    }

    #[test]
    fn network_of_stock_operators_is_loaded_once() {
        let Some((choice, loads)) = auto([&[1.0, 2.0]; 2], 0, TWICE_AS_FAST) else {
            return;
        };
        assert_eq!(loads, [Precision::F32]);
        assert_eq!(
            (choice.precision, choice.instructions),
            (Precision::F32, "tract")
        );
    }

    #[test]
    fn precision_without_instructions_is_refused_and_f32_never() {
        let options = EngineOptions {
            features: Features::vectors(Isa::Scalar),
            precision: None,
            ..EngineOptions::default()
        };
        for precision in Precision::FLOATS {
            let options = EngineOptions {
                precision: Some(precision),
                ..options.clone()
            };
            let (got, _) = chosen(&options, [&[0.0, 1.0]; 2], 0, TWICE_AS_FAST);
            assert_eq!(got.is_ok(), precision == Precision::F32, "{precision:?}");
        }
        let (choice, _) = chosen(&options, [&[0.0, 1.0]; 2], 0, TWICE_AS_FAST);
        assert_eq!(choice.expect("auto is f32").precision, Precision::F32);
    }

    /// A network that cannot run.
    struct Panics(EngineSpec);

    impl Model for Panics {
        fn spec(&self) -> &EngineSpec {
            &self.0
        }

        fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
            assert!(crate::engine::is_expected_panic());
            panic!("an index out of bounds")
        }
    }

    #[test]
    fn panic_for_a_probe_image_is_the_reason_for_the_refusal() {
        let model = Panics(fixed(&[0.0, 1.0], 0).spec);
        let images = probes::images(Size::square(4), &ColorValues::UNIT);
        let error = Trial::of(&model, &images).unwrap_err().to_string();
        assert!(error.contains("an index out of bounds"), "{error}");
    }

    #[test]
    fn wish_is_honoured_where_the_cpu_can() {
        let Some(unit) = Features::detect().bf16 else {
            skipped();
            return;
        };
        let options = EngineOptions {
            precision: Some(Precision::Bf16x3),
            ..EngineOptions::default()
        };
        let (choice, _) = chosen(&options, [&[0.0, 1.0]; 2], 5, TWICE_AS_FAST);
        let choice = choice.expect("it can");
        assert_eq!(choice.precision, Precision::Bf16x3);
        assert_eq!(choice.reason, "bf16x3: asked for");
        let instructions = match unit {
            Bf16Unit::Amx => "amx",
            Bf16Unit::Avx512 => "avx512-bf16",
        };
        assert_eq!(choice.instructions, instructions);
    }
}
