//! Loading any classifier: the outputs of ONNX Runtime for the good ones, one clear line for the bad ones.

use std::path::Path;

use resnet::engine::EngineOptions;
use resnet::registry::{Catalog, ModelRef, OutputKind, load};
use resnet::tensor::{Image, Size, Tensor};

use crate::fake::{FakeModel, plain_png};
use crate::harness::{
    Answer, Process, Settings, TestServer, agent, fixture, fixture_json, resnet, tiny,
};

fn reference(path: &str) -> ModelRef {
    let value = format!("m={}", fixture(&format!("models/{path}")).display());
    ModelRef::parse(&value, &Catalog::builtin(), None).unwrap()
}

/// The input of `make_models.py`, cut into images.
fn images(shape: &[usize]) -> Vec<Image> {
    let area = shape[2] * shape[3];
    let value = |i: usize| ((i * 7919) % (1000 - 100 * (i / area % 7))) as f32 / 500.0 - 1.0;
    let image = |n: usize| (n * 3 * area..(n + 1) * 3 * area).map(value).collect();
    (0..shape[0])
        .map(|n| Tensor::new(vec![3, shape[2], shape[3]], image(n)).into())
        .collect()
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    // A directory whose model.toml gives the sides that the file leaves open.
    let sides = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixture("models/dynamic_sides.onnx"),
        sides.path().join("model.onnx"),
    )
    .unwrap();
    std::fs::write(
        sides.path().join("model.toml"),
        "[preprocess]\nresize = 40\ncrop = 32\n",
    )
    .unwrap();
    let expected = fixture_json("models/expected.json");
    for (path, model) in expected["good"].as_object().unwrap() {
        let runs = model["runs"].as_array().unwrap();
        let loaded = match path.as_str() {
            "dynamic_sides.onnx" => load_directory(sides.path()),
            _ => load(&reference(path), &EngineOptions::default()).map_err(|e| e.to_string()),
        };
        let loaded = loaded.unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(
            loaded.model.spec().output_name(),
            model["output_name"].as_str().unwrap(),
            "{path}"
        );
        let mut engine = loaded.model.spawn().unwrap();
        for run in runs {
            let usizes = |key: &str| -> Vec<usize> {
                run[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|d| usize::try_from(d.as_u64().unwrap()).unwrap())
                    .collect()
            };
            let images = images(&usizes("input_shape"));
            let outputs = engine.run(&images).unwrap();
            let want: Vec<f64> = run["output"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_f64().unwrap())
                .collect();
            assert_eq!(outputs.concat().len(), want.len(), "{path}");
            for (got, want) in outputs.concat().iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < 2e-5 * want.abs().max(1.0),
                    "{path}: {got} {want}"
                );
            }
            // The same bits alone as in company.
            for (image, together) in images.iter().zip(&outputs) {
                assert_eq!(
                    engine.run(std::slice::from_ref(image)).unwrap()[0],
                    *together,
                    "{path}"
                );
            }
        }
        let kind = if path.starts_with("probabilities") {
            OutputKind::Probabilities
        } else {
            OutputKind::Logits
        };
        assert_eq!(loaded.output, kind, "{path}");
        let wnid = loaded.labels.get(0).unwrap().wnid.clone();
        assert_eq!(
            wnid.as_deref(),
            (path == "classes1000.onnx").then_some("n01440764"),
            "{path}"
        );
    }
}

#[test]
fn bad_models_are_refused_with_one_line_naming_file_node_and_reason() {
    let reasons = [
        (
            "unsupported_op.onnx",
            "node \"stage1/inverse\" uses the operator Inverse (domain com.microsoft)",
        ),
        (
            "unknown_op.onnx",
            "node \"block/fancy\" uses the operator FancyConv",
        ),
        ("detector.onnx", "its output is [1, 100, 4]"),
        ("text.onnx", "input \"tokens\" is int64"),
        ("grey.onnx", "its input \"data\" is grey, of one channel"),
        ("two_inputs.onnx", "it has 2 inputs (data, mask)"),
        ("no_output.onnx", "it has no output"),
        (
            "class_number.onnx",
            "its output \"label\" says only which class is the most probable",
        ),
        ("one_class.onnx", "its output has 1 class"),
        ("future_opset.onnx", "its operator set is 999, known are"),
        (
            "bad_edge.onnx",
            "node \"block_add\": its input \"nobody_makes_this\" is produced by no node",
        ),
        ("cycle.onnx", "Loop"),
        ("nan.onnx", "tensor \"dense_weight\" holds NaN"),
        ("shape_mismatch.onnx", "node \"dense\""),
        ("huge_input.onnx", "[?, 3, 100000, 100000]"),
        ("truncated.onnx", "truncated"),
        ("empty.onnx", "the file is empty"),
        ("not_onnx.onnx", "not a complete ONNX model"),
        ("lfs_pointer.onnx", "not a complete ONNX model"),
        (
            "external_missing/model.onnx",
            "\"weights.bin\" is missing beside the model",
        ),
        (
            "external_short/model.onnx",
            "\"weights.bin\" ends at byte 1000",
        ),
        (
            "external_outside/model/model.onnx",
            "\"../weights.bin\" is not inside the model's directory",
        ),
        (
            "external_absolute/model.onnx",
            "\"/weights.bin\" is not inside the model's directory",
        ),
    ];
    for (path, reason) in reasons {
        let error = load(&reference(path), &EngineOptions::default())
            .expect_err(path)
            .to_string();
        let file = fixture(&format!("models/{path}"));
        assert!(
            error.starts_with(&file.display().to_string()),
            "{path}: {error}"
        );
        assert!(
            error.contains(reason) && !error.contains('\n') && error.len() < 700,
            "{path}: {error}"
        );
    }
    // Every fixture is either good, in the table, or loads all the same.
    let bad = fixture_json("models/expected.json")["bad"]
        .as_object()
        .unwrap()
        .len();
    let served = ["double_input.onnx", "nhwc.onnx"];
    assert_eq!(bad, reasons.len() + served.len());
    for path in served {
        load(&reference(path), &EngineOptions::default()).expect(path);
    }
}

#[test]
fn server_with_one_bad_model_serves_nothing() {
    let output = resnet()
        .args([
            "serve",
            "--port",
            "0",
            "--log-format",
            "text",
            "--model",
            "resnet18-tiny",
            "--model",
        ])
        .arg(fixture("models/truncated.onnx"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("error: ") && last.contains("truncated.onnx: not a complete ONNX model"),
        "{text}"
    );
    assert!(!text.contains("ready; try"), "{text}");
}

#[test]
fn precision_and_instructions_are_in_the_answer_the_metrics_and_the_log() {
    for (flags, precision, instructions) in [
        // plain code leaves everything to tract, on every machine
        (vec!["--isa", "scalar"], Some("f32"), Some("tract")),
        (vec!["--precision", "f32"], Some("f32"), None),
        (vec![], None, None),
    ] {
        let server = Process::start(&flags);
        let get = |path: &str| {
            let url = format!("http://{}{path}", server.address);
            Answer::of(agent().get(url).call())
        };
        let model = get("/models/resnet18-tiny").ok();
        let word = |key: &str| model[key].as_str().unwrap().to_owned();
        assert_eq!(precision.unwrap_or(&word("precision")), word("precision"));
        assert_eq!(
            instructions.unwrap_or(&word("instructions")),
            word("instructions")
        );
        assert!(
            word("precision_reason").starts_with(&word("precision")),
            "{model}"
        );
        let metrics = String::from_utf8(get("/metrics").body).unwrap();
        let info = metrics
            .lines()
            .find(|l| l.starts_with("resnet_model_info{"))
            .unwrap();
        let layers = format!(
            "resnet_model_layers{{model=\"resnet18-tiny\",precision=\"{}\"}} 21",
            match &*word("instructions") {
                "tract" => "tract".to_owned(),
                _ => word("precision"),
            }
        );
        assert!(metrics.lines().any(|l| l == layers), "{layers}: {metrics}");
        let loaded = server.log.message("model loaded");
        for key in ["precision", "instructions", "runtime"] {
            let label = format!("{key}=\"{}\"", word(key));
            assert!(info.contains(&label), "{label} is not in {info}");
            assert_eq!(loaded[key], model[key]);
        }
        assert_eq!(loaded["because"], model["precision_reason"]);
    }
}

#[test]
fn engine_gives_the_outputs_that_are_asked_for_in_their_order() {
    let (fake, _gate) = FakeModel::loaded("fake");
    let image = || Tensor::new(vec![3, 2, 2], (0..12_u8).map(f32::from).collect());
    let values = image().data().to_vec();
    let mut engine = fake.model.spawn().unwrap();
    let images = [image().into(), image().into()];
    let [logits, other] = &fake.model.spec().outputs[..] else {
        panic!("it has two");
    };
    assert_eq!(
        (logits.name.as_str(), other.shape.as_slice()),
        ("logits", &[3, 2, 2][..])
    );
    let both = engine.run_for(&images, &[1, 0]).unwrap();
    assert_eq!(both[0], [values.clone(), values]);
    assert_eq!(both[1], engine.run(&images).unwrap());
    assert_eq!(engine.run_for(&images, &[]).unwrap().len(), 0);

    let tiny = tiny();
    let size = tiny.model.spec().size;
    let image = [Tensor::zeros(size.shape().to_vec()).into()];
    let mut engine = tiny.model.spawn().unwrap();
    let error = engine.run_for(&image, &[3]).unwrap_err().to_string();
    assert!(
        error.contains("there is no output 3, the network has 3"),
        "{error}"
    );
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixture("models/opset13.onnx"),
        dir.path().join("model.onnx"),
    )
    .unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn load_directory(dir: &Path) -> Result<resnet::registry::LoadedModel, String> {
    let value = format!("mine={}", dir.display());
    let reference = ModelRef::parse(&value, &Catalog::builtin(), None).unwrap();
    load(&reference, &EngineOptions::default()).map_err(|e| e.to_string())
}

#[test]
fn directory_brings_its_preprocessing_and_labels() {
    let labels = "n01440764 tench, Tinca tinca\nb\nc\nd\ne\nf\ng, the last\n";
    let dir = directory(&[
        (
            "model.toml",
            "[preprocess]\nresize = 36\nresize_mode = \"stretch\"\ninterpolation = \"bicubic\"\ncrop = 32\n\
             mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n",
        ),
        ("labels.txt", labels),
    ]);
    let model = load_directory(dir.path()).unwrap();
    assert_eq!(
        (model.preprocess.resize, model.preprocess.mean),
        (Size::square(36), [0.5; 3])
    );
    let server = TestServer::start(vec![model], &Settings::default());
    let answer = server.post("/classify?top_k=7", &plain_png(9)).ok();
    assert_eq!(answer["model"], "mine");
    let preprocess = &server.get("/models/mine").ok()["preprocess"];
    assert_eq!(preprocess["resize_mode"], "stretch");
    assert_eq!(preprocess["interpolation"], "bicubic");
    let predictions = answer["predictions"].as_array().unwrap();
    let last = predictions.iter().find(|p| p["class_index"] == 6).unwrap();
    assert_eq!(
        (last["label"].as_str(), last["synset"].as_str()),
        (Some("g, the last"), Some("g, the last"))
    );
    assert!(last.get("wnid").is_none());
}

#[test]
fn second_softmax_that_a_directory_asks_for_is_told() {
    let dir = directory(&[("model.toml", "[output]\nkind = \"logits\"\n")]);
    let of = |file: &str| {
        let path = fixture(&format!("models/{file}"));
        std::fs::copy(path, dir.path().join("model.onnx")).unwrap();
        let model = load_directory(dir.path()).unwrap();
        assert_eq!(model.output, OutputKind::Logits);
        model.notes.join("\n")
    };
    assert!(of("probabilities.onnx").contains("a second softmax"));
    assert!(!of("opset13.onnx").contains("softmax"));
}

#[test]
fn specs_that_do_not_fit_are_refused() {
    let cases = [
        (
            vec![("labels.txt", "a\nb\n")],
            "there are 2 labels, the network has 7 classes",
        ),
        (vec![("labels.txt", "a\n\nb\n")], "line 2"),
        (
            vec![("model.toml", "[preprocess]\nresise = 3\n")],
            "line 2: unknown field `resise`",
        ),
        (
            vec![("model.toml", "[preprocess]\nresize = 64\ncrop = 48\n")],
            "crops to 48, the network takes 32 (",
        ),
        (
            vec![("model.toml", "[preprocess]\nresize = 0\ncrop = 32\n")],
            "resize is 0, allowed are 1 to 2048",
        ),
        (
            vec![("model.toml", "[preprocess]\nstd = [1.0, 0.0, 1.0]\n")],
            "std holds 0",
        ),
        (
            vec![("model.toml", "[preprocess]\nresize_mode = \"squash\"\n")],
            "unknown variant `squash`, expected one of `shorter-side`, `stretch`, `cover`",
        ),
        (
            vec![("model.toml", "[preprocess]\ninterpolation = \"area\"\n")],
            "unknown variant `area`, expected `bilinear` or `bicubic`",
        ),
        (
            vec![("model.toml", "[output]\nkind = \"odds\"\n")],
            "unknown variant `odds`",
        ),
        (
            vec![("model.toml", "[output]\nkind = \"probabilities\"\n")],
            "model.toml says [output] kind = \"probabilities\", but class ",
        ),
        (vec![("model.toml", "not toml")], "line 1"),
    ];
    for (files, reason) in cases {
        let error = load_directory(directory(&files).path()).expect_err(reason);
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(
        load_directory(empty.path())
            .expect_err("empty")
            .contains("model.onnx: cannot be read")
    );
}
