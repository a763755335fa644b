//! `resnet eval` as a person runs it: figures, answers, and how a run is ended.

mod accuracy;
mod labels;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cli::run;
use crate::harness::{ended_by, fixture, fixture_json, resnet, without_a_reader};

const PHOTOS: [(&str, &str, usize); 4] = [
    ("espresso.png", "n07920052", 967),
    ("orange.png", "n07747607", 950),
    ("plate.png", "n07579787", 923),
    ("trolleybus.png", "n04487081", 874),
];

/// A directory with the table; the photos lie in `photos`, as copies.
fn data(table: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("photos")).unwrap();
    for (file, ..) in PHOTOS {
        std::fs::copy(
            fixture(&format!("photos/{file}")),
            dir.path().join("photos").join(file),
        )
        .unwrap();
    }
    std::fs::write(dir.path().join("labels.tsv"), table).unwrap();
    dir
}

fn good_table() -> String {
    let mut table = "file\tclass_index\twnid\n".to_owned();
    for (file, wnid, imagenet) in PHOTOS {
        table += &format!("{file}\t{imagenet}\t{wnid}\n");
    }
    table
}

/// In f32: the references' figures are of that precision.
fn eval(dir: &Path, more: &[&str]) -> (i32, String, String) {
    let dir = dir.display().to_string();
    run(&[&["eval", "--precision", "f32", "--data", &dir], more].concat())
}

fn eval_json(dir: &Path, more: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = eval(dir, &[&["--json"], more].concat());
    let json = serde_json::from_str(&stdout);
    (
        code,
        json.unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}")),
    )
}

#[test]
fn table_is_found_and_its_photos_are_scored() {
    let dir = data(&good_table());
    let (code, text, stderr) = eval(dir.path(), &[]);
    assert_eq!(
        (code, stderr.as_str()),
        (0, ""),
        "no bar without a terminal"
    );
    for line in [
        "model         resnet18-tiny",
        "photos        4",
        "top-1         1.0000 (4/4), 95% interval 0.5101 to 1.0000",
        "top-5         1.0000 (4/4), 95% interval 0.5101 to 1.0000",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(
        text.contains("\nprecision     f32: ") && text.contains("\ninstructions  "),
        "{text}"
    );
    assert!(!text.contains("worst"), "nothing went wrong\n{text}");
}

#[test]
fn confidence_is_the_references_and_the_calibration_error_follows_from_it() {
    let dir = data(&good_table());
    let (code, json) = eval_json(dir.path(), &[]);
    assert_eq!(code, 0);
    let expected = fixture_json("photos/resnet18-tiny.json");
    let confidences = PHOTOS.map(|(file, ..)| {
        expected["photos"][file]["top5"][0]["probability"]
            .as_f64()
            .unwrap()
    });
    let mean = confidences.iter().sum::<f64>() / 4.0;
    let got = json["mean_confidence"].as_f64().unwrap();
    assert!((got - mean).abs() < 1e-5, "{got} instead of {mean}");
    // All answers are right, so that every bin's gap is one less its confidence.
    let error = json["calibration_error"].as_f64().unwrap();
    assert!((error - (1.0 - mean)).abs() < 1e-5, "{error}");
    assert_eq!(json["top1"]["right"], 4);
    assert_eq!(json["exif"], "apply");
    assert_eq!(json["precision"], "f32");
    assert!(
        json["precision_reason"]
            .as_str()
            .unwrap()
            .starts_with("f32")
    );
    assert!(!json["instructions"].as_str().unwrap().is_empty());
    assert_eq!(json["not_reached"], 0);
    assert_eq!(json["failures"], Value::Array(vec![]));
    assert!(json["images_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn photo_without_an_answer_is_named_and_counts_as_wrong() {
    let mut table = good_table();
    table += "cut.png\t\tn07579787\ngone.png\t\tn07579787\n";
    let dir = data(&table);
    let bytes = std::fs::read(fixture("photos/plate.png")).unwrap();
    std::fs::write(dir.path().join("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    let (code, json) = eval_json(dir.path(), &[]);
    assert_eq!(code, 1);
    assert_eq!(
        (&json["photos"], &json["top1"]["right"]),
        (&6.into(), &4.into())
    );
    assert_eq!(json["failures"].as_array().unwrap().len(), 2);
    let (code, text, _) = eval(dir.path(), &[]);
    assert_eq!(code, 1);
    for words in [
        "photos        6, 2 without an answer\n",
        "top-1         0.6667 (4/6)",
        "  cut.png: the PNG ends before its picture is complete\n",
        "  gone.png: cannot be read: ",
        "    1 of 3   n07579787 plate: no answer ×2\n",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

#[test]
fn each_photos_answer_is_written_with_the_truth_beside_it() {
    let mut table = good_table();
    table = table.replace("espresso.png\t967\tn07920052", "espresso.png\t\tn07747607");
    table += "gone.png\t\tn07579787\n";
    let dir = data(&table);
    let out = |name: &str| dir.path().join(name).display().to_string();
    let (code, ..) = eval(dir.path(), &["--answers", &out("answers.csv")]);
    assert_eq!(code, 1, "one is gone");
    let mut csv = csv::Reader::from_path(out("answers.csv")).unwrap();
    assert_eq!(
        csv.headers().unwrap(),
        &[
            "file",
            "true_class_index",
            "true_wnid",
            "true_label",
            "true_rank",
            "class_index",
            "wnid",
            "label",
            "probability",
            "error"
        ][..]
    );
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 5);
    let orange = &rows[1];
    assert_eq!(
        (&orange[0], &orange[3], &orange[4]),
        ("orange.png", "orange", "1")
    );
    assert_eq!((&orange[2], &orange[5]), (&orange[6], &orange[1]));
    let espresso = &rows[0];
    assert_eq!((&espresso[3], &espresso[7]), ("orange", "espresso"));
    assert_ne!(&espresso[4], "1");
    assert_eq!(
        (&rows[4][0], &rows[4][4], &rows[4][8]),
        ("gone.png", "", "")
    );
    assert!(rows[4][9].starts_with("cannot be read"), "{rows:?}");
    fs::write(out("answers.jsonl"), "of another run").unwrap();
    let (_, json) = eval_json(dir.path(), &["--answers", &out("answers.jsonl")]);
    assert_eq!(json["photos"], 5, "the figures are where they were");
    let lines = fs::read_to_string(out("answers.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[1]["true"]["rank"], 1);
    assert_eq!(lines[1]["predictions"][0]["label"], "orange");
    assert_eq!(lines[1]["predictions"].as_array().unwrap().len(), 5);
    assert!(
        lines[4]["error"]
            .as_str()
            .unwrap()
            .starts_with("cannot be read")
    );
    let (code, _, stderr) = eval(dir.path(), &["--answers", &out("no/where.csv")]);
    assert!(code == 1 && stderr.contains("cannot write"), "{stderr}");
    for name in ["answers.json", "answers.xlsx", "answers"] {
        let (code, stdout, stderr) = eval(dir.path(), &["--answers", &out(name)]);
        let words = format!("{name}, allowed are names that end in .csv, .jsonl, .ndjson");
        assert!(code == 2 && stderr.contains(&words), "{stderr}");
        assert!(stdout.is_empty() && !dir.path().join(name).exists());
    }
    // Before anything is read.
    let (code, _, stderr) = eval(&dir.path().join("nowhere"), &["--answers", &out("a.txt")]);
    assert!(code == 2 && stderr.contains("--answers is"), "{stderr}");
}

#[test]
fn signal_leaves_the_figures_of_the_photos_until_then() {
    // The fourth is a pipe that nobody writes to.
    let dir = data(&good_table().replace("trolleybus.png", "pipe.png"));
    let pipe = dir.path().join("pipe.png");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let answers = dir.path().join("answers.csv");
    for json in [false, true] {
        let _ = fs::remove_file(&answers);
        let mut command = resnet();
        command
            .args(["eval", "--precision", "f32", "--data"])
            .arg(dir.path());
        command.arg("--answers").arg(&answers);
        if json {
            command.arg("--json");
        }
        let answered = || fs::read_to_string(&answers).is_ok_and(|text| text.lines().count() == 4);
        let output = ended_by("INT", command, answered);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        if json {
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&json["photos"], &json["not_reached"]),
                (&3.into(), &1.into())
            );
            assert_eq!(json["top1"]["right"], 3);
        } else {
            assert!(
                text.contains("photos        3, 1 more not reached: the run was ended\n"),
                "{text}"
            );
            assert!(text.contains("top-1         1.0000 (3/3)"), "{text}");
        }
    }
}

#[test]
fn what_is_not_there_or_does_not_fit_is_exit_code_1_and_wrong_use_2() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().display().to_string();
    let text = fixture("README.md").display().to_string();
    for (args, words) in [
        (
            vec!["eval", "--data", "/nonexistent"],
            "/nonexistent: cannot be read",
        ),
        (vec!["eval", "--data", &text], "is not a directory"),
        (
            vec!["eval", "--data", &path],
            "neither labels.tsv nor folders",
        ),
        (
            vec!["eval", "--data", &path, "--labels", "/nonexistent.tsv"],
            "/nonexistent.tsv: cannot",
        ),
        (
            vec!["eval", "--data", &path, "--labels", &text],
            "line 1: the head line must name",
        ),
    ] {
        let (code, stdout, stderr) = run(&args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
        assert!(
            stderr.contains(words),
            "{args:?}: {words} is not in {stderr}"
        );
    }
    let (code, _, stderr) = run(&["eval"]);
    assert!(code == 2 && stderr.contains("--data <DIR>"), "{stderr}");
    let dir = data(&good_table());
    let models = ["--model", "resnet18-tiny", "--model", "b=resnet18-tiny"];
    let (code, _, stderr) = eval(dir.path(), &models);
    assert!(
        code == 2 && stderr.contains("eval takes one --model, 2 were given"),
        "{stderr}"
    );
    let (code, _, stderr) = eval(dir.path(), &["--model", "resnet50"]);
    assert!(
        code == 1 && stderr.contains("resnet pull resnet50"),
        "{stderr}"
    );
}

#[test]
fn reader_that_has_gone_is_no_failure() {
    let dir = data(&good_table());
    let mut command = resnet();
    command.args(["eval", "--data"]).arg(dir.path());
    let output = without_a_reader(command);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}
