//! A fake network for the tests that need to control when a run ends, and what it fails on.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kernels::nn::Precision;
use resnet::engine::{
    Ending, Engine, EngineError, EngineSpec, InputForm, Lowering, Model, OutputInfo, Pixels,
};
use resnet::preprocess::PreprocessSpec;
use resnet::registry::{Labels, LoadedModel, OutputKind};
use resnet::tensor::{Image, Size};

/// A network whose runs wait at a gate. Its two logits are the mean and the first value of the image; its second output
/// are the image's own values.
pub(crate) struct FakeModel {
    spec: EngineSpec,
    gate: Arc<Gate>,
}

/// Lets the runs of a `FakeModel` through while open, and remembers their batch sizes.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    /// Runs that may pass although it is closed.
    tickets: usize,
    entered: usize,
    batches: Vec<usize>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    /// Lets this many more runs through, one by one.
    pub(crate) fn let_through(&self, runs: usize) {
        self.state.lock().unwrap().tickets += runs;
        self.changed.notify_all();
    }

    /// Waits until this many runs have arrived at the gate.
    pub(crate) fn wait_for(&self, runs: usize) {
        let (state, timeout) = self
            .changed
            .wait_timeout_while(self.state.lock().unwrap(), Duration::from_secs(20), |s| {
                s.entered < runs
            })
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} of {runs} runs arrived",
            state.entered
        );
    }

    /// Sizes of all batches so far, without the warm-ups.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.state.lock().unwrap().batches.clone()
    }

    fn pass(&self, batch: usize) {
        let mut state = self.state.lock().unwrap();
        state.entered += 1;
        state.batches.push(batch);
        self.changed.notify_all();
        let stopped = |s: &mut GateState| s.closed && s.tickets == 0;
        let mut state = self.changed.wait_while(state, stopped).unwrap();
        state.tickets = state.tickets.saturating_sub(1);
    }
}

impl FakeModel {
    /// A loaded model of two classes with a 2×2 input, and the gate of its runs.
    pub(crate) fn loaded(name: &str) -> (LoadedModel, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let spec = EngineSpec {
            input_name: "input".into(),
            input_form: InputForm::default(),
            pixels: Pixels::default(),
            notes: Vec::new(),
            outputs: vec![
                OutputInfo {
                    name: "logits".into(),
                    shape: vec![2],
                },
                OutputInfo {
                    name: "values".into(),
                    shape: vec![3, 2, 2],
                },
            ],
            features: None,
            output_reason: "it is a fake".into(),
            ending: Ending::Linear,
            size: Size::square(2),
            plan_batch: None,
            takes_bytes: false,
            runtime: "fake".into(),
            lowering: Lowering::default(),
            precision: Precision::F32,
            precision_reason: "it is a fake".into(),
            instructions: "none".into(),
        };
        let model = LoadedModel {
            name: name.into(),
            origin: "test".into(),
            sha256: "0".repeat(64),
            bytes: 0,
            license: None,
            preprocess: PreprocessSpec {
                resize: Size::square(2),
                crop: Size::square(2),
                mean: [0.0; 3],
                std: [1.0; 3],
                ..PreprocessSpec::default()
            },
            preprocess_from: "test".into(),
            labels: Labels::numbers(2),
            labels_from: "test".into(),
            notes: Vec::new(),
            output: OutputKind::Logits,
            output_reason: "it is a fake".into(),
            model: Arc::new(FakeModel {
                spec,
                gate: Arc::clone(&gate),
            }),
            load_time: Duration::ZERO,
        };
        (model, gate)
    }
}

impl Model for FakeModel {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(FakeEngine {
            gate: Arc::clone(&self.gate),
            warm: false,
        }))
    }
}

struct FakeEngine {
    gate: Arc<Gate>,
    warm: bool,
}

/// An image of this color (red, on the scale 0 to 1) makes the fake network panic.
pub(crate) const POISON: u8 = 13;

impl Engine for FakeEngine {
    fn run_for(
        &mut self,
        images: &[Image],
        outputs: &[usize],
    ) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        if std::mem::replace(&mut self.warm, true) {
            self.gate.pass(images.len());
        }
        let data = |image: &Image| match image {
            Image::Tensor(tensor) => tensor.data().to_vec(),
            Image::Values(values) => values.iter().collect(),
            Image::Crop(_) => panic!("the fake network takes no bytes"),
        };
        let images: Vec<Vec<f32>> = images.iter().map(data).collect();
        assert!(
            images.iter().all(|i| i[0] != f32::from(POISON) / 255.0),
            "the fake network met the poisoned image"
        );
        let output = |output: &usize| match output {
            0 => {
                let logits = |i: &Vec<f32>| vec![i.iter().sum::<f32>() / 12.0, i[0]];
                images.iter().map(logits).collect()
            }
            _ => images.clone(),
        };
        Ok(outputs.iter().map(output).collect())
    }
}

/// A PNG of one color.
pub(crate) fn plain_png(red: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[red, 0, 0].repeat(4)).unwrap();
    writer.finish().unwrap();
    bytes
}
