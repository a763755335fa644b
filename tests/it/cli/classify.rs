//! `resnet classify`: a table for people, JSON for programs, photos from standard input.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{photo, run};
use crate::harness::{Settings, TestServer, fixture, fixture_bytes, resnet, tiny};

#[test]
fn classify_prints_a_table_for_people() {
    let (code, stdout, stderr) = run(&[
        "classify",
        "-k",
        "2",
        "--precision",
        "f32",
        &photo("espresso.png"),
        &photo("trolleybus.png"),
    ]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].ends_with("espresso.png (PNG 299×299)"), "{stdout}");
    assert_eq!(lines[1], "   73.34%  n07920052  espresso");
    assert_eq!(
        lines[4],
        "   89.05%  n04487081  trolleybus, trolley coach, trackless trolley"
    );
    assert_eq!(lines.len(), 6);
}

#[test]
fn classify_json_is_one_object_a_file_and_a_bad_file_does_not_stop_it() {
    let text = fixture("README.md").display().to_string();
    let args = [
        "classify",
        "--json",
        &photo("espresso.png"),
        "/nonexistent.jpg",
        &text,
        &photo("orange.png"),
    ];
    let (code, stdout, stderr) = run(&args);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let lines: Vec<Value> = stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(
        lines
            .iter()
            .map(|l| l["file"].as_str().unwrap())
            .collect::<Vec<_>>(),
        args[2..]
    );
    assert_eq!(lines[0]["predictions"][0]["label"], "espresso");
    assert!(
        lines[1]["error"]
            .as_str()
            .unwrap()
            .starts_with("cannot be read"),
        "{stdout}"
    );
    assert_eq!(lines[2]["code"], "unsupported_media_type");
    assert_eq!(lines[3]["predictions"][0]["label"], "orange");
    let (code, _, stderr) = run(&["classify", "/nonexistent.jpg"]);
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("/nonexistent.jpg: cannot be read"),
        "{stderr}"
    );
}

#[test]
fn classify_reads_standard_input() {
    let mut child = resnet()
        .args(["classify", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&std::fs::read(fixture("photos/plate.png")).unwrap())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            line["file"].as_str(),
            line["predictions"][0]["label"].as_str()
        ),
        (Some("-"), Some("plate"))
    );
}

#[test]
fn what_is_no_image_is_not_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let zeros = directory.path().join("zeros.jpg");
    let file = std::fs::File::create(&zeros).unwrap();
    file.set_len(64 << 30).unwrap();
    // The device has no end: read on, it would fill the memory and fail in another way.
    for file in ["/dev/zero", zeros.to_str().unwrap()] {
        let (code, stdout, _) = run(&["classify", "--json", file]);
        let line: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(
            (code, line["code"].as_str()),
            (1, Some("unsupported_media_type"))
        );
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains("nothing but zeros"), "{detail}");
    }
}

#[test]
fn explain_writes_the_servers_picture_of_one_photo() {
    let dir = tempfile::tempdir().unwrap();
    let why = dir.path().join("why.png");
    let named = why.display().to_string();
    let exact = ["--precision", "f32", "--model", "resnet18-tiny"];
    let explain = |rest: &[&str]| {
        let args = [&["classify", "--explain", &named], &exact[..], rest].concat();
        run(&args)
    };
    let espresso = photo("espresso.png");
    let server = TestServer::start(vec![tiny()], &Settings::default());
    // What was there before, and is longer, goes.
    std::fs::write(&why, vec![7; 1 << 20]).unwrap();
    for (flags, query) in [
        (&[][..], ""),
        (&["--explain-class", "7"], "&explain_class=7"),
    ] {
        let (code, stdout, stderr) = explain(&[flags, &[&espresso]].concat());
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("espresso"), "{stdout}");
        let path = format!("/classify?explain_image=png{query}");
        let of_server = server.post(&path, &fixture_bytes("photos/espresso.png"));
        assert!(std::fs::read(&why).unwrap() == of_server.body, "{query}");
    }
    let before = std::fs::read(&why).unwrap();
    let folder = dir.path().display().to_string();
    for (rest, words) in [
        (&[espresso.as_str(), &espresso][..], "of one image"),
        (&[&folder], "of one image"),
        (
            &["--explain-class", "200", &espresso],
            "--explain-class is 200, allowed are 0 to 199",
        ),
        (&[&named], "both read and to be written"),
    ] {
        let (code, _, stderr) = explain(rest);
        assert!(code == 2 && stderr.contains(words), "{rest:?}: {stderr}");
        assert!(std::fs::read(&why).unwrap() == before, "{rest:?}");
    }
    let (code, _, stderr) = run(&["classify", "--explain", "-", &espresso]);
    assert!(code == 2 && stderr.contains("not -"), "{stderr}");
    for name in ["why.jpg", "why", "why.png.txt"] {
        let other = dir.path().join(name);
        let named = other.display().to_string();
        let answers = dir.path().join("answers.csv");
        let into = answers.display().to_string();
        let (code, _, stderr) = run(&["classify", "--explain", &named, "-o", &into, &espresso]);
        let words = format!("--explain is {named}, allowed are names that end in .png");
        assert!(code == 2 && stderr.contains(&words), "{stderr}");
        assert!(!other.exists() && !answers.exists());
    }
    // What is no file is called whatever it is.
    for name in ["WHY.PNG", "/dev/null"] {
        let other = dir.path().join(name).display().to_string();
        let args = [&["classify", "--explain", &other], &exact[..], &[&espresso]];
        assert_eq!(run(&args.concat()).0, 0, "{name}");
    }
    // Standard output by its name: a file of its own, unless the answers go there too.
    let redirected = dir.path().join("redirected");
    let answers = dir.path().join("answers.csv").display().to_string();
    for (rest, code) in [(&["--output", &*answers][..], 0), (&[], 2)] {
        let mut command = resnet();
        command.args(["classify", "--explain", "/dev/stdout", &espresso]);
        command.args(exact).args(rest);
        command.stdout(std::fs::File::create(&redirected).unwrap());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let written = std::fs::read(&redirected).unwrap();
        assert_eq!(written.starts_with(b"\x89PNG"), code == 0);
        let words = "--explain is standard output, where the answers go";
        assert_eq!(stderr.contains(words), code == 2, "{stderr}");
    }
    // One file under two names.
    let link = dir.path().join("answers.txt");
    std::os::unix::fs::symlink(&why, &link).unwrap();
    let (code, stdout, stderr) = explain(&["--output", &link.display().to_string(), &espresso]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    let words = "why.png is the file of both --output and --explain";
    assert!(stderr.contains(words), "{stderr}");
    assert!(std::fs::read(&why).unwrap() == before);
}

#[test]
fn photo_that_is_too_large_to_explain_has_its_classes_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let [giant, why, answers] = ["giant.png", "why.png", "answers.jsonl"].map(|name| {
        let path = dir.path().join(name);
        path.display().to_string()
    });
    let file = std::fs::File::create(&giant).unwrap();
    let mut encoder = png::Encoder::new(file, 8000, 8000);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 1000 * 8000]).unwrap();
    writer.finish().unwrap();
    let model = ["--precision", "f32", "--model", "resnet18-tiny"];
    let patient = ["--decode-timeout", "5m"];
    let explain = |rest: &[&str]| {
        run(&[
            &["classify", "--explain", &why, &giant],
            &model[..],
            &patient,
            rest,
        ]
        .concat())
    };
    let words = "giant.png: an overlay of 64000000 pixels is not drawn, allowed are 50000000";
    let (code, stdout, stderr) = explain(&["--json"]);
    assert!(code == 1 && stderr.contains(words), "{code}: {stderr}");
    let line: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(line["predictions"].as_array().unwrap().len(), 5);
    let (code, _, stderr) = explain(&["--output", &answers]);
    assert!(code == 1 && stderr.contains(words), "{code}: {stderr}");
    assert_eq!(std::fs::read_to_string(&answers).unwrap(), stdout);
    assert_eq!(std::fs::read(&why).unwrap(), b"");
}
