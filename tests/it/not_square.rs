//! A network whose input is not square, from the file to the answer.

use std::fs;
use std::path::Path;

use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor, ResizeMode};
use resnet::registry::LoadedModel;
use resnet::tensor::Size;
use serde_json::json;

use crate::beside::model;
use crate::harness::{Settings, TestServer, fixture, fixture_bytes, resnet};
use crate::npy::Npy;

const PHOTO: &str = "photos/espresso.png";

/// Rows and columns of the network's input.
const SIZE: Size = Size {
    height: 8,
    width: 16,
};

/// A directory with the network, and what is said of it.
fn directory(toml: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("wide").tempdir().unwrap();
    fs::copy(
        fixture("exporters/not_square.onnx"),
        dir.path().join("model.onnx"),
    )
    .unwrap();
    fs::write(dir.path().join("model.toml"), toml).unwrap();
    dir
}

fn loaded(dir: &Path) -> LoadedModel {
    model(dir).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn input_that_is_not_square_is_covered_and_the_guess_is_said() {
    let dir = directory("");
    let wide = loaded(dir.path());
    let spec = &wide.preprocess;
    let resize = Size {
        height: 10,
        width: 19,
    };
    assert_eq!(
        (spec.crop, spec.resize, spec.resize_mode),
        (SIZE, resize, ResizeMode::Cover)
    );
    assert!(
        wide.notes[0].contains("say [preprocess] resize = [8, 16] in model.toml"),
        "{:?}",
        wide.notes
    );
    let output = resnet().arg("show").arg(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "x [N, 3, 8, 16] float32",
        "in proportion, to cover [10, 19] (bilinear), center crop [8, 16], mean",
        "they are resized in proportion to cover [10, 19]",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn size_that_is_said_is_no_guess() {
    for (toml, mode) in [
        ("resize = [8, 16]", ResizeMode::Stretch),
        ("resize = [9, 18]\ncrop = [8, 16]", ResizeMode::Stretch),
        ("resize_mode = \"cover\"", ResizeMode::Cover),
        ("resize = 20", ResizeMode::ShorterSide),
    ] {
        let wide = loaded(directory(&format!("[preprocess]\n{toml}\n")).path());
        assert_eq!(wide.preprocess.resize_mode, mode, "{toml}");
        assert!(wide.notes.is_empty(), "{toml}: {:?}", wide.notes);
    }
    let error = model(directory("[preprocess]\nresize = 15\n").path()).unwrap_err();
    assert!(
        error.contains("crop is [8, 16], larger than resize 15"),
        "{error}"
    );
    let error = model(directory("[preprocess]\ncrop = \"wide\"\n").path()).unwrap_err();
    assert!(
        error.contains("expected a number of pixels, or [height, width]"),
        "{error}"
    );
}

#[test]
fn photo_is_answered_as_its_tensor_and_the_size_is_told() {
    let dir = directory("[preprocess]\nresize = [8, 16]\n");
    let wide = loaded(dir.path());
    let photo = fixture_bytes(PHOTO);
    let preprocessor = Preprocessor::new(wide.preprocess.clone(), ImageOptions::default());
    let tensor = preprocessor.run(&photo, ExifMode::Apply, &|| false);
    let tensor = tensor.unwrap().image;
    assert_eq!(tensor.shape(), [3, 8, 16]);
    let mut engine = wide.model.spawn().unwrap();
    let logits = engine.run(&[tensor.into()]).unwrap().remove(0);
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));

    let server = TestServer::start(vec![wide], &Settings::default());
    let answer = server.post("/classify?top_k=1", &photo).ok();
    assert_eq!(answer["predictions"][0]["class_index"], json!(best));
    let about = server.get("/models/m").ok();
    assert_eq!(about["input"]["shape"], json!([-1, 3, 8, 16]));
    assert_eq!(about["preprocess"]["resize"], json!([8, 16]));
    assert_eq!(about["preprocess"]["crop"], json!([8, 16]));
    assert_eq!(about["preprocess"]["resize_mode"], "stretch");
}

#[test]
fn what_the_network_sees_has_its_height_and_width() {
    let dir = directory("");
    for (stage, shape) in [
        ("tensor", &[1, 3, 8, 16][..]),
        ("cropped", &[8, 16, 3][..]),
        // 299×299 to 19×19
        ("resized", &[19, 19, 3][..]),
    ] {
        let output = resnet()
            .args(["preprocess", "--stage", stage, "--npy", "-", "--model"])
            .arg(dir.path())
            .arg(fixture(PHOTO))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(Npy::parse(&output.stdout).shape, shape, "{stage}");
    }
}

#[test]
fn means_in_the_order_of_bgr_are_warned_of_unless_the_order_is_said() {
    let notes = |toml: &str| {
        let toml = format!("[preprocess]\nresize = [8, 16]\n{toml}\n");
        loaded(directory(&toml).path()).notes
    };
    let caffe = "scale = 255\nmean = [103.939, 116.779, 123.68]\nstd = [1, 1, 1]";
    for (toml, warned) in [
        (caffe.to_owned(), true),
        (
            "mean = [0.406, 0.456, 0.485]\nstd = [0.225]".to_owned(),
            true,
        ),
        (format!("{caffe}\nchannels = \"bgr\""), false),
        (format!("{caffe}\nchannels = \"rgb\""), false),
        (
            "mean = [0.485, 0.456, 0.406]\nstd = [0.225]".to_owned(),
            false,
        ),
        ("mean = [0.5]\nstd = [0.5]".to_owned(), false),
    ] {
        let notes = notes(&toml);
        let is_warned = notes
            .iter()
            .any(|note| note.contains("channels = \"bgr\" in model.toml"));
        assert_eq!(is_warned, warned, "{toml}: {notes:?}");
    }
}
