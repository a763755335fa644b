//! The directory of models: what `ls` shows of it, what `rm` removes, and one that cannot be written.

use std::fs;
use std::process::Command;

use super::command::{resnet, run};
use super::names_in;
use super::server::{TestServer, respond};
use crate::harness::without_a_reader;

#[test]
fn ls_shows_what_is_there_and_rm_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, _) = run(resnet(dir.path()).args(["ls", "--json"]));
    assert_eq!(code, 0);
    let listing: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let models = listing["models"].as_array().unwrap();
    assert_eq!(models.len(), 15);
    for (model, name) in models.iter().zip(["efficientnet-lite0", "resnet18-tiny"]) {
        assert_eq!(
            (model["name"].as_str(), model["state"].as_str()),
            (Some(name), Some("built_in"))
        );
    }
    assert!(
        models[2..].iter().all(|model| model["state"] == "missing"),
        "{stdout}"
    );

    let file = dir.path().join("resnet34-v1-7.onnx");
    fs::write(&file, b"short").unwrap();
    let (_, stdout, _) = run(resnet(dir.path()).arg("ls"));
    let line = stdout
        .lines()
        .find(|line| line.starts_with("resnet34-v1-7 (resnet34)"))
        .unwrap()
        .to_owned();
    assert!(
        line.contains("87.30 MB") && line.contains("73.73") && line.contains("wrong size"),
        "{line}"
    );

    let (code, stdout, _) = run(resnet(dir.path()).args(["rm", "resnet34"]));
    assert_eq!(
        (code, stdout.as_str()),
        (0, "removed resnet34-v1-7, 5 B freed\n")
    );
    assert!(!file.exists());
    let (code, stdout, stderr) = run(resnet(dir.path()).args(["rm", "resnet34"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("resnet34-v1-7 is not in "), "{stderr}");
}

#[test]
fn several_models_are_removed_unless_a_name_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["resnet18-v1-7.onnx", "resnet34-v1-7.onnx"];
    for file in files {
        fs::write(dir.path().join(file), b"short").unwrap();
    }
    for wrong in ["resnet-50", "resnet18-tiny"] {
        let (code, stdout, _) = run(resnet(dir.path()).args(["rm", "resnet18", wrong]));
        assert_eq!((code, &*stdout), (1, ""), "{wrong}");
        assert_eq!(names_in(dir.path()), files, "{wrong}");
    }
    let (code, stdout, stderr) =
        run(resnet(dir.path()).args(["rm", "resnet18", "resnet50", "resnet34"]));
    assert_eq!(
        (code, &*stdout),
        (
            1,
            "removed resnet18-v1-7, 5 B freed\nremoved resnet34-v1-7, 5 B freed\n"
        )
    );
    assert!(
        stderr.starts_with("error: resnet50-v1-12 is not in "),
        "{stderr}"
    );
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn models_dir_that_cannot_be_written_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(|_, stream| respond(stream, "404 Not Found", "", b""));
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let (code, _, stderr) =
        run(resnet(&file).args(["pull", "resnet50", "--mirror", &server.url("")]));
    assert_eq!(code, 1);
    assert!(stderr.contains(file.to_str().unwrap()), "{stderr}");
    assert_eq!(server.heads().len(), 0);
}

#[cfg(unix)]
#[test]
fn read_only_models_dir_is_refused_before_any_request() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let server = TestServer::start(|_, stream| respond(stream, "404 Not Found", "", b""));
    let mut command = resnet(dir.path());
    command.args(["pull", "resnet50", "--mirror", &server.url("")]);
    if fs::write(dir.path().join("probe"), b"").is_ok() {
        // The superuser writes anywhere; so somebody else pulls, from a place where everybody may run it.
        let public = tempfile::tempdir().unwrap();
        fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = public.path().join("resnet");
        fs::copy(command.get_program(), &program).unwrap();
        let mut unprivileged = Command::new(&program);
        unprivileged
            .args(command.get_args())
            .env_clear()
            .env("RESNET_MODELS_DIR", dir.path())
            .uid(65_534)
            .gid(65_534);
        assert_refused_read_only(&mut unprivileged);
    } else {
        assert_refused_read_only(&mut command);
    }
    assert_eq!(server.heads().len(), 0);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(unix)]
fn assert_refused_read_only(command: &mut Command) {
    let (code, _, stderr) = run(command);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("cannot create") && stderr.contains("choose a writable directory"),
        "{stderr}"
    );
}

#[test]
fn reader_that_has_seen_enough_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = resnet(dir.path());
    command.args(["ls", "--json"]);
    let output = without_a_reader(command);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}
