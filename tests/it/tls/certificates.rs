//! Certificates and keys that change while it serves, or cannot be served at all.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::version;

use super::{Files, Identity, Stream, ask, client, client_of, connect, text};
use crate::harness::{eventually, resnet, text_of};

fn certificate_seen(stream: &Stream) -> &CertificateDer<'static> {
    &stream.conn.peer_certificates().unwrap()[0]
}

#[test]
fn expired_certificate_is_exchanged_on_sighup_without_dropping_a_connection() {
    let (old, new) = (Identity::until(2020), Identity::new());
    let files = Files::with(&old);
    let server = files.serve(&[]);
    let strict = client(&[&old, &new]);
    let expired = connect(server.address, &strict).unwrap_err().to_string();
    assert!(expired.contains("certificate expired"), "{expired}");
    files.put(&new.pem, &new.key_pem);
    server.signal("HUP");
    eventually("the new certificate is shown", || {
        connect(server.address, &strict).is_ok_and(|s| *certificate_seen(&s) == new.certificate)
    });
}

#[test]
fn open_connections_go_on_and_resumed_sessions_see_the_new_certificate() {
    for version in [&version::TLS12, &version::TLS13] {
        let (old, new) = (Identity::new(), Identity::new());
        let files = Files::with(&old);
        let server = files.serve(&[]);
        // keeps the sessions' secrets, as browsers do
        let both = Arc::new(client_of(&[&old, &new], &[version]));
        let mut open = connect(server.address, &both).unwrap();
        assert_eq!(ask(&mut open, "GET", "/livez", b"").0, 200);
        let mut resumed = connect(server.address, &both).unwrap();
        assert_eq!(ask(&mut resumed, "GET", "/livez", b"").0, 200);
        assert_eq!(
            resumed.conn.handshake_kind(),
            Some(rustls::HandshakeKind::Resumed)
        );

        files.put(&new.pem, &new.key_pem);
        server.signal("HUP");
        eventually("the new certificate is shown", || {
            let stream = connect(server.address, &both).unwrap();
            *certificate_seen(&stream) == new.certificate
        });
        assert_eq!(ask(&mut open, "GET", "/readyz", b"").0, 200);
        assert_eq!(*certificate_seen(&open), old.certificate);
    }
}

#[test]
fn bad_pair_on_sighup_changes_nothing_and_is_logged() {
    let (identity, other) = (Identity::new(), Identity::new());
    let files = Files::with(&identity);
    let server = files.serve(&[]);
    for (certificate, key, reason) in [
        (
            &*identity.pem,
            &*other.key_pem,
            "is not that of the first certificate",
        ),
        ("", &identity.key_pem, "holds no certificate"),
        (&identity.pem, "", "holds no private key"),
    ] {
        files.put(certificate, key);
        server.signal("HUP");
        server.log.line(reason, |l| {
            let message = l["message"].as_str().unwrap_or_default();
            l["level"] == "ERROR"
                && message.contains("the certificate stays what it was")
                && message.contains(reason)
        });
        let mut stream = connect(server.address, &client(&[&identity])).unwrap();
        assert_eq!(ask(&mut stream, "GET", "/livez", b"").0, 200);
    }
}

#[test]
fn certificate_or_key_that_cannot_be_served_is_named_at_start() {
    let (identity, other) = (Identity::new(), Identity::new());
    let files = Files::with(&identity);
    let (certificate, key) = (files.certificate(), files.key());
    let run = |args: &[&str]| {
        let output = resnet().args(["serve", "--port", "0"]).args(args).output();
        let (code, stdout, stderr) = text_of(&output.unwrap());
        (code, stdout + &stderr)
    };
    let both = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    for (content, reason) in [
        (
            (&*identity.pem, &*other.key_pem),
            "key.pem is not that of the first certificate in",
        ),
        (
            ("no PEM", &identity.key_pem),
            "cert.pem holds no certificate",
        ),
        ((&identity.pem, "no PEM"), "key.pem holds no private key"),
    ] {
        files.put(content.0, content.1);
        let (code, text) = run(&both);
        assert!(code == 1 && text.contains(reason), "{text}");
        assert!(!text.contains("\"message\":\"ready"), "{text}");
    }
    fs::remove_file(&key).unwrap();
    let (code, absent) = run(&both);
    assert!(
        code == 1 && absent.contains("key.pem cannot be read"),
        "{absent}"
    );
    for (alone, missing) in [(&both[..2], "--tls-key"), (&both[2..], "--tls-cert")] {
        let (code, text) = run(alone);
        assert!(code == 2 && text.contains(missing), "{text}");
    }
}
