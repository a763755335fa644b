//! Model files that are not what they should be: another digest, a flipped bit, no file at all. None is served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use resnet::engine::EngineOptions;
use resnet::registry::{Catalog, CatalogEntry, ModelOrigin, ModelRef, load, sha256_of};
use resnet::tensor::Size;

use crate::harness::{fixture, fixture_bytes, resnet};

const MODEL: &str = "models/classes1000.onnx";

fn digest(bytes: &[u8]) -> String {
    sha256_of(&mut &*bytes).unwrap()
}

/// A catalogue entry for the fixture, which lies at `path`.
fn pulled(path: &Path) -> ModelRef {
    let mut entry: CatalogEntry = Catalog::builtin().entries()[0].clone();
    entry.name = "small".into();
    entry.sha256 = digest(&fixture_bytes(MODEL));
    entry.preprocess.resize = Size::square(18);
    entry.preprocess.crop = Size::square(16);
    ModelRef {
        name: "small".into(),
        source: ModelOrigin::Catalog(Box::new(entry), path.to_owned()),
        versions: None,
    }
}

fn refusal(reference: &ModelRef) -> String {
    let error = load(reference, &EngineOptions::default()).unwrap_err();
    error.to_string()
}

#[test]
fn pulled_model_with_one_flipped_bit_is_refused_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.onnx");
    let right = fixture_bytes(MODEL);
    fs::write(&path, &right).unwrap();
    let model = load(&pulled(&path), &EngineOptions::default()).unwrap();
    assert_eq!(model.sha256, digest(&right));

    for at in [0, 1, right.len() / 2, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[at] ^= 1 << (at % 8);
        fs::write(&path, &wrong).unwrap();
        let error = refusal(&pulled(&path));
        let words = format!(
            "{} is not the file of the catalogue (SHA-256 {}, expected {}): \
             run `resnet rm small`, then `resnet pull small`",
            path.display(),
            digest(&wrong),
            digest(&right)
        );
        assert_eq!(error, words, "byte {at}");
    }
    for wrong in [&right[..right.len() - 1], &[&right[..], b"x"].concat(), b""] {
        fs::write(&path, wrong).unwrap();
        assert!(refusal(&pulled(&path)).contains("is not the file of the catalogue"));
    }
}

/// A directory with the fixture and this `model.toml`.
fn own(toml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture(MODEL), dir.path().join("model.onnx")).unwrap();
    fs::write(dir.path().join("model.toml"), toml).unwrap();
    dir
}

fn at(dir: &Path) -> ModelRef {
    let value = format!("mine={}", dir.display());
    ModelRef::parse(&value, &Catalog::builtin(), None).unwrap()
}

#[test]
fn own_model_has_the_digest_of_its_model_toml_or_is_refused() {
    let right = digest(&fixture_bytes(MODEL));
    for spelled in [right.clone(), right.to_uppercase()] {
        let dir = own(&format!("sha256 = \"{spelled}\"\n"));
        load(&at(dir.path()), &EngineOptions::default()).unwrap();
    }
    let wrong = digest(b"another file");
    let dir = own(&format!("sha256 = \"{wrong}\"\n"));
    let path = dir.path().join("model.onnx");
    assert_eq!(
        refusal(&at(dir.path())),
        format!(
            "{} is not the file that model.toml describes (SHA-256 {right}, expected {wrong})",
            path.display()
        )
    );
    for no_digest in [
        "",
        "abc",
        &right[1..],
        &format!("{right}0"),
        &"g".repeat(64),
    ] {
        let dir = own(&format!("sha256 = \"{no_digest}\"\n"));
        let error = refusal(&at(dir.path()));
        assert!(
            error.ends_with(&format!(
                "model.toml: sha256 is \"{no_digest}\", allowed are 64 hexadecimal digits"
            )),
            "{error}"
        );
    }
}

#[test]
fn weights_that_the_digest_does_not_cover_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("models/external")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    load(&at(dir.path()), &EngineOptions::default()).unwrap();
    let digest = digest(&fs::read(dir.path().join("model.onnx")).unwrap());
    fs::write(
        dir.path().join("model.toml"),
        format!("sha256 = \"{digest}\"\n"),
    )
    .unwrap();
    let error = refusal(&at(dir.path()));
    assert!(
        error.contains("\"weights.bin\", but this model may have weights in its own file only"),
        "{error}"
    );
}

/// What `resnet serve --model` says of a path that it must refuse at once.
fn refused(path: &Path) -> String {
    let output = resnet()
        .args(["serve", "--port", "0", "--log-format", "text", "--model"])
        .arg(format!("bad={}", path.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("ready; try"), "{text}");
    let last = text.lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("error: ") && last.contains(&path.display().to_string()),
        "{text}"
    );
    last
}

fn pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_is_no_whole_model_file_is_refused_at_once_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    pipe(&path("pipe.onnx"));
    fs::write(path("empty.onnx"), b"").unwrap();
    let whole = fixture_bytes(MODEL);
    fs::write(path("half.onnx"), &whole[..whole.len() / 2]).unwrap();
    symlink(path("absent"), path("dangling.onnx")).unwrap();
    symlink(path("loop.onnx"), path("loop.onnx")).unwrap();
    symlink("/dev/zero", path("endless.onnx")).unwrap();
    fs::create_dir(path("folder.onnx")).unwrap();
    for (name, reason) in [
        ("absent.onnx", "cannot be read"),
        ("pipe.onnx", "is neither a file nor a directory"),
        ("empty.onnx", "the file is empty"),
        ("half.onnx", "not a complete ONNX model"),
        ("dangling.onnx", "cannot be read"),
        ("loop.onnx", "cannot be read"),
        ("endless.onnx", "is neither a file nor a directory"),
        ("folder.onnx", "model.onnx: cannot be read"),
    ] {
        let line = refused(&path(name));
        assert!(line.contains(reason), "{name}: {line}");
    }
    // A link to a model is one: mounted files often are.
    symlink(fixture(MODEL), path("linked.onnx")).unwrap();
    load(&at(&path("linked.onnx")), &EngineOptions::default()).unwrap();
}

#[test]
fn pipes_and_folders_in_a_models_directory_do_not_hold_up_the_start() {
    for name in ["model.onnx", "model.toml", "labels.txt"] {
        for make in [pipe as fn(&Path), |path| fs::create_dir(path).unwrap()] {
            let dir = own("");
            let path = dir.path().join(name);
            let _ = fs::remove_file(&path); // labels.txt is not there
            make(&path);
            let line = refused(dir.path());
            assert!(line.ends_with(&format!("{name}: is not a file")), "{line}");
        }
    }
}
