//! Instruction sets and precisions that are asked for, and `resnet bench engine`.

use kernels::Features;
use serde_json::Value;

use super::{photo, run, text_of};
use crate::harness::{fixture, resnet, skipped};

/// The error line of a command that must be refused as wrong use, in this environment.
fn usage_error(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = resnet()
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let (code, _, stderr) = text_of(&output);
    assert_eq!(code, 2, "{args:?} {env:?}: {stderr}");
    stderr
}

#[test]
fn isa_that_this_cpu_lacks_is_refused_by_every_command_with_a_model() {
    let supported: Vec<&str> = Features::supported().map(Features::name).collect();
    let Some(lacking) = Features::LADDER.into_iter().find(|f| !f.is_supported()) else {
        skipped("this CPU has all instructions");
        return;
    };
    let photo = photo("plate.png");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plate")).unwrap();
    std::fs::copy(&photo, dir.path().join("plate/1.png")).unwrap();
    let labelled = dir.path().display().to_string();
    for command in [
        vec!["serve", "--port", "0", "--log-format", "text"],
        vec!["classify", &photo],
        vec!["eval", "--data", &labelled],
        vec!["show", "resnet18-tiny"],
        vec!["doctor"],
        vec!["bench", "engine"],
    ] {
        for (name, flags, env) in [
            ("--isa", vec!["--isa", lacking.name()], vec![]),
            ("RESNET_ISA", vec![], vec![("RESNET_ISA", lacking.name())]),
        ] {
            let stderr = usage_error(&[&command[..], &flags].concat(), &env);
            let words = format!(
                "{name} is {}, this CPU has {}\n",
                lacking.name(),
                supported.join(", ")
            );
            assert!(stderr.ends_with(&words), "{command:?}: {stderr}");
        }
    }
}

#[test]
fn precision_without_instructions_is_refused() {
    for precision in ["bf16", "bf16x3"] {
        let words = |what: &str, isa: &str| {
            format!("{what} is {precision}, which needs AVX512-BF16 or AMX; {isa} is scalar\n")
        };
        let flags = [
            "show",
            "resnet18-tiny",
            "--precision",
            precision,
            "--isa",
            "scalar",
        ];
        assert!(usage_error(&flags, &[]).ends_with(&words("--precision", "--isa")));
        let env = [("RESNET_PRECISION", precision), ("RESNET_ISA", "scalar")];
        let said = usage_error(&["bench", "engine"], &env);
        assert!(
            said.ends_with(&words("RESNET_PRECISION", "RESNET_ISA")),
            "{said}"
        );
    }
}

#[test]
fn plain_code_answers_as_the_best_instructions_do() {
    let photo = photo("espresso.png");
    let answer = |isa: &str| {
        let (code, stdout, stderr) = run(&[
            "classify",
            "--json",
            "--precision",
            "f32",
            "--isa",
            isa,
            &photo,
        ]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{isa}");
        let line: Value = serde_json::from_str(&stdout).unwrap();
        let best = &line["predictions"][0];
        (best["label"].clone(), best["probability"].as_f64().unwrap())
    };
    let (label, probability) = answer("scalar");
    for features in Features::supported() {
        let (l, p) = answer(features.name());
        assert_eq!(l, label, "{}", features.name());
        assert!((p - probability).abs() < 1e-3, "{}: {p}", features.name());
    }
}

#[test]
fn bench_engine_tells_what_it_measured() {
    let keys = [
        "model",
        "input",
        "batch",
        "workers",
        "threads",
        "precision",
        "precision_reason",
        "instructions",
        "seconds",
        "images",
        "images_per_second",
        "latency_ms",
    ];
    let flags = "bench engine --batch 2 --workers 2 --threads 1 --precision f32 --seconds 0.2";
    let flags: Vec<&str> = flags.split(' ').collect();
    let (code, stdout, stderr) = run(&[&flags[..], &["--json", "--profile"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    for key in keys {
        assert!(report.get(key).is_some(), "{key} is not in {stdout}");
    }
    assert_eq!(
        [&report["batch"], &report["workers"], &report["threads"]],
        [2, 2, 1]
    );
    assert_eq!(
        (&report["precision"], &report["input"]),
        (&"f32".into(), &"f32".into())
    );
    assert_eq!(report["images"].as_u64().unwrap() % 2, 0);
    let latency = |key: &str| report["latency_ms"][key].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p90"));
    assert!(latency("p90") <= latency("p99"));
    // The workers' rates add up; none of them measured for longer than is said, and none for less than was asked for.
    let number = |key: &str| report[key].as_f64().unwrap();
    let (images, rate) = (number("images"), number("images_per_second"));
    let allowed = images / number("seconds") * 0.999..=images / 0.2 * 1.001;
    assert!(allowed.contains(&rate), "{stdout}");
    assert!(report["profile"]["steps"].is_array(), "{stdout}");

    let (code, stdout, _) = run(&flags);
    assert_eq!(code, 0);
    for word in ["images/s", "p50", "p99", "precision", "instructions"] {
        assert!(stdout.contains(word), "{word} is not in {stdout}");
    }
    // Bytes where the network takes them: with stock operators only, it does not.
    let bytes = [&flags[..], &["--json", "--input", "u8"]].concat();
    if kernels::Features::detect().isa > kernels::Isa::Scalar {
        let (code, stdout, _) = run(&bytes);
        assert!(code == 0 && stdout.contains("\"input\":\"u8\""), "{stdout}");
    }
    let (code, _, stderr) = run(&[&bytes[..], &["--isa", "scalar"]].concat());
    assert!(code == 1 && stderr.contains("takes no bytes"), "{stderr}");
    // Every kind of model, one of stock operators too; an unknown one is named.
    let model = fixture("models/preactivation.onnx").display().to_string();
    let (code, stdout, _) = run(&[
        "bench",
        "engine",
        "--model",
        &model,
        "--seconds",
        "1ms",
        "--profile",
    ]);
    assert!(code == 0 && stdout.contains("preactivation"), "{stdout}");
    let (code, _, stderr) = run(&["bench", "engine", "--model", "resnet50"]);
    assert!(
        code == 1 && stderr.contains("resnet pull resnet50"),
        "{stderr}"
    );
}
