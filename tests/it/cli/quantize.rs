//! `resnet quantize`: the files that it writes, the figures that `eval` finds in them, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::run;
use crate::harness::fixture;

const MODEL: &str = "resnet18-tiny";

/// Photos of the fixtures and the synsets that they show, in a folder with a table, as often as it takes.
fn labelled(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let photos = [
        ("espresso", "n07920052"),
        ("orange", "n07747607"),
        ("plate", "n07579787"),
        ("trolleybus", "n04487081"),
    ];
    let mut table = "file\twnid\n".to_owned();
    for i in 0..count {
        let (name, wnid) = photos[i % photos.len()];
        let file = format!("{i}.png");
        fs::copy(
            fixture(&format!("photos/{name}.png")),
            dir.path().join(&file),
        )
        .unwrap();
        table += &format!("{file}\t{wnid}\n");
    }
    fs::write(dir.path().join("labels.tsv"), table).unwrap();
    dir
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn quantized_model_is_served_with_the_figures_that_were_reported() {
    let (photos, out) = (labelled(36), tempfile::tempdir().unwrap());
    let file = out.path().join("tiny.onnx");
    let (data, path) = (text(photos.path()), text(&file));
    let arguments = [
        "quantize",
        MODEL,
        "--data",
        &data,
        "--out",
        &path,
        "--max-drop",
        "30",
    ];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    for word in [
        "top-1 f32",
        "top-1 int8",
        "same class",
        "layers",
        "tiny.onnx, 2.9 MB of 5.7\n",
    ] {
        assert!(stdout.contains(word), "{word} is not in {stdout}");
    }
    let names = [
        "tiny.labels.txt",
        "tiny.onnx",
        "tiny.onnx.json",
        "tiny.toml",
    ];
    assert_eq!(files(out.path()), names.map(|n| out.path().join(n)));
    let report: Value =
        serde_json::from_str(&fs::read_to_string(out.path().join("tiny.onnx.json")).unwrap())
            .unwrap();
    assert_eq!(report["photos"], 36);
    let (code, stdout, stderr) = run(&["eval", "--data", &data, "--model", &path, "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let eval: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        eval["top1"]["right"], report["top1_int8"]["right"],
        "{eval} {report}"
    );
    let (_, shown, _) = run(&["show", &path]);
    assert!(
        shown.contains("espresso") || shown.contains("goldfish"),
        "its labels: {shown}"
    );
    if kernels::Features::detect().isa > kernels::Isa::Scalar {
        assert!(shown.contains("int8: the file is quantized"), "{shown}");
    }
    // Nothing is written over.
    let (code, _, stderr) = run(&arguments);
    assert_eq!(code, 2);
    assert!(stderr.contains("exists already"), "{stderr}");
    let (code, _, stderr) = run(&[
        "quantize",
        &path,
        "--data",
        &data,
        "--out",
        &text(&out.path().join("again.onnx")),
    ]);
    assert_eq!(code, 1);
    assert!(stderr.contains("it has 8 bits already"), "{stderr}");
}

#[test]
fn photos_without_labels_are_compared_with_the_model_as_it_is() {
    let (photos, out) = (labelled(33), tempfile::tempdir().unwrap());
    fs::remove_file(photos.path().join("labels.tsv")).unwrap();
    for i in 0..9 {
        fs::write(photos.path().join(format!("{i}-broken.jpg")), "no photo").unwrap();
    }
    let file = text(&out.path().join("m.onnx"));
    let arguments = [
        "quantize",
        MODEL,
        "--data",
        &text(photos.path()),
        "--out",
        &file,
        "--max-drop",
        "50",
    ];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("no labels"), "{stderr}");
    let unread = "9 of 42 photos cannot be read and count nowhere, the first: ";
    assert!(
        stderr.contains(unread) && stderr.contains("-broken.jpg: "),
        "{stderr}"
    );
    let report: Value =
        serde_json::from_str(&fs::read_to_string(format!("{file}.json")).unwrap()).unwrap();
    assert_eq!(report["photos"], 33);
    assert!(
        stdout.contains("same class") && !stdout.contains("top-1"),
        "{stdout}"
    );
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let (few, enough, out) = (labelled(5), labelled(32), tempfile::tempdir().unwrap());
    let empty = tempfile::tempdir().unwrap();
    let file = text(&out.path().join("m.onnx"));
    let [few, enough, empty] = [&few, &enough, &empty].map(|dir| text(dir.path()));
    let wrong = format!("{enough}/wrong.tsv");
    fs::write(&wrong, "file\tclass_index\n0.png\t4711\n").unwrap();
    let missing = format!("{enough}/missing");
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["--data", &few, "--out", &file],
            1,
            "at least 32 are needed",
        ),
        (&["--data", &empty, "--out", &file], 1, "no photos in it"),
        (&["--data", &missing, "--out", &file], 1, "cannot be read"),
        (
            &["--data", &enough, "--labels", &wrong, "--out", &file],
            1,
            "class_index is 4711",
        ),
        (
            &["--data", &enough, "--out", &format!("{file}.txt")],
            2,
            "names that end in .onnx",
        ),
        (
            &["--data", &enough, "--out", &format!("{missing}/m.onnx")],
            1,
            "no such directory",
        ),
        (
            &["--data", &enough, "--max-drop", "101", "--out", &file],
            2,
            "allowed are 0 to 100",
        ),
    ];
    for (arguments, expected, reason) in cases {
        let (code, _, stderr) = run(&[&["quantize", MODEL], arguments].concat());
        assert_eq!(code, expected, "{arguments:?}: {stderr}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
        assert!(files(out.path()).is_empty(), "{arguments:?}");
    }
}
