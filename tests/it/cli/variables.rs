//! Flags from the environment: what is set, what is wrong, and names that are none.

use super::{photo, text_of};
use crate::harness::{Process, resnet};

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
