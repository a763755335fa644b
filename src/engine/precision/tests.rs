//! The choice of a precision, by models that answer and take time as is said.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::engine::{Engine, EngineError, OutputInfo};
use crate::tensor::Size;
use kernels::nn::Team;
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
                ..Trial::of(model, images, &options.team)?
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
    let error = Trial::of(&model, &images, &Team::new(1))
        .unwrap_err()
        .to_string();
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
