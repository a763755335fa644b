//! Networks that take other colors than ImageNet's: their input is numpy's to the bit, their answers ONNX Runtime's.

use kernels::Isa;
use resnet::engine::EngineOptions;
use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor};
use resnet::registry::{Catalog, LoadedModel, ModelRef, load};
use sha2::{Digest, Sha256};

use crate::harness::{Settings, TestServer, fixture, fixture_bytes, fixture_json};

fn model(toml: &str) -> LoadedModel {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixture("models/opset13.onnx"),
        dir.path().join("model.onnx"),
    )
    .unwrap();
    std::fs::write(dir.path().join("model.toml"), toml).unwrap();
    let value = format!("m={}", dir.path().display());
    let reference = ModelRef::parse(&value, &Catalog::builtin(), None).unwrap();
    load(&reference, &EngineOptions::default()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn input_is_numpys_and_answers_are_onnx_runtimes_for_every_order_and_range() {
    let expected = fixture_json("colors.json");
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let name = format!("{} of {}", text("name"), text("photo"));
        let photo = fixture_bytes(text("photo"));
        let loaded = model(text("model_toml"));
        let preprocessor = |isa| {
            let options = ImageOptions {
                isa,
                ..ImageOptions::default()
            };
            Preprocessor::new(loaded.preprocess.clone(), options)
        };
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let tensor = preprocessor(isa).run(&photo, ExifMode::Apply, &|| false);
            let tensor = tensor.unwrap().image;
            let bytes: Vec<u8> = tensor.data().iter().flat_map(|v| v.to_le_bytes()).collect();
            let digest = hex(&Sha256::digest(&bytes));
            assert_eq!(digest, text("tensor_sha256"), "{name} by {isa:?}");
        }

        let want: Vec<f64> = case["output"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        let close = |output: &[f32]| {
            for (got, want) in output.iter().zip(&want) {
                let error = (f64::from(*got) - want).abs();
                assert!(error < 5e-5 * want.abs().max(1.0), "{name}: {got} {want}");
            }
        };
        let preprocessor = preprocessor(Isa::detect());
        let mut engine = loaded.model.spawn().unwrap();
        let tensor = preprocessor.run(&photo, ExifMode::Apply, &|| false);
        let from_tensor = engine.run(&[tensor.unwrap().image.into()]).unwrap();
        close(&from_tensor[0]);
        if loaded.model.spec().takes_bytes {
            let crop = preprocessor.crop(&photo, ExifMode::Apply, &|| false);
            let from_bytes = engine.run(&[crop.unwrap().image.into()]).unwrap();
            assert_eq!(from_bytes, from_tensor, "{name}");
        }

        // The whole way of a request.
        let server = TestServer::start(vec![loaded], &Settings::default());
        let answer = server.post("/classify?top_k=7", &photo).ok();
        let best = answer["predictions"][0]["class_index"].as_u64().unwrap();
        let largest = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
        let (index, _) = want.iter().enumerate().max_by(largest).unwrap();
        assert_eq!(best, index as u64, "{name}: {answer}");
        let preprocess = &server.get("/models/m").ok()["preprocess"];
        let bgr = text("model_toml").contains("bgr");
        assert_eq!(preprocess["channels"], if bgr { "bgr" } else { "rgb" });
    }
}

#[test]
fn network_that_takes_blue_first_or_another_range_takes_bytes() {
    let toml = "[preprocess]\nchannels = \"bgr\"\nmean = [0.406, 0.456, 0.485]\nstd = [0.225, 0.224, 0.229]\n";
    let lowered = Isa::detect() > Isa::Scalar;
    assert_eq!(model(toml).model.spec().takes_bytes, lowered);
    // Of any range.
    let toml = "[preprocess]\nscale = 255\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n";
    assert_eq!(model(toml).model.spec().takes_bytes, lowered);
}
