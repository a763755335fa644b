//! How a run over folders is ended, and gone on with.

use std::fs;
use std::process::Stdio;

use super::super::text_of;
use super::Place;
use crate::harness::{ended_by, fixture, without_a_reader};

#[test]
fn resumed_run_writes_what_an_unbroken_one_does_wherever_it_was_cut() {
    let place = Place::with_photos();
    place.file("photos/b/0.jpg", b"damaged");
    for form in ["csv", "jsonl"] {
        let out = format!("out.{form}");
        let args = ["photos", "-k", "2", "--resume", "-o", &out];
        assert_eq!(place.run(&args).0, 1, "one failed");
        let whole = place.read(&out);
        for cut in [0, 3, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            place.file(&out, &whole.as_bytes()[..cut]);
            let (code, _, stderr) = place.run(&args);
            assert_eq!(code, 1, "one failed, then or now: {stderr}");
            assert_eq!(place.read(&out), whole, "{form}, cut at {cut}: {stderr}");
        }
        let (code, _, stderr) = place.run(&args);
        assert_eq!(code, 1);
        assert_eq!(
            stderr,
            "0 classified, 0 failed, 13 done before (1 failed)\n"
        );
        // A photo that comes later is added.
        place.photo("orange.png", &format!("photos/c/{form}.png"));
        let (_, _, stderr) = place.run(&args);
        assert!(stderr.starts_with("1 classified, 0 failed, "), "{stderr}");
        assert!(place.read(&out).starts_with(&whole));
        fs::remove_dir_all(place.path("photos/c")).unwrap();
    }
}

#[test]
fn output_of_another_run_is_refused_and_stays() {
    let place = Place::with_photos();
    assert_eq!(place.run(&["photos", "-k", "2", "-o", "out.csv"]).0, 0);
    assert_eq!(place.run(&["photos", "-k", "2", "-o", "out.jsonl"]).0, 0);
    place.file("photos.csv", b"name,size\na,b\n");
    place.file("one-line.csv", b"a,b,c");
    place.file("one-line.jsonl", b"{\"precious\":1}");
    let opset = fixture("models/opset13.onnx").display().to_string();
    for (args, words) in [
        (vec!["-o", "out.csv", "-k", "3"], "--top-k must be the same"),
        (
            vec!["-o", "out.jsonl", "-k", "3"],
            "--top-k must be the same",
        ),
        (
            vec!["-o", "out.jsonl", "-k", "2", "--model", &opset],
            "line 1 is of the model resnet18-tiny, this run's is opset13",
        ),
        (
            vec!["-o", "photos.csv"],
            "line 1 does not name the columns file,model,",
        ),
        (
            vec!["-o", "one-line.csv"],
            "line 1 does not name the columns file,model,",
        ),
        (
            vec!["-o", "one-line.jsonl"],
            "line 1 is none that `resnet classify` writes",
        ),
        (
            vec!["-o", "out.csv", "--format", "jsonl"],
            "line 1 is none that `resnet classify` writes",
        ),
        (
            vec!["-o", "out.txt"],
            "--resume needs --format csv or jsonl",
        ),
        (
            vec!["-o", "-", "--json"],
            "--resume needs a file in --output, not -",
        ),
        (
            vec!["-o", "/dev/null", "--json"],
            "--resume needs a file, /dev/null is none",
        ),
        (vec![], "--output"),
    ] {
        let outputs = ["out.csv", "out.jsonl", "one-line.csv", "one-line.jsonl"];
        let before = outputs.map(|name| place.read(name));
        let (code, stdout, stderr) = place.run(&[&["photos", "--resume"], &args[..]].concat());
        assert_eq!((code, &*stdout), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
        assert_eq!(outputs.map(|name| place.read(name)), before);
    }
}

#[test]
fn signal_keeps_what_is_done_and_resume_adds_the_rest() {
    let place = Place::with_photos();
    place.run(&["photos", "-k", "1", "-o", "whole.csv"]);
    place.pipe("pipe");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let _ = fs::remove_file(place.path("out.csv"));
        // It waits for the pipe, when the first folder is done.
        let command = place.command(&["-k", "1", "-o", "out.csv", "photos/a", "pipe", "photos/b"]);
        let answered = || {
            fs::read_to_string(place.path("out.csv")).is_ok_and(|text| text.lines().count() == 5)
        };
        let (ended, _, stderr) = text_of(&ended_by(signal, command, answered));
        assert_eq!(ended, code, "{stderr}");
        let words = format!("ended by SIG{signal}; the same command with --resume goes on\n");
        assert!(stderr.ends_with(&words), "{stderr}");
        assert!(stderr.starts_with("4 classified, 0 failed\n"), "{stderr}");
        assert!(place.read("whole.csv").starts_with(&place.read("out.csv")));
        let (code, _, stderr) = place.run(&["photos", "-k", "1", "-o", "out.csv", "--resume"]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(place.read("out.csv"), place.read("whole.csv"));
    }
}

#[test]
fn signal_ends_a_run_that_waits_for_standard_input() {
    let place = Place::new();
    place.photo("plate.png", "plate.png");
    let mut command = place.command(&["--json", "plate.png", "-", "-o", "out.jsonl"]);
    command.stdin(Stdio::piped());
    let answered = || fs::read_to_string(place.path("out.jsonl")).is_ok_and(|t| t.ends_with('\n'));
    let output = ended_by("INT", command, answered);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}

#[test]
fn reader_that_has_gone_ends_the_run_without_a_word() {
    let place = Place::with_photos();
    let output = without_a_reader(place.command(&["--json", "photos"]));
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}
