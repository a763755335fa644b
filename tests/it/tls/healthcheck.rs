//! `resnet healthcheck` of servers with and without TLS.

use std::path::Path;

use super::{Files, Identity};
use crate::harness::{Process, resnet, text_of};

#[test]
fn healthcheck_asks_by_tls_where_the_server_has_a_certificate() {
    // Valid for nobody, as those are that name a host's public address: the probe is for the process.
    let identity = Identity::until(2020);
    let files = Files::with(&identity);
    let server = files.serve(&[]);
    let port = server.address.port().to_string();
    let check = |args: &[&str], variable: Option<&Path>| {
        let mut command = resnet();
        command.args(["healthcheck", "--port", &port]).args(args);
        if let Some(path) = variable {
            command.env("RESNET_TLS_CERT", path);
        }
        let (code, stdout, stderr) = text_of(&command.output().unwrap());
        (code, stdout + &stderr)
    };
    let certificate = files.certificate();
    assert_eq!(check(&["--tls"], None), (0, "ready\n".into()));
    assert_eq!(check(&[], Some(&certificate)), (0, "ready\n".into()));
    // in a container the server listens on every address
    let everywhere = ["--host", "0.0.0.0"];
    assert_eq!(check(&everywhere, Some(&certificate)).0, 0);
    let (code, plain) = check(&[], None);
    assert!(
        code == 1
            && plain.contains("no answer from http://")
            && plain.ends_with(": the server answers by TLS, add --tls\n"),
        "{plain}"
    );
    // another machine could be anyone (RFC 5737: an address of nobody)
    let (code, elsewhere) = check(&["--tls", "--host", "192.0.2.1"], None);
    assert!(
        code == 2
            && elsewhere
                .contains("--host is 192.0.2.1, allowed with TLS are addresses of this machine"),
        "{elsewhere}"
    );
}

#[test]
fn healthcheck_by_tls_of_a_server_without_says_so() {
    let server = Process::start(&[]);
    let port = server.address.port().to_string();
    for variable in [None, Some("/secrets/tls.crt")] {
        let mut command = resnet();
        command.args(["healthcheck", "--port", &port]);
        match variable {
            None => command.arg("--tls"),
            Some(path) => command.env("RESNET_TLS_CERT", path),
        };
        let (code, _, text) = text_of(&command.output().unwrap());
        assert!(
            code == 1
                && text.contains("no answer from https://")
                && text.ends_with("without TLS, leave out --tls and RESNET_TLS_CERT\n"),
            "{text}"
        );
    }
}
