//! What exporters write, one small graph of each kind: answered as by ONNX Runtime, or refused with the reason.

use std::path::PathBuf;

use kernels::nn::Precision;
use resnet::engine::EngineOptions;
use resnet::postprocess::bound_below;
use resnet::registry::{Catalog, LoadedModel, ModelRef, load, preprocess_of};
use resnet::tensor::{Image, Size, Tensor};
use serde_json::Value;

use crate::harness::{Settings, TestServer, fixture, fixture_json, resnet};

const SIDE: u32 = 8;

/// A graph with what a user says of it beside it.
struct Given {
    dir: tempfile::TempDir,
}

impl Given {
    fn new(name: &str, about: &Value) -> Given {
        let dir = tempfile::Builder::new().prefix("model").tempdir().unwrap();
        let file = fixture(&format!("exporters/{name}.onnx"));
        std::fs::copy(file, dir.path().join("model.onnx")).unwrap();
        if let Some(beside) = about["beside"].as_str() {
            let file = fixture(&format!("exporters/{beside}"));
            std::fs::copy(file, dir.path().join(beside)).unwrap();
        }
        if let Some(toml) = about["toml"].as_str() {
            std::fs::write(dir.path().join("model.toml"), toml).unwrap();
        }
        if let Some(classes) = about["labels"].as_u64() {
            let lines: String = (0..classes).map(|i| format!("class {i}\n")).collect();
            std::fs::write(dir.path().join("labels.txt"), lines).unwrap();
        }
        Given { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn load(&self) -> Result<LoadedModel, String> {
        self.load_in(&EngineOptions::default())
    }

    fn load_in(&self, options: &EngineOptions) -> Result<LoadedModel, String> {
        let value = format!("m={}", self.dir.path().display());
        let reference = ModelRef::parse(&value, &Catalog::builtin(), None).unwrap();
        load(&reference, options).map_err(|e| e.to_string())
    }
}

fn expected(what: &str) -> serde_json::Map<String, Value> {
    let expected = fixture_json("exporters/expected.json");
    expected[what].as_object().unwrap().clone()
}

/// The formula of `make_models.py`, spread over the pixels that the network takes.
fn images(count: usize, size: Size, pixels: Option<&str>) -> Vec<Image> {
    let area = size.pixels();
    let value = |i: usize| {
        let value = ((i * 7919) % (1000 - 100 * (i / area % 7))) as f32 / 500.0 - 1.0;
        match pixels {
            Some("bytes") => ((value + 1.0) * 127.0).round_ties_even(),
            Some(_) => (value + 1.0) / 2.0,
            None => value,
        }
    };
    let image = |n: usize| (n * 3 * area..(n + 1) * 3 * area).map(value).collect();
    (0..count)
        .map(|n| Tensor::new(size.shape().to_vec(), image(n)).into())
        .collect()
}

/// Scale, mean and deviation of a network that takes pixels from 0 to 255, or to 1.
fn as_they_are(pixels: &str) -> (f32, [f32; 3], [f32; 3]) {
    let white = if pixels == "bytes" { 255.0 } else { 1.0 };
    (white, [0.0; 3], [1.0; 3])
}

fn numbers(value: &Value) -> Vec<Vec<f64>> {
    let row = |row: &Value| {
        row.as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    };
    value.as_array().unwrap().iter().map(row).collect()
}

/// The precision of a quantized file itself, and of any other `f32`.
fn own_precision(name: &str) -> EngineOptions {
    EngineOptions {
        precision: (!name.starts_with('q')).then_some(Precision::F32),
        ..EngineOptions::default()
    }
}

/// Compares a graph's answers with those due; what is wrong with them.
fn compare(name: &str, about: &Value) -> Result<(), String> {
    let given = Given::new(name, about);
    compare_model(&given.load()?, about)?;
    compare_model(&given.load_in(&own_precision(name))?, about)
}

fn compare_model(model: &LoadedModel, about: &Value) -> Result<(), String> {
    if let Some(kind) = about["kind"].as_str()
        && model.output.name() != kind
    {
        return Err(format!("{}, expected {kind}", model.output.name()));
    }
    let spec = model.model.spec();
    let output = about["output_name"].as_str().unwrap_or("y");
    if spec.output_name() != output {
        return Err(format!("output {}, expected {output}", spec.output_name()));
    }
    let want = numbers(&about["output"]);
    let pixels = about["pixels"].as_str();
    let given = &model.preprocess;
    if pixels.is_some_and(|pixels| (given.scale, given.mean, given.std) != as_they_are(pixels)) {
        return Err(format!("{given:?}, expected {pixels:?} as they are"));
    }
    let size = match about["size"].as_array() {
        Some(_) => serde_json::from_value(about["size"].clone()).unwrap(),
        None => Size::square(SIDE),
    };
    if spec.size != size {
        return Err(format!("images of {}, expected {size}", spec.size));
    }
    let images = images(want.len(), size, pixels);
    let mut engine = model.model.spawn().unwrap();
    let together = engine.run(&images).map_err(|e| e.to_string())?;
    let bounded = |mut output: Vec<f32>| {
        bound_below(&mut output);
        output
    };
    let together: Vec<Vec<f32>> = together.into_iter().map(bounded).collect();
    let tolerance = about["tolerance"].as_f64().unwrap();
    for ((image, got), want) in images.iter().zip(&together).zip(&want) {
        if got.len() != want.len() {
            return Err(format!("{} classes, expected {}", got.len(), want.len()));
        }
        for (got, want) in got.iter().zip(want) {
            if (f64::from(*got) - want).abs() > tolerance * want.abs().max(1.0) {
                return Err(format!("{got}, expected {want}"));
            }
        }
        let alone = engine.run(std::slice::from_ref(image)).unwrap();
        if bounded(alone[0].clone()) != *got {
            return Err("it answers otherwise in company".into());
        }
    }
    Ok(())
}

#[test]
fn graphs_of_every_kind_answer_as_onnx_runtime_does() {
    let good = expected("good");
    let wrong: Vec<String> = good
        .iter()
        .filter_map(|(name, about)| Some(format!("{name}: {}", compare(name, about).err()?)))
        .collect();
    assert!(good.len() > 90 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_cannot_be_served_right_is_refused_with_the_reason_on_one_line() {
    let refused = expected("refused");
    let mut wrong = Vec::new();
    for (name, about) in &refused {
        let reason = about["reason"].as_str().unwrap();
        match Given::new(name, about).load() {
            Ok(_) => wrong.push(format!("{name} is served")),
            Err(e) if e.contains(reason) && !e.contains('\n') && e.len() < 700 => {}
            Err(e) => wrong.push(format!("{name}: {e}, expected {reason}")),
        }
    }
    assert!(refused.len() > 20 && wrong.is_empty(), "{wrong:#?}");
}

/// A layer between others that no kernel has, or no word.
#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
fn layer_that_no_kernel_has_leaves_those_around_it_to_ours_and_is_named() {
    for (name, about) in expected("good") {
        let Some(layer) = about["layer"].as_str() else {
            continue;
        };
        let given = Given::new(&name, &about);
        let options = own_precision(&name);
        let model = given.load_in(&options).unwrap();
        let lowering = &model.model.spec().lowering;
        assert!(lowering.steps >= 3, "{name}: {lowering:?}");
        let refused: Vec<&str> = lowering.refused.iter().map(|r| r.node.as_str()).collect();
        let left = lowering.left.iter().any(|(op, _)| op.contains("Conv"));
        assert_eq!(left, refused == [layer], "{name}: {lowering:?}");
        // Another precision has other kernels.
        let precision = options.precision.map_or("auto", Precision::name);
        let mut show = resnet();
        show.arg("show")
            .arg(given.path())
            .args(["--precision", precision]);
        let text = String::from_utf8(show.output().unwrap().stdout).unwrap();
        assert_eq!(
            left,
            text.contains(&format!("not ours      {layer}: ")),
            "{text}"
        );
    }
}

#[test]
fn answer_says_what_its_numbers_are_and_leaves_scores_as_they_are() {
    let good = expected("good");
    for name in ["sigmoid", "percentages", "softmax", "one_sigmoid", "tanh"] {
        let about = &good[name];
        let model = Given::new(name, about).load().unwrap();
        let server = TestServer::start(vec![model], &Settings::default());
        let image = std::fs::read(fixture("photos/espresso.png")).unwrap();
        let answer = server.post("/classify?top_k=2", &image).ok();
        assert_eq!(answer["output_kind"], about["kind"], "{name}: {answer}");
        assert_eq!(
            server.get("/models/m").ok()["output"]["kind"],
            about["kind"]
        );
        let first = answer["predictions"][0]["probability"].as_f64().unwrap();
        let range = match name {
            "percentages" => 20.0..=100.0, // of five classes that sum to 100
            _ => 0.2..=1.0,
        };
        assert!(range.contains(&first), "{name}: {answer}");
    }
}

/// `resnet preprocess` gives what the network is given.
#[test]
fn preprocess_command_knows_networks_that_take_pixels_as_they_are() {
    for (name, about) in expected("good") {
        let given = Given::new(&name, &about);
        let Some(pixels) = about["pixels"].as_str() else {
            continue;
        };
        let value = format!("m={}", given.path().display());
        let reference = ModelRef::parse(&value, &Catalog::builtin(), None).unwrap();
        let (spec, _) = preprocess_of(&reference).unwrap();
        assert_eq!(spec, given.load().unwrap().preprocess, "{name}");
        let given = (spec.scale, spec.mean, spec.std);
        assert_eq!(given, as_they_are(pixels), "{name}");
    }
}
