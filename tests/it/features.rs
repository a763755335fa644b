//! What a network gives beside its classes: its last feature map, the mean of that, and where it saw a class.

use std::path::PathBuf;

use kernels::nn::{Arithmetic, Precision};
use kernels::{Features, Isa};
use resnet::engine::{
    ColorValues, EngineOptions, Explain, FeatureSpec, Further, Model, ModelSource, Network,
    OutputWish, TractModel, Wish, run_with,
};
use resnet::tensor::{Image, Size, Tensor};

use crate::harness::fixture;

const SIDE: u32 = 64;

fn load(path: &PathBuf, features: Features, precision: Precision) -> TractModel {
    let source = ModelSource {
        bytes: std::fs::read(path).unwrap().into(),
        dir: None,
        default_size: Size::square(SIDE),
        output: OutputWish::default(),
    };
    let options = EngineOptions {
        features,
        precision: Some(precision),
        max_batch: 2,
        ..EngineOptions::default()
    };
    TractModel::load(Network::read(source).unwrap(), &ColorValues::UNIT, &options).unwrap()
}

fn images(size: Size, count: usize) -> Vec<Image> {
    let value =
        |i: usize| ((i * 7919) % (1009 - 100 * (i / size.values() % 7))) as f32 / 250.0 - 2.0;
    let values = size.values();
    let image = |n: usize| (n * values..(n + 1) * values).map(value).collect();
    (0..count)
        .map(|n| Tensor::new(size.shape().to_vec(), image(n)).into())
        .collect()
}

fn built_in(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/models")).join(name)
}

/// Networks that end in a mean and a linear layer, as many as there are ways to write that; those of bytes apart.
fn of_numbers() -> Vec<PathBuf> {
    let fixtures = ["opset7", "opset21", "preactivation", "probabilities"];
    let mut paths = vec![
        built_in("resnet18-tiny.onnx"),
        built_in("efficientnet-lite0.onnx"),
    ];
    paths.extend(fixtures.map(|name| fixture(&format!("models/{name}.onnx"))));
    paths
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, v| most.max(v.abs()))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The most that a byte counts from zero: with all of its numbers above zero, or half of them below.
const FULL: [f32; 2] = [255.0, 127.0];

/// The smallest distance between two of these numbers: a byte's step, of numbers that bytes mean.
fn step(numbers: &[f32]) -> f32 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f32::total_cmp);
    let distances = sorted.windows(2).map(|pair| pair[1] - pair[0]);
    distances.filter(|d| *d > 0.0).fold(f32::INFINITY, f32::min)
}

/// What the three outputs have to do with each other, and that nobody's depend on their company or on who asks.
fn check(name: &str, model: &TractModel, tolerance: f32) {
    let spec = model.spec();
    let FeatureSpec {
        channels,
        height,
        width,
    } = spec
        .features
        .unwrap_or_else(|| panic!("{name} has features"));
    assert_eq!(spec.outputs.len(), 3, "{name}");
    assert_eq!(
        spec.outputs[FeatureSpec::MAP].shape,
        [channels, height, width]
    );
    assert_eq!(spec.outputs[FeatureSpec::POOLED].shape, [channels]);
    let images = images(spec.size, 5);
    let mut engine = model.spawn().unwrap();
    let plain = engine.run(&images).unwrap();
    let all = engine.run_for(&images, &[0, 1, 2]).unwrap();
    assert_eq!(bits(&plain.concat()), bits(&all[0].concat()), "{name}");
    assert_eq!(
        bits(&plain.concat()),
        bits(&engine.run(&images).unwrap().concat())
    );
    let step = step(&all[2].concat());
    for (i, image) in images.iter().enumerate() {
        let alone = engine
            .run_for(std::slice::from_ref(image), &[2, 1])
            .unwrap();
        assert_eq!(bits(&alone[0][0]), bits(&all[2][i]), "{name}");
        assert_eq!(bits(&alone[1][0]), bits(&all[1][i]), "{name}");
        let (map, pooled) = (&all[1][i], &all[2][i]);
        assert!(largest(map) > 0.0, "{name}: a map of nothing");
        let area = height * width;
        for (channel, mean) in map.chunks_exact(area).zip(pooled) {
            let sum: f64 = channel.iter().map(|v| f64::from(*v)).sum();
            let expected = (sum / area as f64) as f32;
            // A byte may be too small for the mean: then it is full.
            let is_full = spec.precision == Precision::Int8
                && expected > *mean
                && FULL.iter().any(|full| (mean / step - full).abs() < 0.5);
            assert!(
                is_full || (mean - expected).abs() <= tolerance * largest(pooled),
                "{name}: {mean} {expected}"
            );
        }
    }
    assert_eq!(model.class_weights(spec.classes()), None);
    let wishes = [
        Wish::default(),
        Wish {
            explain: Some(Explain::Winner),
            ..Wish::default()
        },
        Wish {
            explain: Some(Explain::Class(1)),
            features: true,
            ..Wish::default()
        },
        Wish {
            feature_map: true,
            ..Wish::default()
        },
        Wish::default(),
    ];
    let given = run_with(&mut *engine, model, &images, &wishes).unwrap();
    for (i, ((output, further), wish)) in given.iter().zip(wishes).enumerate() {
        assert_eq!(bits(output), bits(&plain[i]), "{name}");
        assert_eq!(further.features, wish.features.then(|| all[2][i].clone()));
        assert_eq!(
            further.feature_map,
            wish.feature_map.then(|| all[1][i].clone())
        );
        assert_eq!(further.activation.is_some(), wish.explain.is_some());
    }
    let activation = given[1].1.activation.as_ref().unwrap();
    let winner = resnet::postprocess::largest(&plain[1]).unwrap();
    assert_eq!((activation.class, activation.width), (winner, width));
    assert_eq!(activation.values.len(), height * width);
}

/// The logit is the mean of the activation map and the class's bias, which two images have in common.
fn check_logits(name: &str, model: &TractModel, tolerance: f32) {
    let spec = model.spec();
    let images = images(spec.size, 2);
    let mut engine = model.spawn().unwrap();
    for class in [0, spec.classes() - 1] {
        let wish = Wish {
            explain: Some(Explain::Class(class)),
            ..Wish::default()
        };
        let given = run_with(&mut *engine, model, &images, &[wish; 2]).unwrap();
        let mean = |i: usize| {
            let values: &Vec<f32> = &given[i].1.activation.as_ref().unwrap().values;
            values.iter().sum::<f32>() / values.len() as f32
        };
        let bias = |i: usize| given[i].0[class] - mean(i);
        let scale = largest(&given[0].0).max(mean(0).abs());
        assert!(
            (bias(0) - bias(1)).abs() <= tolerance * scale,
            "{name}, class {class}: {} {}",
            bias(0),
            bias(1)
        );
    }
}

#[test]
fn map_mean_and_classes_fit_each_other_in_every_precision() {
    for path in of_numbers() {
        for (precision, tolerance) in [
            (Precision::F32, 1e-5),
            (Precision::Bf16x3, 1e-4),
            (Precision::Bf16, 2e-2),
        ] {
            if Arithmetic::new(precision, Features::detect()).is_none() {
                println!("SKIPPED: this CPU does not compute {}", precision.name());
                continue;
            }
            let name = format!("{} in {}", path.display(), precision.name());
            let model = load(&path, Features::detect(), precision);
            check(&name, &model, tolerance);
            if !path.ends_with("probabilities.onnx") {
                check_logits(&name, &model, tolerance);
            }
        }
    }
}

#[test]
fn networks_that_stay_with_tract_give_the_same() {
    for path in of_numbers() {
        let ours = load(&path, Features::detect(), Precision::F32);
        let tracts = load(&path, Features::vectors(Isa::Scalar), Precision::F32);
        assert_eq!(tracts.spec().lowering.steps, 0);
        let name = format!("{} by tract", path.display());
        check(&name, &tracts, 1e-5);
        let images = images(ours.spec().size, 2);
        let [got, want] = [&ours, &tracts].map(|m| m.spawn().unwrap().run_for(&images, &[1, 2]));
        for (got, want) in got.unwrap().concat().iter().zip(want.unwrap().concat()) {
            let most = 1e-4 * largest(&want);
            let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= most);
            assert!(near, "{name}");
        }
        for class in 0..3 {
            assert_eq!(ours.class_weights(class), tracts.class_weights(class));
        }
    }
}

#[test]
fn numbers_of_a_network_of_bytes_are_what_its_bytes_mean() {
    if Arithmetic::new(Precision::Int8, Features::detect()).is_none() {
        println!("SKIPPED: this CPU does not compute int8");
        return;
    }
    let mut found = 0;
    for entry in std::fs::read_dir(fixture("quantized")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let source = ModelSource {
            bytes: bytes.into(),
            dir: None,
            default_size: Size::square(32),
            output: OutputWish::default(),
        };
        let options = EngineOptions {
            precision: None,
            max_batch: 2,
            ..EngineOptions::default()
        };
        // Some are damaged on purpose.
        let loaded = Network::read(source)
            .and_then(|network| TractModel::load(network, &ColorValues::UNIT, &options));
        let Ok(model) = loaded else { continue };
        if model.spec().precision != Precision::Int8 || model.spec().features.is_none() {
            continue;
        }
        // A mean is rounded to a step of its own scale.
        check(&path.display().to_string(), &model, 2e-2);
        found += 1;
    }
    assert!(
        found >= 8,
        "{found} of the quantized networks have features"
    );
}

#[test]
fn network_of_another_ending_has_none() {
    // Its classes are the means of a map's channels, with no layer behind.
    let path = fixture("models/convolutional.onnx");
    let model = load(&path, Features::detect(), Precision::F32);
    assert_eq!(model.spec().features, None);
    assert_eq!(
        (model.spec().outputs.len(), model.class_weights(0)),
        (1, None)
    );
    let wish = Wish {
        explain: Some(Explain::Winner),
        features: true,
        feature_map: true,
    };
    let images = images(model.spec().size, 1);
    let mut engine = model.spawn().unwrap();
    let plain = engine.run(&images).unwrap();
    let given = run_with(&mut *engine, &model, &images, &[wish]).unwrap();
    assert_eq!(given, [(plain[0].clone(), Further::default())]);
}
