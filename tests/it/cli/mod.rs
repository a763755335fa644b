//! The commands as a person meets them: help, exit codes, tables, JSON, wrong flags.

mod arithmetic;
mod classify;
mod facts;
mod folders;
mod healthcheck;
mod model;
mod pages;
mod quantize;
mod serve;
mod terminal;
mod variables;

use crate::harness::{fixture, resnet, text_of};

pub(crate) fn run(args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let output = resnet()
        .args(args)
        .env("RESNET_MODELS_DIR", home.path())
        .output()
        .unwrap();
    text_of(&output)
}

fn photo(name: &str) -> String {
    fixture(&format!("photos/{name}")).display().to_string()
}

#[test]
fn help_names_every_command_flag_variable_and_default() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for command in [
        "serve",
        "classify",
        "eval",
        "bench",
        "preprocess",
        "pull",
        "ls",
        "show",
        "rm",
        "doctor",
        "healthcheck",
        "completions",
        "man",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is not in\n{help}"
        );
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(help.contains("Usage: resnet"), "{help}");
    }
    let (_, serve, _) = run(&["serve", "--help"]);
    for (flag, variable) in [
        ("--host", "RESNET_HOST"),
        ("--port", "RESNET_PORT"),
        ("--model", "RESNET_MODEL"),
        ("--models-dir", "RESNET_MODELS_DIR"),
        ("--max-body-bytes", "RESNET_MAX_BODY_BYTES"),
        ("--max-batch-size", "RESNET_MAX_BATCH_SIZE"),
        ("--queue-capacity", "RESNET_QUEUE_CAPACITY"),
        ("--workers", "RESNET_WORKERS"),
        ("--threads-per-worker", "RESNET_THREADS_PER_WORKER"),
        ("--precision", "RESNET_PRECISION"),
        ("--isa", "RESNET_ISA"),
        ("--shutdown-timeout", "RESNET_SHUTDOWN_TIMEOUT"),
        ("--log-format", "RESNET_LOG_FORMAT"),
    ] {
        assert!(
            serve.contains(flag) && serve.contains(&format!("[env: {variable}=")),
            "{flag} in\n{serve}"
        );
    }
}

#[test]
fn version_tells_the_commit() {
    let (code, version, _) = run(&["--version"]);
    assert_eq!(code, 0);
    assert!(
        version.starts_with(concat!("resnet ", env!("CARGO_PKG_VERSION"), " (")),
        "{version}"
    );
}

#[test]
fn wrong_use_is_exit_code_2_and_names_value_and_range() {
    for (args, words) in [
        (
            vec!["serve", "--port", "99999"],
            vec!["`99999` is none of the whole numbers from 0 to 65535"],
        ),
        (
            vec!["serve", "--max-batch-size", "0"],
            vec!["`0` is none of the whole numbers from 1 to 256"],
        ),
        (
            vec!["serve", "--threads-per-worker", "0"],
            vec!["`0` is none of the whole numbers from 1 to 1024"],
        ),
        (
            vec!["classify", "--precision", "f16", "x.png"],
            vec!["f16", "auto, f32, bf16x3, bf16, int8"],
        ),
        (
            vec!["eval", "--isa", "sse2", "--data", "x"],
            vec![
                "sse2",
                "auto, scalar, avx2, avx-vnni, avx512, avx512-vnni, avx512-bf16, amx",
            ],
        ),
        (vec!["bench"], vec!["engine"]),
        (
            vec!["bench", "engine", "--batch", "0"],
            vec!["`0` is none of the whole numbers from 1 to 256"],
        ),
        (
            vec!["bench", "engine", "--seconds", "0"],
            vec!["`0` is no time"],
        ),
        (
            vec!["serve", "--max-body-bytes", "2GiB"],
            vec!["2GiB", "1GiB"],
        ),
        (
            vec!["serve", "--shutdown-timeout", "soon"],
            vec!["soon", "500ms"],
        ),
        (
            vec!["serve", "--host", "localhost.nowhere"],
            vec!["localhost.nowhere"],
        ),
        (
            vec!["serve", "--wrokers", "2"],
            vec!["--wrokers", "--workers"],
        ),
        (
            vec!["serve", "--trusted-proxies", "10.0.0.0/8,10.0.0.1/8"],
            vec!["--trusted-proxies", "`10.0.0.1/8`", "10.0.0.0/8"],
        ),
        (
            vec!["serve", "--max-pixels", "12MP"],
            vec!["`12MP` is none of the whole numbers from 1 to 1000000000"],
        ),
        (
            vec!["classify", "--top-k", "five", "x.png"],
            vec!["`five` is no whole number"],
        ),
        (
            vec!["classify", "x.png", "--output", "x.parquet"],
            vec!["the name x.parquet is no format's", ".csv, .jsonl or .txt"],
        ),
        (
            vec!["classify", "x.png", "--format", "csv", "--json"],
            vec!["--json", "--format"],
        ),
        (
            vec![
                "preprocess",
                "x.png",
                "--compare",
                "y.npy",
                "--tolerance",
                "-1",
            ],
            vec!["`-1` is no tolerance, allowed are finite numbers from 0"],
        ),
        (
            vec!["healthcheck", "--port", "0"],
            vec!["`0` is none of the whole numbers from 1 to 65535"],
        ),
        (
            vec!["man", "serve", "now"],
            vec!["serve has no command \"now\""],
        ),
        (vec!["sevre"], vec!["sevre", "serve"]),
        (vec!["classify"], vec!["<FILE>"]),
        (vec![], vec!["Usage: resnet"]),
    ] {
        let (code, _, stderr) = run(&args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word} is not in {stderr}");
        }
    }
    let bad_env = resnet()
        .arg("serve")
        .env("RESNET_PORT", "http")
        .output()
        .unwrap();
    let (code, _, stderr) = text_of(&bad_env);
    assert!(code == 2 && stderr.contains("http"), "{stderr}");
}
