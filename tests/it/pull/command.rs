//! `resnet pull` itself: exit codes, messages, locks between processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;

use resnet::registry::{Catalog, FetchOptions, FetchSource, ModelState, Store};

use super::server::{TestServer, respond, respond_with_range};
use super::{Bench, names_in, options};
use crate::harness::{eventually, preset, text_of};

/// The binary with the surroundings of the test machine removed.
pub(super) fn resnet(models_dir: &Path) -> Command {
    let mut command = preset();
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
        .env("RESNET_MODELS_DIR", models_dir)
        .stdin(Stdio::null());
    command
}

/// Runs the binary; returns exit code, standard output and standard error.
pub(super) fn run(command: &mut Command) -> (i32, String, String) {
    text_of(&command.output().unwrap())
}

#[test]
fn second_pull_of_a_model_is_told_that_the_first_is_at_it() {
    let mut bench = Bench::new();
    bench.entry = Catalog::builtin().find("resnet18").unwrap().clone();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (started, at_it) = mpsc::channel();
    let server = TestServer::start(move |_, _| {
        started.send(()).unwrap();
        let _ = held.lock().unwrap().recv();
    });
    thread::scope(|scope| {
        let patient = FetchOptions {
            retries: 0,
            ..options()
        };
        let source = FetchSource::Url(server.url("/a.onnx"));
        let first = scope.spawn({
            let bench = &bench;
            move || bench.fetch(&source, &patient).0
        });
        at_it.recv().unwrap();
        let mut second = resnet(bench.store.dir());
        let (code, _, stderr) = run(second.args(["pull", "resnet18", "--mirror", &server.url("")]));
        assert_eq!(code, 1, "{stderr}");
        assert!(
            stderr.contains("another pull is writing")
                && stderr.contains("resnet18-v1-7.onnx.part"),
            "{stderr}"
        );
        drop(release);
        first.join().unwrap().unwrap_err();
    });
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn killed_pull_resumes_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let entry = Catalog::builtin()
        .find("resnet50-v1-12-qdq")
        .unwrap()
        .clone();
    let total = entry.bytes;
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = TestServer::start(move |request, stream| {
        if request.number == 0 {
            respond(
                stream,
                "200 OK",
                &format!("Content-Length: {total}\r\n"),
                &[7; 100_000],
            );
            let _ = held.lock().unwrap().recv();
        } else {
            respond(stream, "404 Gone", "", b"");
        }
    });
    let mut first = resnet(dir.path())
        .args(["pull", &entry.name, "--mirror", &server.url("")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let store = Store::new(dir.path());
    eventually("its first part is here", || {
        store.state_of(&entry).unwrap() == ModelState::Partial { bytes: 100_000 }
    });
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(names_in(dir.path()), ["resnet50-v1-12-qdq.onnx.part"]);
    let (code, _, stderr) =
        run(resnet(dir.path()).args(["pull", &entry.name, "--mirror", &server.url("")]));
    assert_eq!(code, 1);
    assert!(
        stderr.contains("resuming at 100.00 kB of 25.75 MB"),
        "{stderr}"
    );
    assert_eq!(server.offset_of(1), 100_000);
    drop(release);
}

#[test]
fn binary_exits_with_1_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        TestServer::start(
            |request, stream| match request.head.split('/').nth(1).unwrap() {
                "404" => respond(stream, "404 Not Found", "", b"sorry"),
                "large" => respond(stream, "200 OK", "Content-Length: 46820738\r\n", b""),
                _ => respond(
                    stream,
                    "200 OK",
                    "Content-Length: 46820737\r\n",
                    &vec![0; 46_820_737],
                ),
            },
        );
    for (base, words) in [
        (
            "/404",
            [
                "cannot pull resnet18-v1-7: http://127.0.0.1:",
                "status 404 (not there)",
            ],
        ),
        (
            "/large",
            [
                "refused http://127.0.0.1:",
                "it has 46820738 bytes, the model 46820737",
            ],
        ),
        (
            "/zeros",
            [
                "its sha256 is ",
                "4e8f8653e7a2222b3904cc3fe8e304cd8b339ce1d05fd24688162f86fb6df52c",
            ],
        ),
    ] {
        let (code, stdout, stderr) =
            run(resnet(dir.path()).args(["pull", "resnet18", "--mirror", &server.url(base)]));
        assert_eq!(code, 1, "{base}");
        assert_eq!(stdout, "", "{base}");
        for word in words {
            assert!(stderr.contains(word), "{base}: {stderr}");
        }
        assert_eq!(names_in(dir.path()), [""; 0], "{base}");
    }
}

#[test]
fn cut_download_of_the_binary_keeps_its_bytes_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![0; 46_820_737];
    let server = TestServer::start(move |request, stream| {
        respond_with_range(request, stream, &content, 1_000)
    });
    let (code, _, stderr) =
        run(resnet(dir.path()).args(["pull", "resnet18", "--mirror", &server.url("")]));
    assert_eq!(code, 1);
    assert!(
        stderr.contains("4000 of 46820737 bytes are kept, pull again to resume"),
        "{stderr}"
    );
    let (code, stdout, _) = run(resnet(dir.path()).arg("ls"));
    assert_eq!(code, 0);
    assert!(stdout.contains("0 % pulled"), "{stdout}");
}

#[test]
fn unknown_name_is_refused_with_the_names_there_are() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["pull", "rm"] {
        for name in ["resnet-50", "../../etc/passwd", ""] {
            let (code, _, stderr) = run(resnet(dir.path()).args([command, name]));
            assert_eq!(code, 1, "{stderr}");
            assert!(
                stderr.contains("resnet50-v1-12") && stderr.contains("in the catalogue"),
                "{stderr}"
            );
            assert_eq!(
                stderr.contains("did you mean resnet50?"),
                name == "resnet-50",
                "{stderr}"
            );
        }
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["pull"][..],
        &["rm"],
        &["ls", "--yaml"],
        &["pull", "resnet50", "--from"],
    ] {
        let (code, _, stderr) = run(resnet(dir.path()).args(arguments));
        assert_eq!(code, 2, "{arguments:?}");
        assert!(stderr.contains("--help"), "{stderr}");
    }
}

#[test]
fn builtin_model_needs_no_pull_and_cannot_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, _) = run(resnet(dir.path()).args(["pull", "resnet18-tiny"]));
    assert_eq!((code, stdout.contains("built in")), (0, true), "{stdout}");
    let (code, _, stderr) = run(resnet(dir.path()).args(["rm", "resnet18-tiny"]));
    assert_eq!(
        (code, stderr.contains("cannot be removed")),
        (1, true),
        "{stderr}"
    );
}

#[test]
fn several_models_are_pulled_one_after_the_other_and_a_failure_stops_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(|_, stream| respond(stream, "404 Not Found", "", b""));
    let mirror = server.url("");
    let names = ["resnet18", "resnet18-tiny", "resnet34"];
    let args = [&["pull"], &names[..], &["--mirror", &mirror]].concat();
    let (code, stdout, stderr) = run(resnet(dir.path()).args(&args));
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.starts_with("resnet18-tiny is built in"), "{stdout}");
    for name in ["resnet18-v1-7", "resnet34-v1-7"] {
        let words = format!("error: cannot pull {name}: ");
        assert!(stderr.contains(&words), "{stderr}");
    }
    assert_eq!(server.heads().len(), 2);
    // A wrong name is told before anything is asked for.
    let (code, stdout, stderr) =
        run(resnet(dir.path()).args(["pull", "resnet18", "resnet-34", "--mirror", &mirror]));
    assert_eq!((code, &*stdout), (1, ""));
    assert!(stderr.contains("did you mean resnet34?"), "{stderr}");
    assert_eq!(server.heads().len(), 2);
    let (code, _, stderr) =
        run(resnet(dir.path()).args(["pull", "resnet18", "resnet34", "--from", &mirror]));
    assert!(
        code == 2 && stderr.contains("--from is one model, 2 were named"),
        "{stderr}"
    );
    let (code, stdout, _) =
        run(resnet(dir.path()).args(["pull", "resnet18-tiny", "efficientnet-lite0"]));
    assert_eq!((code, stdout.lines().count()), (0, 2));
}
