//! SIGHUP: the files of all served models are read again.

use std::fs;

use super::Exchanging;
use crate::harness::{fixture, fixture_bytes};

#[test]
fn hangup_reads_model_files_again_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trees.onnx");
    fs::copy(fixture("models/opset13.onnx"), &file).unwrap();
    let place = Exchanging::start(&["--model", file.to_str().unwrap()]);
    let before = place.digest("trees");
    fs::write(&file, b"no model at all").unwrap();
    place.server.signal("HUP");
    let told = place.server.log.message("the model stays as it is served");
    assert_eq!(told["model"], "trees", "{told}");
    place
        .server
        .log
        .message("SIGHUP: the models stay what they were: trees cannot be read again");
    assert_eq!(place.digest("trees"), before);
    fs::copy(fixture("models/opset12.onnx"), &file).unwrap();
    place.server.signal("HUP");
    place
        .server
        .log
        .message("SIGHUP: the models are read again");
    assert_ne!(place.digest("trees"), before);
    // Without a change nothing is loaded.
    place.server.signal("HUP");
    place
        .server
        .log
        .message("SIGHUP: no file of a served model has changed");
    // The health of the models that are in charge now is what counts.
    assert_eq!(place.get("/readyz").status, 200);
}

#[test]
fn hangup_reads_the_other_models_again_where_one_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).join("model.onnx");
    for name in ["birds", "trees"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::copy(fixture("models/opset13.onnx"), at(name)).unwrap();
    }
    let of = |name: &str| dir.path().join(name).display().to_string();
    let place = Exchanging::start(&["--model", &of("birds"), "--model", &of("trees")]);
    let before = place.digest("birds");
    fs::remove_file(at("birds")).unwrap();
    fs::copy(fixture("models/opset12.onnx"), at("trees")).unwrap();
    place.server.signal("HUP");
    let told = place.server.log.message("the model stays as it is served");
    assert_eq!(told["model"], "birds", "{told}");
    let text = told["error"].as_str().unwrap();
    assert!(text.contains("model.onnx"), "{told}");
    place
        .server
        .log
        .message("SIGHUP: the models are read again");
    assert_eq!(place.digest("birds"), before);
    assert_ne!(place.digest("trees"), before);
    assert_eq!(place.served(), ["birds", "trees"]);
    let photo = fixture_bytes("photos/espresso.png");
    assert_eq!(place.post("/models/birds/classify", &photo).status, 200);
}
