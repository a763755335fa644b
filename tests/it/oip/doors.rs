//! The same photo gives the same numbers over every door, whoever has preprocessed it.

use base64::Engine as _;
use resnet::engine::EngineOptions;
use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor};
use resnet::registry::load;
use serde_json::{Value, json};

use super::{JSON_LENGTH, bytes_of, message, outputs, post_binary, post_with, with_lengths};
use crate::harness::{Answer, Settings, TestServer, fixture_bytes, skipped, tiny_reference};

/// Logits and probabilities of an answer.
fn numbers(answer: &Answer) -> (Vec<f32>, Vec<f32>) {
    let found = outputs(answer);
    (found[0].1.numbers().to_vec(), found[1].1.numbers().to_vec())
}

#[test]
fn answers_are_the_same_numbers_over_every_door_in_every_precision() {
    use kernels::nn::Precision;
    for precision in [Precision::F32, Precision::Bf16x3, Precision::Bf16] {
        let options = EngineOptions {
            precision: Some(precision),
            ..EngineOptions::default()
        };
        let model = match load(&tiny_reference(), &options) {
            Ok(model) => model,
            Err(e) => {
                skipped(&format!("{}: {e}", precision.name()));
                continue;
            }
        };
        let preprocessor = Preprocessor::new(model.preprocess.clone(), ImageOptions::default());
        let server = TestServer::start(vec![model], &Settings::default());
        same_over_every_door(&server, &preprocessor);
    }
}

fn same_over_every_door(server: &TestServer, preprocessor: &Preprocessor) {
    let photo = fixture_bytes("photos/espresso.png");
    let infer = "/v2/models/resnet18-tiny/infer";
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

    // Each door of the ranking has these probabilities, at the same places.
    let probability = |value: &Value| value.as_f64().unwrap() as f32;
    let classes = server.post("/classify?top_k=200", &photo).ok();
    for prediction in classes["predictions"].as_array().unwrap() {
        let index = prediction["class_index"].as_u64().unwrap() as usize;
        assert_eq!(probability(&prediction["probability"]), expected.1[index]);
    }
    let mut ranked = message("BYTES", &[1], &json!({"data": [base64]}));
    ranked["outputs"] = json!([{"name": "logits", "parameters": {"classification": 5}}]);
    let lines = outputs(&server.post_json(infer, &ranked))[0]
        .1
        .lines()
        .to_vec();
    let predictions = server.post("/predictions/resnet18-tiny", &photo).ok();
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
