//! Which model a command means, and what `show` and `doctor` tell of it.

use super::{photo, run, text_of};
use crate::harness::{fixture, preset, resnet};

#[test]
fn show_and_doctor_tell_what_would_be_served() {
    let (code, stdout, _) = run(&["show", "resnet18-tiny"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("223ea6225a0cbeb0")
            && stdout.contains("input         input [N, 3, 64, 64] float32")
            && stdout.contains("shorter side to 64 (bilinear), center crop 64, mean"),
        "{stdout}"
    );
    let (code, stdout, _) = run(&["show", "efficientnet-lite0"]);
    assert_eq!(code, 0);
    for row in [
        "built in      EfficientNet-Lite0, all 1000 ImageNet classes, 8-bit weights",
        "license       Apache-2.0",
        "others        resnet ls; for ResNet-50: resnet pull resnet50",
        "input         input [N, 3, 224, 224] float32",
    ] {
        assert!(stdout.lines().any(|l| l == row), "{row} is not in {stdout}");
    }
    let (code, stdout, _) = run(&["show", "resnet50"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("Apache-2.0") && stdout.contains("resnet pull resnet50"),
        "{stdout}"
    );
    let (code, stdout, _) = text_of(&preset().arg("doctor").output().unwrap());
    assert_eq!(code, 0);
    assert!(
        stdout.contains("cpus ") && stdout.contains("efficientnet-lite0 ok: 1000 classes"),
        "{stdout}"
    );
    assert!(stdout.contains("\nmemory        at most "), "{stdout}");
    let is_compared = |words: &str| stdout.contains(words);
    assert!(
        is_compared("the cgroup") || is_compared("this machine has "),
        "{stdout}"
    );
    assert!(
        stdout.contains("room for --max-connections 10240\n"),
        "{stdout}"
    );
    let (code, stdout, _) = run(&[
        "doctor",
        "--max-connections",
        "1048576",
        "--http2",
        "--decode-memory",
        "1MiB",
    ]);
    assert_eq!(code, 0);
    // Six terabytes.
    assert!(stdout.contains("; TOO LITTLE: "), "{stdout}");
    assert!(
        stdout.contains("or lower --max-connections (6291456 MiB), "),
        "{stdout}"
    );
    assert!(
        stdout.contains("--max-connections 1048576")
            || stdout.contains("--max-connections is 1048576"),
        "{stdout}"
    );
    let (code, stdout, _) = run(&["doctor", "--isa", "scalar", "--precision", "f32"]);
    assert_eq!(code, 0);
    for row in [
        "pixel kernels scalar",
        "engine        no instructions for operators of ours: tract's own serve; precision f32",
        "  precision   f32: tract computes all of it",
        "  operators   all are tract's",
    ] {
        assert!(stdout.lines().any(|l| l == row), "{row} is not in {stdout}");
    }
    let (code, stdout, _) = run(&["show", "resnet18-tiny", "--isa", "scalar"]);
    assert_eq!(code, 0);
    for row in [
        "precision     f32: tract computes all of it",
        "instructions  tract",
        "operators     all are tract's",
    ] {
        assert!(stdout.lines().any(|l| l == row), "{row} is not in {stdout}");
    }
    let (code, stdout, _) = run(&["doctor", "--model", "resnet50"]);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("FAILED: resnet50 is not downloaded")
            && stdout.contains("resnet pull resnet50"),
        "{stdout}"
    );
}

#[test]
fn model_that_is_not_there_is_named_with_the_remedy() {
    for (model, words) in [
        ("resnet50", "resnet pull resnet50"),
        ("resnet5O", "did you mean"),
        ("./nothing.onnx", "./nothing.onnx: cannot be read"),
        ("resnet18-tiny,resnet18-tiny", "two models are named"),
    ] {
        let (code, _, stderr) = run(&["serve", "--port", "0", "--model", model]);
        assert_eq!(code, 1, "{model}");
        assert!(
            stderr.lines().last().unwrap().contains(words),
            "{model}: {stderr}"
        );
    }
}

#[test]
fn empty_model_is_refused_and_not_taken_for_the_built_in_one() {
    for command in [
        &["serve", "--port", "0"][..],
        &["classify", "x.png"],
        &["doctor"],
    ] {
        for value in ["", "resnet18-tiny,", ",resnet18-tiny"] {
            let (code, _, stderr) = run(&[command, &["--model", value]].concat());
            assert_eq!(code, 2, "{stderr}");
            assert!(
                stderr.contains("a name or path is missing; without --model"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn model_path_needs_no_home_directory() {
    let output = resnet()
        .env_clear()
        .args(["classify", "--model"])
        .arg(fixture("models/opset13.onnx"))
        .arg(photo("orange.png"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn doctor_refuses_what_serve_refuses() {
    for (flags, words) in [
        (
            &["--max-images", "257"][..],
            "is more than --queue-capacity 256",
        ),
        (
            &["--body-memory", "99MiB"],
            "--body-memory 103809024 bytes is less than --max-body-bytes 104857600 bytes",
        ),
        (
            &["--watchdog-timeout", "5s"],
            "is not more than --decode-timeout 10 s",
        ),
        (
            &["--grpc-port", "8080"],
            "--grpc-port is on port 8080, and so is --port",
        ),
        (
            &["--admin-address", "127.0.0.1:8080"],
            "--admin-address is on port 8080, and so is --port",
        ),
    ] {
        for command in ["doctor", "serve"] {
            let (code, _, stderr) = run(&[&[command], flags].concat());
            assert!(code == 2 && stderr.contains(words), "{command}: {stderr}");
        }
    }
    let apart = [
        "doctor",
        "--host",
        "127.0.0.1",
        "--admin-address",
        "127.0.0.2:8080",
    ];
    assert_eq!(run(&apart).0, 0);
}
