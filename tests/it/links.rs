//! Weights in other files, and models behind links: volumes, caches, releases.

use std::fs;

use prost::Message;
use resnet::registry::LoadedModel;
use tract_onnx::pb::ModelProto;

use crate::beside::model;
use crate::harness::{fixture, fixture_bytes};

/// A model whose weights lie in another file, at this location.
fn external(location: &str) -> Vec<u8> {
    let mut proto = ModelProto::decode(&*fixture_bytes("models/external/model.onnx")).unwrap();
    for tensor in &mut proto.graph.as_mut().unwrap().initializer {
        for entry in &mut tensor.external_data {
            if entry.key == "location" {
                entry.value = location.into();
            }
        }
    }
    proto.encode_to_vec()
}

#[test]
fn weights_beside_the_model_are_found_however_their_place_is_written() {
    let weights = fixture("models/external/weights.bin");
    let reference = model(&fixture("models/external/model.onnx")).unwrap();
    let probe = |model: &LoadedModel| {
        let image = resnet::tensor::Tensor::new(
            vec![3, 32, 32],
            (0..3072).map(|i| i as f32 / 3072.0).collect(),
        );
        model.model.spawn().unwrap().run(&[image.into()]).unwrap()
    };
    for location in ["w.bin", "./w.bin", "sub/../w.bin", "./sub/.././w.bin"] {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(&weights, dir.path().join("w.bin")).unwrap();
        fs::write(dir.path().join("m.onnx"), external(location)).unwrap();
        let found = model(&dir.path().join("m.onnx")).unwrap_or_else(|e| panic!("{location}: {e}"));
        assert_eq!(probe(&found), probe(&reference), "{location}");
    }
    for location in ["../w.bin", "sub/../../w.bin", "/etc/hostname"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("m")).unwrap();
        fs::copy(&weights, dir.path().join("w.bin")).unwrap();
        fs::write(dir.path().join("m/m.onnx"), external(location)).unwrap();
        let error = model(&dir.path().join("m/m.onnx")).expect_err(location);
        assert!(
            error.ends_with(&format!("{location:?} is not inside the model's directory")),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn volumes_caches_and_releases_with_links_are_served() {
    use std::os::unix::fs::symlink;
    let weights = fixture("models/external/weights.bin");
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for dir in [
        "volume/..1",
        "hub/snapshots/34c2",
        "hub/blobs",
        "shop/releases/3",
        "lone",
    ] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for (onnx, bin) in [
        ("volume/..1/model.onnx", "volume/..1/w.bin"),
        ("hub/blobs/4f5e", "hub/blobs/77aa"),
        ("shop/releases/3/model.onnx", "shop/releases/3/w.bin"),
    ] {
        fs::write(at(onnx), external("w.bin")).unwrap();
        fs::copy(&weights, at(bin)).unwrap();
    }
    for (target, link) in [
        ("..1", "volume/..data"),
        ("..data/model.onnx", "volume/model.onnx"),
        ("..data/w.bin", "volume/w.bin"),
        ("../../blobs/4f5e", "hub/snapshots/34c2/model.onnx"),
        ("../../blobs/77aa", "hub/snapshots/34c2/w.bin"),
        ("releases/3", "shop/current"),
        ("../shop/releases/3/model.onnx", "lone/best.onnx"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    for path in [
        "volume",
        "volume/model.onnx",
        "volume/..data",
        "hub/snapshots/34c2",
        "hub/snapshots/34c2/model.onnx",
        "shop/current",
        "shop/current/model.onnx",
        "lone/best.onnx",
    ] {
        model(&at(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    // A link that leads away from the model is refused in words that say so.
    fs::remove_file(at("hub/snapshots/34c2/w.bin")).unwrap();
    symlink(
        "../../../shop/releases/3/w.bin",
        at("hub/snapshots/34c2/w.bin"),
    )
    .unwrap();
    let error = model(&at("hub/snapshots/34c2")).expect_err("away");
    assert!(
        error.contains("\"w.bin\" is a link to ")
            && error.ends_with("which is not inside the model's directory"),
        "{error}"
    );
}
