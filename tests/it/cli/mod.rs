//! The commands as a person meets them: help, exit codes, tables, JSON, wrong flags.

mod arithmetic;
mod classify;
mod facts;
mod folders;
mod pages;
mod quantize;
mod terminal;

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Output};
use std::thread;
use std::time::Duration;

use crate::harness::{Answer, Process, agent, eventually, fixture, fixture_bytes, preset, resnet};

pub(crate) fn run(args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let output = resnet()
        .args(args)
        .env("RESNET_MODELS_DIR", home.path())
        .output()
        .unwrap();
    text_of(&output)
}

fn text_of(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
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

#[test]
fn variables_that_say_nothing_count_as_unset() {
    let args = ["serve", "--port", "0", "--model", "nothing.onnx"];
    for (name, value) in [
        ("RESNET_WORKERS", ""),
        ("RESNET_HOST", ""),
        ("RESNET_ISA", ""),
        // what Kubernetes gives to pods beside a Service named resnet
        ("RESNET_PORT", "tcp://10.0.0.1:8080"),
    ] {
        let output = resnet().args(args).env(name, value).output().unwrap();
        let (code, _, stderr) = text_of(&output);
        assert!(
            code == 1 && stderr.contains("nothing.onnx"),
            "{name}={value}: {stderr}"
        );
    }
}

#[test]
fn errors_in_variables_name_them_and_errors_in_flags_name_those() {
    for (args, variable, want, other) in [
        (
            &[][..],
            ("RESNET_PORT", "http"),
            "'http' for 'RESNET_PORT'",
            "--port",
        ),
        (
            &["--port", "http"],
            ("RESNET_PORT", "80"),
            "'http' for '--port <PORT>'",
            "RESNET_PORT",
        ),
        (
            &["--port=http"],
            ("RESNET_PORT", "80"),
            "for '--port <PORT>'",
            "RESNET_PORT",
        ),
        (
            &[],
            ("RESNET_HTTP2", "maybe"),
            "for 'RESNET_HTTP2'",
            "--http2",
        ),
        (
            &[],
            ("RESNET_LOG", "loud"),
            "'loud' for 'RESNET_LOG'",
            "--log-level",
        ),
        (
            &[],
            ("RESNET_ISA", "sse"),
            "'sse' for 'RESNET_ISA'",
            "--isa",
        ),
        (
            &["--isa", "scalar"],
            ("RESNET_PRECISION", "int8"),
            "RESNET_PRECISION is int8",
            "--precision is",
        ),
        (
            &["--queue-capacity", "8"],
            ("RESNET_MAX_IMAGES", "9"),
            "RESNET_MAX_IMAGES 9 is more than --queue-capacity 8",
            "--max-images",
        ),
    ] {
        let mut command = resnet();
        command.args(["serve", "--log-format", "text"]).args(args);
        let output = command.env(variable.0, variable.1).output().unwrap();
        let (code, _, stderr) = text_of(&output);
        assert!(code != 0 && stderr.contains(want), "{want}: {stderr}");
        assert!(!stderr.contains(other), "{other}: {stderr}");
    }
}

#[test]
fn variable_beside_its_flags_letter_is_not_blamed() {
    for letter in [&["-k", "5000"][..], &["-k5000"]] {
        let mut command = resnet();
        command.args(["classify", &photo("plate.png")]).args(letter);
        let output = command.env("RESNET_TOP_K", "3").output().unwrap();
        let (code, _, stderr) = text_of(&output);
        assert!(code == 2 && stderr.contains("--top-k is 5000"), "{stderr}");
        assert!(!stderr.contains("RESNET_TOP_K"), "{stderr}");
    }
}

#[test]
fn unknown_variables_are_warned_of_with_the_nearest_name() {
    let env = [
        ("RESNET_PROT", "8080"),
        ("RESNET_MAX_PIXEL", "1"),
        ("RESNET_SOMETHING_ELSE_ENTIRELY", "1"),
        ("RESNET_MIRROR", "known to another command"),
        ("RESNET_SERVICE_HOST", "10.0.0.1"),
        ("RESNET_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let server = Process::start_with_env(&[], &env);
    for (name, hint) in [
        ("RESNET_PROT", "; did you mean RESNET_PORT?"),
        ("RESNET_MAX_PIXEL", "; did you mean RESNET_MAX_PIXELS?"),
        ("RESNET_SOMETHING_ELSE_ENTIRELY", ""),
    ] {
        let want = format!("the variable {name} is unknown and changes nothing{hint}");
        assert_eq!(server.log.message(&want)["level"], "WARN");
    }
    let log = server.log.so_far();
    let warned = log.iter().filter_map(|l| l["message"].as_str());
    assert_eq!(
        warned.filter(|m| m.contains("is unknown")).count(),
        3,
        "{log:?}"
    );

    let output = resnet().arg("ls").env("RESNET_PROT", "1").output().unwrap();
    let (code, _, stderr) = text_of(&output);
    let want = "warning: the variable RESNET_PROT is unknown and changes nothing; did you mean RESNET_PORT?\n";
    assert_eq!((code, stderr.as_str()), (0, want));
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
fn log_that_cannot_be_written_does_not_end_the_server() {
    let mut child = resnet()
        .args(["serve", "--port", "0"])
        .stderr(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .spawn()
        .unwrap();
    // Its log, which would tell the port, is lost.
    let mut port = None;
    eventually("it listens", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        port = listening_port(&child);
        port.is_some()
    });
    let port = port.unwrap().to_string();
    eventually("it is ready", || {
        run(&["healthcheck", "--port", &port]).0 == 0
    });
    let url = format!("http://127.0.0.1:{port}/classify");
    let answer = agent()
        .post(url)
        .send(&fixture_bytes("photos/orange.png")[..]);
    Answer::of(answer).ok();
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The TCP port that a process listens on over IPv4, as the kernel lists it.
fn listening_port(process: &Child) -> Option<u16> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id())).ok()?;
    let sockets: Vec<String> = files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    // Fields of proc(5): 1 is ADDRESS:PORT in hex, 3 the state (0A listens), 9 the socket's number.
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = sockets.contains(&format!("socket:[{}]", fields[9]));
        let (_, port) = fields[1].split_once(':')?;
        (own && fields[3] == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
    })
}

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
    assert!(
        stdout.contains("\nmemory        at most ") && stdout.contains("the cgroup"),
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
        "--decode-memory",
        "1MiB",
    ]);
    assert_eq!(code, 0);
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
fn healthcheck_follows_the_server() {
    let server = Process::start(&[]);
    let port = server.address.port().to_string();
    let (code, stdout, _) = run(&["healthcheck", "--port", &port]);
    assert_eq!((code, stdout.as_str()), (0, "ready\n"));
    let (code, _, _) = run(&["healthcheck", "--host", "0.0.0.0", "--port", &port]);
    assert_eq!(code, 0);
    drop(server);
    let (code, _, stderr) = run(&["healthcheck", "--port", &port]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no answer from"), "{stderr}");
}

#[test]
fn healthcheck_waits_no_longer_than_it_is_told_whatever_trickles_in() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // A byte every 200 ms: each read succeeds, all twelve take longer than the timeout.
    let trickle = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0;
        for byte in b"HTTP/1.1 200 OK\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            sent += 1;
            thread::sleep(Duration::from_millis(200));
        }
        sent
    });
    let (code, _, stderr) = run(&["healthcheck", "--port", &port, "--timeout", "500ms"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("no answer from"), "{stderr}");
    assert!(trickle.join().unwrap() < 17, "it did not wait for the end");
}

#[test]
fn start_up_says_what_the_built_in_model_is_and_why_these_threads() {
    let server = Process::start_as(preset(), &[]);
    let built_in = server.log.message("efficientnet-lite0 is built in");
    let words = built_in["message"].as_str().unwrap();
    for part in ["all 1000 ImageNet classes", "resnet pull resnet50"] {
        assert!(words.contains(part), "{words}");
    }
    let threads = server.log.message("threads");
    let because = threads["because"].as_str().unwrap();
    assert!(because.contains("cgroup quota"), "{threads}");
    let loaded = server.log.message("model loaded");
    let (precision, because) = (&loaded["precision"], &loaded["because"]);
    let because = because.as_str().unwrap();
    assert!(because.starts_with(precision.as_str().unwrap()), "{loaded}");
    let ready = server.log.message("ready");
    let (start_up, load) = (ready["startup_ms"].as_u64(), loaded["load_ms"].as_u64());
    assert!(load > Some(0) && start_up >= load, "{ready} after {loaded}");
}
