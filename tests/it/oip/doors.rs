//! The same photo gives the same numbers over every door, whoever has preprocessed it.

use base64::Engine as _;
use resnet::engine::EngineOptions;
use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor};
use resnet::registry::{Catalog, LoadedModel, ModelRef, load};
use serde_json::{Value, json};

use super::{
    JSON_LENGTH, bytes_of, floats, message, outputs, post_binary, post_with, with_lengths,
};
use crate::grpc;
use crate::harness::{
    Answer, Settings, TestServer, fixture, fixture_bytes, resnet, skipped, tiny_reference,
};

/// Logits and probabilities of an answer.
fn numbers(answer: &Answer) -> (Vec<f32>, Vec<f32>) {
    let found = outputs(answer);
    (found[0].1.numbers().to_vec(), found[1].1.numbers().to_vec())
}

#[test]
fn answers_are_the_same_numbers_over_every_door_in_every_precision() {
    use kernels::nn::Precision;
    let mut seen = Vec::new();
    for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
        match load(&tiny_reference(), &with(Some(precision))) {
            Ok(model) => {
                assert_eq!(model.model.spec().precision, precision);
                let flags = ["--model", "resnet18-tiny", "--precision", precision.name()];
                same_over_every_door(model, &flags);
                seen.push(precision);
            }
            // What the CPU lacks.
            Err(e) => skipped(&format!("{}: {e}", precision.name())),
        }
    }
    assert!(seen.contains(&Precision::F32));
    let dir = quantized();
    let path = dir.path().display().to_string();
    let reference = ModelRef::parse(&path, &Catalog::builtin(), None).unwrap();
    let model = load(&reference, &with(None)).unwrap();
    if cfg!(target_arch = "x86_64") {
        assert_eq!(model.model.spec().precision, Precision::Int8);
    }
    same_over_every_door(model, &["--model", &path]);
}

fn with(precision: Option<kernels::nn::Precision>) -> EngineOptions {
    EngineOptions {
        precision,
        ..EngineOptions::default()
    }
}

/// A directory with a quantized network of 7 classes and 32×32 pixels.
fn quantized() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("model.onnx", &fixture_bytes("quantized/qdq.onnx"));
    write(
        "model.toml",
        b"[preprocess]\nresize = 36\ncrop = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n[output]\nkind = \"logits\"\n",
    );
    let labels: Vec<String> = (0..7).map(|n| format!("class {n}")).collect();
    write("labels.txt", labels.join("\n").as_bytes());
    dir
}

/// `flags` have the command line load the same model.
fn same_over_every_door(model: LoadedModel, flags: &[&str]) {
    let (name, count) = (model.name.clone(), model.labels.len());
    let preprocessor = Preprocessor::new(model.preprocess.clone(), ImageOptions::default());
    let settings = Settings {
        grpc: true,
        ..Settings::default()
    };
    let server = &TestServer::start(vec![model], &settings);
    let photo = fixture_bytes("photos/espresso.png");
    let infer = &format!("/v2/models/{name}/infer");
    let side = preprocessor.spec().crop.width as usize; // of a square
    let expected = numbers(&post_with(server, infer, &[(JSON_LENGTH, "0")], &photo));

    let base64 = base64::engine::general_purpose::STANDARD.encode(&photo);
    let json = message("BYTES", &[1], &json!({"data": [base64]}));
    assert_eq!(numbers(&server.post_json(infer, &json)), expected, "base64");

    let tail = with_lengths(&[&photo]);
    let sized = |size: usize| json!({"parameters": {"binary_data_size": size}});
    let photos = message("BYTES", &[1], &sized(tail.len()));
    assert_eq!(
        numbers(&post_binary(server, infer, &photos, &tail)),
        expected,
        "binary"
    );

    let crop = preprocessor
        .crop(&photo, ExifMode::Apply, &|| false)
        .unwrap()
        .image;
    let mut pixels = Vec::new();
    for row in crop.bytes().chunks(3 * side) {
        for x in 0..side {
            pixels.extend([row[x], row[side + x], row[2 * side + x]]);
        }
    }
    let uint8 = message("UINT8", &[1, side, side, 3], &sized(pixels.len()));
    assert_eq!(
        numbers(&post_binary(server, infer, &uint8, &pixels)),
        expected,
        "pixels"
    );

    let tensor = preprocessor
        .run(&photo, ExifMode::Apply, &|| false)
        .unwrap()
        .image;
    let values = bytes_of(tensor.data());
    let fp32 = message("FP32", &[1, 3, side, side], &sized(values.len()));
    assert_eq!(
        numbers(&post_binary(server, infer, &fp32, &values)),
        expected,
        "tensor"
    );
    let fp32 = message("FP32", &[1, 3, side, side], &json!({"data": tensor.data()}));
    assert_eq!(
        numbers(&server.post_json(infer, &fp32)),
        expected,
        "tensor in JSON"
    );

    for (datatype, shape, raw) in [
        ("BYTES", vec![1], &tail),
        ("UINT8", vec![1, side, side, 3], &pixels),
        ("FP32", vec![1, 3, side, side], &values),
    ] {
        let shape: Vec<i64> = shape.into_iter().map(|n| n as i64).collect();
        let mut request = grpc::tensor(datatype, &shape, None);
        request.model_name.clone_from(&name);
        request.raw_input_contents = vec![raw.clone()];
        let response = grpc::call(server.grpc(), &request).infer();
        let outputs = response.raw_output_contents;
        let numbers = (floats(&outputs[0]), floats(&outputs[1]));
        assert_eq!(numbers, expected, "{datatype} by gRPC");
    }

    // Each door of the ranking has these probabilities, at the same places.
    let probability = |value: &Value| value.as_f64().unwrap() as f32;
    let classes = server.post(&format!("/classify?top_k={count}"), &photo);
    let classes = classes.ok();
    let file = fixture("photos/espresso.png").display().to_string();
    let top = count.to_string();
    let mut command = vec!["classify", "--json", "-k", &top];
    command.extend(flags);
    let output = resnet().args(command).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    for ranking in [&classes, &printed] {
        let predictions = ranking["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), count);
        for prediction in predictions {
            let index = prediction["class_index"].as_u64().unwrap() as usize;
            assert_eq!(probability(&prediction["probability"]), expected.1[index]);
        }
    }
    let mut ranked = message("BYTES", &[1], &json!({"data": [base64]}));
    ranked["outputs"] = json!([{"name": "logits", "parameters": {"classification": 5}}]);
    let lines = outputs(&server.post_json(infer, &ranked))[0]
        .1
        .lines()
        .to_vec();
    let predictions = server.post(&format!("/predictions/{name}"), &photo).ok();
    for (rank, line) in lines.iter().enumerate() {
        let mut parts = line.splitn(3, ':');
        let value: f32 = parts.next().unwrap().parse().unwrap();
        let index: usize = parts.next().unwrap().parse().unwrap();
        let label = parts.next().unwrap();
        assert_eq!(value, expected.0[index]);
        let class = &classes["predictions"][rank];
        assert_eq!(
            (
                class["class_index"].as_u64().unwrap() as usize,
                class["label"].as_str()
            ),
            (index, Some(label))
        );
        assert_eq!(probability(&predictions[label]), expected.1[index]);
    }
}
